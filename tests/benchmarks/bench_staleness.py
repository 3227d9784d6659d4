"""Sampling while learning: ``python tests/benchmarks/bench_staleness.py``, the intersection with one remote env runner.

Trains with ``rollout_staleness`` 0 and 1 in turn and prints training times, their ratio and the final returns.
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


def train(staleness: int, seed: int, example: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "result.json"
        command = [
            sys.executable, "-m", "rllib_mamql", "train", "--file", str(ROOT / "tuned_examples" / f"{example}.yaml"),
            "--num-env-runners", "1", "--set", f"rollout_staleness={staleness}", "--seed", str(seed),
            "--storage-path", folder, "--json", str(out), "--eval-episodes", "200",
        ]  # fmt: skip
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return json.loads(out.read_text())["trials"][0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--example", default="intersection", help="a file under tuned_examples, without .yaml")
    parser.add_argument("--repeats", type=int, default=2)
    arguments = parser.parse_args()
    ratios = []
    for seed in range(arguments.repeats):
        waiting, ahead = (train(staleness, seed, arguments.example) for staleness in (0, 1))
        ratios.append(waiting["train_time_s"] / ahead["train_time_s"])
        for name, trial in (("waits", waiting), ("samples ahead", ahead)):
            print(
                f"seed {seed}, {name}: {trial['train_time_s']:.0f} s of training, return {trial['return_mean']:.2f}",
                flush=True,
            )
    print(f"speed-up by sampling ahead: median {statistics.median(ratios):.2f} of {len(ratios)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
