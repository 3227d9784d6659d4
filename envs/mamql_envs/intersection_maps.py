"""Maps of a reward over the approach to the crossing, for each action, in states from play."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamql_envs.intersection_features import _AHEAD, _SPEED, EntityFeatures
from mamql_envs.maps import NOWHERE, Probe

ACTION_NAMES = ("slower", "idle", "faster")
WAY = (-10.0, 50.0)
"""Metres before a place that are shown; negative: inside it."""
WAY_BINS = 12
SPEED = (0.0, 10.0)
SPEED_BINS = 4


def snapshot(env: Any) -> None:
    """The observations say all that the maps need."""
    return None


def probes(
    env: Any,
    states: Sequence[None],
    observations: Mapping[str, NDArray[Any]],
    alive: Mapping[str, NDArray[np.bool_]],
    agent: str,
) -> list[Probe]:
    """For each action a map over speed and way to the crossing, and one over both ways to the next conflict zone.

    Args:
        env: The environment, for the form of its observations.
        states: Not used.
        observations: `{agent: (N, *observation)}` from play.
        alive: `{agent: (N,)}`.
        agent: Whose maps.

    Returns:
        Three maps of each kind. The conflict is the one that is reached first, by whoever comes later.
    """
    columns = EntityFeatures.COLUMNS.index
    table = observations[agent].reshape(len(observations[agent]), -1, len(EntityFeatures.COLUMNS))
    acting = np.asarray(alive[agent], dtype=bool)
    own = table[:, 0]
    way = _bins(own[:, columns("to_crossing")] * _AHEAD, WAY, WAY_BINS)
    speed = _bins(own[:, columns("speed")] * _SPEED, SPEED, SPEED_BINS)
    by_speed = np.where(acting & (way >= 0) & (speed >= 0), WAY_BINS * speed + way, NOWHERE)

    mine, its = (table[..., columns(name)] * _AHEAD for name in ("to_zone", "its_to_zone"))
    meets = table[..., columns("meets")] > 0
    first = np.where(meets, np.maximum(mine, its), np.inf).argmin(axis=1)
    rows = np.arange(len(table))
    here, there = (_bins(values[rows, first], WAY, WAY_BINS) for values in (mine, its))
    conflict = acting & meets.any(axis=1) & (here >= 0) & (there >= 0)
    by_gap = np.where(conflict, WAY_BINS * there + here, NOWHERE)

    ways = _ticks(WAY, WAY_BINS, step=2)
    result = []
    for cells, size, label, ticks, what in (
        (by_speed, SPEED_BINS, "speed [m/s]", _ticks(SPEED, SPEED_BINS), "way to the crossing [m]"),
        (by_gap, WAY_BINS, "the other's way to it [m]", ways, "way to the conflict zone [m]"),
    ):
        keep = cells != NOWHERE
        for action, name in enumerate(ACTION_NAMES):
            where = np.full((int(keep.sum()), len(ACTION_NAMES)), NOWHERE, dtype=np.int64)
            where[:, action] = cells[keep]
            result.append(
                Probe(
                    name,
                    (size, WAY_BINS),
                    {other: values[keep] for other, values in observations.items()},
                    {other: np.asarray(values, dtype=bool)[keep] for other, values in alive.items()},
                    where,
                    x_label=what,
                    y_label=label,
                    x_ticks=ways,
                    y_ticks=ticks,
                    note="a cell: reward of the action named above",
                )
            )
    return result


def _bins(values: NDArray[Any], limits: tuple[float, float], count: int) -> NDArray[np.int64]:
    low, high = limits
    index = np.floor((values - low) / (high - low) * count).astype(np.int64)
    # The upper limit itself belongs to the last bin: speeds reach it exactly.
    index = np.where(np.isclose(values, high), count - 1, index)
    return np.where((index >= 0) & (index < count), index, NOWHERE)


def _ticks(limits: tuple[float, float], count: int, step: int = 1) -> dict[float, str]:
    """Labels at the edges of bins."""
    width = (limits[1] - limits[0]) / count
    return {i - 0.5: f"{limits[0] + i * width:g}" for i in range(0, count + 1, step)}
