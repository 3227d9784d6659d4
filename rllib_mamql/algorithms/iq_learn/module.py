"""The networks of one agent of IQ-Learn: critics of its own actions, or of everybody's."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from rllib_mamql.learning.soft_q import soft_value
from rllib_mamql.networks.encoders import build_encoder
from rllib_mamql.networks.heads import MarginalCritic
from rllib_mamql.networks.module import OTHER_ACTIONS, BoltzmannModule

CRITIC = "critic"
"""Key of model_config: kind of critic."""
CRITICS = ("independent", "joint")


class JointActionCritic(MarginalCritic):
    """Scores joint actions: one output for each own action with each joint action of the others.

    Args:
        encoder: Of observations.
        features: Its width.
        actions: Own actions A.
        others: Joint actions M of the others.
        rationality: Inverse temperature of the policy over joint actions.

    Attributes:
        acts: Whether it gives own actions their part of the policy over joint ones, ``(B, A)``, in place of the scores
            of joint actions ``(B, A M)``.
    """

    def __init__(self, encoder: nn.Module, features: int, actions: int, others: int, rationality: float) -> None:
        super().__init__(encoder, features, actions * others)
        self.others, self.rationality, self.acts = others, rationality, False

    def forward(self, observations: Tensor) -> Tensor:
        """Scores of joint actions ``(B, A M)``, or of own ones ``(B, A)``; see ``acts``."""
        joint = super().forward(observations)
        return own_scores(joint, self.others, self.rationality) if self.acts else joint


def own_scores(joint: Tensor, others: int, rationality: float) -> Tensor:
    """Scores whose Boltzmann policy is the agent's own part of the Boltzmann policy over joint actions.

    ``pi_i(a_i | s) = sum_{a_-i} exp(lambda (Q_i(s, a) - V_i(s)))``: the soft value over the others' actions.

    Args:
        joint: Scores of joint actions ``(..., A M)``, own actions first.
        others: Joint actions M of the others.
        rationality: Inverse temperature, > 0.

    Returns:
        ``(..., A)``.
    """
    return soft_value(joint.reshape(*joint.shape[:-1], -1, others), rationality)


class IQLearnModule(BoltzmannModule):
    """One agent's (or one sharing group's) networks: ``network`` is trained, ``average`` acts."""

    def setup(self) -> None:
        """Builds the networks from the spaces and ``model_config``."""
        super().setup()
        if isinstance(self.average, JointActionCritic):
            self.average.acts = True

    def _new_network(self) -> MarginalCritic:
        config: dict[str, Any] = dict(self.model_config)
        if config[CRITIC] == "independent":
            return super()._new_network()
        encoder = build_encoder(self.observation_space, self.action_space, config)
        others = math.prod(config[OTHER_ACTIONS])
        actions = int(self.action_space.n)
        return JointActionCritic(encoder, encoder.out_features, actions, others, self.rationality)
