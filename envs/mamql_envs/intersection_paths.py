"""The twelve ways through the intersection, and where two of them meet."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamql_envs.intersection_sim import APPROACHES, IntersectionSim, simulation_config

Floats = NDArray[np.float64]

LEFT, STRAIGHT, RIGHT = range(3)
_TURNS = {1: LEFT, 2: STRAIGHT, 3: RIGHT}
EXIT_DISTANCE = 25.0
"""A vehicle has arrived once it is this far into the road on which it leaves [m]; highway-env's value."""

_DISC_OFFSETS = np.array([-5 / 3, 0.0, 5 / 3])
DISC_RADIUS = math.hypot(5 / 6, 1.0)
"""Three discs of this radius, a third of a vehicle's length apart, cover a vehicle of 5 m by 2 m [m]."""
_ZONE_CLEARANCE = 0.4
_GRID_STEP = 0.25


@dataclass(frozen=True, eq=False)
class Path:
    """A way through the intersection; its coordinate is 0 where the vehicle enters the crossing [m].

    Attributes:
        index: Number of the path, 0 to 11.
        approach: The road it comes from, 0 to 3.
        exit: The road it leaves on, 0 to 3.
        turn: LEFT, STRAIGHT or RIGHT.
        approach_length: Metres of road before the crossing.
        crossing_length: Metres within the crossing.
        lanes: Approach, crossing and exit in plain floats.
    """

    index: int
    approach: int
    exit: int
    turn: int
    approach_length: float
    crossing_length: float
    lanes: tuple[Any, Any, Any]

    @property
    def arrival(self) -> float:
        """The coordinate at which a vehicle has arrived [m]."""
        return self.crossing_length + EXIT_DISTANCE

    @functools.cached_property
    def table(self) -> tuple[float, Floats]:
        """The first coordinate of a fine grid along the path, and `(x, y, heading)` at each of its points."""
        grid = np.arange(-self.approach_length, self.crossing_length + self.lanes[2].length, _GRID_STEP)
        return -self.approach_length, np.array([self.pose(float(s)) for s in grid])

    def pose(self, s: float) -> tuple[float, float, float]:
        """Position and heading at a coordinate."""
        if s < 0:
            return self.lanes[0].pose(s + self.approach_length)
        if s < self.crossing_length:
            return self.lanes[1].pose(s)
        return self.lanes[2].pose(s - self.crossing_length)

    def discs(self, s: Floats) -> Floats:
        """Centres of the discs that cover a vehicle at each coordinate, `(*s.shape, 3, 2)`."""
        first, table = self.table
        k = np.clip(np.rint((s - first) / _GRID_STEP).astype(np.intp), 0, len(table) - 1)
        x, y, heading = np.moveaxis(table[k], -1, 0)
        direction = np.stack([np.cos(heading), np.sin(heading)], axis=-1)
        # Along the tangent: the grid is fine, but its steps would show in the gap between two vehicles.
        x, y = (
            x + (s - first - k * _GRID_STEP) * direction[..., 0],
            y + (s - first - k * _GRID_STEP) * direction[..., 1],
        )
        return np.stack([x, y], axis=-1)[..., None, :] + _DISC_OFFSETS[:, None] * direction[..., None, :]


def gaps(discs_1: Floats, discs_2: Floats) -> Floats:
    """Free space between two vehicles, from the discs that cover them [m]; negative where discs overlap.

    Args:
        discs_1: `(..., 3, 2)`.
        discs_2: `(..., 3, 2)`, of a shape that broadcasts with it.
    """
    offset = discs_1[..., :, None, :] - discs_2[..., None, :, :]
    squared: Floats = np.einsum("...k,...k->...", offset, offset)
    return np.sqrt(squared.min(axis=(-1, -2))) - 2 * DISC_RADIUS


@functools.cache
def paths() -> tuple[Path, ...]:
    """All paths, by approach, then by exit."""
    sim = IntersectionSim(simulation_config(2))
    fast = sim.road.network.fast
    found: list[Path] = []
    for a in range(APPROACHES):
        for b in range(APPROACHES):
            if a != b:
                lanes = (fast[f"o{a}", f"ir{a}", 0], fast[f"ir{a}", f"il{b}", 0], fast[f"il{b}", f"o{b}", 0])
                turn = _TURNS[(b - a) % APPROACHES]
                found.append(Path(len(found), a, b, turn, lanes[0].length, lanes[1].length, lanes))
    return tuple(found)


def path_between(approach: int, exit_: int) -> Path:
    """The path from one road to another."""
    return paths()[approach * (APPROACHES - 1) + exit_ - (exit_ > approach)]


@functools.cache
def zones() -> Floats:
    """Where paths meet: `(12, 12, 2)`, the coordinates on the first path between which it is blocked by the second.

    NaN where the paths stay clear of each other. On a shared approach the zone starts at minus infinity, on a shared
    exit it has no end.
    """
    every = paths()
    result = np.full((len(every), len(every), 2), np.nan)
    grids = [np.arange(-12.0, path.crossing_length + 12.0, 0.5) for path in every]
    discs = [path.discs(grid) for path, grid in zip(every, grids, strict=True)]
    for i, first in enumerate(every):
        for j, second in enumerate(every):
            blocked = (gaps(discs[i][:, None], discs[j][None]) < _ZONE_CLEARANCE).any(axis=1)
            if blocked.any():
                low, high = grids[i][blocked][[0, -1]]
                result[i, j, 0] = -np.inf if first.approach == second.approach else low
                result[i, j, 1] = np.inf if first.exit == second.exit else high
    return result


def locate(vehicle: Any, known: Path | None = None) -> tuple[Path, float]:
    """The path of a vehicle and its coordinate on it.

    Args:
        vehicle: A vehicle of `IntersectionSim`.
        known: The path that it was on before, if known: on its way out it no longer shows where it came from.
    """
    start, end, _ = vehicle.target_lane_index
    if start.startswith("ir"):
        path = path_between(int(start[2:]), int(end[2:]))
        return path, path.lanes[1].local(vehicle.x, vehicle.y)[0]
    if start.startswith("il"):
        exit_ = int(start[2:])
        path = known if known is not None and known.exit == exit_ else path_between((exit_ + 2) % APPROACHES, exit_)
        return path, path.crossing_length + path.lanes[2].local(vehicle.x, vehicle.y)[0]
    approach = int(start[1:])
    ahead = [step for step in vehicle.route or [] if step[0] == end]
    exit_ = int(ahead[0][1][2:]) if ahead else (approach + 2) % APPROACHES
    path = path_between(approach, exit_)
    return path, path.lanes[0].local(vehicle.x, vehicle.y)[0] - path.approach_length
