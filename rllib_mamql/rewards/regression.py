"""The networks that follow an explanation once it stands still, its reward and its value; rows that they learn from."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from rllib_mamql.algorithms.mamql import objective
from rllib_mamql.networks.rewards import build_potential, build_reward, reward_model_config
from rllib_mamql.networks.tensors import in_parts
from rllib_mamql.rewards.explanation import Explanation
from rllib_mamql.rewards.settings import RecoverySettings
from rllib_mamql.rewards.transitions import Transitions


class Regression(nn.Module):
    """The reward network and the potential network.

    Args:
        module: The trained module.
        rows: Its transitions.
        settings: How rewards are recovered.
        rationality: What rewards in nats are divided by.

    Attributes:
        settled: Whether the potential is learned, so that only the reward counts.
    """

    def __init__(self, module: Any, rows: Transitions, settings: RecoverySettings, rationality: float) -> None:
        super().__init__()
        self.rationality = rationality
        small = reward_model_config(dict(module.model_config))
        space, actions = module.observation_space, module.action_space
        self.reward: Any = build_reward(
            space, actions, small, rows.other_actions, network=settings.network, inputs=settings.inputs
        )
        self.potential: Any = build_potential(space, actions, small)
        self.settled = False
        self._aside: nn.Module | None = None

    def without_encoders(self, rows: Transitions, explanation: Explanation | None) -> Transitions | None:
        """Puts the explanation's encoder aside, until :meth:`with_encoders`; gives the rows with features as states.

        None, and nothing changes, where the explanation has no follower: else the reward goes on from that. The
        potential keeps the encoder for good: W follows from its features and the others' policies, so that its head is
        enough.
        """
        if explanation is None or explanation.follower is None:
            return None
        self._aside = explanation.encoder.requires_grad_(False)
        self.reward, self.potential.encoder = explanation.follower.requires_grad_(True), nn.Identity()
        with torch.no_grad():
            for parameter in self.reward.head.parameters():
                parameter.div_(self.rationality)
        return dataclasses.replace(rows, states=in_parts(self._aside, rows.states))

    def with_encoders(self) -> Regression:
        """The same with an encoder of its own for each network; the reward alone is still to be learned."""
        assert self._aside is not None
        self.reward.encoder, self.potential.encoder = copy.deepcopy(self._aside), self._aside
        self._aside, self.settled = None, True
        self.reward.requires_grad_(True)
        self.potential.requires_grad_(False)
        return self

    def unsettled(self) -> Regression:
        """The same, with both networks to be learned."""
        self.settled = False
        return self.requires_grad_(True)

    def errors(self, rows: Transitions, index: Tensor, reward: Tensor, value: Tensor) -> Tensor:
        """Squared errors of what is to be learned, ``(B,)``."""
        errors = (paid_at(self.reward, rows, index) - reward).square()
        return errors if self.settled else errors + (self.potential(rows.states[rows.now[index]]) - value).square()


def paid_at(reward: Callable[[Tensor, Tensor], Tensor], rows: Transitions, index: Tensor) -> Tensor:
    """What a reward network pays in some of the rows, ``(B,)``."""
    return objective.take_actions(reward(rows.states[rows.now[index]], rows.others[index]), rows.action[index])


class Draws:
    """Rows for gradient steps: half of them uniform, half in proportion to what is paid there, weighed accordingly.

    Rewards come at few steps, and most of the squared error is there; the expected gradient is that of uniform rows
    (importance sampling, as of Katharopoulos and Fleuret, *Not All Samples Are Created Equal*, ICML 2018).

    Args:
        rows: What may be drawn, ``(N,)``.
        reward: What is paid at each of them, ``(N,)``.
        generator: Draws.
    """

    def __init__(self, rows: Tensor, reward: Tensor, generator: torch.Generator) -> None:
        self._rows, self._generator = rows, generator
        size = reward.abs().double()
        even = torch.full_like(size, 1.0 / len(size))
        total = size.sum()
        self._chance = 0.5 * even + 0.5 * size / total if total > 0.0 else even
        self._heaped = self._chance.cumsum(0)

    def __call__(self, count: int) -> tuple[Tensor, Tensor]:
        """So many rows, and what each counts, 1 in the mean."""
        at = torch.rand(count, generator=self._generator, dtype=torch.float64) * self._heaped[-1]
        place = torch.searchsorted(self._heaped, at).clamp_max(len(self._rows) - 1)
        return self._rows[place], (1.0 / (len(self._rows) * self._chance[place])).float()
