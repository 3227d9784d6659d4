"""How far policies are from the demonstrators: ``soft_cooks_policies.py CHECKPOINT ... --table FILE.npz``.

The pair of ``soft_cooks.py`` is known exactly, so the policies of a checkpoint of ``overcooked_soft`` and those of
behaviour clones can be compared with it in every state. Where they are wrong, a recovered reward pays for it. Prints
the mean and the 99th percentile of KL(pair || policy) in nats, over the pair's own states and over states in which
0.6 of the actions are random, in episodes that start anywhere.
"""

from __future__ import annotations

import argparse
import functools
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from mamql_envs.overcooked_kitchen import load_kitchen
from rllib_mamql.algorithms.mamql import objective
from rllib_mamql.cli.paths import newest_checkpoint
from rllib_mamql.columns import Array
from rllib_mamql.environments.registry import make_batch, make_env
from rllib_mamql.learning.demonstrations import demonstrations_for
from rllib_mamql.play.batched import BatchedRollout
from rllib_mamql.rewards.clone import fit_clone
from rllib_mamql.rewards.sources import LogPolicy
from rllib_mamql.rewards.store import read_with_rewards
from tests.benchmarks.measuring import ROOT
from tests.benchmarks.soft_cooks import ENV, LAYOUT, NUM_ACTIONS, Pair, Tables, draw, stored

KITCHENS, STEPS = 250, 100
DATA = ROOT / "offline_data" / "overcooked" / "soft_starts"
SHARES = {"the pair's states": 0.0, "0.6 of the actions random": 0.6}


def visited(tables: Tables, pair: Pair, share: float, seed: int) -> tuple[NDArray[np.float64], dict[str, Array]]:
    """The pair's policies ``(2, 6, N)`` and each agent's observations ``(N, 96)``, ``share`` of the actions random."""
    config = {"layout": LAYOUT, "horizon": 20, "random_starts": 1.0}
    rollout = BatchedRollout(functools.partial(make_env, ENV, config), make_batch(ENV, config, KITCHENS), seed)
    rng = np.random.default_rng(seed)
    policies: list[NDArray[np.float64]] = []
    seen: list[dict[str, Array]] = []

    def act(observations: Mapping[str, Array], _: Mapping[str, Array]) -> dict[str, Array]:
        exact = pair.policies[:, :, tables.encode(*rollout.batch.state)].astype(np.float64)
        policies.append(exact)
        seen.append({agent: np.array(values) for agent, values in observations.items()})
        actions = draw((1.0 - share) * exact + share / NUM_ACTIONS, rng)
        return dict(zip(rollout.agents, actions, strict=True))

    try:
        rollout.run(act, num_steps=KITCHENS * STEPS)
        return np.concatenate(policies, axis=2), {
            agent: np.concatenate([step[agent] for step in seen]) for agent in rollout.agents
        }
    finally:
        rollout.close()


def distances(exact: NDArray[np.float64], observations: Mapping[str, Array], policy: LogPolicy) -> NDArray[np.float64]:
    """KL(pair || policy) of both cooks in all states, ``(2 N,)``."""
    parts = []
    for index, (agent, seen) in enumerate(observations.items()):
        with torch.no_grad():
            log_policy = policy(agent, torch.from_numpy(seen)).numpy()
        probabilities = exact[index].T
        parts.append((probabilities * (np.log(probabilities + 1e-12) - log_policy)).sum(1))
    return np.concatenate(parts)


def learned(checkpoint: Any) -> LogPolicy:
    """The policy of a checkpoint at its training rationality."""
    rationality = float(checkpoint.settings["rationality"])

    def log_policy(agent: str, observations: Tensor) -> Tensor:
        module = checkpoint.modules[checkpoint.module_of[agent]]
        return objective.log_policy(module.average(observations), rationality)

    return log_policy


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoints", nargs="+", type=pathlib.Path, help="of overcooked_soft")
    parser.add_argument("--table", type=pathlib.Path, required=True, help=".npz of the solved pair: read, or made")
    parser.add_argument("--clone-updates", type=int, nargs="*", default=[800, 12000])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=pathlib.Path)
    arguments = parser.parse_args(words)
    torch.set_num_threads(1)
    tables = Tables(load_kitchen(LAYOUT))
    pair = stored(arguments.table, tables, soup=150.0, discount=0.95, sweeps=240)
    states = {name: visited(tables, pair, share, arguments.seed) for name, share in SHARES.items()}
    found = []
    for folder in arguments.checkpoints:
        checkpoint, _ = read_with_rewards(newest_checkpoint(folder))
        policies = {"MAMQL": learned(checkpoint)}
        data = demonstrations_for(checkpoint, DATA)
        for updates in arguments.clone_updates:
            clone = fit_clone(checkpoint, data, updates=updates, seed=arguments.seed)
            policies[f"clone, {updates} updates"] = clone
        for policy, log_policy in policies.items():
            for name, (exact, observations) in states.items():
                values = distances(exact, observations, log_policy)
                row = {"mean": float(values.mean()), "q99": float(np.quantile(values, 0.99))}
                found.append({"checkpoint": str(folder), "policy": policy, "states": name, **row})
                print(f"{policy}, {name}: KL {row['mean']:.3f}, 99th percentile {row['q99']:.2f}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
