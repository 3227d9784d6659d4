"""Settings that methods of inverse soft Q-learning share, at the values of IQ-Learn's authors for discrete actions."""

from __future__ import annotations

from typing import Any

from ray.rllib.algorithms.algorithm_config import NotProvided

from rllib_mamql.errors import ConfigError, check_choice, check_number
from rllib_mamql.learning.config import ImitationConfig
from rllib_mamql.learning.soft_q import CHI_SQUARE_STATES, VALUE_TERMS


class InverseQConfig(ImitationConfig):
    """Settings of an algorithm that minimises :func:`~rllib_mamql.learning.soft_q.inverse_q_loss`."""

    def __init__(self, algo_class: type[Any] | None = None) -> None:
        super().__init__(algo_class=algo_class)
        self.value_term: str | None = None
        self.chi_square_states = "mixture"
        self.chi_square_scale = 0.5

        # Where the authors' values depart from those of other algorithms here.
        self.rationality = 100.0
        self.weight_average = 0.0
        self.gamma = 0.99
        self.lr = 1e-4

    def training(
        self,
        *,
        value_term: Any = NotProvided,
        chi_square_states: Any = NotProvided,
        chi_square_scale: Any = NotProvided,
        **kwargs: Any,
    ) -> InverseQConfig:
        """Sets the objective; settings of ``ImitationConfig.training`` and RLlib's by ``kwargs``.

        Args:
            value_term: Estimator of (1 - gamma) E[V(s0)]: ``initial``, ``expert``, ``rollout`` or ``rollout+expert``
                (all rows of a minibatch alike). None: ``rollout+expert`` online, ``expert`` offline.
            chi_square_states: Rows that chi^2 covers: ``expert``, or ``mixture`` (and rollouts).
            chi_square_scale: c > 0 of chi^2; larger penalises rewards less.
            **kwargs: Settings of ``ImitationConfig.training`` and RLlib's.

        Returns:
            This config.
        """
        super().training(**kwargs)
        self.set_provided(
            {
                "value_term": value_term,
                "chi_square_states": chi_square_states,
                "chi_square_scale": chi_square_scale,
            }
        )
        return self

    def check(self) -> None:
        """Checks the objective's settings; raises ConfigError."""
        check_number("chi_square_scale", self.chi_square_scale, low=0.0, open_low=True)
        check_objective(self)

    def fill_in(self) -> None:
        """The value term follows from ``mode`` where it is left open."""
        super().fill_in()
        fill_in_value_term(self)


def check_objective(config: Any) -> None:
    """Checks which rows the value term and the chi^2 penalty are of.

    Args:
        config: A config with ``value_term``, ``chi_square_states`` and ``mode``.

    Raises:
        ConfigError: Names the setting, the value found and what is allowed.
    """
    check_choice("chi_square_states", config.chi_square_states, CHI_SQUARE_STATES)
    if config.value_term is not None:
        check_choice("value_term", config.value_term, VALUE_TERMS)
    if config.mode == "offline" and config.value_term not in ("expert", "initial", None):
        raise ConfigError(
            f"value_term is {config.value_term!r}, but mode 'offline' has no rollouts: use 'expert' or 'initial'"
        )


def fill_in_value_term(config: Any) -> None:
    """Sets a config's ``value_term`` by its ``mode`` where it is None."""
    if config.value_term is None:
        config.value_term = "rollout+expert" if config.mode == "online" else "expert"
