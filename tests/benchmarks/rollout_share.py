"""Where rollouts help: scores, held-out likelihood and what the critic tells apart, by their share of the value term.

``python tests/benchmarks/rollout_share.py gems --steps 250 --shares 0 0.1 0.5 --seeds 3 --out FILE``; ``--set`` gives a
setting, ``key=value``. A row a run is added to FILE (a JSON object a line); runs that it has are not repeated.

With the expert's rows in the value term the critic's objective is the clone's; rollouts add the difference of
``V(s) - gamma V(s')`` between what experts and policies visit. Each row compares that difference on the demonstrations
that were learned from (``seen``) with the same on the dataset's other episodes (``unseen``): where only the first is
large, the critic knows its demonstrations by heart. ``reached`` is the share of demonstrated states that rollouts
came upon, from which ``auto`` takes the weight.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import tempfile
import time
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from rllib_mamql.algorithms.mamql.objective import soft_value, value_telescoped
from rllib_mamql.cli.experiment import Overrides
from rllib_mamql.columns import ALIVE, EPS_ID, NEXT_OBS, OBS, TERMINATEDS, JointColumns, column, take
from rllib_mamql.data.reading import read_dataset
from rllib_mamql.evaluation.evaluate import evaluate_checkpoint
from rllib_mamql.learning.config import AUTO
from rllib_mamql.learning.replay import TensorColumns, to_tensors
from tests.benchmarks.measuring import ROOT, experiment_of


def other_episodes(algorithm: Any, rows: int = 4000) -> JointColumns | None:
    """Joint steps of the dataset's episodes that were not learned from; None where there are none."""
    whole = read_dataset(algorithm.config.input_).columns
    used = np.unique(algorithm.offline_data.dataset.columns[EPS_ID].astype(str))
    left = np.flatnonzero(~np.isin(whole[EPS_ID].astype(str), used))[:rows]
    return take(whole, left) if len(left) else None


@torch.no_grad()
def mean_difference(learner: Any, columns: TensorColumns) -> float:
    """Mean over agents of ``E[ V(s) - gamma (1 - terminated) V(s') ]`` of the trained critics."""
    found = []
    for agent, module_id in learner.config.module_of.items():
        network, rationality = learner.network(module_id).trained, learner.config.rationality
        now, then = (soft_value(network(columns[column(part, agent)]), rationality) for part in (OBS, NEXT_OBS))
        terminated, alive = (columns[column(part, agent)] for part in (TERMINATEDS, ALIVE))
        found.append(float(value_telescoped(now, then, terminated, alive.float(), learner.config.gamma)))
    return float(np.mean(found))


def run(example: str, sets: dict[str, Any], seed: int, episodes: int, iterations: int | None) -> dict[str, Any]:
    """Trains one example in this process; its measures."""
    texts = [f"{key}={json.dumps(value)}" for key, value in sets.items()]
    overrides = Overrides(sets=tuple(texts), config={"seed": seed})
    config, settings = experiment_of(ROOT / "tuned_examples" / f"{example}.yaml", overrides)
    began = time.monotonic()
    algorithm = config.build_algo()
    try:
        for _ in range(iterations or int(settings.stop["training_iteration"])):
            algorithm.train()
        took = time.monotonic() - began
        learner, others = algorithm.learner_group._learner, other_episodes(algorithm)
        visited = mean_difference(learner, learner.replay.sample(4000, torch.Generator().manual_seed(seed)))
        row = {
            "train_nll": learner.negative_log_likelihood(algorithm.offline_data.dataset.columns),
            "seen": mean_difference(learner, to_tensors(algorithm.offline_data.dataset.columns)) - visited,
            "reached": learner.reached(),
            "updates": learner.updates,
            "train_s": round(took, 1),
        }
        if others is not None:
            row |= {
                "other_nll": learner.negative_log_likelihood(others),
                "unseen": mean_difference(learner, to_tensors(others)) - visited,
            }
        with tempfile.TemporaryDirectory() as folder:
            algorithm.save_checkpoint(folder)
            result = evaluate_checkpoint(folder, episodes=episodes, seed=seed + 1000)
    finally:
        algorithm.stop()
    return row | {"return": result.return_mean, "score": result.normalised_score}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("example", help="a file under tuned_examples, without .yaml")
    parser.add_argument("--steps", type=int, nargs="+", default=[None], help="expert steps; the example's without")
    parser.add_argument(
        "--shares", type=json.loads, nargs="+", default=[0.0, 0.1, 0.5, AUTO], help="numbers, or '\"auto\"'"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--iterations", type=int, help="training iterations; the example's without")
    parser.add_argument("--set", action="append", default=[], help="key=value, value in JSON")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    done = [json.loads(line) for line in arguments.out.read_text().splitlines()] if arguments.out.exists() else []
    fixed = {key: json.loads(value) for key, value in (text.split("=", 1) for text in arguments.set)}
    for steps in arguments.steps:
        for seed in range(arguments.seeds):
            for share in arguments.shares:
                sets = fixed | {"rollout_share": share} | ({} if steps is None else {"expert_steps": steps})
                cell = {"example": arguments.example, "sets": sets, "seed": seed, "iterations": arguments.iterations}
                if any(all(row.get(key) == value for key, value in cell.items()) for row in done):
                    continue
                row = cell | run(arguments.example, sets, seed, arguments.episodes, arguments.iterations)
                print(json.dumps(row), flush=True)
                with arguments.out.open("a") as out:
                    out.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
