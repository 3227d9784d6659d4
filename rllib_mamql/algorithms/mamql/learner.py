"""MAMQL's learner: the shared one with MAMQL's losses."""

from __future__ import annotations

import torch
from torch import Tensor

from rllib_mamql.algorithms.mamql.coverage import Weights, reached, scale_of
from rllib_mamql.algorithms.mamql.losses import MAMQLLosses
from rllib_mamql.algorithms.mamql.module import MAMQLModule
from rllib_mamql.algorithms.mamql.stopping import Scouts
from rllib_mamql.columns import JointColumns
from rllib_mamql.learning.config import AUTO
from rllib_mamql.learning.learner import ImitationLearner


class MAMQLLearner(ImitationLearner):
    """Trains every agent's critic on the objective and its reward network by regression."""

    losses: MAMQLLosses

    def build(self) -> None:
        """Builds modules and optimisers; data arrives later, and scouts where they are asked for."""
        super().build()
        self.scouts: Scouts | None = None

    def build_losses(self) -> MAMQLLosses:
        """MAMQL's losses."""
        modules: dict[str, MAMQLModule] = {name: self.network(name) for name in self.agents_of}
        losses = MAMQLLosses(self.config, modules, self.agents_of, self.agents, self.draws, self.precision)
        config = self.config
        if config.rollout_share == AUTO:  # Nothing is known of rollouts before the first: they weigh nothing.
            losses.rollout_share, losses.leaves_rollouts_out = torch.tensor(0.0, device=self._device), True
        if config.chi_square_scale == AUTO:
            full = 0.0 if config.value_term == "expert" or config.rollout_share == AUTO else 1.0
            if isinstance(config.rollout_share, (int, float)):
                most = Weights.of(1.0, (config.expert_batch_size, config.rollout_batch_size), config.rationality)
                full = min(1.0, config.rollout_share / most.rollout_share)
            losses.chi_square_scale = torch.tensor(scale_of(full, config.rationality), device=self._device)
        return losses

    def weigh(self, weights: Weights) -> None:
        """Learns with other weights from now on, where the config leaves them open."""
        for name in ("rollout_share", "chi_square_scale"):
            value = getattr(self.losses, name)
            if isinstance(value, Tensor):  # In place: recorded steps read the same tensor.
                value.fill_(getattr(weights, name))
        if isinstance(self.losses.rollout_share, Tensor):
            self.losses.leaves_rollouts_out = weights.rollout_share == 0.0

    def weights(self) -> dict[str, float]:
        """What the losses use now of :class:`Weights`."""
        found = {name: getattr(self.losses, name) for name in ("rollout_share", "chi_square_scale")}
        return {name: float(value) for name, value in found.items() if value is not None}

    @property
    def leaves_rollouts_out(self) -> bool:
        """Whether rollouts have no part in the critics' losses."""
        return not self.config.uses_rollouts or self.losses.leaves_rollouts_out

    def call_scouts_back(self) -> None:
        """Goes on without scouts."""
        self.scouts = None

    def send_scouts(self, columns: JointColumns) -> None:
        """Sends out scouts, which learn by what this learner's losses are without rollouts."""
        config = self.config.copy(copy_frozen=False)
        scale = float(self.losses.chi_square_scale)
        config.training(mode="offline", rollout_share=None, learn_reward=False, chi_square_scale=scale)
        if config.value_term == "rollout+expert":
            config.training(value_term="expert")
        self.scouts = Scouts(self, columns, config)

    @torch.no_grad()
    def reached(self) -> float:
        """Share of this learner's demonstrated states that rollouts in its replay buffer came upon."""
        return reached(self.expert.columns, self.replay.columns, len(self.replay), self.agents)
