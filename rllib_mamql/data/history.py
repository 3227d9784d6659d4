"""The space of observations with a history: what everybody who learns from them or acts on them sees.

With ``model_config: {history: k}`` an observation is a longer vector; :mod:`rllib_mamql.data.memory` says which. Rows
stay self-contained: they can be shuffled, cut and dealt out. Files never hold it; they are as they were recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box

from rllib_mamql.columns import Array
from rllib_mamql.data.masks import MaskedBox, seen_space
from rllib_mamql.data.memory import Memory, Rows, width
from rllib_mamql.errors import ConfigError

WIDEST = 1_000_000
"""Most numbers of an observation with its history."""
Spaces = Mapping[str, tuple[Any, Any]]
"""``{agent: (observation space, action space)}``."""


class HistoryBox(Box):
    """An observation, and behind it the last observations and own actions: ``(F + k (1 + F + A),)``.

    Args:
        observation: One observation ``(*obs)``, F numbers in any number format.
        actions: How many the agent has, A.
        steps: How many steps back are remembered, k >= 1.

    Raises:
        ConfigError: If that is too much to hold.
    """

    def __init__(self, observation: Box, actions: int, steps: int) -> None:
        dtype: np.dtype[Any] = np.dtype(observation.dtype)
        self.size = int(np.prod(observation.shape))
        if (numbers := width(self.size, actions, steps)) > WIDEST:
            raise ConfigError(
                f"model_config: history {steps} makes {numbers:,} numbers of an observation of {self.size:,}, at most "
                f"{WIDEST:,}: lower it"
            )
        low, high = observation.low.ravel(), observation.high.ravel()
        nothing, most = np.zeros(actions, dtype), np.ones(actions, dtype)
        # A step that never was is all zeros.
        before = np.concatenate([np.zeros(1, dtype), np.minimum(low, 0), nothing])
        after = np.concatenate([np.ones(1, dtype), np.maximum(high, 0), most])
        super().__init__(
            np.concatenate([low, np.tile(before, steps)]).astype(dtype),
            np.concatenate([high, np.tile(after, steps)]).astype(dtype),
            dtype=dtype.type,
        )
        self.observation, self.actions, self.steps = observation, actions, steps

    def __eq__(self, other: object) -> bool:
        """Whether observations, numbers of actions and steps are the same."""
        return isinstance(other, HistoryBox) and (self.observation, self.actions, self.steps) == (
            other.observation,
            other.actions,
            other.steps,
        )

    def __repr__(self) -> str:
        """The observation's space, the number of actions, and how many steps back."""
        return f"HistoryBox({self.observation}, {self.actions} actions, {self.steps} steps back)"


def remembering(space: Any, actions: int, steps: int) -> Any:
    """The space of observations with a history; what the agent may do stays behind all of it.

    Args:
        space: Of observations without.
        actions: How many the agent has.
        steps: How many steps back, >= 0; with 0 nothing changes.
    """
    if not steps:
        return space
    if isinstance(space, MaskedBox):
        return MaskedBox(HistoryBox(space.observation, actions, steps), space.actions)
    return HistoryBox(space, actions, steps)


def spaces_remembering(spaces: Spaces, steps: int) -> dict[str, tuple[Any, Any]]:
    """The spaces of all agents where observations have a history; see :func:`remembering`."""
    return {agent: (remembering(seen, int(done.n), steps), done) for agent, (seen, done) in spaces.items()}


def history_of(space: gym.Space[Any]) -> HistoryBox | None:
    """The part of a space that holds a history; None where there is none."""
    seen = seen_space(space)
    return seen if isinstance(seen, HistoryBox) else None


def frame_space(space: Any) -> Box:
    """The Box of one observation, without its history and without what the agent may do."""
    seen = seen_space(space)
    return seen.observation if isinstance(seen, HistoryBox) else seen


class SpaceMemory:
    """The memory of an agent whose observations may carry masks: these are of the present alone.

    Args:
        space: Of observations without history.
        actions: How many the agent has.
        steps: How many steps back, >= 1.
        num_envs: How many environments are stepped together.

    Attributes:
        space: Of observations with history.
    """

    def __init__(self, space: Box, actions: int, steps: int, num_envs: int = 1) -> None:
        self.space = remembering(space, actions, steps)
        self._shown = space
        seen = seen_space(space)
        self._memory = Memory(steps, tuple(seen.shape), actions, seen.dtype, num_envs)

    def begin(self, rows: Rows = slice(None)) -> None:
        """As :meth:`Memory.begin`."""
        self._memory.begin(rows)

    def see(self, observations: Array) -> Array:
        """Observations with their history: ``(num_envs, *obs)`` to ``(num_envs, F')``."""
        if isinstance(self._shown, MaskedBox):
            seen, legal = self._shown.split(observations)
            return np.asarray(self.space.join(self._memory.see(seen), legal))
        return self._memory.see(observations)

    def did(self, actions: Array) -> None:
        """As :meth:`Memory.did`."""
        self._memory.did(actions)

    def copy(self) -> SpaceMemory:
        """As :meth:`Memory.copy`."""
        twin = object.__new__(SpaceMemory)
        twin.__dict__.update(self.__dict__, _memory=self._memory.copy())
        return twin
