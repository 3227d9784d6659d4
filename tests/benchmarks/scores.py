"""Scores of tuned examples over several seeds: ``python tests/benchmarks/scores.py EXAMPLE --seeds 3``.

Further options go to ``rllib train``.

Runs ``rllib train`` once a seed, one after another, and prints each final score and their mean. The numbers in the
headers of the tuned examples come from here.
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


def mean_metrics(trials: list[dict[str, Any]]) -> dict[str, float]:
    """The environment's own numbers and its reward events an episode, averaged over seeds."""
    return {
        name: statistics.mean(trial[field].get(name, 0.0) for trial in trials)
        for field in ("metrics", "events")
        for name in trials[0].get(field, {})
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("example", help="a file under tuned_examples, without .yaml")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--json", type=pathlib.Path)
    arguments, options = parser.parse_known_args()
    trials = []
    for seed in range(arguments.seeds):
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder) / "result.json"
            command = [
                sys.executable, "-m", "rllib_mamql", "train",
                "--file", str(ROOT / "tuned_examples" / f"{arguments.example}.yaml"),
                "--storage-path", folder, "--json", str(out), "--seed", str(seed),
                "--eval-episodes", str(arguments.episodes), *options,
            ]  # fmt: skip
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            trials += json.loads(out.read_text())["trials"]
        trial = trials[-1]
        score = trial["normalised_score"]
        print(
            f"seed {seed}: return {trial['return_mean']:.2f} {[round(x, 2) for x in trial['return_ci95']]}, "
            f"score {'unknown' if score is None else format(score, '.3f')}, "
            f"{trial['train_time_s']:.0f} s of training, {trial['env_steps']} env steps, {trial['updates']} updates",
            flush=True,
        )
    returns = [trial["return_mean"] for trial in trials]
    scores = [trial["normalised_score"] for trial in trials if trial["normalised_score"] is not None]
    times = [trial["train_time_s"] for trial in trials]
    print(
        f"{arguments.example}: mean return {statistics.mean(returns):.2f}, "
        + (f"mean score {statistics.mean(scores):.3f}, lowest {min(scores):.3f}, " if scores else "")
        + "".join(f"{name} {value:.3g}, " for name, value in mean_metrics(trials).items())
        + f"median training time {statistics.median(times):.0f} s, {len(trials)} seeds"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps(trials, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
