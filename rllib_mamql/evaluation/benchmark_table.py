"""A benchmark's results: a tidy Parquet file with a row a cell, and one with a row a point of its curve."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rllib_mamql.errors import ConfigError, DatasetError, one_line
from rllib_mamql.evaluation.benchmark_cells import Cell, Job, Key

Row = dict[str, Any]

_KEY = [("problem", pa.string()), ("expert_steps", pa.int64()), ("method", pa.string()), ("seed", pa.int64())]
RESULTS = pa.schema(
    [
        *_KEY,
        ("run", pa.string()),
        ("env", pa.string()),
        ("agents", pa.int64()),
        ("return_mean", pa.float64()),
        ("return_low", pa.float64()),
        ("return_high", pa.float64()),
        ("score", pa.float64()),
        ("return_as_trained", pa.float64()),
        ("score_as_trained", pa.float64()),
        ("acts_at", pa.float64()),
        ("expert_return", pa.float64()),
        ("random_return", pa.float64()),
        ("episodes", pa.int64()),
        ("env_steps", pa.int64()),
        ("updates", pa.int64()),
        ("train_s", pa.float64()),
        ("wall_s", pa.float64()),
        ("settings", pa.string()),
        ("versions", pa.string()),
        ("day", pa.string()),
    ]
)
"""Columns of results.parquet. ``return_low`` and ``return_high`` are the 95% interval over the episodes of the one
cell; ``acts_at`` is the multiple of the training rationality at which the policies act; seconds are wall seconds."""
CURVES = pa.schema(
    [
        *_KEY,
        ("iteration", pa.int64()),
        ("env_steps", pa.int64()),
        ("updates", pa.int64()),
        ("train_s", pa.float64()),
        ("return_mean", pa.float64()),
        ("score", pa.float64()),
    ]
)
"""Columns of curves.parquet: how the policies played on the way, at the rationality of training."""


class Results:
    """The results in a folder; every cell that is added is on disk before anything else happens.

    Args:
        folder: Where results.parquet and curves.parquet lie; they need not be there yet.

    Raises:
        DatasetError: If a file there is no table of results.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows = _read(folder / "results.parquet", RESULTS)
        known = {key_of(row) for row in self.rows}
        # A process may have been killed between the two files.
        self.curves = [row for row in _read(folder / "curves.parquet", CURVES) if key_of(row) in known]

    def add(self, row: Row, curve: Sequence[Row]) -> None:
        """Adds a cell and the points of its curve."""
        key = {name: row[name] for name, _ in _KEY}
        self.curves += [key | point for point in curve]
        self.rows.append(row)
        self.folder.mkdir(parents=True, exist_ok=True)
        _write(self.folder / "curves.parquet", self.curves, CURVES)
        _write(self.folder / "results.parquet", self.rows, RESULTS)

    def missing(self, jobs: Sequence[Job]) -> list[Job]:
        """Jobs whose cells have no result.

        Raises:
            ConfigError: If a cell has a result that other settings made.
        """
        made = {key_of(row): row["settings"] for row in self.rows}
        for job in jobs:
            if made.get(job.cell.key, job.cell.settings) != job.cell.settings:
                raise ConfigError(_changed(job.cell, self.folder))
        return [job for job in jobs if job.cell.key not in made]


def key_of(row: Mapping[str, Any]) -> Key:
    """Of which cell a row is."""
    return (row["problem"], row["expert_steps"], row["method"], row["seed"])


def _changed(cell: Cell, folder: Path) -> str:
    return (
        f"{folder}/results.parquet has {cell} with other settings than the suite: give the method or the problem "
        "another name, or another --out"
    )


def _read(file: Path, schema: pa.Schema) -> list[Row]:
    if not file.exists():
        return []
    try:
        table = pq.read_table(file)
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(
            f"{file} is no table of results ({one_line(error)}): remove it, or give another --out"
        ) from error
    missing = [name for name in schema.names if name not in table.column_names]
    if missing:
        raise DatasetError(f"{file} lacks column {missing[0]!r}: an earlier version wrote it; give another --out")
    rows: list[Row] = table.select(schema.names).to_pylist()
    return rows


def _write(file: Path, rows: Sequence[Row], schema: pa.Schema) -> None:
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    pq.write_table(pa.Table.from_pylist(list(rows), schema), partial, compression="zstd")
    partial.replace(file)
