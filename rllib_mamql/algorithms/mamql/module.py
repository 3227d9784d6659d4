"""The network of one agent: critic, explicit reward, and the Boltzmann policy that follows from the critic."""

from __future__ import annotations

import copy
import functools
from typing import Any

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis.inference_only_api import InferenceOnlyAPI
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from torch import Tensor, nn

from rllib_mamql.networks.encoders import build_encoder
from rllib_mamql.networks.heads import JointHead, MarginalCritic
from rllib_mamql.networks.rewards import build_reward

MARGINAL_Q = "marginal_q"
"""Key of ``forward_train``'s output: marginal action values ``(B, A)``."""

# Keys of model_config that the algorithm fills in; they are not RLlib's.
RATIONALITY = "rationality"
EVALUATION_RATIONALITY = "evaluation_rationality"
CRITIC = "critic"
OTHER_ACTIONS = "other_actions"
REWARD_HIDDENS = "reward_hiddens"
REWARD_INPUTS = "reward_inputs"
REWARD_NETWORK = "reward_network"


class MAMQLModule(TorchRLModule, InferenceOnlyAPI):
    """One agent's (or one sharing group's) networks.

    * ``critic``: marginal action values, trained by the objective (critic kind ``marginal``) or on the
      marginalised joint critic (kind ``joint``).
    * ``average``: its Polyak average, which acts: iterates oscillate, their average does not.
    * ``joint_critic``: ``Q_i(s, a_i, a_-i)``, only for critic kind ``joint``.
    * ``reward``: ``R_i(s, a_i, a_-i)``; never part of an inference-only copy.
    """

    average: MarginalCritic
    critic: MarginalCritic
    reward: nn.Module
    joint_critic: JointHead | None

    def setup(self) -> None:
        """Builds the networks from the spaces and ``model_config``."""
        config = dict(self.model_config)
        actions = int(self.action_space.n)
        self.rationality = float(config[RATIONALITY])
        self.evaluation_rationality = float(config[EVALUATION_RATIONALITY])
        others = tuple(config[OTHER_ACTIONS])

        first = build_encoder(self.observation_space, self.action_space, config)
        critic = MarginalCritic(first, first.out_features, actions)
        self.average = copy.deepcopy(critic).requires_grad_(False)
        if self.inference_only:
            return
        self.critic = critic
        self.reward = build_reward(
            self.observation_space,
            self.action_space,
            {**config, "fcnet_hiddens": config[REWARD_HIDDENS]},
            others,
            network=config.get(REWARD_NETWORK, "plain"),
            inputs=config.get(REWARD_INPUTS, "joint"),
        )
        self.joint_critic = None
        if config[CRITIC] == "joint":
            joint_encoder = build_encoder(self.observation_space, self.action_space, config)
            self.joint_critic = JointHead(joint_encoder, joint_encoder.out_features, actions, others)

    def eval(self) -> MAMQLModule:
        """Switches to evaluation mode where it is not on yet.

        RLlib calls this before every action, and walking through all submodules costs more than acting does.
        """
        if self.training:
            super().eval()
        return self

    def get_non_inference_attributes(self) -> list[str]:
        """Parts that an inference-only copy does without (RLlib's InferenceOnlyAPI)."""
        return ["critic", "joint_critic", "reward"]

    def _forward_inference(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return self._act(batch, self.evaluation_rationality)

    def _forward_exploration(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return self._act(batch, self.rationality)

    def _act(self, batch: dict[str, Any], rationality: float) -> dict[str, Any]:
        with torch.no_grad():
            return {Columns.ACTION_DIST_INPUTS: rationality * self.average(batch[Columns.OBS])}

    @torch.no_grad()
    def logits(self, observations: Tensor, explore: bool) -> Tensor:
        """What ``forward_exploration`` or ``forward_inference`` give, ``(B, A)``, without RLlib's wrapping."""
        return (self.rationality if explore else self.evaluation_rationality) * self.average(observations)

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return {MARGINAL_Q: self.critic(batch[Columns.OBS])}

    @torch.no_grad()
    def update_average(self, decay: float) -> None:
        """Moves the acting network towards the critic: ``average <- decay average + (1 - decay) critic``."""
        ours, theirs = self._average_and_critic
        torch._foreach_lerp_(ours, theirs, 1.0 - decay)

    @functools.cached_property
    def _average_and_critic(self) -> tuple[list[Tensor], list[Tensor]]:
        # Walking through a module's parameters costs more than averaging small networks does; loading weights or
        # moving to a device keeps the parameters themselves.
        return list(self.average.parameters()), list(self.critic.parameters())
