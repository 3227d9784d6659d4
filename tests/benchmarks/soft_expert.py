"""A soft-optimal pair for Gems: ``python tests/benchmarks/soft_expert.py --out DIR --rationality 3``.

Rewards can be recovered as far as behaviour depends on them. The scripted pair goes for what is near, whatever it
pays; a pair that is soft-optimal for the true reward does not. This trains one by soft Q-learning in self-play (one
network for both, a target network, W(s) = (1 / lambda) log mean_a exp(lambda Q)), first at rationality 5, which finds
out about shared gems, then at the one asked for, and writes a checkpoint for ``rllib record --expert DIR``. It uses a
GPU where there is one.
"""

from __future__ import annotations

import argparse
import copy
import math
import pathlib

import numpy as np
import torch
from torch import Tensor

from rllib_mamql.algorithms.mamql.config import MAMQLConfig
from rllib_mamql.algorithms.mamql.module import MAMQLModule
from rllib_mamql.data.schema import DatasetMetadata, spaces_from_gym
from rllib_mamql.environments.registry import make_batch
from rllib_mamql.environments.spaces import environment_spaces
from rllib_mamql.learning.checkpoint import write_networks

ENV, ENV_CONFIG = "gems", {"observation": "entities"}
START, SCALE, CAPACITY, ROWS, ENVS = 5.0, 5.0, 120_000, 1024, 256


class Replay:
    """Transitions of both agents as seen by each, overwritten when full."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.count, self.columns = device, 0, {}

    def add(self, **new: Tensor) -> None:
        if not self.columns:
            self.columns = {
                k: torch.zeros((CAPACITY, *v.shape[1:]), dtype=v.dtype, device=self.device) for k, v in new.items()
            }
        size = len(next(iter(new.values())))
        where = (torch.arange(size) + self.count) % CAPACITY
        for key, values in new.items():
            self.columns[key][where.to(self.device)] = values.to(self.device)
        self.count += size

    def draw(self) -> dict[str, Tensor]:
        index = torch.randint(min(self.count, CAPACITY), (ROWS,), device=self.device)
        return {key: values[index] for key, values in self.columns.items()}


def train(module: MAMQLModule, target_rationality: float, rounds: int, discount: float, seed: int) -> None:
    """Trains ``module.average`` in place; two updates a round."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = copy.deepcopy(module.average).requires_grad_(True).to(device)
    target, average = copy.deepcopy(net), copy.deepcopy(net)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    batch = make_batch(ENV, ENV_CONFIG, ENVS)
    fresh = lambda n: rng.integers(2**31 - 1, size=n)  # noqa: E731
    batch.reset_envs(np.arange(ENVS), fresh(ENVS))
    replay, returns, running = Replay(device), [], np.zeros(ENVS)
    observations = batch.observations()
    for step in range(rounds):
        done = step / rounds
        rationality = START + (target_rationality - START) * min(1.0, max(0.0, (done - 0.5) / 0.2))
        for group in optimiser.param_groups:
            group["lr"] = 1e-3 * min(1.0, (1.0 - done) / 0.6)
        stacked = torch.from_numpy(np.concatenate([observations[a] for a in batch.agents]))
        with torch.no_grad():
            policy = torch.softmax(rationality * SCALE * net(stacked.to(device)), -1).cpu()
        chosen = torch.multinomial(policy, 1)[:, 0].numpy()
        random = rng.random(2 * ENVS) < max(0.05, 0.5 * (1 - 2 * done))
        chosen = np.where(random, rng.integers(policy.shape[1], size=2 * ENVS), chosen)
        rewards, terminated, truncated, _ = batch.step(dict(zip(batch.agents, np.split(chosen, 2), strict=True)))
        after = batch.observations()
        both = {name: np.concatenate([v[a] for a in batch.agents]) for name, v in
                {"reward": rewards, "next": after, "end": terminated}.items()}  # fmt: skip
        replay.add(
            obs=stacked,
            action=torch.from_numpy(chosen),
            reward=torch.from_numpy(both["reward"]).float(),
            next=torch.from_numpy(both["next"]),
            end=torch.from_numpy(both["end"]).float(),
        )
        running += np.mean([rewards[a] for a in batch.agents], axis=0)
        over = np.flatnonzero(terminated[batch.agents[0]] | truncated[batch.agents[0]])
        returns += list(running[over])
        running[over] = 0.0
        if len(over):
            batch.reset_envs(over, fresh(len(over)))
        observations = batch.observations()
        for _ in range(2):
            rows = replay.draw()
            with torch.no_grad():
                scores = SCALE * target(rows["next"])
                value = (torch.logsumexp(rationality * scores, -1) - math.log(scores.shape[1])) / rationality
                goal = rows["reward"] + discount * (1 - rows["end"]) * value
            taken = (SCALE * net(rows["obs"])).gather(1, rows["action"][:, None])[:, 0]
            loss = (taken - goal).square().mean()
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 10.0)
            optimiser.step()
            with torch.no_grad():
                torch._foreach_lerp_(list(target.parameters()), list(net.parameters()), 0.01)
                torch._foreach_lerp_(list(average.parameters()), list(net.parameters()), 0.002)
        if (step + 1) % 500 == 0:
            print(
                f"{step + 1} rounds, rationality {rationality:.2f}: return an agent {np.mean(returns[-300:]):.2f}",
                flush=True,
            )
    module.average.load_state_dict(average.cpu().state_dict())
    with torch.no_grad():
        module.average.head.weight.mul_(SCALE)
        module.average.head.bias.mul_(SCALE)


def write(module: MAMQLModule, config: MAMQLConfig, out: pathlib.Path) -> None:
    """Writes a checkpoint that ``rllib record`` and ``rllib evaluate`` read."""
    spaces = environment_spaces(ENV, ENV_CONFIG)
    metadata = DatasetMetadata(
        agents=tuple(spaces),
        spaces=spaces_from_gym(
            list(spaces), {a: s[0] for a, s in spaces.items()}, {a: s[1] for a, s in spaces.items()}
        ),
    )
    module_id = config.module_of[next(iter(spaces))]
    out.mkdir(parents=True, exist_ok=True)
    configs, weights = {module_id: dict(module.model_config)}, {module_id: module.get_state()}
    write_networks(out, config, metadata, configs, weights, config.recorded())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--rationality", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=4400)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    config = MAMQLConfig().update_from_dict(
        {"env": ENV, "env_config": ENV_CONFIG, "input_": "none", "parameter_sharing": "all", "gamma": 0.9,
         "rationality": arguments.rationality}
    )  # fmt: skip
    config.validate()
    module_id = next(iter(config.module_of.values()))
    spec = config.get_multi_rl_module_spec(spaces={module_id: next(iter(environment_spaces(ENV, ENV_CONFIG).values()))})
    module = spec.build()[module_id]
    train(module, arguments.rationality, arguments.rounds, config.gamma, arguments.seed)
    write(module, config, arguments.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
