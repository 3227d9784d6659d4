"""Rewards for agents that act: recovered, implied, of a behaviour clone, or the environment's own.

A source answers for one joint step, with one forward pass per module for all its agents, or for columns of them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rllib_mamql.algorithms.mamql import objective
from rllib_mamql.columns import (
    ACTIONS,
    IDLE_ACTION,
    NEXT_OBS,
    OBS,
    REWARDS,
    TERMINATEDS,
    Array,
    JointColumns,
    column,
)
from rllib_mamql.errors import ConfigError, check_choice
from rllib_mamql.learning.checkpoint import Checkpoint
from rllib_mamql.networks.masks import log_count
from rllib_mamql.networks.tensors import rows_at_once, to_tensor
from rllib_mamql.play.actors import agents_by_module
from rllib_mamql.rewards.settings import REWARD_KINDS
from rllib_mamql.rewards.store import check_rewards

LogPolicy = Callable[[str, Tensor], Tensor]
"""``(agent, observations (B, *obs)) -> log-probabilities (B, A)``."""


@dataclass(frozen=True)
class JointStep:
    """One joint step of the living agents.

    Attributes:
        obs: ``{agent: (*obs)}`` before it.
        actions: ``{agent: action}``.
        next_obs: ``{agent: (*obs)}`` after it.
        terminated: ``{agent: whether the agent's task ended}``; truncation is none.
    """

    obs: Mapping[str, Any]
    actions: Mapping[str, int]
    next_obs: Mapping[str, Any]
    terminated: Mapping[str, bool]


@dataclass(frozen=True)
class RewardSource:
    """Rewards of a checkpoint.

    Attributes:
        kind: ``recovered``: R_i(s, a_i, a_-i). ``implied``: Qbar_i(s, a_i) - gamma (1 - terminated) Vbar_i(s').
            ``cloning``: log(A pi(a_i|s)) of a behaviour clone, zero for a clone that knows nothing.
            A counts legal actions. ``true``: none.
        modules: RLModules by id.
        module_of: ``{agent: module}``, agents in order.
        discount: gamma.
        rationality: lambda of ``implied``.
        clone: Log-policy of the clone.
        potentials: Phi_i by module: ``recovered`` is then shaped, R_i + gamma (1 - terminated) Phi_i(s') - Phi_i(s)
            (Ng, Harada and Russell, ICML 1999): dense, with the same best policies at this gamma.
    """

    kind: str
    modules: Mapping[str, Any]
    module_of: Mapping[str, str]
    discount: float
    rationality: float
    clone: LogPolicy | None = None
    potentials: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_choice("reward", self.kind, REWARD_KINDS)
        if self.potentials and self.kind != "recovered":
            raise ConfigError(f"reward {self.kind!r} has no potential of its own: shape the recovered one")
        if self.kind == "cloning" and self.clone is None:
            raise ConfigError("reward 'cloning' needs the demonstrations: name them with --data")

    @torch.no_grad()
    def rewards(self, step: JointStep) -> dict[str, float]:
        """Each living agent's reward; none of kind ``true``."""
        if self.kind == "true":
            return {}
        result: dict[str, float] = {}
        for module_id, members in agents_by_module(self.module_of).items():
            agents = [agent for agent in members if agent in step.actions]
            if not agents:
                continue
            values = self._module_rewards(module_id, agents, step)
            taken = torch.tensor([int(step.actions[agent]) for agent in agents])
            result |= dict(zip(agents, objective.take_actions(values, taken).tolist(), strict=True))
        return result

    def _module_rewards(self, module_id: str, agents: list[str], step: JointStep) -> Tensor:
        others = [[int(step.actions.get(o, IDLE_ACTION)) for o in self.module_of if o != agent] for agent in agents]
        return self._values(
            module_id,
            agents[0],
            _stack(step.obs, agents),
            torch.tensor(others, dtype=torch.long).view(len(agents), -1),
            lambda: _stack(step.next_obs, agents),
            torch.tensor([step.terminated[agent] for agent in agents]),
        )

    @torch.no_grad()
    def paid(self, columns: JointColumns) -> dict[str, Array]:
        """What each agent is paid in joint steps.

        Args:
            columns: N joint steps in any order, with what was seen after each.

        Returns:
            ``{agent: (N,)}``, float32; where an agent is dead, it means nothing.
        """
        actions = {agent: to_tensor(columns[column(ACTIONS, agent)]).long() for agent in self.module_of}
        result: dict[str, Array] = {}
        for agent, module_id in self.module_of.items():
            if self.kind == "true":
                result[agent] = columns[column(REWARDS, agent)]
                continue
            seen, then = columns[column(OBS, agent)], columns[column(NEXT_OBS, agent)]
            others = torch.stack([actions[o] for o in self.module_of if o != agent] or [actions[agent][:0]], -1)
            others = others.reshape(len(seen), len(self.module_of) - 1)
            terminated = to_tensor(columns[column(TERMINATEDS, agent)])
            size, parts = rows_at_once(seen), []
            for first in range(0, len(seen), size):
                part = slice(first, first + size)
                values = self._values(
                    module_id, agent, to_tensor(seen[part]), others[part],
                    functools.partial(to_tensor, then[part]), terminated[part],
                )  # fmt: skip
                parts.append(objective.take_actions(values, actions[agent][part]))
            result[agent] = torch.cat(parts).float().numpy()
        return result

    def _values(
        self,
        module_id: str,
        agent: str,
        obs: Tensor,
        others: Tensor,
        next_obs: Callable[[], Tensor],
        terminated: Tensor,
    ) -> Tensor:
        """Rewards of all own actions ``(B, A)`` at observations of a module's agents.

        Args:
            module_id: The module.
            agent: One of them.
            obs: ``(B, *obs)``.
            others: The others' actions ``(B, m)``.
            next_obs: Gives what was seen after; not every kind asks.
            terminated: Whether the agent's task ended there ``(B,)``.
        """
        module = self.modules[module_id]
        going = self.discount * (~terminated).float()
        if self.kind == "cloning":
            assert self.clone is not None
            log_policy = self.clone(agent, obs)
            return log_policy + log_count(log_policy).unsqueeze(-1)
        if self.kind == "implied":
            value = objective.soft_value(module.average(next_obs()), self.rationality)
            return module.average(obs) - (going * value).unsqueeze(-1)
        values: Tensor = module.reward(obs, others)
        if module_id in self.potentials:
            potential = self.potentials[module_id]
            values = values + (going * potential(next_obs()) - potential(obs)).unsqueeze(-1)
        return values


def reward_source(
    stored: Checkpoint, kind: str = "recovered", clone: LogPolicy | None = None, shaped: bool = False
) -> RewardSource:
    """The rewards of a checkpoint that :func:`~rllib_mamql.rewards.store.read_with_rewards` read.

    Args:
        stored: The checkpoint.
        kind: One of ``REWARD_KINDS``.
        clone: For ``cloning``.
        shaped: Whether to add the recovered potential to ``recovered``.

    Raises:
        ConfigError: If the kind is unknown, ``cloning`` lacks its clone, or a potential is asked for where there is
            none.
    """
    if shaped and kind != "recovered":
        raise ConfigError(f"reward {kind!r} has no potential of its own: shape the recovered one")
    if kind == "recovered":
        check_rewards(stored)
    if shaped and kind == "recovered" and not stored.potentials:
        raise ConfigError(f"{stored.path} holds no potential: recover its rewards anew with `rllib recover`")
    return RewardSource(
        kind, stored.modules, stored.module_of, float(stored.settings["gamma"]), float(stored.settings["rationality"]),
        clone, stored.potentials if shaped else {},
    )  # fmt: skip


def _stack(observations: Mapping[str, Any], agents: list[str]) -> Tensor:
    return torch.from_numpy(np.stack([np.asarray(observations[agent]) for agent in agents]))
