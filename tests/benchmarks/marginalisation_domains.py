"""Critic kinds on Gems and Overcooked: ``python tests/benchmarks/marginalisation_domains.py --work DIR``.

Trains both examples with the marginal critic and with the joint one marginalised by 1 and 5 samples and by
enumeration, and writes a table of final scores, of how fast they rose, and of what an update cost, to
docs/results/marginalisation_domains.md. Runs whose results are in ``--work`` already are not run again.
"""

from __future__ import annotations

import argparse
import json
import math
import pathlib
import statistics
import subprocess
import sys
from typing import Any

ROOT = pathlib.Path(__file__).parents[2]
EXAMPLES = {"gems": 500, "overcooked": 100}
"""Tuned examples, and episodes of their final evaluation."""
KINDS = {
    "marginal": ["critic=marginal"],
    "joint, K = 1": ["critic=joint", "marginal_samples=1"],
    "joint, K = 5": ["critic=joint", "marginal_samples=5"],
    "joint, full": ["critic=joint"],
}


def place(example: str, kind: str, seed: int, work: pathlib.Path) -> pathlib.Path:
    return work.resolve() / f"{example}-{kind.replace(', ', '-').replace(' ', '')}-{seed}"


def run(example: str, kind: str, seed: int, work: pathlib.Path) -> dict[str, Any]:
    folder = place(example, kind, seed, work)
    out = folder / "result.json"
    if not out.exists():
        folder.mkdir(parents=True, exist_ok=True)
        sets = [word for text in KINDS[kind] for word in ("--set", text)]
        command = [
            sys.executable, "-m", "rllib_mamql", "train", "--file", str(ROOT / "tuned_examples" / f"{example}.yaml"),
            "--storage-path", str(folder), "--json", str(out), "--seed", str(seed),
            "--eval-episodes", str(EXAMPLES[example]), *sets,
        ]  # fmt: skip
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    trial = json.loads(out.read_text())["trials"][0]
    log = next(folder.glob("*/trial_*/result.json"))
    rounds = [json.loads(line) for line in log.read_text().splitlines()]
    curve = [entry["env_runners"].get("return_mean") for entry in rounds]
    return {
        "example": example, "kind": kind, "seed": seed, "return": trial["return_mean"],
        "score": trial["normalised_score"], "ci95": trial["return_ci95"], "curve": curve,
        "ms_per_update": 1000.0 * trial["train_time_s"] / trial["updates"],
        "train_time_s": trial["train_time_s"],
    }  # fmt: skip


def rise(cell: dict[str, Any]) -> float:
    """Mean over training of the return while sampling: high where it rose early."""
    known = [value for value in cell["curve"] if value is not None and not math.isnan(value)]
    return statistics.mean(known)


def page(cells: list[dict[str, Any]], seeds: int) -> str:
    lines = [
        "# How the others' actions are marginalised: Gems and Overcooked",
        "",
        "`python tests/benchmarks/marginalisation_domains.py --work DIR` writes this page and",
        f"[its figures](marginalisation_domains.json). Seeds a row: {seeds}; one seed is an observation, not a result.",
        "",
        "Full enumeration sums over the other agent's actions, 5 on Gems and 6 in Overcooked. The mean over training",
        "is of the returns while sampling: it is high where the return rose early. Times are of single runs on a",
        "shared machine, which need not be of one day. On solvable games: [marginalisation.md](marginalisation.md).",
        "",
        "| example | critic | final return | score | mean over training | ms an update, with its sampling |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for example in EXAMPLES:
        for kind in KINDS:
            found = [cell for cell in cells if cell["example"] == example and cell["kind"] == kind]
            if not found:
                continue
            lines.append(
                f"| {example} | {kind} | "
                + ", ".join(f"{cell['return']:.2f}" for cell in found)
                + f" | {statistics.mean(cell['score'] for cell in found):.2f}"
                + f" | {statistics.mean(map(rise, found)):.2f}"
                + f" | {statistics.median(cell['ms_per_update'] for cell in found):.1f} |"
            )
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--collect", action="store_true", help="no more training: a page of what is in --work")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "docs" / "results" / "marginalisation_domains")
    arguments = parser.parse_args()
    cells = []
    for seed in range(arguments.seeds):
        for example in EXAMPLES:
            for kind in KINDS:
                if arguments.collect and not (place(example, kind, seed, arguments.work) / "result.json").exists():
                    continue
                cells.append(run(example, kind, seed, arguments.work))
                print({key: value for key, value in cells[-1].items() if key != "curve"}, flush=True)
    arguments.out.with_suffix(".json").write_text(json.dumps(cells, indent=1) + "\n")
    arguments.out.with_suffix(".md").write_text(page(cells, arguments.seeds))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
