"""What an agent remembers while it plays: its last observations and own actions, as numbers behind what it sees now.

Of ``k`` steps back, an observation of F numbers and A actions, a row of ``F + k (1 + F + A)`` numbers is::

    now (F) | one step back: 1, observation (F), own action (A, one of them 1) | two steps back | ... | k steps back

Where the agent was not there yet, before an episode's start or its own, all numbers of a step are 0. Needs numpy alone:
exported policies are used where nothing else is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Rows = slice | Sequence[int] | npt.NDArray[np.int64]
ALL = slice(None)


def width(size: int, actions: int, steps: int) -> int:
    """Numbers of a row: of observations of ``size`` numbers, so many actions, so many steps back."""
    return size + steps * (1 + size + actions)


def past_step(observations: Array, taken: Array, actions: int) -> Array:
    """What is remembered of a step.

    Args:
        observations: ``(N, *obs)``, F numbers each.
        taken: The action taken at each ``(N,)``, from 0.
        actions: How many there are, A.

    Returns:
        ``(N, 1 + F + A)`` in the observations' dtype.
    """
    flat = observations.reshape(len(observations), -1)
    there = np.ones((len(flat), 1), flat.dtype)
    chosen = np.asarray(taken)[:, None] == np.arange(actions)
    return np.concatenate([there, flat, chosen.astype(flat.dtype)], axis=1)


class Memory:
    """One agent's memory in several environments that are stepped together.

    In a loop: :meth:`begin` where an episode starts, :meth:`see` what is observed, choose actions from what it gives,
    and :meth:`did` them::

        wide = memory.see(observations)
        actions = policy.act(wide, rng)
        memory.did(actions)

    Args:
        steps: How many steps back it goes, k >= 1.
        shape: Of one observation.
        actions: How many the agent has, A.
        dtype: Of observations, and of what is made of them.
        num_envs: How many environments.
    """

    def __init__(self, steps: int, shape: tuple[int, ...], actions: int, dtype: Any, num_envs: int = 1) -> None:
        self.steps, self.shape, self.actions = steps, shape, actions
        self._past = np.zeros((num_envs, steps, 1 + math.prod(shape) + actions), dtype)
        self._seen = np.zeros((num_envs, *shape), dtype)

    def begin(self, rows: Rows = ALL) -> None:
        """Forgets everything in some environments, at the start of their episodes."""
        self._past[rows] = 0

    def see(self, observations: npt.ArrayLike) -> Array:
        """What the policy sees of observations ``(num_envs, *shape)`` and the past: ``(num_envs, F + k (1 + F + A))``.

        Raises:
            ValueError: If observations have another shape.
        """
        # A copy: environments may write into what they gave.
        seen = np.array(observations, self._past.dtype)
        if seen.shape != self._seen.shape:
            raise ValueError(f"observations have shape {seen.shape}, expected {self._seen.shape}")
        self._seen = seen
        rows = len(seen)
        return np.concatenate([seen.reshape(rows, -1), self._past.reshape(rows, -1)], axis=1)

    def did(self, actions: npt.ArrayLike) -> None:
        """Remembers what was seen last with the actions ``(num_envs,)`` taken there."""
        step = past_step(self._seen, np.asarray(actions), self.actions)
        self._past = np.concatenate([step[:, None], self._past[:, :-1]], axis=1)

    def copy(self) -> Memory:
        """The same for a copy of the environments; what follows stays apart."""
        twin = object.__new__(Memory)
        twin.__dict__.update(self.__dict__, _past=self._past.copy())
        return twin
