"""The clone's learner: the shared one with the clone's loss."""

from __future__ import annotations

from rllib_mamql.algorithms.cloning.losses import CloningLosses
from rllib_mamql.learning.learner import ImitationLearner


class MABCLearner(ImitationLearner):
    """Fits policies to the expert's actions."""

    def build_losses(self) -> CloningLosses:
        """The clone's loss."""
        return CloningLosses(self.agents_of, self.config.rationality)
