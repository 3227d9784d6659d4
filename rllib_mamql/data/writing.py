"""Writes a dataset: one Parquet file, all or nothing, the same bytes for the same data."""

from __future__ import annotations

import os
import pathlib
import shutil
import uuid
from collections.abc import Mapping

import pyarrow.parquet as pq

from rllib_mamql.columns import Array
from rllib_mamql.data.metadata import DatasetMetadata
from rllib_mamql.data.tables import to_table
from rllib_mamql.data.validation import validate_columns
from rllib_mamql.errors import DatasetError

FILE_NAME = "part-00000.parquet"

_ROW_GROUP_BYTES = 64 * 1024**2


def free_folder(path: str | pathlib.Path) -> pathlib.Path:
    """The path, which a dataset can be written to.

    Raises:
        DatasetError: If a file is there, or a folder that holds something.
    """
    out = pathlib.Path(path)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DatasetError(f"{out} exists and is not an empty folder: choose another name or remove it")
    return out


def write_dataset(columns: Mapping[str, Array], metadata: DatasetMetadata, out_dir: str | pathlib.Path) -> pathlib.Path:
    """Validates and writes joint steps as ``part-00000.parquet`` (zstd) in a new folder.

    The folder appears complete or not at all: it is written under a hidden name beside ``out_dir``, then renamed.

    Args:
        columns: Joint steps, see :mod:`rllib_mamql.columns`.
        metadata: Goes into the file's schema.
        out_dir: Folder to create; may exist if it is empty.

    Returns:
        The folder.

    Raises:
        DatasetError: If the columns are not valid, or the folder exists and is not empty or cannot be written.
    """
    validate_columns(columns, metadata)
    out = free_folder(out_dir)
    temporary = out.parent / f".{out.name}.{uuid.uuid4().hex}"
    try:
        temporary.mkdir(parents=True)
        rows = min(max(_ROW_GROUP_BYTES // metadata.row_bytes, 1024), 65_536)
        pq.write_table(to_table(columns, metadata), temporary / FILE_NAME, compression="zstd", row_group_size=int(rows))
        # A POSIX rename replaces an empty folder, but not on every platform.
        if out.exists():
            out.rmdir()
        os.rename(temporary, out)
    except OSError as error:
        raise DatasetError(f"cannot write {out}: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return out
