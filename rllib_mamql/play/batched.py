"""Rollouts of an environment that steps as a batch, and the choice between these and single environments."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from pettingzoo import ParallelEnv

from rllib_mamql.columns import EPS_ID, IDLE_ACTION, Array, JointColumns, T
from rllib_mamql.environments.calls import call_environment
from rllib_mamql.play.retrace import REMEMBERED
from rllib_mamql.play.rollout import Actor, ColumnarRollout, Episode, Running


class BatchedRollout(ColumnarRollout):
    """The same as its base for an environment that steps a whole batch at once (the protocol ``BatchedEnv``).

    Its agents all act from the start, each until it ends.

    Args:
        make_env: Builds one environment, for what a batch does not tell (metadata).
        batch: The batch.
        seed: Seed of everything here; None draws one.
        name: Prefix of episode ids.
        on_reset: Called after each reset with ``(index, env, seed)``; ``env`` is the one environment, reset with that
            seed, so that it shows how the episode starts. It is not stepped.
    """

    def __init__(
        self,
        make_env: Callable[[], ParallelEnv],
        batch: Any,
        seed: int | None,
        name: str = "eps",
        on_reset: Callable[[int, ParallelEnv, int], None] | None = None,
    ) -> None:
        self.batch = batch
        super().__init__(make_env, 1, seed, name, on_reset)
        size = self.num_envs
        self.alive = {agent: np.ones(size, dtype=bool) for agent in self.agents}
        self._ids = np.full(size, "", dtype=object)
        self._returns = {agent: np.zeros(size) for agent in self.agents}
        self._lengths = {agent: np.zeros(size, dtype=np.int32) for agent in self.agents}
        self._all_act = True
        self._t = np.zeros(size, dtype=np.int32)
        self._running = [Running("") for _ in range(size)]
        self._taken = deque(maxlen=max(1, REMEMBERED // size))
        self._stale = True

    @property
    def num_envs(self) -> int:
        """Number of environments stepped together."""
        return int(self.batch.num_envs)

    def _restart(self, indices: Sequence[int]) -> None:
        rows = list(indices)
        self._begin(rows, [self._next_seed() for _ in rows])

    def _begin(self, rows: list[int], seeds: list[int]) -> None:
        # All at once: a batch takes hardly longer to start many episodes than to start one.
        self._call("reset_envs", rows, seeds)
        self._stale = True
        self._t[rows] = 0
        for agent, returns in self._returns.items():
            returns[rows] = 0.0
            if not self._all_act:
                # Columns hold the masks: they are replaced and never written into.
                self.alive[agent] = self.alive[agent].copy()
                self.alive[agent][rows] = True
        self._all_act = self._all_act or all(alive.all() for alive in self.alive.values())
        for index, seed in zip(rows, seeds, strict=True):
            if self._on_reset:
                self.envs[0].reset(seed=seed)
                self._on_reset(index, self.envs[0], seed)
            self._running[index] = Running(self._next_id(index), seed)

    def _call(self, method: str, *args: Any) -> Any:
        """Calls the batch as single environments are called: within a time limit, and errors say where."""
        called = getattr(self.envs[0], "called", "of no name")
        return call_environment(self.batch, method, called, lambda: f"{method} of a batch of {self.num_envs}", *args)

    def _step(self, act: Actor) -> tuple[JointColumns, list[tuple[int, Episode]]]:
        if self._stale:
            self.observations = self._call("observations")
            self._stale = False
        now = self.observations
        chosen = {agent: np.asarray(a).astype(np.int64) for agent, a in act(now, self.alive).items()}
        if not self._all_act:
            chosen = {agent: np.where(self.alive[agent], a, IDLE_ACTION) for agent, a in chosen.items()}
        self._taken.append(chosen)
        rewards, terminated, truncated, events = self._call("step", chosen)
        self.observations = after = self._call("observations")
        self._check_finite()
        batch: JointColumns = {EPS_ID: self._ids, T: self._t.copy()}
        for agent, names in self._names.items():
            alive = self.alive[agent]
            batch[names.obs] = now[agent]
            batch[names.next_obs] = after[agent] if self._all_act else _zero_unless(alive, after[agent])
            batch[names.actions] = chosen[agent]
            batch[names.rewards] = rewards[agent].astype(np.float32)
            batch[names.terminateds] = terminated[agent]
            batch[names.truncateds] = truncated[agent]
            batch[names.alive] = alive
            self._returns[agent] += rewards[agent]
        self._t += 1
        if self.on_step:
            self._report(events)
        else:
            self._count(events)
        return batch, [(index, self._finish(index)) for index in self._end(terminated, truncated)]

    def _end(self, terminated: Mapping[str, Array], truncated: Mapping[str, Array]) -> list[int]:
        """Lets agents that have ended act no more; gives the environments in which nobody is left."""
        some = False
        for agent in self.agents:
            ends = np.logical_or(terminated[agent], truncated[agent])
            if np.count_nonzero(ends):
                some = True
                self.alive[agent] = self.alive[agent] & np.logical_not(ends)
                self._lengths[agent][ends] = self._t[ends]
        if not some:
            return []
        self._all_act = False
        left = np.any(list(self.alive.values()), axis=0)
        ended: list[int] = np.flatnonzero(~left).tolist()
        return ended

    def _check_finite(self) -> None:
        # A sum goes over the numbers once, which is felt where thousands of kitchens step together.
        for agent, values in self.observations.items():
            if values.dtype.kind != "f" or np.isfinite(values.sum()) or self._bounds[agent].hold(values):
                continue
            for run, steps in zip(self._running, self._t.tolist(), strict=True):
                run.t = steps + 1
            self._refuse(agent, self.alive[agent])

    def _count(self, events: Mapping[str, Mapping[str, Array]]) -> None:
        for agent, kinds in events.items():
            for kind, counts in kinds.items():
                for index in counts.nonzero()[0].tolist():
                    found = self._running[index].events
                    if agent not in found:
                        found[agent] = Counter()
                    found[agent][kind] += int(counts[index])

    def _report(self, events: Mapping[str, Mapping[str, Array]]) -> None:
        """Counts events and tells of each step of each agent, in the order of the rows."""
        for index in range(self.num_envs):
            for agent in self.agents:
                if not self.alive[agent][index]:
                    continue
                kinds = events.get(agent, {})
                here = {kind: int(counts[index]) for kind, counts in kinds.items() if counts[index]}
                self._record_events(index, agent, here)

    def steps_taken(self) -> list[int]:
        """Joint steps of the running episodes."""
        return list(map(int, self._t))

    def seen(self, index: int) -> int:
        """A checksum of what agents see now in one environment."""
        if self._stale:
            self.observations, self._stale = self._call("observations"), False
        return super().seen(index)

    def play_again(self, seeds: Sequence[int], lengths: Sequence[int], steps: Sequence[Mapping[str, Array]]) -> None:
        """Plays episodes that end together; those that begin later play something before."""
        on_reset, self._on_reset = self._on_reset, None
        try:
            self._begin(list(range(len(seeds))), list(seeds))
            for left in range(len(steps), -1, -1):
                if rows := [index for index, length in enumerate(lengths) if length == left]:
                    self._on_reset = on_reset
                    self._begin(rows, [seeds[index] for index in rows])
                    self._on_reset = None
                if left:
                    _, ended = self._step(_always(steps[len(steps) - left]))
                    if early := [index for index, _ in ended]:
                        self._begin(early, [seeds[index] for index in early])
        finally:
            self._on_reset = on_reset

    def _finish(self, index: int) -> Episode:
        run = self._running[index]
        returns = {agent: float(values[index]) for agent, values in self._returns.items()}
        lengths = {agent: int(values[index]) for agent, values in self._lengths.items()}
        metrics = {name: float(values[index]) for name, values in self.batch.episode_metrics().items()}
        return Episode(run.eps_id, int(self._t[index]), returns, lengths, run.agent_events(self.agents), metrics)


def _zero_unless(mask: Array, values: Array) -> Array:
    """A copy of the values whose rows are zero where the mask does not hold."""
    kept = values.copy()
    kept[np.logical_not(mask)] = 0
    return kept


def _always(actions: Mapping[str, Array]) -> Actor:
    return lambda observations, alive: actions


def make_rollout(
    make_env: Callable[[], ParallelEnv],
    make_batch: Callable[[int], Any | None],
    num_envs: int,
    seed: int | None,
    name: str = "eps",
    on_reset: Callable[[int, ParallelEnv, int], None] | None = None,
) -> ColumnarRollout:
    """Steps the batched form of an environment where it has one, else a list of single ones.

    Args:
        make_env: Builds one environment.
        make_batch: Builds a batch of so many, or gives None.
        num_envs: How many are stepped together.
        seed: Seed of everything; None draws one.
        name: Prefix of episode ids.
        on_reset: Called after each reset with ``(index, env, seed)``; of a batch ``env`` is one beside it, which shows
            the episode's start.
    """
    batch = make_batch(num_envs)
    if batch is None:
        return ColumnarRollout(make_env, num_envs, seed, name, on_reset)
    return BatchedRollout(make_env, batch, seed, name, on_reset)
