r"""Names of columns, metrics and other keys that several parts share.

A batch of joint steps is everywhere the same thing: a flat dict from the column names below to
arrays whose first axis is the joint step. Row ``k`` holds the step of *all* agents at one time,
so rows can be shuffled, cut and streamed without losing alignment.

Per-agent columns are named ``<prefix>.<agent>``, for example ``obs.agent_0``:

==============  ==================  =====================================================
prefix          shape, dtype        meaning
==============  ==================  =====================================================
obs             (N, \*obs), space   observation in which the action was taken
next_obs        (N, \*obs), space   observation after the step (the true one, also at the end)
actions         (N,), int64         discrete action
rewards         (N,), float32       the environment's own reward; may be absent, then for all agents
terminateds     (N,), bool          the agent's episode ended in a terminal state at this step
truncateds      (N,), bool          the agent's episode was cut at this step
alive           (N,), bool          the agent acted in this step; its other cells mean nothing where False
==============  ==================  =====================================================

Files have two more where the environment says what an agent may do, which in memory are a part of the observation
(:mod:`rllib_mamql.data.masks`): ``mask`` and ``next_mask``, ``(N, A)`` bool, True where an action is legal.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable, Mapping
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.generic]
JointColumns: TypeAlias = dict[str, Array]
"""Flat mapping from column name to array; all arrays share the first axis."""

EPS_ID = "eps_id"
T = "t"
WEIGHT = "weight"

OBS = "obs"
NEXT_OBS = "next_obs"
ACTIONS = "actions"
REWARDS = "rewards"
TERMINATEDS = "terminateds"
TRUNCATEDS = "truncateds"
ALIVE = "alive"
AGENT_PREFIXES = (OBS, NEXT_OBS, ACTIONS, REWARDS, TERMINATEDS, TRUNCATEDS, ALIVE)

MASK = "mask"
NEXT_MASK = "next_mask"
MASK_OF = {OBS: MASK, NEXT_OBS: NEXT_MASK}
"""Columns of files: what the agent may do where it sees an observation."""

REWARD_SHARE, Q_SHARE = "reward_bound_share", "q_bound_share"
"""Metrics: the 90th percentile of the implied reward's size and the mean action value, in their bounds."""
IDLE_ACTION = 0
"""What an agent 'does' that is not alive."""

EPISODE_METRICS = "episode_metrics"
"""Key of an environment's infos: ``{name: number}``, values of the episode so far; the last ones count."""
EVENTS = "events"
"""Key of an agent's info under which an environment counts reward events by kind, ``{kind: count}``."""


AGENT_ID = "agent_id"
"""Column of tables with a row for each agent's step."""
ONLY_AGENT = "agent_0"
"""What the agent of a world with one agent is called."""
ALL_AGENTS = "__all__"
"""Key of RLlib's flags that speak of all agents; some parallel environments have it too."""


@functools.cache
def column(prefix: str, agent: str) -> str:
    """Name of an agent's column, for example ``column(OBS, "agent_0") == "obs.agent_0"``."""
    return f"{prefix}.{agent}"


def has_rewards(columns: Iterable[str], agents: Iterable[str]) -> bool:
    """Whether columns of these names hold the agents' rewards; who has demonstrations often has none."""
    names = set(columns)
    return all(column(REWARDS, agent) in names for agent in agents)


def num_rows(columns: Mapping[str, Array]) -> int:
    """Number of joint steps in ``columns`` (0 if there are no columns)."""
    return len(next(iter(columns.values()))) if columns else 0


def take(columns: Mapping[str, Array], rows: Array) -> JointColumns:
    """Rows of every column, in the order given; ``rows`` is an index or boolean array."""
    return {name: values[rows] for name, values in columns.items()}


def concatenate(parts: list[JointColumns]) -> JointColumns:
    """Joins batches of equal columns along the first axis.

    Raises:
        ValueError: If the parts do not have the same columns.
    """
    return {name: np.concatenate([part[name] for part in parts]) for name in _names_of(parts)}


def _names_of(parts: list[JointColumns]) -> list[str]:
    """The columns of all parts."""
    names = parts[0].keys() if parts else ()
    for part in parts:
        if part.keys() != names:
            raise ValueError(f"parts have different columns: {sorted(set(names) ^ set(part.keys()))}")
    return list(names)


def nbytes(columns: JointColumns) -> int:
    """Bytes that joint steps take."""
    return sum(values.nbytes for values in columns.values())


def pour_together(parts: list[JointColumns]) -> JointColumns:
    """The same as :func:`concatenate`, column by column out of the parts, which are empty afterwards.

    Images in parts and joined would need twice their memory.

    Raises:
        ValueError: If the parts do not have the same columns.
    """
    names = _names_of(parts)
    joined = dict(parts[0]) if len(parts) == 1 else {n: np.concatenate([p.pop(n) for p in parts]) for n in names}
    parts.clear()
    return joined


class Spares:
    """Memory of arrays that nobody has any more, to be written into again.

    Memory that is allocated anew for each round is given back to the system in between, which clears every page of it
    before it is written to: where agents see pictures that takes a good part of the time that playing takes.

    Attributes:
        MOST: Bytes that are kept, at most.
        SMALL: Arrays of fewer bytes are none of its business.
    """

    MOST, SMALL = 64 * 2**20, 2**16

    def __init__(self) -> None:
        self._kept: list[npt.NDArray[np.uint8]] = []

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> Array:
        """An array of any content; its memory is used again when neither it nor a view of it is left."""
        size = int(np.prod(shape)) * dtype.itemsize
        if dtype.hasobject or not self.SMALL <= size <= self.MOST:
            return np.empty(shape, dtype)
        free = [index for index in range(len(self._kept)) if self._is_free(index)]
        for index in free:
            if size <= self._kept[index].nbytes <= 2 * size:
                return self._kept[index][:size].view(dtype).reshape(shape)
        for index in reversed(free):
            if not self._has_room(size):
                del self._kept[index]
        memory = np.empty(size, np.uint8)
        if self._has_room(size):
            self._kept.append(memory)
        return memory.view(dtype).reshape(shape)

    def _has_room(self, size: int) -> bool:
        return size + sum(memory.nbytes for memory in self._kept) <= self.MOST

    def _is_free(self, index: int) -> bool:
        # The list and the call: every view of the memory refers to it too, whatever it is a view of.
        return sys.getrefcount(self._kept[index]) == 2


class Gathered:
    """Joint steps that are written one behind the other into columns of a length that is known before.

    Parts that were kept until the end would take as much memory again, which costs more than writing into it.

    Args:
        rows: How many there will be.
        spares: Where memory comes from.
    """

    def __init__(self, rows: int, spares: Spares) -> None:
        self._rows, self._taken, self._spares = rows, 0, spares
        self.columns: JointColumns = {}
        """What has been added; all rows once there are as many as were announced."""

    def add(self, part: JointColumns) -> None:
        """Appends joint steps.

        Raises:
            ValueError: If they do not have the columns of those before.
        """
        if not self.columns:
            self.columns = {
                name: self._spares.empty((self._rows, *of.shape[1:]), of.dtype) for name, of in part.items()
            }
        _names_of([self.columns, part])
        begin = self._taken
        for name, values in part.items():
            self._taken = begin + len(values)
            self.columns[name][begin : self._taken] = values
