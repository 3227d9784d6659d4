"""The eight symmetries of the square on which Gems is played."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamql_envs.gems_batch import ENTITY_COLUMNS

Array = NDArray[Any]

UP, DOWN, LEFT, RIGHT, STAY = range(5)
_TRANSPOSED = np.array([LEFT, RIGHT, UP, DOWN, STAY])
_FLIPPED_X = np.array([UP, DOWN, RIGHT, LEFT, STAY])
_FLIPPED_Y = np.array([DOWN, UP, LEFT, RIGHT, STAY])


def symmetries(observation: str = "grid", **config: Any) -> Mapping[str, Any]:
    """What observations and actions become when the board is mirrored or turned: seven functions and permutations.

    Args:
        observation: The environment's form of observations.
        **config: Its other keywords, which change nothing here.

    Returns:
        ``{"all": [(transform, actions), ...]}``: both agents see the board alike.
    """
    transforms = {"grid": _grid, "entities": _entities, "vector": _vector}
    found = []
    for transpose in (False, True):
        for flip_x in (False, True):
            for flip_y in (False, True):
                if not (transpose or flip_x or flip_y):
                    continue
                actions = np.arange(5)
                if transpose:
                    actions = _TRANSPOSED[actions]
                if flip_x:
                    actions = _FLIPPED_X[actions]
                if flip_y:
                    actions = _FLIPPED_Y[actions]
                found.append((transforms[observation](transpose, flip_x, flip_y), actions))
    return {"all": found}


def _grid(transpose: bool, flip_x: bool, flip_y: bool) -> Any:
    def turned(seen: Array) -> Array:
        seen = seen.swapaxes(-1, -2) if transpose else seen
        return seen[..., :: -1 if flip_y else 1, :: -1 if flip_x else 1]

    return turned


def _offsets(seen: Array, transpose: bool, flip_x: bool, flip_y: bool) -> Array:
    """Pairs (x, y) along the last axis."""
    turned = seen[..., ::-1] if transpose else seen
    return turned * np.array([-1.0 if flip_x else 1.0, -1.0 if flip_y else 1.0])


def _vector(transpose: bool, flip_x: bool, flip_y: bool) -> Any:
    def turned(seen: Array) -> Array:
        pairs = seen.reshape(len(seen), -1, 2)
        return _offsets(pairs, transpose, flip_x, flip_y).reshape(seen.shape)

    return turned


def _entities(transpose: bool, flip_x: bool, flip_y: bool) -> Any:
    offset = ENTITY_COLUMNS.index("dx")
    side = offset + 3  # above, below, left, right
    order = np.arange(4)
    if transpose:
        order = order[[2, 3, 0, 1]]
    if flip_x:
        order = order[[0, 1, 3, 2]]
    if flip_y:
        order = order[[1, 0, 2, 3]]

    def turned(seen: Array) -> Array:
        result = seen.copy()
        result[..., offset : offset + 2] = _offsets(seen[..., offset : offset + 2], transpose, flip_x, flip_y)
        result[..., side : side + 4] = seen[..., side + order]
        return result

    return turned
