"""Maps of a reward around each kind of gem: an agent is put close to a gem, in states from play."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamql_envs.gems_batch import _NEXT_CELL, ACTIONS, AGENTS, OWN, SHARED, SIZE, THINGS, XY, observe
from mamql_envs.maps import NOWHERE, Probe

RADIUS = 3
"""Cells that are shown to each side of a gem."""
STATES = 60
"""States from play for each map; in each, the agent is put on every cell around a gem."""
FAR = 4
"""Steps that are far from a gem: no agent takes it soon."""

Ints = NDArray[np.int64]


def snapshot(env: Any) -> Ints:
    """What of a state the maps need, `(11,)`."""
    return env.cells.copy()


def probes(
    env: Any, states: Sequence[Ints], observations: Mapping[str, NDArray[Any]], alive: Mapping[str, Any], agent: str
) -> list[Probe]:
    """A map around each kind of gem; a cell's value is what stepping onto it (or staying on it) is worth.

    Args:
        env: The environment, for the form of its observations.
        states: Snapshots of play.
        observations: Not used: the agent is put elsewhere.
        alive: Not used: both agents always act.
        agent: Whose maps.

    Returns:
        Around its own gems, the other's, and shared ones with the other agent on it, on another, and far from all.
    """
    me = AGENTS.index(agent)
    rng = np.random.default_rng(me)
    cells = np.stack(states)
    kinds = (
        ("own gem", OWN[me], None),
        ("the other's gem", OWN[1 - me], None),
        ("shared gem,\nother on it", SHARED, "on it"),
        ("shared gem,\nother on another", SHARED, "on another"),
        ("shared gem,\nother far away", SHARED, "far"),
    )
    return [_probe(title, things, other, cells, me, env.observation, rng) for title, things, other in kinds]


def _probe(
    title: str, things: slice, other: str | None, states: Ints, me: int, form: str, rng: np.random.Generator
) -> Probe:
    chosen = states[rng.permutation(len(states))[: 4 * STATES]]
    gem = chosen[:, things][np.arange(len(chosen)), rng.integers(3, size=len(chosen))]
    chosen, valid = _place_other(chosen, 1 - me, gem, other, rng)
    chosen, gem = chosen[valid][:STATES], gem[valid][:STATES]
    width = 2 * RADIUS + 1
    placed, where = [], []
    for start in _offsets(RADIUS + 1):
        xy = XY[gem] + start
        inside = ((xy >= 0) & (xy < SIZE)).all(axis=1)
        here, centre = chosen[inside].copy(), gem[inside]
        here[:, me] = xy[inside] @ np.array([1, SIZE])
        # A gem of its own is taken on arrival, so that no agent ever starts on one; nor do both on shared ones.
        own = (here[:, OWN[me]] == here[:, me, None]).any(axis=1)
        both = _on(here, SHARED, 0) & _on(here, SHARED, 1)
        here, centre = here[~own & ~both], centre[~own & ~both]
        placed.append(here)
        where.append(_targets(here, centre, me, width))
    rows = np.concatenate(placed)
    seen = observe(rows, form)
    return Probe(
        title,
        (width, width),
        seen,
        {name: np.ones(len(rows), dtype=bool) for name in AGENTS},
        np.concatenate(where),
        note="a cell: reward of stepping onto it, or staying on it; the gem is in the middle",
        focus=(RADIUS, RADIUS),
    )


def _offsets(radius: int) -> Ints:
    """Columns and rows from a gem to every cell around it, `(cells, 2)`."""
    side = np.arange(-radius, radius + 1)
    return np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)


def _on(cells: Ints, things: slice, agent: int) -> NDArray[np.bool_]:
    return (cells[:, things] == cells[:, agent, None]).any(axis=1)


def _targets(cells: Ints, gem: Ints, me: int, width: int) -> Ints:
    """The cell of the map that each action leads to, `(N, actions)`."""
    start = cells[:, me]
    target = _NEXT_CELL[start]
    offset = XY[target] - XY[gem][:, None] + RADIUS
    shown = ((offset >= 0) & (offset < width)).all(axis=-1)
    # Moves into the wall lead nowhere, and on other gems something else would be shown.
    stays = np.arange(len(ACTIONS)) == len(ACTIONS) - 1
    shown &= (target != start[:, None]) | stays
    gems = cells[:, None, 2:THINGS]
    shown &= ~((gems == target[..., None]) & (gems != gem[:, None, None])).any(axis=-1)
    return np.where(shown, offset @ np.array([1, width]), NOWHERE)


def _place_other(
    cells: Ints, other: int, gem: Ints, where: str | None, rng: np.random.Generator
) -> tuple[Ints, NDArray[np.bool_]]:
    """Puts the other agent on the shared gem looked at, on another, or far from all."""
    cells = cells.copy()
    if where is None:
        return cells, np.ones(len(cells), dtype=bool)
    shared = cells[:, SHARED]
    rows = np.arange(len(cells))
    if where == "far":
        cells[:, other] = rng.integers(SIZE * SIZE, size=len(cells))
        steps = np.abs(XY[shared] - XY[cells[:, other]][:, None]).sum(axis=-1)
        return cells, (steps >= FAR).all(axis=1) & ~_on(cells, slice(2, THINGS), other)
    if where == "on it":
        cells[:, other] = gem
        return cells, np.ones(len(cells), dtype=bool)
    # One of the two shared gems that the map is not about.
    order = np.argsort(shared == gem[:, None], axis=1, kind="stable")[:, :2]
    cells[:, other] = shared[rows, order[rows, rng.integers(2, size=len(cells))]]
    return cells, np.ones(len(cells), dtype=bool)
