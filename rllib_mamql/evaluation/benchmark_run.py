"""Runs the cells of a benchmark that have no result yet, through Ray Tune."""

from __future__ import annotations

import rllib_mamql.startup  # noqa: F401

# isort: split
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ray import tune

from rllib_mamql.evaluation.benchmark_cells import Job
from rllib_mamql.evaluation.benchmark_table import Results, Row
from rllib_mamql.evaluation.benchmark_trial import CURVE, ITERATIONS, NUMBER, ROW, CellTrial
from rllib_mamql.ray_internals import trials_of

Tell = Callable[[Row], None]
"""Told of the row of every cell that has ended; a function of a module, which Tune can pickle."""
Note = Callable[[str], None]
"""Told of cells that begin and go on, in a line each; likewise."""
NOTED_EVERY_S = 30.0
"""How much time lies between two lines of cells that go on, at least."""


class Recorder(tune.Callback):
    """Writes each cell's row the moment it is there, in the process that started the benchmark.

    Args:
        jobs: The cells that run.
        folder: Where the results lie.
        tell: Told of every row, after it is on disk.
        note: Told of cells that begin and go on.
    """

    def __init__(self, jobs: Sequence[Job], folder: Path, tell: Tell, note: Note) -> None:
        # Tune works on a copy, and pickles it: of the jobs only what is needed here.
        self.half_done = [Path(job.half_done) / job.cell.folder_name for job in jobs]
        self.cells = [(str(job.cell), job.iterations) for job in jobs]
        self.folder, self.tell, self.note = folder, tell, note
        self._noted = time.monotonic()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Says that a cell begins."""
        self._note(f"{self.cells[trial.config[NUMBER]][0]}: begins")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: Mapping[str, Any], **info: Any
    ) -> None:
        """Says how far a cell is, where nothing was said for a while."""
        cell, whole = self.cells[trial.config[NUMBER]]
        if ROW not in result and time.monotonic() - self._noted >= NOTED_EVERY_S:
            self._note(f"{cell}: iteration {result[ITERATIONS]}" + (f" of {whole}" if whole else ""))

    def _note(self, line: str) -> None:
        self._noted = time.monotonic()
        self.note(line)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Adds the trial's row, and removes what was kept of the half-done cell."""
        result = trial.last_result or {}
        if ROW not in result:
            return
        Results(self.folder).add(result[ROW], result[CURVE])
        shutil.rmtree(self.half_done[trial.config[NUMBER]], ignore_errors=True)
        self.tell(result[ROW])


def run_jobs(
    jobs: Sequence[Job], folder: Path, tell: Tell, note: Note, *, name: str, storage: str
) -> dict[str, BaseException]:
    """Runs cells, as many at a time as Ray has room for; each one's row is written when it ends.

    Args:
        jobs: Cells that have no result.
        folder: Where :class:`~rllib_mamql.evaluation.benchmark_table.Results` go.
        tell: Told of every row.
        note: Told of cells that begin and go on.
        name: What Tune calls the run.
        storage: Folder for Tune's logs.

    Returns:
        Errors of the cells that failed.
    """

    def resources(config: dict[str, Any]) -> Any:
        job = jobs[config[NUMBER]]
        strategy = job.overrides.get("placement_strategy", "PACK")
        return tune.PlacementGroupFactory([dict(part) for part in job.resources], strategy=strategy)

    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(CellTrial, jobs=list(jobs)), resources),
        param_space={NUMBER: tune.grid_search(list(range(len(jobs))))},
        tune_config=tune.TuneConfig(trial_dirname_creator=_trial_folder),
        run_config=tune.RunConfig(
            name=name,
            storage_path=storage,
            callbacks=[Recorder(jobs, folder, tell, note)],
            # Half-done cells are kept by themselves; of ended ones only rows are.
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            verbose=0,
        ),
    )
    found = tuner.fit()
    failed = {}
    for result, trial in zip(found, trials_of(found), strict=True):
        if result.error is not None:
            failed[str(jobs[trial.config[NUMBER]].cell)] = result.error
    return failed


def _trial_folder(trial: Any) -> str:
    return f"cell_{trial.trial_id}"
