"""An actor-critic for RLlib's PPO with this package's encoders and masks: entities are read as entities."""

from __future__ import annotations

from typing import Any

from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis.value_function_api import ValueFunctionAPI
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from torch import Tensor, nn

from rllib_mamql.networks.encoders import build_encoder
from rllib_mamql.networks.masks import mask_of


class ActorCritic(TorchRLModule, ValueFunctionAPI):
    """Policy and value with an encoder each; ``model_config`` is that of ``build_encoder``."""

    def setup(self) -> None:
        """Builds the networks."""
        config = dict(self.model_config)
        self.actor = build_encoder(self.observation_space, self.action_space, config)
        self.value_encoder = build_encoder(self.observation_space, self.action_space, config)
        self.pi = nn.Linear(self.actor.out_features, int(self.action_space.n))
        self.vf = nn.Linear(self.value_encoder.out_features, 1)
        nn.init.orthogonal_(self.pi.weight, gain=0.01)

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        observations = batch[Columns.OBS]
        logits, mask = self.pi(self.actor(observations)), mask_of(self.actor)
        return {Columns.ACTION_DIST_INPUTS: logits if mask is None else mask(logits, observations)}

    def compute_values(self, batch: dict[str, Any], embeddings: Any = None) -> Tensor:
        """State values ``(B,)`` of the observations in a batch."""
        return self.vf(self.value_encoder(batch[Columns.OBS])).squeeze(-1)
