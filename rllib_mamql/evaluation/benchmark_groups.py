"""A benchmark's rows by problem, size and method, as tables and plots need them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from rllib_mamql.evaluation.benchmark_statistics import Floats
from rllib_mamql.evaluation.benchmark_table import Row

Task = tuple[str, int]
"""A problem, and joint steps of demonstration."""


@dataclass(frozen=True)
class Groups:
    """Rows of a benchmark.

    Attributes:
        rows: A row a cell.
        curves: A row a point of a curve.
        problems: Names of problems, in the order in which they are shown.
        methods: Names of methods, in the order in which they are shown; the first is compared with the others.
    """

    rows: Sequence[Row]
    curves: Sequence[Row] = ()
    problems: Sequence[str] = field(default=())
    methods: Sequence[str] = field(default=())

    def shown_methods(self) -> list[str]:
        """Methods that have a row, in order."""
        return _in_order({row["method"] for row in self.rows}, self.methods)

    def tasks(self) -> list[Task]:
        """Problems that have a row, in order, each with its sizes from the fewest steps on."""
        problems = _in_order({row["problem"] for row in self.rows}, self.problems)
        found = {(row["problem"], row["expert_steps"]) for row in self.rows}
        return [task for problem in problems for task in sorted(found) if task[0] == problem]

    def fewest(self) -> list[Task]:
        """Of every problem the size of fewest steps."""
        first: dict[str, Task] = {}
        for task in self.tasks():
            first.setdefault(task[0], task)
        return list(first.values())

    def of(self, task: Task, method: str) -> list[Row]:
        """Rows of a method on a task."""
        return [row for row in self.rows if _is_of(row, task, method)]

    def values(self, task: Task, method: str, column: str = "return_mean") -> Floats:
        """A column of a method's rows on a task, without those that lack it."""
        return np.array([row[column] for row in self.of(task, method) if row[column] is not None], np.float64)

    def scores(self, tasks: Sequence[Task], methods: Sequence[str], column: str = "score") -> list[list[Floats]]:
        """For each method its scores on every task on which all of these methods have some."""
        shared = [task for task in tasks if all(len(self.values(task, method, column)) for method in methods)]
        return [[self.values(task, method, column) for task in shared] for method in methods]

    def points(self, task: Task, method: str) -> list[list[Row]]:
        """Points of the curves of a method on a task: a list of all seeds' for every iteration, in order."""
        mine = [row for row in self.curves if _is_of(row, task, method)]
        if len(mine) == len(self.of(task, method)):
            # Methods that end by themselves have the last point alone, each run at an iteration of its own.
            return [mine] if mine else []
        found: dict[int, list[Row]] = {}
        for row in mine:
            found.setdefault(row["iteration"], []).append(row)
        return [found[iteration] for iteration in sorted(found)]


def _is_of(row: Row, task: Task, method: str) -> bool:
    return (row["problem"], row["expert_steps"]) == task and row["method"] == method


def _in_order(found: set[str], order: Sequence[str]) -> list[str]:
    return [name for name in dict.fromkeys(order) if name in found] + sorted(found - set(order))
