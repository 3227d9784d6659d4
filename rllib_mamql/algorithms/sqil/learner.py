"""SQIL's learner: the shared one with its loss."""

from __future__ import annotations

from rllib_mamql.algorithms.sqil.losses import SQILLosses
from rllib_mamql.algorithms.sqil.module import SQILModule
from rllib_mamql.learning.learner import ImitationLearner


class SQILLearner(ImitationLearner):
    """Trains every agent's action values on the soft Bellman error."""

    def build_losses(self) -> SQILLosses:
        """SQIL's loss."""
        modules: dict[str, SQILModule] = {name: self.network(name) for name in self.agents_of}
        return SQILLosses(self.config, modules, self.agents_of, self.precision)
