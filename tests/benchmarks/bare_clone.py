"""`run: MABC` against a clone in a bare loop: scores and the likelihood of episodes that neither has seen.

``python tests/benchmarks/bare_clone.py gems_clone --seeds 3 --out FILE`` compares them with the number of updates
that each chooses for itself on held-out episodes; ``--updates N`` gives both the same number. A row a run is added to
FILE (a JSON object a line); runs that it has are not repeated. The bare loop is plain PyTorch: rows drawn with
replacement, cross-entropy, AdamW, a learning rate that falls to zero. Its networks are copied into the algorithm's,
so that both are played by the same code.
"""

from __future__ import annotations

import argparse
import json
import math
import pathlib
import statistics
import sys
import tempfile
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from rllib_mamql.algorithms.cloning.algorithm import MABC
from rllib_mamql.cli.experiment import Overrides
from rllib_mamql.columns import ACTIONS, ALIVE, EPS_ID, OBS, JointColumns, column, num_rows, take
from rllib_mamql.data.reading import read_dataset
from rllib_mamql.data.selection import hold_out
from rllib_mamql.evaluation.evaluate import evaluate_checkpoint
from rllib_mamql.learning.course import ENOUGH, FEWEST, HELD_OUT_SHARE, MOST, SPLITS
from tests.benchmarks.measuring import ROOT, experiment_of

Data = dict[str, tuple[Tensor, Tensor]]


def rows_of(algorithm: MABC, columns: JointColumns) -> Data:
    """By module: observations and actions of all its agents, where they are alive."""
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for agent, module_id in algorithm.config.module_of.items():
        alive = columns[column(ALIVE, agent)].astype(bool)
        found.setdefault(module_id, []).append(
            (columns[column(OBS, agent)][alive], columns[column(ACTIONS, agent)][alive].astype(np.int64))
        )
    return {
        name: (torch.from_numpy(np.concatenate(obs)), torch.from_numpy(np.concatenate(actions)))
        for name, parts in found.items()
        for obs, actions in [zip(*parts, strict=True)]
    }


def fit(algorithm: MABC, data: Data, updates: int, seed: int) -> None:
    """Trains the algorithm's networks in a loop that has nothing of its own."""
    torch.manual_seed(seed)
    learner, config = algorithm.learner_group._learner, algorithm.config
    for name, (observations, actions) in data.items():
        module = learner.network(name)
        module.restart()
        network = module.trained
        optimiser = torch.optim.AdamW(network.parameters(), lr=config.lr, weight_decay=config.weight_decay)
        for update in range(updates):
            optimiser.param_groups[0]["lr"] = config.lr * (1.0 - update / updates)
            # As many rows of each agent as MABC draws.
            index = torch.randint(len(actions), (config.expert_batch_size * len(learner.agents_of[name]),))
            loss = nn.functional.cross_entropy(config.rationality * network(observations[index]), actions[index])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        module.update_average(0.0)


def search(algorithm: MABC, columns: JointColumns, seed: int) -> int:
    """Twice as many updates for as long as held-out episodes become likelier."""
    splits = min(SPLITS, math.ceil(ENOUGH / (HELD_OUT_SHARE * num_rows(columns))))
    found: dict[int, float] = {}
    updates = FEWEST
    while updates <= MOST:
        losses = []
        for split in range(splits):
            kept, judged = hold_out(columns, HELD_OUT_SHARE, seed + split)
            fit(algorithm, rows_of(algorithm, kept), updates, seed)
            losses.append(algorithm.learner_group._learner.negative_log_likelihood(judged))
        found[updates] = statistics.mean(losses)
        if found[updates] > min(found.values()):
            break
        updates *= 2
    return min(found, key=found.__getitem__)


def run(example: str, updates: int | None, seed: int, episodes: int) -> list[dict[str, Any]]:
    """Both clones of one seed; a row each."""
    config, _ = experiment_of(ROOT / "tuned_examples" / f"{example}.yaml", Overrides(config={"seed": seed}))
    if updates is not None:
        config.clone_updates = updates
    algorithm = config.build_algo()
    rows = []
    try:
        columns, learner = algorithm.offline_data.dataset.columns, algorithm.learner_group._learner
        whole = read_dataset(config.input_).columns
        unused = ~np.isin(whole[EPS_ID].astype(str), np.unique(columns[EPS_ID].astype(str)))
        for way in ("MABC", "bare"):
            if way == "MABC":
                while not algorithm.finished():
                    algorithm.train()
                made = algorithm.course.chosen
            else:
                made = updates or search(algorithm, columns, seed)
                fit(algorithm, rows_of(algorithm, columns), made, seed)
            row: dict[str, Any] = {"way": way, "updates": made, "nll": learner.negative_log_likelihood(columns)}
            if unused.any():
                row["other_nll"] = learner.negative_log_likelihood(take(whole, np.flatnonzero(unused)[:4000]))
            with tempfile.TemporaryDirectory() as folder:
                algorithm.save_checkpoint(folder)
                row["return"] = evaluate_checkpoint(folder, episodes=episodes, seed=seed + 1000).return_mean
            rows.append(row)
    finally:
        algorithm.stop()
    return rows


def summary(rows: list[dict[str, Any]]) -> str:
    """Mean difference of the pairs with its 95% interval, for each measure that all rows have."""
    lines = []
    for name in ("return", "nll", "other_nll"):
        values = [[row[name] for row in rows if row["way"] == way and name in row] for way in ("MABC", "bare")]
        if len(values[0]) > 1:
            gap = np.subtract(*values)
            half = stats.sem(gap) * stats.t.ppf(0.975, len(gap) - 1)
            means = ", ".join(f"{way} {np.mean(each):.3f}" for way, each in zip(("MABC", "bare"), values, strict=True))
            lines.append(f"{name}: {means}; difference {gap.mean():+.3f} +- {half:.3f} ({len(gap)} seeds)")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("example", help="a file under tuned_examples, without .yaml")
    parser.add_argument("--updates", type=int, help="gradient steps of both; without, each chooses")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    done = [json.loads(line) for line in arguments.out.read_text().splitlines()] if arguments.out.exists() else []
    for seed in range(arguments.seeds):
        cell = {"example": arguments.example, "asked": arguments.updates, "seed": seed}
        if any(all(row[key] == value for key, value in cell.items()) for row in done):
            continue
        for row in run(arguments.example, arguments.updates, seed, arguments.episodes):
            done.append(cell | row)
            print(json.dumps(cell | row), flush=True)
            with arguments.out.open("a") as out:
                out.write(json.dumps(cell | row) + "\n")
    mine = [row for row in done if (row["example"], row["asked"]) == (arguments.example, arguments.updates)]
    print(summary(mine))


if __name__ == "__main__":
    main()
