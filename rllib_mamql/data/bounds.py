"""Whether observations are numbers that networks can learn from: finite, and within the bounds that are declared."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

Array = NDArray[Any]

LARGEST = 1e15
"""Size up to which numbers are learned from: squares of what networks make of larger ones leave float32."""
SLACK = 1e-3
"""By how much of its size (of 1 at least) a bound may be exceeded: environments round, and datasets do."""


class Bounds:
    """What a Box's observations must lie in; asking about many costs two comparisons.

    Args:
        space: The Box.
    """

    def __init__(self, space: Box) -> None:
        dtype = np.dtype(space.dtype)
        low, high = np.asarray(space.low, np.float64), np.asarray(space.high, np.float64)
        low = np.clip(low - SLACK * np.maximum(1.0, np.abs(np.clip(low, -LARGEST, LARGEST))), -LARGEST, LARGEST)
        high = np.clip(high + SLACK * np.maximum(1.0, np.abs(np.clip(high, -LARGEST, LARGEST))), -LARGEST, LARGEST)
        self.any_will_do = dtype.kind in "iub"
        """Whether the number format itself keeps observations within the bounds."""
        if dtype.kind in "iu":
            limits = np.iinfo(dtype)
            self.any_will_do = bool((low <= limits.min).all() and (high >= limits.max).all())
            low, high = np.clip(low, limits.min, limits.max), np.clip(high, limits.min, limits.max)
        elif dtype.kind == "f":
            limits_f = np.finfo(dtype)
            low, high = np.clip(low, limits_f.min, limits_f.max), np.clip(high, limits_f.min, limits_f.max)
        self._declared = space
        narrow = dtype if dtype.kind == "f" else np.dtype(np.float64)
        self._low, self._high = _shared(low.astype(narrow)), _shared(high.astype(narrow))

    def hold(self, observations: Array) -> bool:
        """Whether all of some observations ``(B, *obs)``, or of one ``(*obs)``, are sound; NaN never is."""
        if self.any_will_do:
            return True
        return bool(((observations >= self._low) & (observations <= self._high)).all())

    def unsound(self, observations: Array) -> NDArray[np.bool_]:
        """Which of some observations ``(B, *obs)`` are not sound, ``(B,)``."""
        if self.any_will_do:
            return np.zeros(len(observations), np.bool_)
        good = (observations >= self._low) & (observations <= self._high)
        return np.asarray(~good.reshape(len(observations), -1).all(axis=1))

    def describe(self, observation: Array) -> str:
        """What is wrong with an observation ``(*obs)`` that is not sound: the first such number, and its place."""
        good = (observation >= self._low) & (observation <= self._high)
        place = tuple(int(index) for index in np.unravel_index(int(np.argmin(good)), good.shape))
        value = observation[place]
        where = f"{value} at {list(place)}" if len(place) != 1 else f"{value} at index {place[0]}"
        if not np.isfinite(value):
            return f"{where}, expected finite numbers"
        low, high = self._declared.low[place], self._declared.high[place]
        if low <= value <= high:
            return f"{where}, expected at most {LARGEST:g} in size, beyond which networks cannot learn"
        return f"{where}, outside its space's {low:g} to {high:g}"


def _shared(bound: Array) -> Array:
    """One number where all are the same: comparing with it takes half the time."""
    if bound.size and (bound == bound.flat[0]).all():
        return np.asarray(bound.flat[0])
    return bound
