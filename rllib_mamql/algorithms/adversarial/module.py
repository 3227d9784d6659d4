"""The networks of one agent of an adversarial algorithm: policy, value, discriminator."""

from __future__ import annotations

from typing import Any, ClassVar

from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis.value_function_api import ValueFunctionAPI
from torch import Tensor, nn

from rllib_mamql.algorithms.adversarial.discriminators import ActionDiscriminator, Discriminator, ShapedDiscriminator
from rllib_mamql.networks.encoders import build_encoder
from rllib_mamql.networks.heads import MarginalCritic
from rllib_mamql.networks.module import BoltzmannModule
from rllib_mamql.networks.rewards import REWARD_INPUTS_KEY, Potential, build_potential

DISCOUNT = "discriminator_discount"
"""Key of model_config that the config fills in."""
REWARD_INPUTS = ("state_action", "state")
"""What MAAIRL's reward may see: discriminators know nothing of the others' actions."""


class AdversarialModule(BoltzmannModule, ValueFunctionAPI):
    """One agent's (or one sharing group's) networks: ``network`` is PPO's policy, ``average`` its copy that acts.

    ``value`` is PPO's critic of the discriminator's rewards. Each network has an encoder of its own.
    """

    TRAINING_ONLY: ClassVar[tuple[str, ...]] = ("value", "discriminator")

    value: Potential
    discriminator: Discriminator

    def setup_training(self, config: dict[str, Any]) -> None:
        """Builds value and discriminator."""
        self.value = self.new_potential()
        self.discriminator = self.build_discriminator(config)

    def build_discriminator(self, config: dict[str, Any]) -> Discriminator:
        """The algorithm's discriminator.

        Args:
            config: ``model_config``.
        """
        raise NotImplementedError

    def new_critic(self) -> MarginalCritic:
        """A network with one output for each action."""
        encoder = build_encoder(self.observation_space, self.action_space, dict(self.model_config))
        return MarginalCritic(encoder, encoder.out_features, int(self.action_space.n))

    def new_potential(self) -> Potential:
        """A network with one output."""
        return build_potential(self.observation_space, self.action_space, dict(self.model_config))

    def generator(self) -> list[nn.Parameter]:
        """What PPO trains: parameters of policy and value."""
        return [*self.trained.parameters(), *self.value.parameters()]

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return {Columns.ACTION_DIST_INPUTS: self.rationality * self.trained(batch[Columns.OBS])}

    def compute_values(self, batch: dict[str, Any], embeddings: Any = None) -> Tensor:
        """Values ``(B,)`` of the observations in a batch (RLlib's ValueFunctionAPI)."""
        return self.value(batch[Columns.OBS])


class MAGAILModule(AdversarialModule):
    """With a discriminator of observation and action."""

    def build_discriminator(self, config: dict[str, Any]) -> ActionDiscriminator:
        """A free function of both."""
        return ActionDiscriminator(self.new_critic())


class MAAIRLModule(AdversarialModule):
    """With a discriminator that is made of a reward and its shaping."""

    def build_discriminator(self, config: dict[str, Any]) -> ShapedDiscriminator:
        """Reward of observation and action, or of the observation alone, and potential."""
        base = self.new_critic() if config[REWARD_INPUTS_KEY] == "state_action" else self.new_potential()
        return ShapedDiscriminator(base, self.new_potential(), float(config[DISCOUNT]))
