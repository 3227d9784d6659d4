"""What a map of an environment's reward is drawn from: states, and the cell of the map that each action belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Cell = tuple[int, int]
"""Row and column of a map."""

NOWHERE = -1
"""Cell of an action that says nothing about a map."""


@dataclass(frozen=True)
class Probe:
    """Observations to ask a reward about for one map.

    Attributes:
        title: What the map shows.
        shape: Rows and columns of the map.
        observations: `{agent: (N, *observation)}`, of all agents: the others' policies follow from theirs.
        alive: `{agent: (N,)}`, whether it acts in that state.
        cells: `(N, actions)`: the cell, `columns * row + column`, to whose mean the value of an action belongs, or
            NOWHERE.
        x_label: What columns are; empty for a map that needs no axes.
        y_label: What rows are.
        x_ticks: Labels by place, `column - 0.5` being a column's left edge.
        y_ticks: The same of rows.
        marks: Text to write into cells.
        note: What the value of a cell is, in words.
        focus: The cell whose value is written into it, if there is one.
    """

    title: str
    shape: tuple[int, int]
    observations: Mapping[str, NDArray[Any]]
    alive: Mapping[str, NDArray[np.bool_]]
    cells: NDArray[np.int64]
    x_label: str = ""
    y_label: str = ""
    x_ticks: Mapping[float, str] = field(default_factory=dict)
    y_ticks: Mapping[float, str] = field(default_factory=dict)
    marks: Mapping[Cell, str] = field(default_factory=dict)
    note: str = ""
    focus: Cell | None = None
