"""Environments whose agents see what they saw and did before, too: what policies with ``history`` play in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

from rllib_mamql.data.history import SpaceMemory
from rllib_mamql.environments.standard import StandardEnv

Array = NDArray[Any]


class HistoryEnv(StandardEnv):
    """A :class:`StandardEnv` that puts behind every observation the agent's last ones and its own actions.

    Args:
        env: As of :class:`StandardEnv`.
        name: As of :class:`StandardEnv`.
        masks_in_infos: As of :class:`StandardEnv`.
        steps: How many steps back, >= 1.
    """

    def __init__(self, env: ParallelEnv[Any, Any, Any], name: str, masks_in_infos: bool, steps: int) -> None:
        super().__init__(env, name, masks_in_infos)
        self._memories = {
            agent: SpaceMemory(super(HistoryEnv, self).observation_space(agent), int(self.action_space(agent).n), steps)
            for agent in self.possible_agents
        }

    def __deepcopy__(self, memo: dict[int, Any]) -> StandardEnv:
        """A copy that goes on by itself, and remembers the same."""
        twin = super().__deepcopy__(memo)
        assert isinstance(twin, HistoryEnv)
        twin._memories = {agent: memory.copy() for agent, memory in self._memories.items()}
        return twin

    def observation_space(self, agent: str) -> Box:
        """The Box that observations with their history lie in."""
        space: Box = self._memories[agent].space
        return space

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        """As the environment's; all is forgotten."""
        observations, infos = super().reset(seed, options)
        for memory in self._memories.values():
            memory.begin()
        return self._seen_with_past(observations), infos

    def step(self, actions: dict[str, Any]) -> tuple[Any, Any, Any, Any, Any]:
        """As the environment's; what agents saw and did becomes their past."""
        acted = [agent for agent in self.agents if agent in actions]
        observations, *rest = super().step(actions)
        for agent in acted:
            self._memories[agent].did(np.array([actions[agent]]))
        return self._seen_with_past(observations), *rest

    def _seen_with_past(self, observations: Mapping[str, Array]) -> dict[str, Array]:
        return {agent: self._memories[agent].see(seen[None])[0] for agent, seen in observations.items()}


class HistoryBatch:
    """The same for environments that step as a batch (``mamql_envs.batched.BatchedEnv``).

    Args:
        batch: The batch.
        steps: How many steps back, >= 1.
    """

    def __init__(self, batch: Any, steps: int) -> None:
        self.batch = batch
        self.agents, self.num_envs = batch.agents, int(batch.num_envs)
        self.action_spaces = batch.action_spaces
        self._memories = {
            agent: SpaceMemory(batch.observation_spaces[agent], int(batch.action_spaces[agent].n), steps, self.num_envs)
            for agent in batch.agents
        }
        self.observation_spaces = {agent: memory.space for agent, memory in self._memories.items()}

    def reset_envs(self, indices: Sequence[int] | Array, seeds: Sequence[int] | Array) -> None:
        """As the batch's; all is forgotten in these environments."""
        self.batch.reset_envs(indices, seeds)
        for memory in self._memories.values():
            memory.begin(indices)

    def observations(self) -> dict[str, Array]:
        """The present observations with their history, in arrays that are the caller's to keep."""
        return {agent: self._memories[agent].see(seen) for agent, seen in self.batch.observations().items()}

    def step(self, actions: Mapping[str, Array]) -> Any:
        """As the batch's, after :meth:`observations` of where the actions were chosen."""
        result = self.batch.step(actions)
        for agent, memory in self._memories.items():
            memory.did(actions[agent])
        return result

    def episode_metrics(self) -> dict[str, Array]:
        """As the batch's."""
        found: dict[str, Array] = self.batch.episode_metrics()
        return found
