"""What a vehicle sees: itself and the vehicles around it, in its own frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamql_envs.intersection_fast import FastMDPVehicle
from mamql_envs.intersection_outlook import DRIVE, MERGED, STAND, STOP_LINE, WISHES, first_beyond, foresee
from mamql_envs.intersection_paths import Path, zones

_OFFSET, _SPEED, _AHEAD = 50.0, 10.0, 50.0
"""Metres, metres per second and metres of path that are one unit of an observation."""

_STEPS = 1024.0
"""Features are multiples of one part in so many, about 5 cm: recorded play is then half as large."""


class EntityFeatures:
    """Features of every vehicle as each of the observing vehicles sees it; the same for all approaches.

    Args:
        entities: Rows of an observation, the observing vehicle's included; the nearest vehicles are kept.
    """

    COLUMNS = (
        "present",
        "self",
        "agent",
        "traffic",
        "x",
        "y",
        "vx",
        "vy",
        "cos_h",
        "sin_h",
        "speed",
        "target_speed",
        "to_crossing",
        "left",
        "straight",
        "right",
        "arrived",
        "crashed",
        "meets",
        "to_zone",
        "out_of_zone",
        "its_to_zone",
        "its_out_of_zone",
        "stands_at_if_slower",
        "stands_at_if_crawling",
        "stands_at_if_driving",
        "enters_if_slower",
        "enters_if_crawling",
        "enters_if_driving",
        "its_enters",
        "its_leaves",
        "must_go",
        "goes_first",
        "its_stands_at_if_slower",
    )
    _WIDE = (
        "x",
        "y",
        "vx",
        "vy",
        "speed",
        "to_crossing",
        "to_zone",
        "out_of_zone",
        "its_to_zone",
        "its_out_of_zone",
        "stands_at_if_slower",
        "stands_at_if_crawling",
        "stands_at_if_driving",
        "its_stands_at_if_slower",
    )
    LIMIT = 5.0
    """What is measured in metres or metres per second is clipped at this."""

    def __init__(self, entities: int) -> None:
        self.shape = (entities, len(self.COLUMNS))
        self.high = np.ones(self.shape, dtype=np.float32)
        self.low = np.zeros(self.shape, dtype=np.float32)
        wide = [self.COLUMNS.index(name) for name in self._WIDE]
        self.high[:, wide] = self.LIMIT
        self.low[:, wide] = -self.LIMIT
        self.low[:, [self.COLUMNS.index("cos_h"), self.COLUMNS.index("sin_h")]] = -1

    def __call__(
        self, vehicles: Sequence[Any], places: Sequence[tuple[Path, float]], observers: int
    ) -> NDArray[np.float32]:
        """Observes.

        Args:
            vehicles: Every vehicle to be seen, those that observe first.
            places: The path of each, and its coordinate on it.
            observers: How many of them observe.

        Returns:
            An array of shape `(observers, entities, columns)`; absent rows are zero.
        """
        state = np.array(
            [(v.x, v.y, v.heading, v.speed, v.target_speed, v.crashed, isinstance(v, FastMDPVehicle)) for v in vehicles]
        )
        x, y, heading, speed, target, crashed, is_agent = state.T
        s = np.array([place[1] for place in places])
        path = np.array([place[0].index for place in places])
        arrival = np.array([place[0].arrival for place in places])
        turn = np.array([place[0].turn for place in places])
        ego = slice(0, observers)

        cos, sin = np.cos(heading), np.sin(heading)
        forward, aside = cos[ego, None], sin[ego, None]
        dx, dy = x - x[ego, None], y - y[ego, None]
        vx, vy = speed * cos, speed * sin
        dvx, dvy = vx - vx[ego, None], vy - vy[ego, None]

        seen = np.zeros((observers, len(vehicles), len(self.COLUMNS)))
        own = np.eye(observers, len(vehicles))
        seen[..., 0] = 1
        seen[..., 1] = own
        seen[..., 2] = is_agent * (1 - own)
        seen[..., 3] = 1 - is_agent
        seen[..., 4] = (dx * forward + dy * aside) / _OFFSET
        seen[..., 5] = (dy * forward - dx * aside) / _OFFSET
        seen[..., 6] = (dvx * forward + dvy * aside) / _SPEED
        seen[..., 7] = (dvy * forward - dvx * aside) / _SPEED
        seen[..., 8] = cos * forward + sin * aside
        seen[..., 9] = sin * forward - cos * aside
        seen[..., 10] = speed / _SPEED
        seen[..., 11] = target * own / _SPEED
        seen[..., 12] = -s / _AHEAD
        seen[..., 13:16] = np.eye(3)[turn]
        seen[..., 16] = s >= arrival
        seen[..., 17] = crashed
        self._meet(seen, path, s, own > 0)
        self._foresee(seen, path, s, speed, target, own > 0)
        np.clip(np.rint(seen * _STEPS) / _STEPS, self.low[0], self.high[0], out=seen)

        result = np.zeros((observers, *self.shape), dtype=np.float32)
        nearest = np.argsort(np.where(own > 0, -1.0, dx * dx + dy * dy), axis=1, kind="stable")[:, : self.shape[0]]
        result[:, : nearest.shape[1]] = np.take_along_axis(seen, nearest[..., None], axis=1)
        return result

    @staticmethod
    def _meet(
        seen: NDArray[np.float64], path: NDArray[np.intp], s: NDArray[np.float64], own: NDArray[np.bool_]
    ) -> None:
        """Fills in where each vehicle's path meets the observer's, while neither has left that zone behind."""
        n = len(seen)
        mine, its = zones()[path[:n, None], path], zones()[path, path[:n, None]]
        distances = np.stack(
            [mine[..., 0] - s[:n, None], mine[..., 1] - s[:n, None], its[..., 0] - s, its[..., 1] - s], axis=-1
        )
        meets = (distances[..., 1] > 0) & (distances[..., 3] > 0) & ~own
        seen[..., 18] = meets
        seen[..., 19:23] = np.where(meets[..., None], distances / _AHEAD, 0.0)

    @staticmethod
    def _foresee(
        seen: NDArray[np.float64],
        path: NDArray[np.intp],
        s: NDArray[np.float64],
        speed: NDArray[np.float64],
        target: NDArray[np.float64],
        own: NDArray[np.bool_],
    ) -> None:
        """Fills in times and places of the next seconds.

        Of the observer: where it would come to stand if it braked after a step of each speed (in its own row from the
        crossing, in another's from where their paths meet), and when it would enter that place if it drove on instead.
        Of the other: when it enters and leaves the place if it drives on, whether it can still stop before the
        crossing, whether it is to go before the observer: if it cannot stop, else if it is closer, and where it would
        stand, from where the paths meet, if it braked at once: the gap that is left on a shared road.
        """
        n, count = seen.shape[:2]
        places, _ = foresee(s[:, None], speed[:, None], target[:, None], WISHES)
        going, stops = places[:, :3], places[:, 3:, -1]
        must_go = stops[:, STAND] > STOP_LINE
        meets = seen[..., 18] > 0
        mine, its = zones()[path[:n, None], path], zones()[path, path[:n, None]]
        # On a shared exit the way is free once the other is well into it, as drivers who merge count on.
        its_leave = np.where(np.isinf(its[..., 1]), its[..., 0] + MERGED, its[..., 1])
        its_edges = np.stack([its[..., 0], its_leave], axis=-1)
        stands = np.where(own[..., None], stops[:n, None], stops[:n, None] - np.maximum(mine[..., :1], -_AHEAD))
        seen[..., 23:26] = np.where((meets | own)[..., None], stands / _AHEAD, 0.0)
        times = np.stack(
            [first_beyond(going[:n, None, wish], mine[..., :1]) for wish in range(3)]
            + [first_beyond(going[None, :, DRIVE], its_edges[..., edge, None]) for edge in range(2)],
            axis=-1,
        )
        horizon = going.shape[-1]
        seen[..., 26:31] = np.where(meets[..., None], np.minimum(times, horizon) / horizon, 0.0)
        seen[..., 31] = must_go
        rank = np.lexsort((np.arange(count), -s, ~must_go)).argsort()
        seen[..., 32] = rank < rank[:n, None]
        its_stand = stops[:, STAND] - np.maximum(its[..., 0], -_AHEAD)
        seen[..., 33] = np.where(meets, its_stand / _AHEAD, 0.0)
