"""Updates a second of the learner against a bare torch loop: ``python tests/benchmarks/bench_update.py``.

Both train two agents on Gems at batch 256 (128 expert and 128 rollout rows) with the same networks, sampling, losses,
clipping, AdamW, Polyak average and reward regression. Ours goes through ``LearnerGroup.update``, as training does. The
bare loop below is written out in torch, imports nothing of the package's mathematics, and serves as a second
implementation: before anything is timed its losses must be those of the learner to 1e-5 on the same rows and weights.
In float64 they must be so to 1e-10, and after some updates with the same random numbers its weights to 1e-9: there
rounding is too small to be taken for an error, or to hide one.
"""

from __future__ import annotations

import copy
import functools
import pathlib
import statistics
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from rllib_mamql.algorithms.mamql.config import MAMQLConfig
from rllib_mamql.algorithms.mamql.learner import MAMQLLearner
from rllib_mamql.columns import JointColumns
from rllib_mamql.environments.registry import make_batch, make_env
from rllib_mamql.environments.spaces import environment_spaces
from rllib_mamql.learning.learner import JOINT
from rllib_mamql.play.actors import random_actor
from rllib_mamql.play.batched import make_rollout
from tests.benchmarks.measuring import PLAIN, Result, interleave, ratio, run_alone, seconds

AGENTS = ("agent_0", "agent_1")
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "fcnet 256x256": ("vector", {"fcnet_hiddens": [256, 256]}),
    "entity_attention": ("entities", {}),
}
"""By name: form of Gems' observation, and ``model_config``."""

TARGET = 0.8
UPDATES = 40
"""Updates of one measurement, in one call as the tuned Gems makes them."""

LOSSES_AGREE = {torch.float32: 1e-5, torch.float64: 1e-10}
"""Largest difference of the losses of the two."""
WEIGHTS_AGREE = 1e-9
"""Largest difference of any weight of the two in float64, after `UPDATES` updates."""


def random_play(env: str, env_config: dict[str, Any], steps: int, seed: int) -> JointColumns:
    """Joint steps of random play: what is timed does not depend on who played."""
    rollout = make_rollout(
        functools.partial(make_env, env, env_config), functools.partial(make_batch, env, env_config), 16, seed
    )
    sizes = {agent: int(space.n) for agent, space in rollout.action_spaces.items()}
    columns, _ = rollout.run(random_actor(sizes, np.random.default_rng(seed)), num_steps=steps)
    rollout.close()
    return columns


def learner_group(config: MAMQLConfig, expert: JointColumns, rollouts: JointColumns) -> Any:
    """RLlib's group around one learner in this process, with data."""
    config.validate()
    torch.manual_seed(0)
    by_agent = environment_spaces(str(config.env), dict(config.env_config))
    spaces = {module: by_agent[agent] for agent, module in config.module_of.items()}
    group = config.build_learner_group(spaces=spaces)
    learner = group._learner
    learner.set_expert(config.module_of, expert)
    learner.replay.add(rollouts)
    return group


def gems_group(case: str) -> Any:
    """A learner of two agents on Gems, batch 128 and 128."""
    observation, model_config = CASES[case]
    env_config = {"observation": observation}
    config = (
        MAMQLConfig()
        .environment("gems", env_config=env_config)
        .offline_data(input_="held in memory")
        .training(expert_batch_size=128, rollout_batch_size=128, weight_decay=0.01, **PLAIN)
        .rl_module(model_config=model_config)
        .debugging(seed=0)
    )
    expert, rollouts = (random_play("gems", env_config, 4000, seed) for seed in (0, 1))
    return learner_group(config, expert, rollouts)


class BareLoop:
    """The same training in plain torch, for agents that act until the episode ends for all.

    Args:
        learner: Whose networks (copied), data and settings to take.
    """

    def __init__(self, learner: MAMQLLearner) -> None:
        config = learner.config
        modules = [learner.module[agent].unwrapped() for agent in AGENTS]
        self.critics = [_plain(module.critic) for module in modules]
        self.averages = [_plain(module.average) for module in modules]
        self.rewards = [copy.deepcopy(module.reward) for module in modules]
        for average in self.averages:
            average.requires_grad_(False)
        self.parameters = [
            [*critic.parameters(), *reward.parameters()]
            for critic, reward in zip(self.critics, self.rewards, strict=True)
        ]
        self.optimizers = [
            torch.optim.AdamW(parameters, lr=config.lr, weight_decay=config.weight_decay, fused=True)
            for parameters in self.parameters
        ]
        self.average_pairs = [
            (as_tensors(average), as_tensors(critic))
            for average, critic in zip(self.averages, self.critics, strict=True)
        ]
        self.expert, self.replay = learner.expert.columns, learner.replay.columns
        self.expert_size, self.replay_size = len(learner.expert), len(learner.replay)
        self.expert_rows, self.rollout_rows = config.expert_batch_size, config.rollout_batch_size
        self.lam, self.gamma, self.scale = config.rationality, config.gamma, config.chi_square_scale
        self.shrinkage, self.interval = config.reward_shrinkage, config.reward_interval
        self.clip, self.decay = config.grad_clip, config.weight_average
        self.generator = torch.Generator()
        self.generator.set_state(learner.generator.get_state())
        self.updates = learner.updates

    def draw(self) -> dict[str, Tensor]:
        """Expert rows, then rollout rows."""
        from_expert = torch.randint(self.expert_size, (self.expert_rows,), generator=self.generator)
        from_replay = torch.randint(self.replay_size, (self.rollout_rows,), generator=self.generator)
        names = [f"{what}.{agent}" for agent in AGENTS for what in ("obs", "next_obs", "actions", "terminateds")]
        return {name: torch.cat([self.expert[name][from_expert], self.replay[name][from_replay]]) for name in names}

    def loss(self, index: int, rows: dict[str, Tensor], with_reward: bool) -> Tensor:
        """The loss of one agent."""
        agent, other = AGENTS[index], AGENTS[1 - index]
        observations, actions = rows[f"obs.{agent}"], rows[f"actions.{agent}"].unsqueeze(1)
        both = self.critics[index](torch.cat([observations, rows[f"next_obs.{agent}"]]))
        values = torch.logsumexp(self.lam * both, 1) / self.lam
        q, value, next_value = both[: len(actions)], values[: len(actions)], values[len(actions) :]
        continued = self.gamma * next_value * ~rows[f"terminateds.{agent}"]
        implied = q.gather(1, actions).squeeze(1) - continued
        loss = (value - continued).mean() - implied[: self.expert_rows].mean()
        loss = loss + implied.square().mean() / (4 * self.scale)
        if with_reward:
            rewards = self.rewards[index](observations, rows[f"actions.{other}"].unsqueeze(1))
            predicted = rewards.gather(1, actions).squeeze(1)
            loss = loss + (predicted - implied.detach()).square().mean() + self.shrinkage * predicted.square().mean()
        return loss

    def weights(self) -> list[Tensor]:
        """Parameters of critics, averages and rewards, agent by agent."""
        networks = zip(self.critics, self.averages, self.rewards, strict=True)
        return [tensor for of_agent in networks for network in of_agent for tensor in network.parameters()]

    def update(self, updates: int) -> None:
        """Makes so many gradient steps."""
        for _ in range(updates):
            rows = self.draw()
            with_reward = self.updates % self.interval == 0
            loss = self.loss(0, rows, with_reward) + self.loss(1, rows, with_reward)
            for optimizer in self.optimizers:
                optimizer.zero_grad()
            torch.autograd.backward(loss)
            for optimizer, parameters in zip(self.optimizers, self.parameters, strict=True):
                nn.utils.clip_grad_norm_(parameters, self.clip)
                optimizer.step()
            self.updates += 1
            decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
            with torch.no_grad():
                for average, critic in self.average_pairs:
                    torch._foreach_lerp_(average, critic, 1 - decay)


def as_tensors(network: nn.Module) -> list[Tensor]:
    """Its parameters."""
    return list(network.parameters())


def _plain(network: Any) -> nn.Module:
    """A copy without RLlib's wrappers: of a fully connected encoder only its layers."""
    layers = getattr(getattr(getattr(network.encoder, "net", None), "net", None), "mlp", None)
    return copy.deepcopy(network if layers is None else nn.Sequential(*layers, network.head))


def check_agreement(case: str) -> float:
    """Trains both in float64 and compares them; gives the largest difference of their losses.

    Raises:
        AssertionError: If a loss differs, before or after `UPDATES` updates from the same random state, or a weight.
    """
    group = gems_group(case)
    learner: MAMQLLearner = group._learner
    for agent in AGENTS:
        learner.network(agent).double()
    for columns in (learner.expert.columns, learner.replay.columns):
        columns.update({name: values.double() for name, values in columns.items() if values.is_floating_point()})
    bare = BareLoop(learner)
    before = loss_difference(learner, bare)
    group.update(episodes=[], timesteps={}, num_updates=UPDATES)
    bare.update(UPDATES)
    for ours, theirs in zip(learner_weights(learner), bare.weights(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0.0, atol=WEIGHTS_AGREE)
    return max(before, loss_difference(learner, bare))


def learner_weights(learner: MAMQLLearner) -> list[Tensor]:
    """Parameters of critics, averages and rewards, agent by agent."""
    modules = [learner.network(agent) for agent in AGENTS]
    networks = [network for module in modules for network in (module.critic, module.average, module.reward)]
    return [tensor for network in networks for tensor in network.parameters()]


def loss_difference(learner: MAMQLLearner, bare: BareLoop) -> float:
    """Largest difference of the losses, with and without reward regression, on the rows that come next.

    Raises:
        AssertionError: If it is more than `LOSSES_AGREE` allows.
    """
    worst, made, state = 0.0, learner.updates, learner.generator.get_state()
    batch = learner._minibatch()
    joint = next(iter(batch.values()))[JOINT]
    learner.generator.set_state(state)
    learner._report = False
    for updates in (0, 1):
        learner.updates = updates
        losses = learner.compute_losses(fwd_out=learner._forward(batch), batch=batch)
        for index, agent in enumerate(AGENTS):
            ours, theirs = losses[agent], bare.loss(index, joint.columns, updates == 0)
            torch.testing.assert_close(ours, theirs, rtol=0.0, atol=LOSSES_AGREE[ours.dtype])
            worst = max(worst, abs((ours - theirs).item()))
    learner.updates = made
    return worst


def without_determinism(call: Callable[[], float]) -> float:
    """As a bare script would run: RLlib makes torch deterministic in a process whose config has a seed."""
    torch.use_deterministic_algorithms(False)
    try:
        return call()
    finally:
        torch.use_deterministic_algorithms(True)


def measure(quick: bool) -> Result:
    """Both cases, in turns."""
    ratios, rows, notes = {}, [], []
    for case in CASES:
        exact = check_agreement(case)
        group = gems_group(case)
        bare = BareLoop(group._learner)
        worst = loss_difference(group._learner, bare)
        ours_updates = functools.partial(group.update, episodes=[], timesteps={}, num_updates=UPDATES)
        bare_updates = functools.partial(bare.update, UPDATES)
        taken = interleave(
            {
                "ours": functools.partial(seconds, ours_updates),
                "bare": functools.partial(without_determinism, functools.partial(seconds, bare_updates)),
            },
            5 if quick else 15,
        )
        name = f"update/{case}"
        ratios[name] = ratio(taken["bare"], taken["ours"], target=TARGET)
        ours, bare_s = (UPDATES / statistics.median(taken[key]) for key in ("ours", "bare"))
        rows.append((case, ours, bare_s, ratios[name].value))
        notes.append(f"{case}: losses of the two agree to {worst:.1g}, in float64 to {exact:.1g}")
    return Result(
        "Update: two agents on Gems, batch 256",
        ratios,
        ("networks", "our updates/s", "bare torch updates/s", "ours / bare"),
        rows,
        notes,
    )


if __name__ == "__main__":
    sys.exit(run_alone(measure, __doc__))
