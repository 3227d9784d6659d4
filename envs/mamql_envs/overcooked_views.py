"""What the cooks of many kitchens see at once: `overcooked_features` as tables, for `overcooked_batch`.

Every number is taken from what `overcooked_features` writes for one state, so that both are equal to the last bit.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mamql_envs.overcooked_features import DIRECTIONS, EntityFeatures, Pose, VectorFeatures
from mamql_envs.overcooked_kitchen import HELD, NOTHING, READY, IntArray, Kitchen

FloatArray = NDArray[np.float32]


class Views(Protocol):
    """Observes a batch of `B` states of a kitchen with `P` cooks."""

    def __call__(self, poses: IntArray, held: IntArray, lying: IntArray) -> FloatArray:
        """The observations `(P, B, *observation)`.

        Args:
            poses: `(P, B)`.
            held: Things held, `(P, B)`.
            lying: Things at places, `(B, places + 1)`; the last stands for a pot that there is not, with `ABSENT`.
        """


def make_views(kitchen: Kitchen, form: str) -> Views:
    """The views in one of the forms of observation, "vector" or "entities"."""
    return VectorViews(kitchen) if form == "vector" else EntityViews(kitchen)


def _poses(kitchen: Kitchen) -> list[Pose]:
    return [(cell, direction) for cell in kitchen.floor for direction in DIRECTIONS]


def _others(players: int) -> list[Any]:
    """Indexes along the axis of the cooks: what each of them sees in the place of the first other one, the second..."""
    if players == 2:
        return [slice(None, None, -1)]  # as an index this copies nothing
    return [np.array([k if k < i else k + 1 for i in range(players)]) for k in range(players - 1)]


class VectorViews:
    """`VectorFeatures` of a batch, see `Views`.

    Args:
        kitchen: The kitchen.
    """

    def __init__(self, kitchen: Kitchen) -> None:
        features = VectorFeatures(kitchen.layout)
        poses = _poses(kitchen)
        cells = [cell for cell, _ in kitchen.places]
        blocks = np.empty((len(poses), HELD, features.BLOCK), np.float32)
        self._pots = np.full((len(poses), features.NUM_POTS), len(cells))
        for i, pose in enumerate(poses):
            blocks[i], pots = features.table(pose)
            for thing in range(1, HELD):
                features.write_held(blocks[i, thing], kitchen.things[thing])
            for closest, (_, cell) in enumerate(pots):
                self._pots[i, closest] = cells.index(cell)
        self._blocks = blocks.reshape(-1, features.BLOCK)
        columns = [features.pot_columns(thing) for thing in (None, *kitchen.things[READY:])]
        self._contents = np.zeros((len(kitchen.things) + 1, len(columns[0])), np.float32)  # of ABSENT: the last, zeros
        self._contents[[NOTHING, *range(READY, len(kitchen.things))]] = columns
        self._starts = [features.POTS + pot * features.POT_WIDTH + 1 for pot in range(features.NUM_POTS)]
        self._xy = np.array(kitchen.floor, np.float32)
        self._others = _others(kitchen.players)
        self._width = int(features.low.shape[0])

    def __call__(self, poses: IntArray, held: IntArray, lying: IntArray) -> FloatArray:
        """The observations, see `Views`."""
        players, size = poses.shape
        blocks = self._blocks.take(HELD * poses + held, axis=0)
        rows = np.arange(0, lying.size, lying.shape[1])[:, None]
        pots = self._contents.take(lying.take(self._pots.take(poses, axis=0) + rows), axis=0)
        for closest, start in enumerate(self._starts):
            blocks[:, :, start : start + pots.shape[-1]] = pots[:, :, closest]
        seen = np.empty((players, size, self._width), np.float32)
        xy = self._xy.take(poses >> 2, axis=0)
        block = blocks.shape[-1]
        seen[:, :, :block] = blocks
        for place, other in enumerate(self._others, start=1):
            seen[:, :, block * place : block * (place + 1)] = blocks[other]
            start = block * players + 2 * (place - 1)
            np.subtract(xy[other], xy, out=seen[:, :, start : start + 2])
        seen[:, :, -2:] = xy
        return seen


class EntityViews:
    """`EntityFeatures` of a batch, see `Views`.

    Args:
        kitchen: The kitchen.
    """

    def __init__(self, kitchen: Kitchen) -> None:
        features = EntityFeatures(kitchen.layout)
        poses = _poses(kitchen)
        self._players = kitchen.players
        self._cells = len(kitchen.floor)
        self._counters = kitchen.counters
        self._columns = (features.FACING, features.HAS)
        self._templates = np.stack([features.template(pose) for pose in poses])
        self._others = _others(kitchen.players)
        self._other_heads = np.array(
            [features.head("other", cell, pose) for pose in poses for cell in kitchen.floor], np.float32
        )
        counters = [cell for cell, _ in kitchen.places[kitchen.counters]]
        heads = [[features.head("counter", cell, pose) for cell in counters] for pose in poses]
        self._counter_heads = np.array(heads, np.float32)
        self._contents = np.zeros((len(kitchen.things), len(features.COLUMNS) - features.HAS), np.float32)
        for thing, found in enumerate(kitchen.things):
            if found is not None:
                self._contents[thing] = features.contents(found)
        cooks = np.zeros((len(poses), HELD, len(features.COLUMNS)), np.float32)
        for i, pose in enumerate(poses):
            features.write_pose(cooks[i, 0], pose)
            cooks[i, :] = cooks[i, 0]
        cooks[:, :, features.HAS :] = self._contents[:HELD]
        self._cooks = cooks[:, :, features.FACING :].reshape(len(poses) * HELD, -1)

    def __call__(self, poses: IntArray, held: IntArray, lying: IntArray) -> FloatArray:
        """The observations, see `Views`."""
        players = self._players
        facing, has = self._columns
        seen = self._templates.take(poses, axis=0)
        cooks = self._cooks.take(HELD * poses + held, axis=0)
        seen[:, :, 0, facing:] = cooks
        cells = poses >> 2
        for place, other in enumerate(self._others, start=1):
            seen[:, :, place, :facing] = self._other_heads.take(self._cells * poses + cells[other], axis=0)
            seen[:, :, place, facing:] = cooks[other]
        seen[:, :, players:, has:] = self._contents.take(lying[:, :-1], axis=0)
        envs, counters = lying[:, self._counters].nonzero()
        if len(envs):
            rows = players + self._counters.start + counters
            seen[:, envs, rows, :facing] = self._counter_heads[poses[:, envs], counters]
        return seen
