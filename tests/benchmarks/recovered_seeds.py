"""How good recovered rewards are over many seeds: ``python tests/benchmarks/recovered_seeds.py --work DIR --seeds 10``.

For each seed: ``rllib train`` of an example, ``rllib recover`` with the budget that training gives it, ``rllib
reward``. Stages whose results are in ``--work`` already are not run again, and the page, ``<out>.json`` and
``<out>.md``, is written anew after each seed, so that it may be ended and started again at any time.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import sys
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from rllib_mamql.cli.trial_reports import RECOVERY_BUDGET_S
from tests.benchmarks.rewards import ROOT, checkpoint, gauge_of, scores

METRICS = ("pearson", "epic")


def row(work: pathlib.Path, example: str, seed: int) -> dict[str, Any]:
    """Figures of one seed on the policies' own states: means over agents."""
    work.mkdir(parents=True, exist_ok=True)
    folder = checkpoint(
        work, example, seed, [], f"--budget {RECOVERY_BUDGET_S:.0f} --seed {seed} --gauge {gauge_of(example)}"
    )
    report = scores(work, folder, [])["states"]["policy"]
    trial = json.loads((work / "train.json").read_text())["trials"][0]
    found: dict[str, Any] = {"seed": seed, "return_mean": trial["return_mean"]}
    for predictor in ("recovered", "implied"):
        for metric in METRICS:
            found[f"{predictor}_{metric}"] = statistics.mean(agent[predictor][metric] for agent in report.values())
    return found


def page(rows: list[dict[str, Any]], example: str, name: str) -> str:
    """The page."""
    pearson, epic = ([row[f"recovered_{metric}"] for row in rows] for metric in METRICS)
    lines = [
        f"# Rewards recovered on `{example}`, by seed",
        "",
        f"`python tests/benchmarks/recovered_seeds.py --example {example} --work DIR --seeds 10 --out "
        f"docs/results/{name}` writes this page and its JSON after each seed. Recovery is in gauge "
        f"`{gauge_of(example)}` with {RECOVERY_BUDGET_S:.0f} processor seconds, as in `rllib train`. "
        "Against the true marginal reward on the policies' play, means over agents.",
        "",
        f"{len(rows)} seed(s): Pearson {statistics.mean(pearson):.2f} in the mean, {min(pearson):.2f} in the lowest; "
        f"EPIC {statistics.mean(epic):.2f} in the mean, {max(epic):.2f} in the highest.",
        "",
        "| seed | return | recovered | implied |",
        "| --- | --- | --- | --- |",
    ]
    for one in rows:
        cells = [f"{one[f'{p}_pearson']:.2f}, EPIC {one[f'{p}_epic']:.2f}" for p in ("recovered", "implied")]
        lines.append(f"| {one['seed']} | {one['return_mean']:.2f} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--example", default="gems_soft", help="a file under tuned_examples, without .yaml")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "docs" / "results" / "recovered_gems")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for seed in range(arguments.seeds):
        rows.append(row(arguments.work.resolve() / str(seed), arguments.example, seed))
        arguments.out.with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n")
        arguments.out.with_suffix(".md").write_text(page(rows, arguments.example, arguments.out.name))
        print(page(rows, arguments.example, arguments.out.name).splitlines()[4], flush=True)


if __name__ == "__main__":
    main()
