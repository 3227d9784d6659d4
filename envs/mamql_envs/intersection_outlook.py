"""Where a vehicle can be in the next seconds: what follows from slowing down, crawling or driving on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mamql_envs.intersection_paths import Floats

SLOWER, IDLE, FASTER = range(3)
STAND, CRAWL, DRIVE = range(3)
"""What a driver can wish for: indices of the speeds 0, 4.5 and 9 m/s."""
LOOK_AHEAD = 10
"""Steps for which the vehicles' ways are foreseen."""
SAMPLES_PER_STEP = 5
STOP_LINE = -6.0
"""A vehicle that has to wait stops before this coordinate of its path [m]."""
MERGED = 14.0
"""How far a vehicle has to be into a shared road before another may follow it there from elsewhere [m]."""
NEVER = 10**6
"""A sample that does not come within the time looked ahead."""

_SPEED_STEP = 4.5
_DT, _DECAY = 1 / 15, 8 / 9
"""A substep [s], and what is left of the difference to the speed aimed at after it."""
_SAMPLES = np.array([3, 6, 9, 12, 15])
_LEFT_OVER = _DECAY**_SAMPLES

WISHES = np.array([[wish] + [then] * (LOOK_AHEAD - 1) for then in (DRIVE, STAND) for wish in (STAND, CRAWL, DRIVE)])
"""Each wish for a step, then driving on; each wish for a step, then standing."""


def foresee(
    s: float | Floats, speed: float | Floats, target: float | Floats, wishes: NDArray[np.int_]
) -> tuple[Floats, NDArray[np.int_]]:
    """Follows wishes as a vehicle would, if it keeps to its path.

    Args:
        s: Coordinate on the path [m]; a number, or `(vehicles, 1)`.
        speed: Speed [m/s], likewise.
        target: Speed aimed at [m/s], likewise.
        wishes: `(plans, steps)` of STAND, CRAWL and DRIVE.

    Returns:
        Coordinates, five to a step, `(..., plans, 5 * steps)`, and the first action of every plan, `(..., plans)`.
    """
    plans, steps = wishes.shape
    at, v, aim = (np.asarray(value, dtype=np.float64) + np.zeros(plans) for value in (s, speed, target))
    places = np.empty((*at.shape, steps, SAMPLES_PER_STEP))
    first = np.full(at.shape, IDLE)
    for step in range(steps):
        index = np.clip(np.rint(v / _SPEED_STEP), STAND, DRIVE)
        wish = wishes[:, step]
        # Standing and driving are always asked for, so that an action does not depend on what was aimed at before.
        faster = (wish > index) | (wish == DRIVE)
        slower = (wish < index) | (wish == STAND)
        aim = np.where(faster, np.minimum(index + 1, DRIVE) * _SPEED_STEP, aim)
        aim = np.where(slower, np.maximum(index - 1, STAND) * _SPEED_STEP, aim)
        if step == 0:
            first = np.where(faster, FASTER, np.where(slower, SLOWER, IDLE))
        lag = v - aim
        ways = aim[..., None] * _SAMPLES * _DT + lag[..., None] * (1 - _LEFT_OVER) * 9 * _DT
        places[..., step, :] = at[..., None] + ways
        at, v = places[..., step, -1], aim + lag * _LEFT_OVER[-1]
    return places.reshape(*at.shape, -1), first


def first_beyond(places: Floats, s: float | Floats) -> NDArray[np.int_]:
    """The first sample beyond a coordinate, NEVER if there is none.

    Args:
        places: `(..., samples)`, not falling.
        s: Coordinates that broadcast with it.
    """
    beyond = places > s
    return np.where(beyond[..., -1], beyond.argmax(axis=-1), NEVER)
