"""Datasets of the toy environment, whole and broken."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

TOY = "pettingzoo:tests.toy_env"


def write_toy_dataset(out: Path, rows: int = 60, **env_config: Any) -> Path:
    """Random play of the toy environment, in our Parquet format."""
    from rllib_mamql.evaluation.record import record_dataset

    record_dataset(TOY, env_config, "random", rows, 0, out)
    return out


def parquet_file(folder: Path) -> Path:
    return next(folder.rglob("*.parquet"))


def replace_cell(folder: Path, name: str, row: int, value: Any) -> None:
    """Writes another value into one cell; of a tensor cell into its first element."""
    file = parquet_file(folder)
    table = pq.read_table(file)
    index = table.schema.get_field_index(name)
    field, column = table.schema.field(index), table.column(index).combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0)
    if isinstance(field.type, pa.BaseExtensionType):
        values = column.to_numpy_ndarray().copy()
        values.reshape(len(values), -1)[row, 0] = value
        replaced = type(column).from_numpy_ndarray(values)
    else:
        values = np.array(column.to_pylist())
        values[row] = value
        replaced = pa.array(values, type=field.type)
    pq.write_table(table.set_column(index, field, replaced), file)


def truncate(folder: Path) -> None:
    file = parquet_file(folder)
    file.write_bytes(file.read_bytes()[:-200])


def write_pickle(path: Path) -> Path:
    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (path.with_name("unpickled"),))

    path.write_bytes(pickle.dumps(Bomb()))
    return path
