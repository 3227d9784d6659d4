"""The networks of one agent: critic, explicit reward, and the Boltzmann policy that follows from the critic."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn

from rllib_mamql.networks.encoders import build_encoder
from rllib_mamql.networks.heads import JointHead, MarginalCritic, MeanFieldHead
from rllib_mamql.networks.module import OTHER_ACTIONS, BoltzmannModule
from rllib_mamql.networks.rewards import REWARD_INPUTS_KEY, REWARD_NETWORK_KEY, build_reward, reward_model_config

CRITIC = "critic"
"""Key of model_config: kind of critic."""


class MAMQLModule(BoltzmannModule):
    """One agent's (or one sharing group's) networks.

    * ``critic``: marginal action values, trained by the objective (critic kind ``marginal``) or on the
      marginalised joint critic (kinds ``joint`` and ``mean_field``).
    * ``average``: its Polyak average, which acts: iterates oscillate, their average does not.
    * ``joint_critic``: ``Q_i(s, a_i, a_-i)``, only for critic kind ``joint``; for ``mean_field`` the others' actions
      enter by their frequencies.
    * ``reward``: ``R_i(s, a_i, a_-i)``; never part of an inference-only copy.
    """

    TRAINED: ClassVar[str] = "critic"
    TRAINING_ONLY: ClassVar[tuple[str, ...]] = ("joint_critic", "reward")

    critic: MarginalCritic
    reward: nn.Module
    joint_critic: JointHead | MeanFieldHead | None

    def setup_training(self, config: dict[str, Any]) -> None:
        """Builds the reward network and, for critic kinds ``joint`` and ``mean_field``, the joint critic."""
        others = tuple(config[OTHER_ACTIONS])
        self.reward = build_reward(
            self.observation_space,
            self.action_space,
            reward_model_config(config),
            others,
            network=config.get(REWARD_NETWORK_KEY, "plain"),
            inputs=config.get(REWARD_INPUTS_KEY, "joint"),
        )
        self.joint_critic = None
        if config[CRITIC] != "marginal":
            encoder = build_encoder(self.observation_space, self.action_space, config)
            head: type[JointHead | MeanFieldHead] = MeanFieldHead if config[CRITIC] == "mean_field" else JointHead
            self.joint_critic = head(encoder, encoder.out_features, int(self.action_space.n), others)
