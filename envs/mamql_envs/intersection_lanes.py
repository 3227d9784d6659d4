"""The lanes of the intersection as columns of numbers, for the vehicles of many crossings at once."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamql_envs.intersection_compat import CircularLane, StraightLane
from mamql_envs.intersection_paths import Floats, paths
from mamql_envs.intersection_sim import IntersectionSim, simulation_config

Index = NDArray[np.intp]
_TWO_PI = 2 * math.pi
_COLUMNS = ("x", "y", "along_x", "along_y", "heading", "length", "radius", "phase", "sign")


def wrap(angle: Floats) -> Floats:
    """The same angle in [-pi, pi)."""
    wrapped: Floats = ((angle + math.pi) % _TWO_PI) - math.pi
    return wrapped


class Lanes:
    """A lane for each vehicle: what `intersection_fast` computes for one, in the same order of operations.

    Args:
        table: `(lanes, columns)`: where a straight lane starts, or the centre of a circular one; then what is in
            `_COLUMNS`. A straight lane has no radius.
        which: Index of a lane, `(vehicles,)` or `(lanes, 1)`.
    """

    def __init__(self, table: Floats, which: Index) -> None:
        columns = np.ascontiguousarray(np.moveaxis(table[which], -1, 0))
        self._x, self._y, self._along_x, self._along_y, self._heading, self.length, *arc = columns
        # Few vehicles are on an arc, and only these need the angle.
        self._arcs = np.flatnonzero(arc[0][:, 0] if which.ndim > 1 else arc[0])
        self._radius, self._phase, self._sign = (column[self._arcs] for column in arc)

    def local(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Coordinates along the lane and to the right of its middle [m]."""
        dx, dy = x - self._x, y - self._y
        s = dx * self._along_x + dy * self._along_y
        r = dy * self._along_x - dx * self._along_y
        if len(self._arcs):
            dx, dy = dx[self._arcs], dy[self._arcs]
            turned = self._phase + wrap(np.arctan2(dy, dx) - self._phase) - self._phase
            s[self._arcs] = self._sign * turned * self._radius
            r[self._arcs] = self._sign * (self._radius - _length(dx, dy))
        return s, r

    def heading_at(self, s: Floats) -> Floats:
        """The lane's heading at a coordinate [rad]."""
        heading = np.empty_like(s)
        heading[...] = self._heading
        if len(self._arcs):
            phi = self._sign * s[self._arcs] / self._radius + self._phase
            heading[self._arcs] = phi + math.pi / 2 * self._sign
        return heading


def _length(dx: Floats, dy: Floats) -> Floats:
    """As the single vehicle has it, whose sum of squares is a product of vectors: BLAS may round it otherwise."""
    offset = np.stack([dx, dy], axis=-1)
    squared: Floats = np.matmul(offset[..., None, :], offset[..., :, None])[..., 0, 0]
    return np.sqrt(squared)


class Roads:
    """All lanes, and those that make up each path.

    Attributes:
        of_path: The three lanes of every path, `(12, 3)`: approach, crossing, exit.
        before: What a coordinate on each of them is ahead of the path's own, `(12, 3)` [m].
        length: Of every lane, `(lanes,)` [m].
        is_exit: Whether vehicles leave on it, `(lanes,)`.
        half_width: Of a lane [m].
        speed_limit: On the approaches [m/s].
        path_to: The path from each approach to each destination, `(4, 4)`; a road is reached from itself by a detour.
    """

    def __init__(self) -> None:
        network = IntersectionSim(simulation_config(2)).road.network
        lanes = network.lanes_dict()
        names = [(start, end) for start, end, _ in lanes]
        self._table = np.array([_columns_of(lane) for lane in lanes.values()])
        self.of_path = np.array(
            [
                [names.index(name) for name in ((f"o{a}", f"ir{a}"), (f"ir{a}", f"il{b}"), (f"il{b}", f"o{b}"))]
                for a, b in ((path.approach, path.exit) for path in paths())
            ]
        )
        self.before = np.array([(path.approach_length, 0.0, -path.crossing_length) for path in paths()])
        self.length = self._table[:, _COLUMNS.index("length")]
        self.is_exit = np.array([start.startswith("il") for start, _ in names])
        (self.half_width,) = {lane.width / 2 for lane in lanes.values()}
        (self.speed_limit,) = {lane.speed_limit for lane in lanes.values()}
        number = {(path.approach, path.exit): path.index for path in paths()}
        self.path_to = np.array(
            [
                [number[a, int(network.shortest_path(f"ir{a}", f"o{b}")[1].removeprefix("il"))] for b in range(4)]
                for a in range(4)
            ]
        )
        self._every = Lanes(self._table, np.arange(len(names))[:, None])

    def lanes(self, which: Index) -> Lanes:
        """A lane for each vehicle."""
        return Lanes(self._table, which)

    def start_of(self, path: Index, s: Floats) -> tuple[Floats, Floats, Floats]:
        """Position and heading in the middle of the approach of each path, at a coordinate of that lane."""
        x, y, along_x, along_y, heading = self._table[self.of_path[path, 0], :5].T
        return x + s * along_x, y + s * along_y, heading

    def closest(self, x: Floats, y: Floats, heading: Floats) -> tuple[Index, Floats, Floats]:
        """The lane closest in position and heading to each vehicle, and the coordinates on it."""
        s, r = self._every.local(x, y)
        distance = np.abs(r) + np.maximum(s - self._every.length, 0.0) + np.maximum(-s, 0.0)
        distance += np.abs(wrap(heading - self._every.heading_at(s)))
        which = distance.argmin(axis=0)
        vehicles = np.arange(len(x))
        return which, s[which, vehicles], r[which, vehicles]


def _columns_of(lane: Any) -> tuple[float, ...]:
    if isinstance(lane, StraightLane):
        return (*lane.start, *lane.direction, lane.heading, lane.length, 0.0, 0.0, 0.0)
    assert isinstance(lane, CircularLane)
    return (*lane.center, 0.0, 0.0, 0.0, lane.length, lane.radius, lane.start_phase, lane.direction)


@functools.cache
def roads() -> Roads:
    """The roads of every intersection."""
    return Roads()
