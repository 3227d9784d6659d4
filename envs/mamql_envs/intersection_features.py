"""What a vehicle sees: itself and the vehicles around it, in its own frame."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamql_envs.intersection_fast import FastMDPVehicle
from mamql_envs.intersection_outlook import DRIVE, MERGED, STAND, STOP_LINE, WISHES, first_beyond, foresee
from mamql_envs.intersection_paths import Floats, Path, paths, zones

_OFFSET, _SPEED, _AHEAD = 50.0, 10.0, 50.0
"""Metres, metres per second and metres of path that are one unit of an observation."""

_STEPS = 1024.0
"""Features are multiples of one part in so many, about 5 cm: recorded play is then half as large."""


Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Scene:
    """The vehicles at some crossings; every array is `(crossings, vehicles)`.

    Attributes:
        x: World coordinate [m].
        y: World coordinate [m].
        heading: Of the vehicle [rad].
        speed: Of the vehicle [m/s].
        target: The speed aimed at [m/s].
        crashed: Whether it has crashed.
        is_agent: Whether an agent drives it, or did until it arrived.
        present: Whether it is on the road; others are not seen.
        path: Number of its path.
        s: Its coordinate on the path [m].
    """

    x: Floats
    y: Floats
    heading: Floats
    speed: Floats
    target: Floats
    crashed: Bools
    is_agent: Bools
    present: Bools
    path: NDArray[np.intp]
    s: Floats

    @classmethod
    def of(cls, vehicles: Sequence[Any], places: Sequence[tuple[Path, float]]) -> Scene:
        """One crossing.

        Args:
            vehicles: Every vehicle to be seen.
            places: The path of each, and its coordinate on it.
        """
        numbers = np.array([(v.x, v.y, v.heading, v.speed, v.target_speed) for v in vehicles]).T
        x, y, heading, speed, target = np.ascontiguousarray(numbers)[:, None]
        crashed = np.array([[v.crashed for v in vehicles]])
        is_agent = np.array([[isinstance(v, FastMDPVehicle) for v in vehicles]])
        path = np.array([[place[0].index for place in places]])
        s = np.array([[place[1] for place in places]])
        return cls(x, y, heading, speed, target, crashed, is_agent, np.ones_like(crashed), path, s)


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

    def __call__(self, scene: Scene, observers: int) -> NDArray[np.float32]:
        """Observes.

        Args:
            scene: Every vehicle to be seen, those that observe first.
            observers: How many of a crossing's vehicles observe.

        Returns:
            An array of shape `(crossings, observers, entities, columns)`; absent rows are zero.
        """
        count = scene.x.shape[1]
        cos, sin = np.cos(scene.heading), np.sin(scene.heading)
        forward, aside = cos[:, :observers, None], sin[:, :observers, None]
        dx, dy = _relative(scene.x, observers), _relative(scene.y, observers)
        dvx, dvy = _relative(scene.speed * cos, observers), _relative(scene.speed * sin, observers)
        cos, sin = cos[:, None], sin[:, None]

        seen = np.zeros((len(dx), observers, count, len(self.COLUMNS)))
        own = np.eye(observers, count)
        arrivals, turns = _by_path()
        seen[..., 0] = 1
        seen[..., 1] = own
        seen[..., 2] = scene.is_agent[:, None] * (1 - own)
        seen[..., 3] = 1 - scene.is_agent[:, None]
        seen[..., 4] = (dx * forward + dy * aside) / _OFFSET
        seen[..., 5] = (dy * forward - dx * aside) / _OFFSET
        seen[..., 6] = (dvx * forward + dvy * aside) / _SPEED
        seen[..., 7] = (dvy * forward - dvx * aside) / _SPEED
        seen[..., 8] = cos * forward + sin * aside
        seen[..., 9] = sin * forward - cos * aside
        seen[..., 10] = scene.speed[:, None] / _SPEED
        seen[..., 11] = scene.target[:, None] * own / _SPEED
        seen[..., 12] = -scene.s[:, None] / _AHEAD
        seen[..., 13:16] = turns[scene.path][:, None]
        seen[..., 16] = (scene.s >= arrivals[scene.path])[:, None]
        seen[..., 17] = scene.crashed[:, None]
        self._meet(seen, scene, own > 0)
        self._foresee(seen, scene, own > 0)
        np.rint(np.multiply(seen, _STEPS, out=seen), out=seen)
        np.divide(seen, _STEPS, out=seen)
        np.minimum(np.maximum(seen, self.low[0], out=seen), self.high[0], out=seen)

        present = np.broadcast_to(scene.present[:, None], dx.shape)
        distance = np.where(own > 0, -1.0, np.where(present, dx * dx + dy * dy, np.inf))
        nearest = np.argsort(distance, axis=-1, kind="stable")[..., : self.shape[0]]
        rows = np.take_along_axis(seen, nearest[..., None], axis=2)
        rows *= np.take_along_axis(present, nearest, axis=2)[..., None]
        result = np.zeros((*dx.shape[:2], *self.shape), dtype=np.float32)
        result[:, :, : nearest.shape[-1]] = rows
        return result

    @staticmethod
    def _meet(seen: Floats, scene: Scene, own: Bools) -> None:
        """Fills in where each vehicle's path meets the observer's, while neither has left that zone behind."""
        mine, its = _zones_of(scene, seen.shape[1])
        my_s, its_s = scene.s[:, : seen.shape[1], None, None], scene.s[:, None, :, None]
        distances = np.concatenate([mine - my_s, its - its_s], axis=-1)
        meets = (distances[..., 1] > 0) & (distances[..., 3] > 0) & ~own
        seen[..., 18] = meets
        seen[..., 19:23] = np.where(meets[..., None], distances / _AHEAD, 0.0)

    @staticmethod
    def _foresee(seen: Floats, scene: Scene, own: Bools) -> None:
        """Fills in times and places of the next seconds.

        Of the observer: where it would come to stand if it braked after a step of each speed (in its own row from the
        crossing, in another's from where their paths meet), and when it would enter that place if it drove on instead.
        Of the other: when it enters and leaves the place if it drives on, whether it can still stop before the
        crossing, whether it is to go before the observer: if it cannot stop, else if it is closer, and where it would
        stand, from where the paths meet, if it braked at once: the gap that is left on a shared road.
        """
        n = seen.shape[1]
        places, _ = foresee(scene.s[..., None], scene.speed[..., None], scene.target[..., None], WISHES)
        going, stops = places[..., :3, :], places[..., 3:, -1]
        must_go = stops[..., STAND] > STOP_LINE
        meets = seen[..., 18] > 0
        mine, its = _zones_of(scene, n)
        # On a shared exit the way is free once the other is well into it, as drivers who merge count on.
        its_leave = np.where(np.isinf(its[..., 1]), its[..., 0] + MERGED, its[..., 1])
        its_edges = np.stack([its[..., 0], its_leave], axis=-1)
        my_stops = stops[:, :n, None]
        stands = np.where(own[..., None], my_stops, my_stops - np.maximum(mine[..., :1], -_AHEAD))
        seen[..., 23:26] = np.where((meets | own)[..., None], stands / _AHEAD, 0.0)
        times = np.stack(
            [first_beyond(going[:, :n, None, wish], mine[..., :1]) for wish in range(3)]
            + [first_beyond(going[:, None, :, DRIVE], its_edges[..., edge, None]) for edge in range(2)],
            axis=-1,
        )
        horizon = going.shape[-1]
        seen[..., 26:31] = np.where(meets[..., None], np.minimum(times, horizon) / horizon, 0.0)
        seen[..., 31] = must_go[:, None]
        numbers = np.broadcast_to(np.arange(must_go.shape[1]), must_go.shape)
        rank = np.lexsort((numbers, -scene.s, ~must_go)).argsort(axis=-1)
        seen[..., 32] = rank[:, None] < rank[:, :n, None]
        its_stand = stops[:, None, :, STAND] - np.maximum(its[..., 0], -_AHEAD)
        seen[..., 33] = np.where(meets, its_stand / _AHEAD, 0.0)


def _relative(values: Floats, observers: int) -> Floats:
    """Differences to the observers' values: `(crossings, observers, vehicles)`."""
    difference: Floats = values[:, None] - values[:, :observers, None]
    return difference


def _zones_of(scene: Scene, observers: int) -> tuple[Floats, Floats]:
    """Where paths meet, on the observer's and on the other's: `(crossings, observers, vehicles, 2)` each."""
    mine, its = scene.path[:, :observers, None], scene.path[:, None]
    return zones()[mine, its], zones()[its, mine]


@functools.cache
def _by_path() -> tuple[Floats, Floats]:
    """Of every path: where a vehicle has arrived [m], `(12,)`, and its turn, `(12, 3)`."""
    return np.array([path.arrival for path in paths()]), np.eye(3)[[path.turn for path in paths()]]
