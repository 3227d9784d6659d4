"""SQIL for several agents, as an RLlib algorithm."""

from __future__ import annotations

from rllib_mamql.algorithms.sqil.config import SQILConfig
from rllib_mamql.learning.algorithm import Imitation


class SQIL(Imitation):
    """Every agent learns soft Q-values by itself, paid 1 on expert rows and 0 on rollouts (arXiv 1905.11108)."""

    @classmethod
    def get_default_config(cls) -> SQILConfig:
        """A config with all defaults."""
        return SQILConfig(algo_class=cls)
