"""Multi-Agent Marginal Q-Learning from Demonstrations, as an RLlib algorithm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rllib_mamql.algorithms.mamql.config import MAMQLConfig
from rllib_mamql.algorithms.mamql.coverage import REACHED, Weights
from rllib_mamql.learning.algorithm import Imitation
from rllib_mamql.learning.config import AUTO

__all__ = ["MAMQL", "MAMQLConfig"]

ROLLOUT_SHARE = "rollout_share"
"""Metric: weight of rollouts in the value term."""


class MAMQL(Imitation):
    """Multi-Agent Marginal Q-Learning from Demonstrations (arXiv 2503.04679).

    Rollouts are sampled with the Boltzmann policies of the averaged critics. With ``rollout_share: auto`` their
    weight in the value term follows, round by round, from how many of the demonstrated states the policies reach.
    """

    config: MAMQLConfig

    @classmethod
    def get_default_config(cls) -> MAMQLConfig:
        """A config with all defaults."""
        return MAMQLConfig(algo_class=cls)

    def setup(self, config: MAMQLConfig) -> None:
        """Builds all parts."""
        super().setup(config)
        self._reached: float | None = None

    @property
    def _weighs(self) -> bool:
        """Whether the rollouts' weight is found here; streams of demonstrations cannot be compared with rollouts."""
        return self.config.rollout_share == AUTO and self.offline_data.in_memory

    def training_step(self) -> None:
        """One round: sample, update, sync; then the weights of the next."""
        super().training_step()
        if self._weighs:
            weights = self._weigh(float(np.mean(self.on_learners(lambda learner: learner.reached()))))
            self.metrics.log_value(REACHED, self._reached, window=1)
            self.metrics.log_value(ROLLOUT_SHARE, weights.rollout_share, window=1)

    def _weigh(self, reached: float) -> Weights:
        rows = (self.config.expert_batch_size, self.config.rollout_batch_size)
        weights = Weights.of(reached, rows, self.config.rationality)
        self._reached = reached
        self.on_learners(lambda learner: learner.weigh(weights))
        return weights

    def recorded(self) -> dict[str, Any]:
        """The config's, with numbers in place of ``auto``, and how many demonstrated states were reached."""
        found = super().recorded() | self.on_learner(0, lambda learner: learner.weights())
        return found if self._reached is None else found | {REACHED: self._reached}

    def get_own_state(self) -> dict[str, Any]:
        """How many demonstrated states were reached, from which weights follow."""
        return {} if self._reached is None else {REACHED: self._reached}

    def set_own_state(self, state: Mapping[str, Any]) -> None:
        """Restores :meth:`get_own_state`."""
        if self._weighs and REACHED in state:
            self._weigh(float(state[REACHED]))

    def fitted_rationalities(self) -> dict[str, float]:
        """With ``evaluation_rationality: auto``, those at which held-out demonstrations are most likely."""
        held_out = self.offline_data.held_out
        if held_out is None:
            return {}
        fitted, _ = self.on_learner(0, lambda learner: learner.fit_rationality(held_out))
        return dict(fitted)
