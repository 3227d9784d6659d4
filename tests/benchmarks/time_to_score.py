"""Training seconds until a tuned example plays like its expert: ``python tests/benchmarks/time_to_score.py``.

Runs ``rllib train`` with a checkpoint at every iteration and evaluates each: the figure is ``time_total_s`` at the
first whose normalised score is at least 0.95, and no figure where none is. ``--iteration-steps`` makes iterations, and
with them the figure, finer. Takes minutes a seed, and is no part of ``make bench``.
"""

from __future__ import annotations

import argparse
import json
import math
import pathlib
import statistics
import subprocess
import sys
import tempfile

import yaml

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from rllib_mamql.algorithms.mamql.config import MAMQLConfig
from rllib_mamql.evaluation.evaluate import evaluate_checkpoint
from tests.benchmarks.measuring import ROOT

EXAMPLES = ("gems", "overcooked", "intersection")


def with_checkpoints(example: str, iteration_steps: int | None, out: pathlib.Path) -> pathlib.Path:
    """A copy of a tuned example that keeps a checkpoint of every iteration."""
    document = yaml.safe_load((ROOT / "tuned_examples" / f"{example}.yaml").read_text())
    for experiment in document.values():
        experiment |= {"checkpoint_freq": 1, "keep_checkpoints_num": 1000}
        config = experiment["config"]
        config["input_"] = str(ROOT / config["input_"])
        if iteration_steps is not None:
            steps = config.get("min_sample_timesteps_per_iteration", MAMQLConfig().min_sample_timesteps_per_iteration)
            experiment["stop"]["training_iteration"] *= steps / iteration_steps
            config["min_sample_timesteps_per_iteration"] = iteration_steps
    out.write_text(yaml.safe_dump(document))
    return out


def seconds_to(
    example: str, seed: int, score: float, episodes: int, iteration_steps: int | None, options: list[str]
) -> float | None:
    """Training seconds at the first checkpoint that reaches ``score``, or None."""
    with tempfile.TemporaryDirectory() as folder:
        file = with_checkpoints(example, iteration_steps, pathlib.Path(folder) / "example.yaml")
        command = [
            sys.executable, "-m", "rllib_mamql", "train", "--file", str(file), "--storage-path", f"{folder}/results",
            "--seed", str(seed), "--eval-episodes", "0", *options,
        ]  # fmt: skip
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (log,) = pathlib.Path(folder).rglob("result.json")
        for line in log.read_text().splitlines():
            result = json.loads(line)
            checkpoint = log.parent / f"checkpoint_{result['training_iteration'] - 1:06d}"
            if not checkpoint.is_dir():
                continue
            evaluation = evaluate_checkpoint(checkpoint, episodes=episodes, seed=seed)
            if evaluation.normalised_score is not None and evaluation.normalised_score >= score:
                return float(result["time_total_s"])
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("examples", nargs="*", default=list(EXAMPLES), help="files under tuned_examples")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--score", type=float, default=0.95)
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--iteration-steps", type=int, help="joint steps of an iteration, in place of the example's")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    arguments, options = parser.parse_known_args()
    found: dict[str, list[float | None]] = {}
    for example in arguments.examples:
        found[example] = []
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
            taken = seconds_to(example, seed, arguments.score, arguments.episodes, arguments.iteration_steps, options)
            found[example].append(taken)
            print(f"{example} seed {seed}: {'not reached' if taken is None else f'{taken:.0f} s'}", flush=True)
        median = statistics.median(math.inf if taken is None else taken for taken in found[example])
        print(f"{example}: median {median:.0f} s to {arguments.score:g}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps({"score": arguments.score, "seconds": found}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
