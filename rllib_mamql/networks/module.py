"""The module of an agent that acts by a softmax over the outputs of one network."""

from __future__ import annotations

import copy
import functools
from typing import Any, ClassVar

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis.inference_only_api import InferenceOnlyAPI
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from torch import Tensor

from rllib_mamql.networks.encoders import build_encoder
from rllib_mamql.networks.heads import MarginalCritic

SCORES = "scores"
"""Key of ``forward_train``'s output: one number for each action, ``(B, A)``."""

# Keys of model_config that an algorithm's config fills in; they are not RLlib's.
RATIONALITY = "rationality"
EVALUATION_RATIONALITY = "evaluation_rationality"
OTHER_ACTIONS = "other_actions"


class BoltzmannModule(TorchRLModule, InferenceOnlyAPI):
    """One agent's (or one sharing group's) networks; it acts by ``pi(a | s) ~ exp(rationality * score(s, a))``.

    Two networks give scores ``(B, *obs) -> (B, A)``: the *trained* one, under the name that ``TRAINED`` says, and its
    Polyak average, ``average``, which acts. An inference-only copy holds the average alone.

    A subclass names its trained network and adds further networks in :meth:`setup_training`.
    """

    TRAINED: ClassVar[str] = "network"
    """Attribute of the trained network; checkpoints name its weights so."""
    TRAINING_ONLY: ClassVar[tuple[str, ...]] = ()
    """Further attributes that an inference-only copy does without."""

    average: MarginalCritic

    def setup(self) -> None:
        """Builds the networks from the spaces and ``model_config``."""
        config = dict(self.model_config)
        self.rationality = float(config[RATIONALITY])
        self.evaluation_rationality = float(config[EVALUATION_RATIONALITY])
        network = self._new_network()
        self.average = copy.deepcopy(network).requires_grad_(False)
        if not self.inference_only:
            setattr(self, self.TRAINED, network)
            self.setup_training(config)

    def setup_training(self, config: dict[str, Any]) -> None:
        """Builds what only training needs, besides the trained network.

        Args:
            config: ``model_config``.
        """

    def _new_network(self) -> MarginalCritic:
        encoder = build_encoder(self.observation_space, self.action_space, dict(self.model_config))
        return MarginalCritic(encoder, encoder.out_features, int(self.action_space.n))

    @property
    def trained(self) -> MarginalCritic:
        """The trained network."""
        network: MarginalCritic = getattr(self, self.TRAINED)
        return network

    def restart(self) -> None:
        """Draws the weights of the trained network and its average anew, from torch's global generator."""
        fresh = self._new_network().state_dict()
        self.trained.load_state_dict(fresh)
        self.average.load_state_dict(fresh)

    def eval(self) -> BoltzmannModule:
        """Switches to evaluation mode where it is not on yet.

        RLlib calls this before every action, and walking through all submodules costs more than acting does.
        """
        if self.training:
            super().eval()
        return self

    def get_non_inference_attributes(self) -> list[str]:
        """Parts that an inference-only copy does without (RLlib's InferenceOnlyAPI)."""
        return [self.TRAINED, *self.TRAINING_ONLY]

    def _forward_inference(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return {Columns.ACTION_DIST_INPUTS: self.logits(batch[Columns.OBS], explore=False)}

    def _forward_exploration(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return {Columns.ACTION_DIST_INPUTS: self.logits(batch[Columns.OBS], explore=True)}

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return {SCORES: self.trained(batch[Columns.OBS])}

    @torch.no_grad()
    def logits(self, observations: Tensor, explore: bool) -> Tensor:
        """Logits of the policy, ``(B, A)``: at the training rationality to explore, else at the evaluation's."""
        return (self.rationality if explore else self.evaluation_rationality) * self.average(observations)

    @torch.no_grad()
    def update_average(self, decay: float) -> None:
        """Moves the acting network towards the trained one: ``average <- decay average + (1 - decay) trained``."""
        ours, theirs = self.average_and_trained
        torch._foreach_lerp_(ours, theirs, 1.0 - decay)

    @functools.cached_property
    def average_and_trained(self) -> tuple[list[Tensor], list[Tensor]]:
        """Parameters of the average, and those of the trained network that they follow."""
        # Walking through a module's parameters costs more than averaging small networks does; loading weights or
        # moving to a device keeps the parameters themselves.
        return list(self.average.parameters()), list(self.trained.parameters())
