"""The algorithm that all algorithms from demonstrations share: sample, store, update, sync; evaluate, save, go on."""

from __future__ import annotations

import rllib_mamql.startup  # noqa: F401

# isort: split
import math
import os
import pathlib
from collections.abc import Collection, Mapping, Sequence
from numbers import Real
from typing import Any

import ray
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    ENV_RUNNER_SAMPLING_TIMER,
    LEARNER_RESULTS,
    LEARNER_UPDATE_TIMER,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    SYNCH_WORKER_WEIGHTS_TIMER,
    TIMERS,
)

from rllib_mamql.columns import JointColumns, T, take
from rllib_mamql.data.checksums import write_checksums
from rllib_mamql.data.places import is_elsewhere
from rllib_mamql.environments.registry import register_all
from rllib_mamql.environments.spaces import check_dataset
from rllib_mamql.errors import ConfigError, EnvironmentFault, EnvironmentHang
from rllib_mamql.learning import checkpoint
from rllib_mamql.learning.config import ImitationConfig
from rllib_mamql.learning.metrics import ENVIRONMENT_FAULT, EXPERT_LOG_LIKELIHOOD, INCIDENTS, RETURN_MEAN
from rllib_mamql.learning.rounds import Rounds
from rllib_mamql.learning.shares import deal_rows
from rllib_mamql.learning.streaming import iterate_batches
from rllib_mamql.ray_internals import update_together
from rllib_mamql.startup import COMMAND_LINE, collection_paused

MOST_HANGS = 3
"""Rounds in a row in which some environment hangs, after which training is given up."""
OWN_STATE = "imitation"
"""Key of RLlib's algorithm state under which this class keeps its own."""

register_all()


class Imitation(Algorithm):
    """Learns from demonstrations, on rollouts too where the config says so.

    One training step samples rollouts with the present policies (online), hands them to the learners by reference,
    makes ``updates_per_step`` gradient steps for each joint step sampled, and sends the networks that act back to the
    env runners. A subclass names its config in ``get_default_config``; what else it may change:

    * ``training_step``: another course of training;
    * ``finished``: whether training has come to its own end;
    * ``get_own_state`` and ``set_own_state``: what else must survive a restart.
    """

    config: ImitationConfig

    def setup(self, config: ImitationConfig) -> None:
        """Builds runners and learners, checks the dataset against the environment, and deals the data out."""
        # The first use of a seed or an optimizer imports PyTorch's compiler.
        with collection_paused():
            super().setup(config)
        if self.config.env:
            check_dataset(self.offline_data.metadata, str(self.config.env), dict(self.config.env_config))
        self._update_debt = 0.0
        self._last_result: dict[str, Any] = {}
        self._incidents: list[str] = []
        self._hangs, self._restarts = 0, 0
        if self.config.uses_rollouts:
            self._rounds = Rounds(self.env_runner_group, self.config)
        if self.offline_data.in_memory:
            self.deal(self.offline_data.dataset.columns)
        else:
            self._deal_streams()

    # -- expert data --------------------------------------------------------------------------------------------

    def deal(self, columns: JointColumns) -> None:
        """Gives each learner its share of the expert's joint steps, to hold in memory."""
        learners = max(1, self.config.num_learners)
        module_of = self.config.module_of
        shares = deal_rows(columns[T], learners)
        for rank in range(learners):
            share = take(columns, shares[rank]) if learners > 1 else columns
            ref = ray.put(share) if self.learner_group.is_remote else share
            self.on_learner(rank, lambda learner, ref=ref: learner.set_expert(module_of, _resolve(ref)))
            if self.on_learner(rank, lambda learner: learner.losses.needs_starts and not learner.expert.has_starts):
                raise ConfigError(
                    f"value_term 'initial' needs start states (t = 0) for each of {learners} learners, and the "
                    f"demonstrations begin only {int((columns[T] == 0).sum())} episodes: lower num_learners, or use "
                    "value_term 'expert' or 'rollout'"
                )

    def _deal_streams(self) -> None:
        module_of, batch = self.config.module_of, self.config.expert_batch_size
        for rank, stream in enumerate(self.offline_data.streams(max(1, self.config.num_learners))):
            self.on_learner(
                rank, lambda learner, stream=stream: learner.set_expert(module_of, None, iterate_batches(stream, batch))
            )
            if self.on_learner(rank, lambda learner: learner.losses.needs_starts):
                raise ConfigError(
                    "value_term 'initial' needs start states at hand, but the expert data is streamed: "
                    "use value_term 'expert' or 'rollout', or expert_in_memory true"
                )

    def on_learner(self, rank: int, function: Any) -> Any:
        """Calls ``function(learner)`` on one learner and returns its result, or raises its error."""
        results = self.learner_group.foreach_learner(
            function, remote_actor_ids=[rank] if self.learner_group.is_remote else None
        )
        return next(iter(results)).get()

    def on_learners(self, function: Any) -> list[Any]:
        """Calls ``function(learner)`` on every learner and returns their results, or raises the first error."""
        return [result.get() for result in self.learner_group.foreach_learner(function)]

    # -- training -----------------------------------------------------------------------------------------------

    def training_step(self) -> None:
        """One round: sample, update, sync."""
        rollouts, sampled = self.sample() if self.config.uses_rollouts else ([], 0)
        if self.config.uses_rollouts:
            self._update_debt += sampled * self.config.updates_per_step
            updates = int(self._update_debt)
            self._update_debt -= updates
        else:
            updates = self.config.offline_updates
        self.update(updates, rollouts)

    def sample(self) -> tuple[list[ray.ObjectRef], int]:
        """Rollouts of every runner, by reference and in the learners' order, and how many joint steps they hold."""
        with self.metrics.log_time((TIMERS, ENV_RUNNER_SAMPLING_TIMER)):
            results = self._without_faults(self._rounds.collect())
        # RLlib deals references out in contiguous runs: the first learner's share of every runner comes first.
        rollouts = [share for shares in zip(*(shares for shares, _, _ in results), strict=True) for share in shares]
        self.metrics.aggregate([metrics for _, _, metrics in results], key=ENV_RUNNER_RESULTS)
        return rollouts, sum(steps for _, steps, _ in results)

    def _without_faults(self, results: Sequence[Any]) -> list[Any]:
        """Rollouts of the runners whose environments are well; those that hang are told of.

        Raises:
            EnvironmentFault: If an environment is faulty, or one hangs that no other process steps, or again and again.
        """
        for fault in results:
            if isinstance(fault, EnvironmentFault) and not isinstance(fault, EnvironmentHang):
                raise fault
        hangs = [result for result in results if isinstance(result, EnvironmentHang)]
        self._hangs = self._hangs + 1 if hangs else 0
        if hangs and (self._hangs >= MOST_HANGS or not self.env_runner_group.num_remote_env_runners()):
            raise hangs[0]
        self._incidents += [f"{hang}; its environments were built anew" for hang in hangs]
        return [result for result in results if not isinstance(result, EnvironmentHang)]

    def update(self, updates: int, rollouts: Sequence[ray.ObjectRef] = ()) -> None:
        """Makes gradient steps on the learners, and sends what acts to the env runners where they sample.

        Args:
            updates: How many, on each learner in lockstep.
            rollouts: New rollouts for the replay buffers, as :meth:`sample` gives them.
        """
        self.learn(updates, rollouts)
        with self.metrics.log_time((TIMERS, SYNCH_WORKER_WEIGHTS_TIMER)):
            if self.config.uses_rollouts:
                self._send_weights()

    def learn(self, updates: int, rollouts: Sequence[ray.ObjectRef] = ()) -> None:
        """Stores new rollouts and makes gradient steps on the learners; what acts is not sent on.

        Args:
            updates: How many, on each learner in lockstep, >= 0.
            rollouts: New rollouts for the replay buffers.
        """
        with self.metrics.log_time((TIMERS, LEARNER_UPDATE_TIMER)):
            learner_results = update_together(
                self.learner_group,
                # References, not data: rollouts go from the runners to the learners once.
                episodes_refs=list(rollouts),
                timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: self._env_steps()},
                num_updates=updates,
            )
            self.metrics.aggregate(learner_results, key=LEARNER_RESULTS)

    def _send_weights(self) -> None:
        """Queues the learners' weights with every runner, behind the rollout that it may be busy with.

        RLlib drops weights meant for a runner that has not taken its last ones. Without a timeout it waits for those
        first, and for those only: while training they are ahead of any rollout under way, so that none is waited for.
        """
        self.env_runner_group.sync_weights(
            from_worker_or_learner_group=self.learner_group, inference_only=True, timeout_seconds=None
        )

    def _env_steps(self) -> int:
        return int(self.metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), default=0))

    def finished(self) -> bool:
        """Whether training has come to its own end: Tune then stops the trial, whatever ``stop`` says."""
        return False

    def step(self) -> dict[str, Any]:
        """One training iteration; Tune's ``done`` is set where training has :meth:`finished`.

        Under the command line an environment's fault ends the trial in order: its networks, which have not learned from
        what was wrong, are saved, and the result says the fault.

        Raises:
            EnvironmentFault: Elsewhere.
        """
        if self.config.uses_rollouts:
            self._rounds.begin_iteration()
        try:
            result: dict[str, Any] = super().step()
        except EnvironmentFault as fault:
            if COMMAND_LINE not in os.environ:
                raise
            return {**self._last_result, ENVIRONMENT_FAULT: str(fault), "done": True}
        if self.finished():
            result["done"] = True
        self._add_compared(result)
        if incidents := self._new_incidents():
            result[INCIDENTS] = incidents
        self._last_result = result
        return result

    def _add_compared(self, result: dict[str, Any]) -> None:
        """Puts what searches compare trials by at the top of a result, where it is known."""
        returns = (result.get(ENV_RUNNER_RESULTS) or {}).get(RETURN_MEAN)
        if isinstance(returns, Real) and not math.isnan(float(returns)):
            result[RETURN_MEAN] = float(returns)
        learned = [
            float(metrics[EXPERT_LOG_LIKELIHOOD])
            for module in (result.get(LEARNER_RESULTS) or {}).values()
            for metrics in module.values()
            if isinstance(metrics, Mapping) and EXPERT_LOG_LIKELIHOOD in metrics
        ]
        if learned:
            result[EXPERT_LOG_LIKELIHOOD] = sum(learned) / len(learned)

    def _new_incidents(self) -> list[str]:
        """What failed in this iteration and was made good."""
        incidents, self._incidents = self._incidents, []
        restarts = self.env_runner_group.num_remote_worker_restarts() if self.env_runner_group is not None else 0
        if restarts > self._restarts:
            incidents.append(
                f"{restarts - self._restarts} of {self.env_runner_group.num_remote_env_runners()} env runners died and "
                "started anew; what they had sampled since the last iteration is lost"
            )
        self._restarts = restarts
        return incidents

    def cleanup(self) -> None:
        """Ends the expert stream while Ray is still there to hear of it, then all of RLlib's parts."""
        if getattr(self, "offline_data", None) is not None and not self.offline_data.in_memory:
            self.learner_group.foreach_learner(lambda learner: learner.expert.close())
        super().cleanup()

    # -- checkpoints --------------------------------------------------------------------------------------------

    def get_own_state(self) -> dict[str, Any]:
        """What must survive a restart besides networks, optimisers, counters and the learners' data; plain values."""
        return {}

    def set_own_state(self, state: Mapping[str, Any]) -> None:
        """Restores :meth:`get_own_state`."""

    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """RLlib's state of the algorithm, and what :meth:`get_own_state` gives."""
        state: dict[str, Any] = super().get_state(components, not_components=not_components, **kwargs)
        state[OWN_STATE] = {
            "update_debt": self._update_debt,
            "runners": self._whereabouts(),
            **self.get_own_state(),
        }
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores :meth:`get_state`."""
        own = state.get(OWN_STATE, {})
        self._update_debt = float(own.get("update_debt", 0.0))
        super().set_state(state)
        if (runners := own.get("runners")) and self.env_runner_group is not None:
            self.env_runner_group.foreach_env_runner(lambda runner: runner.go_on_from(runners))
        self.set_own_state({name: value for name, value in own.items() if name not in ("update_debt", "runners")})

    def _whereabouts(self) -> dict[int, dict[str, Any]]:
        """Where env runners are, by number."""
        if self.env_runner_group is None:
            return {}
        return dict(self.env_runner_group.foreach_env_runner(lambda runner: runner.whereabouts()))

    def recorded(self) -> dict[str, Any]:
        """Settings for a checkpoint's document."""
        return self.config.recorded()

    def save_to_path(self, path: Any = None, *, filesystem: Any = None, **kwargs: Any) -> str:
        """Writes RLlib's checkpoint, and beside it what acts and the learners' data, both free of pickles.

        Args:
            path: A folder, or a URI of one; None: a temporary folder.
            filesystem: pyarrow's, where ``path`` is one of its paths.
            **kwargs: RLlib's.

        Returns:
            The folder.
        """
        written = str(super().save_to_path(path, filesystem=filesystem, **kwargs))
        with checkpoint.written_to(str(path) if is_elsewhere(str(path)) else written, filesystem) as folder:
            self.save_networks(folder)
            for rank in range(max(1, self.config.num_learners)):
                state = self.on_learner(rank, lambda learner: learner.get_data_state())
                checkpoint.write_learner_data(folder, rank, state)
            write_checksums(folder)
        return written

    def save_networks(self, path: pathlib.Path) -> None:
        """Writes what acts into a folder, free of pickles: all of a checkpoint that playing it needs."""
        model_configs, weights = self.on_learner(0, lambda learner: learner.describe())
        checkpoint.write_networks(
            path, self.config, self.offline_data.metadata, model_configs, weights, self.recorded(), self.iteration
        )

    def restore_from_path(
        self, path: Any, *, component: str | None = None, filesystem: Any = None, **kwargs: Any
    ) -> None:
        """Restores networks, optimisers, counters, replay buffers, random states, and how decidedly policies act.

        Args:
            path: As :meth:`save_to_path` has it.
            component: RLlib's: one part alone, of which ``path`` is a checkpoint.
            filesystem: As :meth:`save_to_path` has it.
            **kwargs: RLlib's.
        """
        super().restore_from_path(path, component=component, filesystem=filesystem, **kwargs)
        if component is not None:
            return
        if self.config.uses_rollouts:
            self._send_weights()  # as RLlib did, unless it dropped them
        with checkpoint.read_from(str(path), filesystem) as folder:
            for rank in range(max(1, self.config.num_learners)):
                state = checkpoint.read_learner_data(folder, rank)
                if state is not None:
                    self.on_learner(rank, lambda learner, state=state: learner.set_data_state(state))
            self._act_at(checkpoint.acting_rationality(folder))

    def _act_at(self, rationality: Mapping[str, float]) -> None:
        """Lets policies act, by module, as decidedly as was chosen for a checkpoint."""
        self.on_learners(lambda learner: learner.act_at(rationality))
        for group in (self.env_runner_group, self.eval_env_runner_group):
            if group is not None:
                group.foreach_env_runner(lambda runner: runner.act_at(rationality))


def _resolve(value: Any) -> Any:
    return ray.get(value) if isinstance(value, ray.ObjectRef) else value
