"""Datasets as the tables of pandas and Polars, and such tables as Arrow's."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from rllib_mamql.columns import Array
from rllib_mamql.data.reading import read_dataset
from rllib_mamql.errors import DatasetError, check_choice, one_line

FORMS = ("numpy", "pandas", "polars")


def read_demonstrations(path: str | Sequence[str], form: str = "numpy", filesystem: Any = None) -> Any:
    """Reads a dataset, with one row for each joint step.

    Args:
        path: Folder, file, glob, or URI of one (``s3://``, ``gs://``), or a list.
        form: ``numpy`` gives ``{column: array (N, ...)}``, ``pandas`` and ``polars`` a data frame of that package.
            Observations are arrays in its cells.
        filesystem: A pyarrow or fsspec filesystem that ``path`` lies in, or None to tell from the path.

    Returns:
        The columns that docs/your_data.md lists, those of agents that are not there padded (``alive`` is False);
        ``rewards`` where the dataset has them.

    Raises:
        DatasetError: If the dataset cannot be found or read, or is not valid, or the package is not installed.
        ConfigError: If the form is another.
    """
    check_choice("form", form, FORMS)
    package = None if form == "numpy" else import_optional(form, f"form '{form}'")
    columns = read_dataset(path, filesystem).columns
    if package is None:
        return columns
    return package.DataFrame({name: _cells(values, form) for name, values in columns.items()})


def _cells(values: Array, form: str) -> Any:
    """One cell for each row: pandas holds objects, Polars arrays of a fixed shape."""
    if values.dtype.kind == "U":
        return values.tolist()
    return list(values) if form == "pandas" and values.ndim > 1 else values


def import_optional(package: str, what: str) -> Any:
    """A package that not everybody has.

    Raises:
        DatasetError: If it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise DatasetError(f"{what} needs the package {package}: pip install {package} ({error})") from error


def is_table(data: Any) -> bool:
    """Whether :func:`to_arrow` takes it."""
    return isinstance(data, pa.Table) or any(
        hasattr(data, name) for name in ("__arrow_c_stream__", "to_arrow", "arrow")
    )


def to_arrow(data: Any) -> pa.Table:
    """The Arrow table of a pandas or Polars data frame, a DuckDB relation, or anything else that gives one.

    Raises:
        DatasetError: If it holds what has no place in a table.
    """
    try:
        if isinstance(data, pa.Table):
            return data
        if type(data).__module__.partition(".")[0] == "pandas":
            return pa.Table.from_pandas(_listed(data), preserve_index=False)
        return pa.table(data) if hasattr(data, "__arrow_c_stream__") else _called(data)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise DatasetError(f"the {type(data).__name__} is no table of numbers and texts: {one_line(error)}") from error


def _listed(frame: Any) -> Any:
    """Arrow takes lists of numbers in cells, and flat arrays, but no arrays of several axes."""
    replaced = {}
    for name in frame.columns:
        cells = frame[name]
        if cells.dtype == object and len(cells) and isinstance(cells.iloc[0], np.ndarray):
            replaced[name] = [np.asarray(cell).tolist() for cell in cells]
    return frame.assign(**replaced) if replaced else frame


def _called(data: Any) -> pa.Table:
    method = getattr(data, "to_arrow", None) or data.arrow
    found = method()
    return found.read_all() if isinstance(found, pa.RecordBatchReader) else pa.table(found)
