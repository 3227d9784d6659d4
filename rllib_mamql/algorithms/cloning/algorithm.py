"""Multi-agent behaviour cloning, as an RLlib algorithm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rllib_mamql.algorithms.cloning.config import MABCConfig
from rllib_mamql.columns import JointColumns
from rllib_mamql.learning.algorithm import Imitation
from rllib_mamql.learning.config import AUTO
from rllib_mamql.learning.course import Course, Fit

HELD_OUT_LOSS = "held_out_loss"
"""Metric: negative log-likelihood of held-out episodes, nats an agent's step, of the last fit that was judged."""


class MABC(Imitation):
    """Behaviour cloning of every agent: maximum likelihood of its demonstrated actions.

    Training is a course of fits: several to choose the number of updates on held-out episodes, and a last one on all
    demonstrations, after which training is finished. An iteration makes up to ``offline_updates`` gradient steps of the
    present fit.
    """

    @classmethod
    def get_default_config(cls) -> MABCConfig:
        """A config with all defaults."""
        return MABCConfig(algo_class=cls)

    def setup(self, config: MABCConfig) -> None:
        """Builds all parts, and the course of fits."""
        super().setup(config)
        held, updates = self.offline_data.dataset, config.clone_updates
        self.course = Course(held and held.columns, config.seed or 0, None if updates == AUTO else int(updates))
        self._made = 0

    def training_step(self) -> None:
        """Up to ``offline_updates`` gradient steps of the present fit."""
        fit = self.course.fit
        if fit is None:
            return
        if not self._made:
            self._begin(fit)
        updates = min(self.config.offline_updates, fit.updates - self._made)
        self.update(updates)
        self._made += updates
        if self._made == fit.updates:
            self._made = 0
            self.course.end(None if fit.judged is None else self._judge(fit.judged))
        if self.course.losses:
            self.metrics.log_value(HELD_OUT_LOSS, self.course.losses[-1], window=1)

    def _judge(self, held_out: JointColumns) -> float:
        return float(self.on_learner(0, lambda learner: learner.negative_log_likelihood(held_out)))

    def _begin(self, fit: Fit, made: int = 0) -> None:
        if fit.rows is not None:
            self.deal(fit.rows)
        self.on_learners(lambda learner: learner.begin_fit(fit.updates, made))

    def finished(self) -> bool:
        """Whether the last fit is done."""
        return self.course.over

    def get_own_state(self) -> dict[str, Any]:
        """Where the course stands."""
        return {"course": self.course.get_state(), "made": self._made}

    def set_own_state(self, state: Mapping[str, Any]) -> None:
        """Restores :meth:`get_own_state`, and gives the learners the rows of the present fit."""
        if not state:
            return
        self.course.set_state(state["course"])
        self._made, fit = int(state["made"]), self.course.fit
        if fit is not None and self._made:
            self._begin(fit, self._made)
