"""The networks that follow an explanation once it stands still: its reward and its value."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

from torch import Tensor, nn

from rllib_mamql.algorithms.mamql import objective
from rllib_mamql.networks.forms import form_of
from rllib_mamql.networks.heads import JointHead
from rllib_mamql.networks.rewards import build_potential, build_reward, reward_model_config
from rllib_mamql.networks.tensors import in_parts
from rllib_mamql.rewards.explanation import Explanation
from rllib_mamql.rewards.settings import RecoverySettings
from rllib_mamql.rewards.transitions import Transitions


class Regression(nn.Module):
    """The reward network and the potential network.

    Attributes:
        settled: Whether the potential is learned, so that only the reward counts.
    """

    def __init__(self, module: Any, rows: Transitions, settings: RecoverySettings) -> None:
        super().__init__()
        small = reward_model_config(dict(module.model_config))
        space, actions = module.observation_space, module.action_space
        other_actions = tuple(policy.shape[1] for policy in rows.other_policies)
        self.reward: Any = build_reward(
            space, actions, small, other_actions, network=settings.network, inputs=settings.inputs
        )
        self.potential: Any = build_potential(space, actions, small)
        self.settled = False
        self._aside: nn.Module | None = None

    def without_encoders(self, rows: Transitions, explanation: Explanation | None) -> Transitions | None:
        """Puts the explanation's encoder aside, until :meth:`with_encoders`; gives the rows with features as states.

        None, and nothing changes, where the encoders are not of its form. The potential keeps it for good: W follows
        from its features and the others' policies, so that its head is enough.
        """
        if explanation is None or not isinstance(self.reward, JointHead):
            return None
        encoder = explanation.critic.encoder
        if not form_of(encoder) == form_of(self.reward.encoder) == form_of(self.potential.encoder):
            return None
        self._aside = encoder.requires_grad_(False)
        self.reward.encoder, self.potential.encoder = nn.Identity(), nn.Identity()
        return dataclasses.replace(rows, states=in_parts(encoder, rows.states))

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

    def error(self, rows: Transitions, index: Tensor, reward: Tensor, value: Tensor) -> Tensor:
        """Squared error of what is to be learned, a scalar."""
        observations = rows.states[rows.now[index]]
        predicted = objective.take_actions(self.reward(observations, rows.others[index]), rows.action[index])
        error = (predicted - reward).square().mean()
        return error if self.settled else error + (self.potential(observations) - value).square().mean()
