"""How decided play may be: ``python tests/benchmarks/decided_play.py FOLDER [FOLDER ...] --out FILE``.

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
import tempfile

import numpy as np
import torch

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from rllib_mamql.algorithms.registry import read_checkpoint
from rllib_mamql.columns import EPS_ID, OBS, JointColumns, column, num_rows
from rllib_mamql.environments.registry import make_batch, make_env
from rllib_mamql.learning.demonstrations import find_demonstrations
from rllib_mamql.play.actors import checkpoint_actor
from rllib_mamql.play.batched import make_rollout
from rllib_mamql.play.returns import return_aggregation, summarise_returns
from tests.support.acting import acting_at

MULTIPLES = (1.0, 1.5, 2.0, 3.0, 5.0)


def returning(columns: JointColumns, agents: list[str], widths: dict[str, np.ndarray]) -> float:
    """Share of the joint states, in [0, 1], in which their episode was before."""
    rows = num_rows(columns)
    parts = [np.unique(columns[EPS_ID].astype(str), return_inverse=True)[1].reshape(rows, 1)]
    parts += [np.round(columns[column(OBS, agent)].reshape(rows, -1) / widths[agent]) for agent in agents]
    return 1.0 - len(np.unique(np.concatenate(parts, 1).astype(np.float32), axis=0)) / rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=pathlib.Path, nargs="+")
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for folder in arguments.folders:
        stored = read_checkpoint(folder)
        agents, expert = list(stored.module_of), find_demonstrations(stored)
        assert expert is not None, f"{folder}: its demonstrations are gone"
        widths = {}
        for agent in agents:
            spread = 0.5 * expert[column(OBS, agent)].reshape(num_rows(expert), -1).std(0)
            widths[agent] = np.where(spread > 0, spread, 0.5)
        row = {"checkpoint": folder.name, "expert_returning": round(returning(expert, agents, widths), 4)}
        for multiple in MULTIPLES:
            with tempfile.TemporaryDirectory() as name:
                copy = acting_at(multiple * stored.settings["rationality"], folder, pathlib.Path(name) / "acting")
                rollout = make_rollout(
                    functools.partial(make_env, stored.env, stored.env_config),
                    functools.partial(make_batch, stored.env, stored.env_config),
                    min(16, arguments.episodes),
                    1,
                )
                columns, episodes = rollout.run(
                    checkpoint_actor(read_checkpoint(copy), 1), num_episodes=arguments.episodes
                )
                found = summarise_returns(episodes, return_aggregation(rollout.envs[0])).mean
                rollout.close()
            row[str(multiple)] = (round(found, 3), round(returning(columns, agents, widths), 4))
        print(json.dumps(row), flush=True)
        with arguments.out.open("a") as out:
            out.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
