"""MAGAIL and MAAIRL, as RLlib algorithms."""

from __future__ import annotations

from rllib_mamql.algorithms.adversarial.config import MAAIRLConfig, MAGAILConfig
from rllib_mamql.learning.algorithm import Imitation


class MAGAIL(Imitation):
    """A discriminator of observation and action pays each agent, who learns by PPO (arXiv 1807.09936)."""

    @classmethod
    def get_default_config(cls) -> MAGAILConfig:
        """A config with all defaults."""
        return MAGAILConfig(algo_class=cls)


class MAAIRL(Imitation):
    """The same with discriminators made of a reward, its shaping and the policy's probability (arXiv 1907.13220)."""

    @classmethod
    def get_default_config(cls) -> MAAIRLConfig:
        """A config with all defaults."""
        return MAAIRLConfig(algo_class=cls)
