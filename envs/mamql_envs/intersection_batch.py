"""A batch of intersections that step as one, in numpy: `intersection_v0` where only agents drive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.utils import seeding

from mamql_envs import checks
from mamql_envs.batched import Array, BatchedEnv, StepResult
from mamql_envs.intersection_fleet import Fleet
from mamql_envs.intersection_sim import draw_start
from mamql_envs.intersection_v0 import (
    ARRIVAL,
    ARRIVAL_REWARD,
    COLLISION,
    COLLISION_REWARD,
    FASTER,
    IntersectionParallelEnv,
)


def batched_env(num_envs: int, **config: Any) -> IntersectionBatch | None:
    """A batch of intersections, or None where single ones serve better.

    That is with traffic or the challenger, whose drivers keep to other rules, and for one intersection alone, which
    steps faster by itself.

    Args:
        num_envs: Environments in the batch, at least 1.
        **config: Arguments of `intersection_v0.parallel_env`.
    """
    if checks.positive("num_envs", num_envs) == 1:
        return None
    single = IntersectionParallelEnv(**config)
    return None if single.traffic or single.challenger else IntersectionBatch(num_envs, single)


class IntersectionBatch(BatchedEnv):
    """A batch of intersections, whose vehicles arrive at different times.

    Args:
        num_envs: Environments in the batch, at least 1.
        single: The environment that it is a batch of, without traffic and challenger.

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, num_envs: int, single: IntersectionParallelEnv) -> None:
        self.num_envs = checks.positive("num_envs", num_envs)
        self.agents = list(single.possible_agents)
        self.observation_spaces = {agent: single.observation_space(agent) for agent in self.agents}
        self.action_spaces = {agent: single.action_space(agent) for agent in self.agents}
        self._single = single
        self._form = (-1,) if single.observation == "vector" else single.features.shape
        self._destination = single.sim.config["destination"]
        self.fleet = Fleet(self.num_envs, single.vehicles)
        shape = (single.vehicles, self.num_envs)
        self._seen = np.zeros((*shape, *single.features.shape), np.float32)
        self._acting = np.zeros(shape, bool)
        self._arrived = np.zeros(shape, bool)
        self._steps = np.zeros(self.num_envs, np.int64)
        self._published_return = np.zeros(self.num_envs)

    def reset_envs(self, indices: Sequence[int] | Array, seeds: Sequence[int] | Array) -> None:
        """Starts an episode in some environments, see `BatchedEnv.reset_envs`."""
        envs, chosen = checks.rows_and_seeds(indices, seeds)
        if not len(envs):
            return
        destinations = np.zeros((len(self.agents), len(envs)), np.intp)
        starts = np.zeros(destinations.shape)
        for k, seed in enumerate(chosen.tolist()):
            rng, _ = seeding.np_random(seed)
            for i in range(len(self.agents)):
                destination, starts[i, k] = draw_start(rng, i, starts[:i, k].tolist(), self._destination)
                destinations[i, k] = int(destination.removeprefix("o"))
        which = np.arange(len(self.agents))[:, None] * self.num_envs + envs
        self.fleet.place(which.reshape(-1), destinations.reshape(-1), starts.reshape(-1))
        self._acting[:, envs] = True
        self._arrived[:, envs] = False
        self._steps[envs] = 0
        self._published_return[envs] = 0.0
        self._observe(envs)

    def observations(self) -> dict[str, Array]:
        """The present observations `{agent: (num_envs, *observation)}`; of one that has ended, its last."""
        return {
            agent: seen.reshape(self.num_envs, *self._form).copy()
            for agent, seen in zip(self.agents, self._seen, strict=True)
        }

    def step(self, actions: Mapping[str, Array]) -> StepResult:
        """Drives for a second in every environment, see `BatchedEnv.step`."""
        acting = self._acting
        if not acting.any(axis=0).all():
            ended = np.flatnonzero(~acting.any(axis=0))[:5].tolist()
            raise RuntimeError(f"no episode is under way in environments {ended}: call reset_envs() before step()")
        chosen = checks.batch_of_actions(actions, self.agents, self.num_envs, FASTER + 1)
        # Those who have left drive on.
        self.fleet.step(np.where(acting, chosen, FASTER))
        self._steps += 1

        fleet = self.fleet
        crashed, on_road, arrives = (
            flags.reshape(acting.shape) for flags in (fleet.crashed, fleet.on_road, fleet.arrives)
        )
        arrived = self._arrived | (arrives & ~crashed)
        arrivals, collisions = acting & arrived & ~self._arrived & ~crashed, acting & crashed
        self._arrived = arrived
        published = np.where(arrived, ARRIVAL_REWARD, np.where(crashed & on_road, COLLISION_REWARD, 0.0))
        self._published_return = self._published_return + published.sum(axis=0) / len(self.agents)

        if self._single.counting == "published":
            rewards = published * acting
            # An arrived vehicle goes on earning, so that only the end of all of them ends it.
            terminated = acting & (arrived.all(axis=0) | crashed)
        else:
            rewards = ARRIVAL_REWARD * arrivals + COLLISION_REWARD * collisions
            terminated = acting & (arrived | crashed)
        over = self._steps >= self._single.horizon
        if self._single.crash_ends_all:
            over = over | collisions.any(axis=0)
        truncated = acting & over & ~terminated
        self._observe(slice(None))
        self._acting = acting & ~(terminated | truncated)
        events = {
            agent: {ARRIVAL: arrivals[i].astype(int), COLLISION: collisions[i].astype(int)}
            for i, agent in enumerate(self.agents)
        }
        return (
            dict(zip(self.agents, rewards, strict=True)),
            dict(zip(self.agents, terminated, strict=True)),
            dict(zip(self.agents, truncated, strict=True)),
            events,
        )

    def episode_metrics(self) -> dict[str, Array]:
        """What highway-env would have paid since the start, averaged over all vehicles."""
        return {"published_return": self._published_return}

    def _observe(self, envs: Any) -> None:
        """Looks around, with the eyes of those who act."""
        acting = self._acting[:, envs]
        features = self._single.features(self.fleet.scene(envs, acting), len(self.agents))
        seen = np.where(acting[..., None, None], np.moveaxis(features, 1, 0), self._seen[:, envs])
        self._seen[:, envs] = seen
