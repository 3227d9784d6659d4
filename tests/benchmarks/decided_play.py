"""How decided play may be: ``python tests/benchmarks/decided_play.py FOLDER [FOLDER ...]``.

Each checkpoint plays at multiples of its training rationality. A row says the return, and how often an episode comes
back to a joint state in which it was before, beside how often the demonstrations do: play that is stuck comes back all
the time.
"""

from __future__ import annotations

import argparse
import functools
import json
import pathlib
import sys
from typing import Any

import torch

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from rllib_mamql.algorithms.registry import read_checkpoint
from rllib_mamql.environments.registry import make_batch, make_env
from rllib_mamql.evaluation.decided import ALLOWED, acting_at, coming_back, widths_of
from rllib_mamql.evaluation.decided import MULTIPLES as TRIED
from rllib_mamql.learning.demonstrations import find_demonstrations
from rllib_mamql.play.actors import checkpoint_actor
from rllib_mamql.play.batched import make_rollout
from rllib_mamql.play.returns import return_aggregation, summarise_returns

ROOT = pathlib.Path(__file__).parents[2]
RESULTS = ROOT / "docs/results/decided.jsonl"
MULTIPLES = (1.0, 1.5, 2.0, 3.0, 5.0)


HEAD = """# How decidedly to act

A policy that acts at a higher rationality than it was trained at errs less than its expert did, until it is so
decided that it gets stuck. Play that is stuck comes back to the same joint states again and again, which can be seen
without a reward. `evaluation_rationality: auto` therefore tries 3, 2 and 1.5 times the training rationality, one
after the other, until the share of states that an episode was in before is at most 0.1 above that of the
demonstrations or of play as in training, whichever is higher.

Return, and in brackets the share of states revisited, at multiples of the training rationality; *chosen* is what the
rule gives on these figures. One run each: leads, no results. Episodes: 24 in Overcooked, 100 elsewhere, 300 on Gems.

A row is remade by `python tests/benchmarks/cloning_study.py --seeds 1 --ways MAMQL --problem PROBLEM --steps STEPS
--keep FOLDER --out FILE` and `python tests/benchmarks/decided_play.py FOLDER/CHECKPOINT`; `--page` writes this page.
The policies of the rows below are those of two stages of the recipe. Rows of Gems: `--set early_stopping=false --set
iterations=2 --set learn_reward=false` was given. All others: commit 0a208c7, whose first iteration left rollouts out.

"""


def rule(row: dict[str, Any]) -> float:
    """What ``decided.decide`` chooses where it finds these shares."""
    most = max(row["1.0"][1], row["expert_returning"]) + ALLOWED
    return next((multiple for multiple in TRIED if row[str(multiple)][1] <= most), 1.0)


def page(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [f"| | expert revisits | {' | '.join(f'x{multiple:g}' for multiple in MULTIPLES)} | chosen |"]
    lines.append("| --- | --- |" + " --- |" * (len(MULTIPLES) + 1))
    for row in rows:
        cells = [f"{row[str(multiple)][0]:.1f} ({row[str(multiple)][1]:.2f})" for multiple in MULTIPLES]
        name = row["checkpoint"].replace("-MAMQL", "")
        lines.append(f"| {name} | {row['expert_returning']:.2f} | {' | '.join(cells)} | x{rule(row):g} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=pathlib.Path, nargs="*")
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--out", type=pathlib.Path, default=RESULTS)
    parser.add_argument("--page", action="store_true")
    arguments = parser.parse_args()
    if arguments.page:
        rows = [json.loads(line) for line in arguments.out.read_text().splitlines()]
        RESULTS.with_suffix(".md").write_text(HEAD + page(rows))
        return
    torch.set_num_threads(1)
    for folder in arguments.folders:
        stored = read_checkpoint(folder)
        agents, expert = list(stored.module_of), find_demonstrations(stored)
        assert expert is not None, f"{folder}: its demonstrations are gone"
        widths = widths_of(expert, agents)
        row: dict[str, Any] = {
            "checkpoint": folder.name,
            "expert_returning": round(coming_back(expert, agents, widths), 4),
        }
        for multiple in MULTIPLES:
            rollout = make_rollout(
                functools.partial(make_env, stored.env, stored.env_config),
                functools.partial(make_batch, stored.env, stored.env_config),
                min(16, arguments.episodes),
                1,
            )
            with acting_at(stored, multiple):
                columns, episodes = rollout.run(checkpoint_actor(stored, 1), num_episodes=arguments.episodes)
            found = summarise_returns(episodes, return_aggregation(rollout.envs[0])).mean
            rollout.close()
            row[str(multiple)] = (round(found, 3), round(coming_back(columns, agents, widths), 4))
        print(json.dumps(row), flush=True)
        with arguments.out.open("a") as out:
            out.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
