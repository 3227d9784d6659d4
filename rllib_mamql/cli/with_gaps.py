"""Ray Tune's Optuna and population based training, for trials whose first iterations end before any episode does.

A result has no return then. Tune's schedulers pass over such results, but for these two, which fail the whole search.
"""

from __future__ import annotations

import rllib_mamql.startup  # noqa: F401

# isort: split
from typing import Any

from ray.tune import schedulers
from ray.tune.search import optuna


class OptunaSearch(optuna.OptunaSearch):
    """Tune's, told of the results that can be compared."""

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """As Tune's, where the result has the metric."""
        if self.metric in result:
            super().on_trial_result(trial_id, result)


class PopulationBasedTraining(schedulers.PopulationBasedTraining):
    """Tune's, told of the results that can be compared."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """As Tune's, where the result has the metric."""
        if self.metric not in result:
            return str(self.CONTINUE)
        return str(super().on_trial_result(tune_controller, trial, result))
