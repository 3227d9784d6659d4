"""Symmetries of environments of other packages: particle worlds (mpe2) and pursuit (PettingZoo)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Turn = tuple[bool, bool, bool]
"""Whether x and y are exchanged, then x negated, then y negated."""

TURNS: tuple[Turn, ...] = tuple(
    (swap, flip_x, flip_y)
    for swap in (False, True)
    for flip_x in (False, True)
    for flip_y in (False, True)
    if swap or flip_x or flip_y
)
"""The symmetries of a square, without the identity."""


def turned_moves(moves: tuple[tuple[int, int], ...], turn: Turn) -> list[int]:
    """What each move (x, y) of a list becomes."""
    swap, flip_x, flip_y = turn
    found = []
    for x, y in moves:
        new_x, new_y = (y, x) if swap else (x, y)
        found.append(moves.index((-new_x if flip_x else new_x, -new_y if flip_y else new_y)))
    return found


def turned_pairs(turn: Turn, count: int, first: int = 0) -> Callable[[Array], Array]:
    """Turns ``count`` pairs (x, y) of a flat observation, from the number ``first`` on."""
    swap, flip_x, flip_y = turn
    sign = np.array([-1.0 if flip_x else 1.0, -1.0 if flip_y else 1.0])

    def transform(seen: Array) -> Array:
        result = seen.copy()
        pairs = seen[:, first : first + 2 * count].reshape(len(seen), count, 2)
        result[:, first : first + 2 * count] = ((pairs[..., ::-1] if swap else pairs) * sign).reshape(len(seen), -1)
        return result

    return transform


def turned_window(turn: Turn, axis: int) -> Callable[[Array], Array]:
    """Turns pictures whose axes ``axis`` and ``axis + 1`` are y and x."""
    swap, flip_x, flip_y = turn
    flipped = tuple(each for each, flips in ((axis, flip_y), (axis + 1, flip_x)) if flips)

    def transform(seen: Array) -> Array:
        return np.flip(seen.swapaxes(axis, axis + 1) if swap else seen, flipped)

    return transform


_PARTICLE_MOVES = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))


def simple_spread(N: int = 3, **config: Any) -> Mapping[str, Any]:
    """Own velocity and position, the landmarks, the other agents; what the others say is nothing."""
    if set(config) & {"num_agent_neighbors", "num_landmark_neighbors"}:
        return {}
    pairs = 2 + N + (N - 1)
    return {"all": [(turned_pairs(turn, pairs), turned_moves(_PARTICLE_MOVES, turn)) for turn in TURNS]}


def simple_speaker_listener(**config: Any) -> Mapping[str, Any]:
    """The listener's velocity and the three landmarks turn; the speaker sees a colour and says a word."""
    words = [0, 1, 2]
    return {
        "speaker_0": [(lambda seen: seen, words) for _ in TURNS],
        "listener_0": [(turned_pairs(turn, 4), turned_moves(_PARTICLE_MOVES, turn)) for turn in TURNS],
    }


_PURSUIT_MOVES = ((-1, 0), (1, 0), (0, 1), (0, -1), (0, 0))


def pursuit(n_pursuers: int = 8, **config: Any) -> Mapping[str, Any]:
    """A window (y, x, layer) around every pursuer."""
    return {"all": [(turned_window(turn, 1), turned_moves(_PURSUIT_MOVES, turn)) for turn in TURNS]}
