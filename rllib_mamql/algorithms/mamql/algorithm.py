"""Multi-Agent Marginal Q-Learning from Demonstrations, as an RLlib algorithm."""

from __future__ import annotations

from rllib_mamql.algorithms.mamql.config import MAMQLConfig
from rllib_mamql.learning.algorithm import Imitation

__all__ = ["MAMQL", "MAMQLConfig"]


class MAMQL(Imitation):
    """Multi-Agent Marginal Q-Learning from Demonstrations (arXiv 2503.04679).

    Rollouts are sampled with the Boltzmann policies of the averaged critics.
    """

    config: MAMQLConfig

    @classmethod
    def get_default_config(cls) -> MAMQLConfig:
        """A config with all defaults."""
        return MAMQLConfig(algo_class=cls)

    def fitted_rationalities(self) -> dict[str, float]:
        """With ``evaluation_rationality: auto``, those at which held-out demonstrations are most likely."""
        held_out = self.offline_data.held_out
        if held_out is None:
            return {}
        fitted, _ = self.on_learner(0, lambda learner: learner.fit_rationality(held_out))
        return dict(fitted)
