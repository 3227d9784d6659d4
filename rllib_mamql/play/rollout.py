"""Steps a batch of PettingZoo parallel environments and keeps what happened in columns.

The env runner, the recorder and the evaluation all go through :class:`ColumnarRollout`, or through its faster form
for environments that step as a batch, :mod:`rllib_mamql.play.batched`.
"""

from __future__ import annotations

import functools
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pettingzoo import ParallelEnv

from rllib_mamql.columns import (
    ACTIONS,
    ALIVE,
    EPISODE_METRICS,
    EPS_ID,
    EVENTS,
    IDLE_ACTION,
    NEXT_OBS,
    OBS,
    REWARDS,
    TERMINATEDS,
    TRUNCATEDS,
    Array,
    Gathered,
    JointColumns,
    Spares,
    T,
    column,
    pour_together,
)
from rllib_mamql.data.bounds import Bounds
from rllib_mamql.environments.spaces import unsound
from rllib_mamql.errors import EnvironmentFault
from rllib_mamql.play.retrace import REMEMBERED, Retraceable

Actor = Callable[[Mapping[str, Array], Mapping[str, Array]], Mapping[str, Array]]
"""``(observations {agent: (num_envs, *obs)}, alive {agent: (num_envs,)}) -> actions {agent: (num_envs,)}``."""

Watch = Callable[[int], None]
"""Is told how much of a long piece of work is done so far."""


@dataclass(frozen=True)
class Episode:
    """A finished episode: its length in joint steps, each agent's return, and reward events by agent and kind.

    ``metrics`` are numbers that the environment puts into its infos under ``episode_metrics``.
    """

    eps_id: str
    length: int
    returns: dict[str, float]
    lengths: dict[str, int]
    agent_events: dict[str, dict[str, int]]
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def events(self) -> dict[str, int]:
        """Reward events by kind, of all agents together."""
        total: Counter[str] = Counter()
        for kinds in self.agent_events.values():
            total.update(kinds)
        return dict(total)

    def __len__(self) -> int:
        """Length in joint steps, as RLlib's episodes have it."""
        return self.length

    def get_return(self) -> float:
        """Sum of all agents' returns, as RLlib's multi-agent episodes have it."""
        return sum(self.returns.values())


@dataclass
class Running:
    """An episode under way: what its :class:`Episode` will be made of."""

    eps_id: str
    seed: int = 0
    t: int = 0
    returns: dict[str, float] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)
    events: dict[str, Counter[str]] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)

    def agent_events(self, agents: Sequence[str]) -> dict[str, dict[str, int]]:
        """Reward events so far, by agent and kind."""
        return {agent: dict(self.events.get(agent, {})) for agent in agents}


@dataclass(frozen=True)
class AgentColumns:
    """Names of an agent's columns; putting them together anew in each step would cost more than some steps do."""

    obs: str
    next_obs: str
    actions: str
    rewards: str
    terminateds: str
    truncateds: str
    alive: str

    @classmethod
    def of(cls, agent: str) -> AgentColumns:
        """The columns of an agent."""
        names = (OBS, NEXT_OBS, ACTIONS, REWARDS, TERMINATEDS, TRUNCATEDS, ALIVE)
        return cls(*(column(name, agent) for name in names))


class ColumnarRollout(Retraceable):
    """A batch of environments that restart by themselves, each episode with its own seed.

    Seeds are drawn from ``seed`` in the order in which episodes start, so a run is reproducible for a given number
    of environments.

    Args:
        make_env: Builds one environment.
        num_envs: How many are stepped together, >= 1.
        seed: Seed of everything here; None draws one.
        name: Prefix of episode ids.
        on_reset: Called after each reset with ``(index, env, seed)``; scripted experts reset there.
    """

    def __init__(
        self,
        make_env: Callable[[], ParallelEnv],
        num_envs: int,
        seed: int | None,
        name: str = "eps",
        on_reset: Callable[[int, ParallelEnv, int], None] | None = None,
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {num_envs}")
        self.envs = [make_env() for _ in range(num_envs)]
        self.agents: list[str] = list(self.envs[0].possible_agents)
        self.observation_spaces = {a: self.envs[0].observation_space(a) for a in self.agents}
        self.action_spaces = {a: self.envs[0].action_space(a) for a in self.agents}
        self._bounds = {agent: Bounds(space) for agent, space in self.observation_spaces.items()}
        self._rng = np.random.default_rng(seed)
        self._name = name
        self._on_reset = on_reset
        self._started = 0
        self._running = [Running("") for _ in range(num_envs)]
        self.observations: dict[str, Array] = {
            a: np.zeros((num_envs, *space.shape), dtype=space.dtype) for a, space in self.observation_spaces.items()
        }
        self.alive: dict[str, Array] = {a: np.zeros(num_envs, dtype=bool) for a in self.agents}
        self._names = {agent: AgentColumns.of(agent) for agent in self.agents}
        self._ids: Array = np.full(num_envs, "", dtype=object)
        self._needs_reset = True
        self._spares = Spares()
        self._taken: deque[Mapping[str, Array]] = deque(maxlen=max(1, REMEMBERED // num_envs))
        self.on_step: Callable[[str, Mapping[str, int]], None] | None = None
        """Called for every alive agent and step with its reward events, in the order of the rows."""

    @property
    def num_envs(self) -> int:
        """Number of environments stepped together."""
        return len(self.envs)

    def reset(self) -> None:
        """Starts a new episode in every environment; unfinished ones are forgotten."""
        self._running = [Running("") for _ in range(self.num_envs)]
        self._restart(range(self.num_envs))
        self._needs_reset = False

    def _restart(self, indices: Sequence[int]) -> None:
        """Starts a new episode in some environments."""
        for index in indices:
            self.begin(index, self._next_seed())

    def _next_seed(self) -> int:
        return int(self._rng.integers(2**31 - 1))

    def begin(self, index: int, seed: int) -> None:
        """Starts the episode of a seed in one environment."""
        self._running[index] = self._start(index, seed)

    def _start(self, index: int, seed: int) -> Running:
        env = self.envs[index]
        observations, _ = env.reset(seed=seed)
        if self._on_reset:
            self._on_reset(index, env, seed)
        for agent in self.agents:
            present = agent in observations
            self.alive[agent][index] = present
            self.observations[agent][index] = observations[agent] if present else 0
            if present and not self._bounds[agent].hold(self.observations[agent][index]):
                raise self._unsound(agent, index, "reset")
        return Running(
            self._next_id(index), seed, returns=dict.fromkeys(self.agents, 0.0), lengths=dict.fromkeys(self.agents, 0)
        )

    def _next_id(self, index: int) -> str:
        # Batches of columns hold the present ids: they are replaced and never written into.
        self._ids = self._ids.copy()
        self._ids[index] = eps_id = f"{self._name}-{self._started:08d}"
        self._started += 1
        return eps_id

    def run(
        self,
        act: Actor,
        *,
        num_steps: int | None = None,
        num_episodes: int | None = None,
        keep: bool = True,
        after_step: Callable[[Sequence[int]], None] | None = None,
        most_steps: int | None = None,
        watch: Watch | None = None,
        show: Callable[[JointColumns], None] | None = None,
    ) -> tuple[JointColumns, list[Episode]]:
        """Steps until ``num_steps`` joint steps (rounded up to whole batches) or ``num_episodes`` episodes are done.

        With ``num_episodes`` all environments start anew, and the episodes returned are the first that *started*,
        not the first that ended: short episodes are not favoured.

        Args:
            act: Chooses actions for all environments at once.
            num_steps: Joint steps, over all environments.
            num_episodes: Episodes, over all environments.
            keep: Whether to return columns; False saves memory in evaluation.
            after_step: Called after each batched step with the indices whose episode ended (before they restart).
            most_steps: Gives episodes up that are still under way after so many joint steps; None never does.
            watch: Told how many episodes have ended, or how many joint steps are taken.
            show: Given the joint steps of each batched step.

        Returns:
            The joint steps taken (empty if not ``keep``) and the episodes that ended.
        """
        assert (num_steps is None) != (num_episodes is None)
        if num_episodes is not None or self._needs_reset:
            self.reset()
        first = self._started - self.num_envs
        wanted = {f"{self._name}-{first + k:08d}" for k in range(num_episodes or 0)}
        batches: list[JointColumns] = []
        gathered = None if num_steps is None else Gathered(-(-num_steps // self.num_envs) * self.num_envs, self._spares)
        episodes: list[Episode] = []
        taken = 0
        while True:
            batch, ended = self._step(act)
            if show:
                show(batch)
            if keep and gathered is not None:
                gathered.add(batch)
            elif keep:
                batches.append(batch)
            done = [index for index, _ in ended]
            if after_step:
                after_step(done)
            for _, episode in ended:
                episodes.append(episode)
                wanted.discard(episode.eps_id)
            if done:
                self._restart(done)
            taken += self.num_envs
            if watch and (done or num_steps is not None):
                watch(taken if num_episodes is None else num_episodes - len(wanted))
            if num_steps is not None and taken >= num_steps:
                break
            given_up = most_steps is not None and taken >= most_steps
            if num_episodes is not None and (given_up or not wanted):
                limit = f"{self._name}-{first + num_episodes:08d}"
                episodes = [episode for episode in episodes if episode.eps_id < limit]
                self._needs_reset = True
                break
        return pour_together(batches) if gathered is None else gathered.columns, episodes

    def _step(self, act: Actor) -> tuple[JointColumns, list[tuple[int, Episode]]]:
        chosen = act(self.observations, self.alive)
        n = self.num_envs
        batch: JointColumns = {
            EPS_ID: self._ids,
            T: np.array([run.t for run in self._running], dtype=np.int32),
        }
        for agent, names in self._names.items():
            alive = self.alive[agent].copy()
            batch[names.obs] = self.observations[agent].copy()
            batch[names.actions] = np.where(alive, np.asarray(chosen[agent]), IDLE_ACTION).astype(np.int64)
            batch[names.rewards] = np.zeros(n, dtype=np.float32)
            batch[names.terminateds] = np.zeros(n, dtype=bool)
            batch[names.truncateds] = np.zeros(n, dtype=bool)
            batch[names.alive] = alive
        self._taken.append({agent: batch[names.actions] for agent, names in self._names.items()})
        actions = {agent: values.tolist() for agent, values in self._taken[-1].items()}
        ended = []
        for index in range(n):
            if self._step_one(index, actions, batch):
                ended.append((index, self._finish(index)))
        for agent, names in self._names.items():
            if not self._bounds[agent].hold(self.observations[agent]):
                self._refuse(agent, batch[names.alive])
            successors = self.observations[agent].copy()
            successors[np.logical_not(batch[names.alive])] = 0
            batch[names.next_obs] = successors
        return batch, ended

    def _step_one(self, index: int, chosen: Mapping[str, list[int]], batch: JointColumns) -> bool:
        env, run = self.envs[index], self._running[index]
        acting = [agent for agent in self.agents if self.alive[agent][index]]
        actions = {agent: chosen[agent][index] for agent in acting}
        observations, rewards, terminateds, truncateds, infos = env.step(actions)
        run.t += 1
        going_on = 0
        for agent in acting:
            names = self._names[agent]
            reward = float(rewards.get(agent, 0.0))
            terminated, truncated = bool(terminateds.get(agent, False)), bool(truncateds.get(agent, False))
            if reward:
                batch[names.rewards][index] = reward
            if terminated or truncated:
                batch[names.terminateds][index] = terminated
                # An agent cannot end twice: a terminal state is terminal even if time ran out in the same step.
                batch[names.truncateds][index] = truncated and not terminated
                self.alive[agent][index] = False
                run.ended.add(agent)
            else:
                going_on += 1
            if agent in observations:
                self.observations[agent][index] = observations[agent]
            run.returns[agent] += reward
            run.lengths[agent] += 1
            info = infos.get(agent, {})
            events = info.get(EVENTS, {})
            if events or self.on_step:
                self._record_events(index, agent, events)
            if EPISODE_METRICS in info:
                run.metrics.update(info[EPISODE_METRICS])
        if len(env.agents) > going_on:
            going_on += self._enter(index, env.agents, observations)
        return going_on == 0

    def _enter(self, index: int, agents: Sequence[str], observations: Mapping[str, Any]) -> int:
        """Lets agents that were not there before act from the next step on; gives how many there are."""
        run, entered = self._running[index], 0
        for agent in agents:
            if self.alive[agent][index] or agent in run.ended or agent not in observations:
                continue
            self.alive[agent][index] = True
            self.observations[agent][index] = observations[agent]
            entered += 1
        return entered

    def _refuse(self, agent: str, acted: Array) -> None:
        """Raises where an agent that acted or acts next was given an observation that is not sound."""
        wrong = self._bounds[agent].unsound(self.observations[agent]) & (acted.astype(bool) | self.alive[agent])
        for index in np.flatnonzero(wrong).tolist():
            run = self._running[index]
            raise self._unsound(agent, index, f"step {run.t} of episode {run.eps_id}")

    def _unsound(self, agent: str, index: int, when: str) -> EnvironmentFault:
        called = getattr(self.envs[min(index, len(self.envs) - 1)], "called", "of no name")
        return unsound(called, when, agent, self._bounds[agent].describe(self.observations[agent][index]))

    def _finish(self, index: int) -> Episode:
        run = self._running[index]
        return Episode(run.eps_id, run.t, run.returns, run.lengths, run.agent_events(self.agents), dict(run.metrics))

    def _record_events(self, index: int, agent: str, events: Mapping[str, int]) -> None:
        if events:
            self._running[index].events.setdefault(agent, Counter()).update(events)
        if self.on_step:
            self.on_step(agent, events)

    def close(self) -> None:
        """Closes all environments."""
        for env in self.envs:
            env.close()

    def repeat(self, index: int, actions: Mapping[str, list[int]]) -> None:
        """Takes a step in one environment, of which nothing is kept."""
        self._step_one(index, actions, self._unread)

    @functools.cached_property
    def _unread(self) -> JointColumns:
        """Columns for what a step gives where nobody reads it."""
        kinds = {REWARDS: np.float32, TERMINATEDS: np.bool_, TRUNCATEDS: np.bool_}
        return {
            column(name, agent): np.zeros(self.num_envs, dtype=kind)
            for agent in self.agents
            for name, kind in kinds.items()
        }
