"""Actions of several kinds as one number from 0 on: what policies choose and datasets hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete

from rllib_mamql.errors import ConfigError

MOST_JOINT = 1024
"""Combinations up to which several choices of one agent are taken as one choice among all of them."""
REMEDY = "a wrapper can do that, see docs/your_environment.md#wrappers"


@dataclass(frozen=True)
class ActionCoding:
    """How the number that a policy chooses becomes the environment's action.

    Attributes:
        space: Discrete, from 0 on.
        plain: Whether the number is the action.
        native: Gives the environment's action of a number.
        number: Gives the number of an environment's action.
    """

    space: Discrete[Any]
    plain: bool
    native: Callable[[int], Any]
    number: Callable[[Any], int]


def action_coding(space: gym.Space[Any]) -> ActionCoding:
    """The coding of a space of actions.

    ``Discrete`` keeps its order, whatever it starts at. ``MultiDiscrete`` and ``MultiBinary`` become one choice among
    all their combinations, the last component counting fastest (``numpy.ravel_multi_index``).

    Args:
        space: As the environment declares it.

    Raises:
        ConfigError: If policies cannot act in it; says what to do.
    """
    if isinstance(space, Discrete):
        start = int(space.start)
        counted: Discrete[Any] = Discrete(int(space.n))
        if start == 0:
            return ActionCoding(counted, True, int, int)
        return ActionCoding(counted, False, lambda number: start + int(number), lambda action: int(action) - start)
    if isinstance(space, MultiDiscrete):
        return _joint(space, np.asarray(space.nvec, np.int64), np.asarray(space.start, np.int64))
    if isinstance(space, MultiBinary):
        sizes = np.full(space.shape, 2, np.int64)
        return _joint(space, sizes, np.zeros_like(sizes))
    if isinstance(space, Box):
        raise ConfigError(
            f"actions are continuous, {space}: policies choose among a finite number; offer some of them as a Discrete"
            f"; {REMEDY}"
        )
    raise ConfigError(
        f"actions are {space}: policies choose among a finite number; make them Discrete, MultiDiscrete or MultiBinary"
        f"; {REMEDY}"
    )


def _joint(space: gym.Space[Any], sizes: np.ndarray, start: np.ndarray) -> ActionCoding:
    flat = sizes.ravel()
    # In Python's integers: numpy's would overflow.
    count = 1
    for size in flat.tolist():
        count *= size
    if count > MOST_JOINT:
        raise ConfigError(
            f"actions are {space}, which have {count:,} combinations, at most {MOST_JOINT:,} can be chosen among: "
            f"offer fewer as a Discrete; {REMEDY}"
        )
    dtype = np.dtype(space.dtype)
    table = (np.stack(np.unravel_index(np.arange(count), flat), -1).reshape(count, *sizes.shape) + start).astype(dtype)
    # Callers may write into what they are given.
    return ActionCoding(
        Discrete(count),
        False,
        lambda number: table[int(number)].copy(),
        lambda action: int(np.ravel_multi_index(tuple((np.asarray(action) - start).ravel().tolist()), flat)),
    )
