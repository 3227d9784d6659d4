"""Multi-Agent Marginal Q-Learning from Demonstrations, as an RLlib algorithm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import ray
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME

from rllib_mamql.algorithms.mamql.config import MAMQLConfig
from rllib_mamql.algorithms.mamql.coverage import REACHED, Weights
from rllib_mamql.algorithms.mamql.stopping import BEST_UPDATES, FEW, HELD_OUT_LOSS, LOOK_EVERY, STOPPED, Watch
from rllib_mamql.learning.algorithm import Imitation
from rllib_mamql.learning.config import AUTO

__all__ = ["MAMQL", "MAMQLConfig"]

ROLLOUT_SHARE = "rollout_share"
"""Metric: weight of rollouts in the value term."""


class MAMQL(Imitation):
    """Multi-Agent Marginal Q-Learning from Demonstrations (arXiv 2503.04679).

    Rollouts are sampled with the Boltzmann policies of the averaged critics. With ``rollout_share: auto`` their
    weight in the value term follows, round by round, from how many of the demonstrated states the policies reach.
    Where rollouts weigh nothing and demonstrations are few, scouts tell when to stop (:mod:`stopping`).
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
        self._watch: Watch | None = Watch() if self._may_stop_early() else None

    @property
    def _weighs(self) -> bool:
        """Whether the rollouts' weight is found here; streams of demonstrations cannot be compared with rollouts."""
        return self.config.rollout_share == AUTO and self.offline_data.in_memory

    def training_step(self) -> None:
        """One round: sample, weigh the rollouts, update, sync; then, whether there shall be another."""
        super().training_step()
        if self._watch is not None and not self._leaves_rollouts_out:
            self._watch = None
            self.on_learner(0, lambda learner: learner.call_scouts_back())

    def _weigh(self, reached: float) -> Weights:
        rows = (self.config.expert_batch_size, self.config.rollout_batch_size)
        weights = Weights.of(reached, rows, self.config.rationality)
        self._reached = reached
        self.on_learners(lambda learner: learner.weigh(weights))
        return weights

    # -- early stopping -----------------------------------------------------------------------------------------

    @property
    def _leaves_rollouts_out(self) -> bool:
        return bool(self.on_learner(0, lambda learner: learner.leaves_rollouts_out))

    def _may_stop_early(self) -> bool:
        """Where rollouts weigh something, the likelihood of demonstrations says nothing."""
        config = self.config
        if not self._leaves_rollouts_out:
            return False
        if config.early_stopping != AUTO:
            return bool(config.early_stopping)
        return config.num_learners <= 1 and self.offline_data.in_memory and 2 <= self.offline_data.num_steps <= FEW

    def update(self, updates: int, rollouts: Sequence[ray.ObjectRef] = ()) -> None:
        """Weighs the rollouts, then makes gradient steps; while there are scouts, these follow every few of them."""
        if self._weighs:
            self.learn(0, rollouts)
            rollouts = ()
            weights = self._weigh(float(np.mean(self.on_learners(lambda learner: learner.reached()))))
            self.metrics.log_value(REACHED, self._reached, window=1)
            self.metrics.log_value(ROLLOUT_SHARE, weights.rollout_share, window=1)
        if self._watch is None:
            super().update(updates, rollouts)
            return
        for first in range(0, max(1, updates), LOOK_EVERY):
            super().update(min(LOOK_EVERY, updates - first), rollouts if first == 0 else ())
            self._look_out(self._watch)

    def _look_out(self, watch: Watch) -> None:
        """Lets scouts follow, and takes note of what they find."""
        self._send_scouts()
        timesteps = {NUM_ENV_STEPS_SAMPLED_LIFETIME: self._env_steps()}
        made, loss = self.on_learner(0, lambda learner: (learner.updates, learner.scouts.follow(timesteps)))
        watch.see(made, loss)
        self.metrics.log_value(HELD_OUT_LOSS, loss, window=1)
        self.metrics.log_value(BEST_UPDATES, watch.updates, window=1)

    def _send_scouts(self) -> None:
        if self.on_learner(0, lambda learner: learner.scouts is None):
            columns = self.offline_data.dataset.columns
            self.on_learner(0, lambda learner: learner.send_scouts(columns))

    def finished(self) -> bool:
        """Whether held-out demonstrations were likeliest long ago."""
        return self._watch is not None and self._watch.over

    # -- state --------------------------------------------------------------------------------------------------

    def recorded(self) -> dict[str, Any]:
        """The config's, with numbers in place of ``auto``, and what they were found from."""
        found = super().recorded() | self.on_learner(0, lambda learner: learner.weights())
        if self._reached is not None:
            found[REACHED] = self._reached
        if self._watch is not None and self._watch.over:
            found |= {STOPPED: self._watch.made, BEST_UPDATES: self._watch.updates}
        return found

    def get_own_state(self) -> dict[str, Any]:
        """How many demonstrated states were reached, from which weights follow, and what scouts have found."""
        state: dict[str, Any] = {} if self._reached is None else {REACHED: self._reached}
        state["watch"] = None if self._watch is None else asdict(self._watch)
        if self._watch is not None and self._watch.made:
            state["scouts"] = self.on_learner(0, lambda learner: learner.scouts.get_state())
        return state

    def set_own_state(self, state: Mapping[str, Any]) -> None:
        """Restores :meth:`get_own_state`."""
        if self._weighs and REACHED in state:
            self._weigh(float(state[REACHED]))
        watch = state.get("watch")
        self._watch = None if watch is None else Watch(**watch)
        if "scouts" in state:
            self._send_scouts()
            found = state["scouts"]
            self.on_learner(0, lambda learner: learner.scouts.set_state(found))
