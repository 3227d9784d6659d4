"""Multi-agent inverse factorised Q-learning, as an RLlib algorithm."""

from __future__ import annotations

from rllib_mamql.algorithms.mifq.config import MIFQConfig
from rllib_mamql.learning.algorithm import Imitation


class MIFQ(Imitation):
    """One objective for a team: IQ-Learn's, on values mixed from those of the agents (arXiv 2310.06801)."""

    @classmethod
    def get_default_config(cls) -> MIFQConfig:
        """A config with all defaults."""
        return MIFQConfig(algo_class=cls)
