"""What a batch of environments stepped as one offers to whoever runs it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

Array = NDArray[Any]
StepResult = tuple[dict[str, Array], dict[str, Array], dict[str, Array], dict[str, dict[str, Array]]]
"""Rewards, terminated, truncated `{agent: (num_envs,)}`, and events `{agent: {kind: (num_envs,)}}`.

The arrays are not to be written into: agents may share one.
"""


class BatchedEnv(ABC):
    """`num_envs` copies of a parallel environment whose agents all act from the start, each until it ends.

    An episode is over when all its agents have ended. Until then one that has ended keeps its last observation, earns
    nothing, and does not end again; its actions are of no consequence.

    Nothing restarts by itself: after `step` has ended an episode, `observations` gives that episode's true last
    observation until the caller has started another with `reset_envs`. To step an environment that has ended
    is an error. A runner's loop:

        batch.reset(seed)
        while True:
            observations = batch.observations()
            rewards, terminated, truncated, events = batch.step(actions)
            next_observations = batch.observations()
            acting = {agent: acting[agent] & ~(terminated[agent] | truncated[agent]) for agent in agents}
            over = np.flatnonzero(~np.any(list(acting.values()), axis=0))
            batch.reset_envs(over, seeds)

    An episode depends on its own seed and actions only: neither on its place in the batch, nor on the batch's size,
    nor on the other episodes. It equals the episode of the unbatched environment after `reset(seed=seed)`.

    Attributes:
        agents: All agents, in order.
        observation_spaces: The space of one environment's observation, by agent.
        action_spaces: The space of one environment's action, by agent.
        num_envs: Environments in the batch.
    """

    agents: list[str]
    observation_spaces: dict[str, spaces.Space[Any]]
    action_spaces: dict[str, spaces.Space[Any]]
    num_envs: int

    def reset(self, seed: int) -> None:
        """Starts an episode in every environment, with seeds drawn from `seed`."""
        seeds = np.random.default_rng(seed).integers(2**31 - 1, size=self.num_envs)
        self.reset_envs(np.arange(self.num_envs), seeds)

    @abstractmethod
    def reset_envs(self, indices: Sequence[int] | Array, seeds: Sequence[int] | Array) -> None:
        """Starts an episode in some environments.

        Args:
            indices: Which, each at most once; may be empty.
            seeds: A non-negative integer for each of `indices`.
        """

    @abstractmethod
    def observations(self) -> dict[str, Array]:
        """The present observations `{agent: (num_envs, *observation)}`, in arrays that are the caller's to keep."""

    @abstractmethod
    def step(self, actions: Mapping[str, Array]) -> StepResult:
        """Takes a joint step in every environment.

        Args:
            actions: `{agent: (num_envs,)}` of integers.

        Returns:
            Rewards (float), terminated (bool), truncated (bool; never together with terminated), each
            `{agent: (num_envs,)}`, and events `{agent: {kind: (num_envs,)}}`, counts; a kind that did not occur may
            be left out.
        """

    def episode_metrics(self) -> dict[str, Array]:
        """What single environments put into their infos under `episode_metrics`, `{name: (num_envs,)}`, as of now."""
        return {}
