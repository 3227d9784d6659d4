"""Settings of SQIL."""

from __future__ import annotations

from typing import Any, ClassVar

from ray.rllib.algorithms.algorithm_config import NotProvided

from rllib_mamql.algorithms.sqil.learner import SQILLearner
from rllib_mamql.algorithms.sqil.module import SQILModule
from rllib_mamql.errors import ConfigError, check_number
from rllib_mamql.learning.config import ImitationConfig
from rllib_mamql.learning.learner import ImitationLearner
from rllib_mamql.networks.module import BoltzmannModule


class SQILConfig(ImitationConfig):
    """Settings of SQIL for several agents; those of ``ImitationConfig`` hold."""

    NAME: ClassVar[str] = "SQIL"
    LEARNER: ClassVar[type[ImitationLearner]] = SQILLearner
    MODULE: ClassVar[type[BoltzmannModule]] = SQILModule

    def __init__(self, algo_class: type[Any] | None = None) -> None:
        if algo_class is None:
            from rllib_mamql.algorithms.sqil.algorithm import SQIL

            algo_class = SQIL
        super().__init__(algo_class=algo_class)
        self.rollout_weight = 1.0
        self.target_rate = 0.01

        # Where the authors' values depart from those of other algorithms here.
        self.rationality = 1.0
        self.weight_average = 0.0
        self.gamma = 0.99

    def training(
        self, *, rollout_weight: Any = NotProvided, target_rate: Any = NotProvided, **kwargs: Any
    ) -> SQILConfig:
        """Sets the soft Bellman error; settings of ``ImitationConfig.training`` and RLlib's by ``kwargs``.

        Args:
            rollout_weight: Weight > 0 of the rollouts' error beside the expert's (lambda_samp).
            target_rate: Share in (0, 1] by which the target network moves to the trained one before each gradient step;
                1 bootstraps from the trained network itself.
            **kwargs: Settings of ``ImitationConfig.training`` and RLlib's.

        Returns:
            This config.
        """
        super().training(**kwargs)
        self.set_provided({"rollout_weight": rollout_weight, "target_rate": target_rate})
        return self

    def check(self) -> None:
        """Checks SQIL's own settings; raises ConfigError."""
        if self.mode != "online":
            raise ConfigError(f"mode is {self.mode!r}, but SQIL tells demonstrations from rollouts: leave it 'online'")
        check_number("rollout_weight", self.rollout_weight, low=0.0, open_low=True)
        check_number("target_rate", self.target_rate, low=0.0, high=1.0, open_low=True)
