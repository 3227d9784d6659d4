"""Score against the number of demonstrations and of agents: ``python tests/benchmarks/sample_efficiency.py``.

Trains ``tuned_examples/intersection.yaml`` for 2, 4, 6 and 8 vehicles on 1,000, 5,000 and 20,000 joint steps of expert
play, which it records first where they are missing, and writes a table and a plot. Cells that are in ``--json`` already
are not trained again. Two vehicles are no contest (who always idles arrives): they show where a plain task starts.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
from typing import Any

ROOT = pathlib.Path(__file__).parents[2]
EXAMPLE = ROOT / "tuned_examples" / "intersection.yaml"


def rllib(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "rllib_mamql", *words], check=True, stdout=subprocess.DEVNULL)


def dataset(folder: pathlib.Path, vehicles: int, steps: int) -> pathlib.Path:
    out = folder / str(vehicles)
    if not out.exists():
        print(f"recording {steps} joint steps of {vehicles} vehicles into {out}", flush=True)
        config = [
            "--expert",
            "scripted",
            "--env-config",
            f"vehicles={vehicles}",
            "--env-config",
            "observation=entities",
        ]
        rllib("record", "--env", "intersection", *config, "--steps", str(steps), "--out", str(out))
    return out


def train(data: pathlib.Path, vehicles: int, steps: int, seed: int, episodes: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "result.json"
        rllib(
            "train", "--file", str(EXAMPLE), "--storage-path", folder, "--json", str(out), "--seed", str(seed),
            "--eval-episodes", str(episodes), "--set", f"env_config.vehicles={vehicles}",
            "--set", f"expert_steps={steps}", "--set", f"input_={data}",
        )  # fmt: skip
        trial = json.loads(out.read_text())["trials"][0]
    return {
        "vehicles": vehicles,
        "steps": steps,
        "seed": seed,
        "return": trial["return_mean"],
        "score": trial["normalised_score"],
        "arrival": trial["events"].get("arrival", 0.0) / vehicles,
        "collision": trial["events"].get("collision", 0.0) / vehicles,
        "published_return": trial["metrics"]["published_return"],
        "train_time_s": trial["train_time_s"],
    }


INTRODUCTION = """# The intersection: score against demonstrations and vehicles

`python tests/benchmarks/sample_efficiency.py --seeds 1 --data DIR` writes this page, [its
figures](sample_efficiency.json) and [its plot](sample_efficiency.png). Each row trains
`tuned_examples/intersection.yaml`, which is tuned for four vehicles, for 800 updates whatever the data.

The return is a vehicle's, and an arrival counts once (maximum 2). *Published count* pays an arrived vehicle +2 at
every further step, as highway-env's own reward does. Two vehicles are no contest: always idling arrives. For more seeds
of four and six vehicles from 5,000 steps, see the headers of `tuned_examples/intersection.yaml` and
`tuned_examples/intersection_6.yaml`.

![score against vehicles](sample_efficiency.png)

"""


def table(cells: list[dict[str, Any]]) -> str:
    """A Markdown table, one row a cell: means over seeds, and the returns' range."""
    lines = [
        "| vehicles | expert steps | return | lowest, highest | score | arrived | crashed | published count | seeds |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for vehicles, steps in sorted({(cell["vehicles"], cell["steps"]) for cell in cells}):
        same = [cell for cell in cells if (cell["vehicles"], cell["steps"]) == (vehicles, steps)]
        mean = {key: statistics.mean(cell[key] for cell in same) for key in same[0]}
        returns = [cell["return"] for cell in same]
        lines.append(
            f"| {vehicles} | {steps:,} | {mean['return']:.2f} | {min(returns):.2f} to {max(returns):.2f} | "
            f"{mean['score']:.3f} | {mean['arrival']:.1%} | {mean['collision']:.1%} | "
            f"{mean['published_return']:.2f} | {len(same)} |"
        )
    return "\n".join(lines) + "\n"


def plot(cells: list[dict[str, Any]], out: pathlib.Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for steps in sorted({cell["steps"] for cell in cells}):
        here = sorted({cell["vehicles"] for cell in cells if cell["steps"] == steps})
        by_size = [[cell["return"] for cell in cells if (cell["vehicles"], cell["steps"]) == (n, steps)] for n in here]
        means = [statistics.mean(values) for values in by_size]
        spread = [[m - min(v) for m, v in zip(means, by_size, strict=True)],
                  [max(v) - m for m, v in zip(means, by_size, strict=True)]]  # fmt: skip
        axes.errorbar(here, means, yerr=spread, marker="o", capsize=3, label=f"{steps:,} expert steps")
    axes.axhline(2.0, color="grey", linestyle=":", label="maximum")
    axes.set(xlabel="vehicles", ylabel="mean return per vehicle", title="Intersection, counted once a vehicle")
    axes.set_xticks(sorted({cell["vehicles"] for cell in cells}))
    axes.legend()
    figure.savefig(out, dpi=120)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vehicles", type=int, nargs="+", default=[2, 4, 6, 8])
    parser.add_argument("--steps", type=int, nargs="+", default=[1_000, 5_000, 20_000])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--data", type=pathlib.Path, required=True, help="folder for the recorded play")
    parser.add_argument("--json", type=pathlib.Path, default=ROOT / "docs" / "results" / "sample_efficiency.json")
    arguments = parser.parse_args()
    cells = json.loads(arguments.json.read_text()) if arguments.json.exists() else []
    for seed in range(arguments.seeds):
        for vehicles in arguments.vehicles:
            for steps in arguments.steps:
                if any((c["vehicles"], c["steps"], c["seed"]) == (vehicles, steps, seed) for c in cells):
                    continue
                data = dataset(arguments.data, vehicles, max(arguments.steps))
                cells.append(train(data, vehicles, steps, seed, arguments.episodes))
                print(cells[-1], flush=True)
                arguments.json.write_text(json.dumps(cells, indent=1) + "\n")
    arguments.json.with_suffix(".md").write_text(INTRODUCTION + table(cells))
    plot(cells, arguments.json.with_suffix(".png"))
    print(table(cells))
    return 0


if __name__ == "__main__":
    sys.exit(main())
