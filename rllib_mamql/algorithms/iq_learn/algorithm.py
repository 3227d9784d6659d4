"""IQ-Learn for several agents, as an RLlib algorithm."""

from __future__ import annotations

from rllib_mamql.algorithms.iq_learn.config import IQLearnMAConfig
from rllib_mamql.learning.algorithm import Imitation


class IQLearnMA(Imitation):
    """Every agent runs IQ-Learn (arXiv 2106.12142), with critics of its own actions or of everybody's."""

    @classmethod
    def get_default_config(cls) -> IQLearnMAConfig:
        """A config with all defaults."""
        return IQLearnMAConfig(algo_class=cls)
