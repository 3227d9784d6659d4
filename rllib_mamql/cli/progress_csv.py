"""``progress.csv`` of each trial, with a column for all that any of its results holds."""

from __future__ import annotations

import rllib_mamql.startup  # noqa: F401

# isort: split
import csv
from pathlib import Path
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.logger import CSVLoggerCallback

from rllib_mamql.cli.report import flatten


class ProgressTable(CSVLoggerCallback):
    """Writes ``progress.csv`` in place of Tune's own logger.

    Tune takes the columns of the first result. It drops what comes later, such as returns where no episode ends in the
    first iteration, and a resumed trial writes other columns below the header that is there.
    """

    def __init__(self) -> None:
        super().__init__()
        self._columns: dict[str, list[str]] = {}

    def log_trial_result(self, iteration: int, trial: Trial, result: dict[str, Any]) -> None:
        """Adds a row, and columns where the result has new ones."""
        if trial not in self._trial_files:
            self._setup_trial(trial)
        file = self._trial_files[trial]
        row = flatten({key: value for key, value in result.items() if key != "config"}, separator="/")
        columns = self._columns.get(trial.trial_id) or header(Path(file.name))
        if new := [name for name in row if name not in columns]:
            columns = [*columns, *new]
            add_columns(Path(file.name), columns)
        self._columns[trial.trial_id] = columns
        csv.DictWriter(file, columns).writerow(row)
        file.flush()


def header(path: Path) -> list[str]:
    """Columns of a CSV file; none where it is empty."""
    with path.open(newline="") as file:
        return next(csv.reader(file), [])


def add_columns(path: Path, columns: list[str]) -> None:
    """Writes a CSV file anew with more columns, empty in the rows that are there."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
