"""Maps of a reward over the kitchen's tiles, one for each thing that a cook can hold, in states from play."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamql_envs.maps import NOWHERE, Probe

HELD = ("nothing", "onion", "tomato", "dish", "soup")
_FIXTURES = "OTDPS"
_INTERACT = 5

Pose = tuple[tuple[int, int], tuple[int, int], str]


def snapshot(env: Any) -> list[Pose]:
    """Each player's position, orientation and what it holds."""
    return [
        (player.position, player.orientation, player.held_object.name if player.has_object() else "nothing")
        for player in env.overcooked_state.players
    ]


def probes(
    env: Any,
    states: Sequence[list[Pose]],
    observations: Mapping[str, NDArray[Any]],
    alive: Mapping[str, NDArray[np.bool_]],
    agent: str,
) -> list[Probe]:
    """Maps by what is held: at a fixture, of interacting with it; on the floor, the mean of moves and staying.

    Args:
        env: The environment, for its kitchen.
        states: Snapshots of play.
        observations: `{agent: (N, *observation)}` in these states.
        alive: `{agent: (N,)}`.
        agent: Whose maps.

    Returns:
        A map for each thing that there is in the kitchen.
    """
    terrain = env.layout.mdp.terrain_mtx
    shape = (len(terrain), len(terrain[0]))
    marks = {(y, x): terrain[y][x] for y in range(shape[0]) for x in range(shape[1]) if terrain[y][x] in _FIXTURES}
    me = env.possible_agents.index(agent)
    poses = [state[me] for state in states]
    result = []
    for held in HELD:
        rows = np.array([row for row, pose in enumerate(poses) if pose[2] == held], dtype=np.int64)
        if held == "tomato" and not len(rows):
            continue
        cells = np.full((len(rows), _INTERACT + 1), NOWHERE, dtype=np.int64)
        for place, row in enumerate(rows):
            (x, y), (dx, dy), _ = poses[row]
            cells[place, :_INTERACT] = shape[1] * y + x
            if terrain[y + dy][x + dx] != " ":
                cells[place, _INTERACT] = shape[1] * (y + dy) + x + dx
        result.append(
            Probe(
                f"holding {held}",
                shape,
                {name: values[rows] for name, values in observations.items()},
                {name: values[rows] for name, values in alive.items()},
                cells,
                marks=marks,
                note="onions O, tomatoes T, dishes D, pots P, serving S and counters: reward of interacting with them; "
                "floor: of moving on or staying",
            )
        )
    return result
