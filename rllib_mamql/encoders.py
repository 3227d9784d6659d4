"""Networks that turn an observation into features.

RLlib's ``DefaultModelConfig`` keys (``fcnet_hiddens``, ``conv_filters``, ...) work through RLlib's own catalog.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from ray.rllib.core.columns import Columns
from ray.rllib.core.models.base import ENCODER_OUT
from ray.rllib.core.models.catalog import Catalog
from torch import Tensor, nn

from rllib_mamql.errors import ConfigError


class CatalogEncoder(nn.Module):
    """RLlib's catalog encoder with plain tensors at both ends: ``(B, *obs) -> (B, out_features)``."""

    def __init__(
        self, observation_space: gym.Space[Any], action_space: gym.Space[Any], model_config: dict[str, Any]
    ) -> None:
        super().__init__()
        catalog = Catalog(observation_space, action_space, dict(model_config))
        self.net = catalog.build_encoder(framework="torch")
        self.out_features = int(catalog.latent_dims[0])

    def forward(self, observations: Tensor) -> Tensor:
        """Features of a batch of observations."""
        return self.net({Columns.OBS: observations})[ENCODER_OUT]


def build_encoder(
    observation_space: gym.Space[Any], action_space: gym.Space[Any], model_config: dict[str, Any]
) -> CatalogEncoder:
    """Builds the encoder that ``model_config`` names for an observation space.

    Args:
        observation_space: A Box of 1 axis (MLP) or 3 axes (convolutions, channels last).
        action_space: The agent's actions; RLlib's catalog asks for them.
        model_config: Keys of RLlib's ``DefaultModelConfig``.

    Raises:
        ConfigError: If there is no encoder for such observations.
    """
    if not isinstance(observation_space, gym.spaces.Box):
        raise ConfigError(
            f"observation space {observation_space} has no encoder: flatten it to a Box in the environment"
        )
    if len(observation_space.shape) not in (1, 3):
        raise ConfigError(
            f"observations of shape {observation_space.shape} have no encoder: "
            "use a vector (1 axis) or an image (3 axes)"
        )
    return CatalogEncoder(observation_space, action_space, model_config)
