"""Settings of MIFQ."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec

from rllib_mamql.algorithms.mifq.learner import MIFQLearner
from rllib_mamql.algorithms.mifq.module import MIXING, MIFQModule
from rllib_mamql.data.masks import seen_space
from rllib_mamql.errors import check_integer
from rllib_mamql.learning.inverse_config import InverseQConfig
from rllib_mamql.learning.learner import ImitationLearner
from rllib_mamql.networks.module import BoltzmannModule


class MIFQConfig(InverseQConfig):
    """Settings of MIFQ; those of ``InverseQConfig`` and ``ImitationConfig`` hold."""

    NAME: ClassVar[str] = "MIFQ"
    LEARNER: ClassVar[type[ImitationLearner]] = MIFQLearner
    MODULE: ClassVar[type[BoltzmannModule]] = MIFQModule

    def __init__(self, algo_class: type[Any] | None = None) -> None:
        if algo_class is None:
            from rllib_mamql.algorithms.mifq.algorithm import MIFQ

            algo_class = MIFQ
        super().__init__(algo_class=algo_class)
        self.mixing_units = 0

    def training(self, *, mixing_units: Any = NotProvided, **kwargs: Any) -> MIFQConfig:
        """Sets the mixing network; settings of ``InverseQConfig.training`` and RLlib's by ``kwargs``.

        Args:
            mixing_units: Hidden units >= 0 of the network that mixes the agents' values; 0 mixes them linearly, with
                which alone the objective is concave in the agents' values.
            **kwargs: Settings of ``InverseQConfig.training`` and RLlib's.

        Returns:
            This config.
        """
        super().training(**kwargs)
        self.set_provided({"mixing_units": mixing_units})
        return self

    def check(self) -> None:
        """Checks MIFQ's own settings; raises ConfigError."""
        super().check()
        check_integer("mixing_units", self.mixing_units, low=0)

    def get_multi_rl_module_spec(self, **kwargs: Any) -> MultiRLModuleSpec:
        """RLlib's spec; the first agent's module is told to build the mixing network of the team."""
        spec = super().get_multi_rl_module_spec(**kwargs)
        spaces = self.agent_spaces()
        features = sum(math.prod(seen_space(observation).shape) for observation, _ in spaces.values())
        first = next(iter(self.module_of.values()))
        for module_id, module_spec in spec.rl_module_specs.items():
            sizes = {"features": features, "agents": len(spaces), "units": self.mixing_units}
            module_spec.model_config = {**module_spec.model_config, MIXING: sizes if module_id == first else None}
        return spec
