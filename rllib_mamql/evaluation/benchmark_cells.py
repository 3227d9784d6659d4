"""What a benchmark is made of: cells, one training each, and what is needed to run one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Key = tuple[str, int, str, int]
"""Problem, steps of demonstration, method, seed."""


@dataclass(frozen=True)
class Cell:
    """One training: a method learns one problem from some demonstrations.

    Attributes:
        problem: What the suite calls the problem.
        expert_steps: Joint steps of demonstration.
        method: What the suite calls the method.
        seed: Of training and evaluation.
        settings: All that decides the result besides these four, as JSON: cells with other settings are others.
    """

    problem: str
    expert_steps: int
    method: str
    seed: int
    settings: str

    @property
    def key(self) -> Key:
        """What a cell is known by in the results."""
        return (self.problem, self.expert_steps, self.method, self.seed)

    @property
    def folder_name(self) -> str:
        """A name for a folder of the cell's own."""
        return re.sub(r"[^\w.-]+", "_", "-".join(map(str, self.key)))

    def __str__(self) -> str:
        return f"{self.problem}, {self.expert_steps:,} steps, {self.method}, seed {self.seed}"


@dataclass(frozen=True)
class Job:
    """A cell and how to train and score it.

    Attributes:
        cell: The cell.
        run: The algorithm's name in the registry.
        entry: Its entry there, for processes that do not have it.
        algorithm: Its class.
        overrides: What departs from its default config, as Tune hands it over.
        iterations: Training iterations, >= 1; None: until the algorithm has finished by itself.
        episodes: Of the final evaluation, >= 2.
        curve_points: Evaluations on the way, the final one included; 0 and 1: that one alone.
        curve_episodes: Of each of them, >= 1.
        half_done: Folder where half-done cells are kept.
        resources: What it asks of Ray, a mapping for each of the parts that must be on one node.
    """

    cell: Cell
    run: str
    entry: Any
    algorithm: type[Any]
    overrides: Mapping[str, Any]
    iterations: int | None
    episodes: int
    curve_points: int
    curve_episodes: int
    half_done: str
    resources: Sequence[Mapping[str, float]] = ()

    @property
    def evaluated_at(self) -> frozenset[int]:
        """Iterations after which the policies are evaluated, besides the last."""
        if self.iterations is None or self.curve_points < 2:
            return frozenset()
        found = {-(-self.iterations * point // self.curve_points) for point in range(1, self.curve_points)}
        return frozenset(found - {self.iterations})


def in_order(jobs: Sequence[Job]) -> list[Job]:
    """Jobs with one seed of everything first, so that a benchmark that is cut short compares all methods."""
    return sorted(jobs, key=lambda job: job.cell.seed)
