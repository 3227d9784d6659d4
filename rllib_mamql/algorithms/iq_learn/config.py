"""Settings of IQ-Learn for several agents."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ray.rllib.algorithms.algorithm_config import NotProvided

from rllib_mamql.algorithms.iq_learn.learner import IQLearnLearner
from rllib_mamql.algorithms.iq_learn.module import CRITIC, CRITICS, IQLearnModule
from rllib_mamql.data.masks import is_masked
from rllib_mamql.environments.spaces import Spaces
from rllib_mamql.errors import ConfigError, check_choice
from rllib_mamql.learning.inverse_config import InverseQConfig
from rllib_mamql.learning.learner import ImitationLearner
from rllib_mamql.networks.module import BoltzmannModule

MOST_JOINT_ACTIONS = 4096
"""Joint actions of all agents up to which a joint critic has an output for each."""


class IQLearnMAConfig(InverseQConfig):
    """Settings of IQ-Learn for several agents; those of ``InverseQConfig`` and ``ImitationConfig`` hold."""

    NAME: ClassVar[str] = "IQLearnMA"
    LEARNER: ClassVar[type[ImitationLearner]] = IQLearnLearner
    MODULE: ClassVar[type[BoltzmannModule]] = IQLearnModule

    def __init__(self, algo_class: type[Any] | None = None) -> None:
        if algo_class is None:
            from rllib_mamql.algorithms.iq_learn.algorithm import IQLearnMA

            algo_class = IQLearnMA
        super().__init__(algo_class=algo_class)
        self.critic = "independent"

    def training(self, *, critic: Any = NotProvided, **kwargs: Any) -> IQLearnMAConfig:
        """Sets the kind of critic; settings of ``InverseQConfig.training`` and RLlib's by ``kwargs``.

        Args:
            critic: ``independent`` scores the agent's own actions and takes the others for a part of the world;
                ``joint`` scores joint actions of all agents, and acts by the agent's own part of the policy over these.
            **kwargs: Settings of ``InverseQConfig.training`` and RLlib's.

        Returns:
            This config.
        """
        super().training(**kwargs)
        self.set_provided({"critic": critic})
        return self

    def check(self) -> None:
        """Checks IQ-Learn's own settings; raises ConfigError."""
        super().check()
        check_choice("critic", self.critic, CRITICS)

    def check_agents(self, spaces: Spaces) -> None:
        """Checks whether a critic of joint actions can be built; raises ConfigError."""
        if self.critic == "joint":
            masked = next((agent for agent, (seen, _) in spaces.items() if is_masked(seen)), None)
            if masked is not None:
                raise ConfigError(
                    f"critic 'joint' chooses for all agents, but does not see what others may do ({masked!r} has an "
                    "action mask): use 'independent'"
                )
            joint = math.prod(int(action.n) for _, action in spaces.values())
            if joint > MOST_JOINT_ACTIONS:
                raise ConfigError(
                    f"critic 'joint' has an output for each of {joint:,} joint actions, at most "
                    f"{MOST_JOINT_ACTIONS:,} can be borne: use 'independent'"
                )

    def module_settings(self) -> dict[str, Any]:
        """The kind of critic."""
        return {CRITIC: self.critic}
