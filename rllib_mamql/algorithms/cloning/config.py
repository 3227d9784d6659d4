"""Settings of behaviour cloning."""

from __future__ import annotations

from typing import Any, ClassVar

from ray.rllib.algorithms.algorithm_config import NotProvided

from rllib_mamql.algorithms.cloning.learner import MABCLearner
from rllib_mamql.errors import ConfigError, check_choice, check_integer
from rllib_mamql.learning.config import AUTO, ImitationConfig
from rllib_mamql.learning.learner import ImitationLearner


class MABCConfig(ImitationConfig):
    """Settings of multi-agent behaviour cloning; those of ``ImitationConfig`` hold where they concern it.

    ``rationality`` multiplies the logits: ``evaluation_rationality: 2`` acts at twice the clone's own.
    """

    NAME: ClassVar[str] = "MABC"
    LEARNER: ClassVar[type[ImitationLearner]] = MABCLearner

    def __init__(self, algo_class: type[Any] | None = None) -> None:
        if algo_class is None:
            from rllib_mamql.algorithms.cloning.algorithm import MABC

            algo_class = MABC
        super().__init__(algo_class=algo_class)
        self.clone_updates: int | str = AUTO

        # Where the default departs from that of other algorithms.
        self.mode = "offline"
        self.rationality = 1.0
        self.weight_average = 0.0
        self.weight_decay = 0.1

    def training(self, *, clone_updates: Any = NotProvided, **kwargs: Any) -> MABCConfig:
        """Sets how the clone learns; settings of ``ImitationConfig.training`` and RLlib's by ``kwargs``.

        Args:
            clone_updates: Gradient steps >= 1, at a learning rate that falls from ``lr`` to zero; ``auto`` chooses them
                by the likelihood of held-out episodes, from which the clone then learns as well.
            **kwargs: Settings of ``ImitationConfig.training`` and RLlib's.

        Returns:
            This config.
        """
        super().training(**kwargs)
        self.set_provided({"clone_updates": clone_updates})
        return self

    def check(self) -> None:
        """Checks the clone's own settings; raises ConfigError."""
        if self.mode != "offline":
            raise ConfigError(f"mode is {self.mode!r}, but a clone takes no environment step: leave it 'offline'")
        if isinstance(self.clone_updates, str):
            check_choice("clone_updates", self.clone_updates, (AUTO,))
        else:
            check_integer("clone_updates", self.clone_updates)
        if isinstance(self.lr, (list, tuple)):
            raise ConfigError(f"lr is {self.lr!r}: give one number, a clone's falls to zero by itself")
