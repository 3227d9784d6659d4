"""Reads a dataset into memory, from a folder, file, glob or remote URI."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from rllib_mamql.columns import (
    AGENT_PREFIXES,
    EPS_ID,
    NEXT_OBS,
    WEIGHT,
    JointColumns,
    T,
    column,
    num_rows,
    pour_together,
)
from rllib_mamql.data.files import ParquetFile, find_files
from rllib_mamql.data.long_layout import convert_long_tables, infer_metadata, is_long_layout
from rllib_mamql.data.metadata import METADATA_KEY, DatasetMetadata, merge_metadata
from rllib_mamql.data.next_obs import derive_next_obs
from rllib_mamql.data.returns import recorded_return
from rllib_mamql.data.selection import select_episodes, select_steps
from rllib_mamql.data.tables import STRUCTURE_PREFIXES, check_table_names, count_from_zero, from_table
from rllib_mamql.data.validation import Locate, check_episodes, episode_order, validate_columns
from rllib_mamql.errors import DatasetError

__all__ = [
    "JointDataset",
    "read_dataset",
    "read_metadata",
    "read_structure",
    "select_episodes",
    "select_steps",
    "size_in_bytes",
]


@dataclass(frozen=True)
class JointDataset:
    """A dataset in memory.

    Attributes:
        columns: Joint steps in the order of the files, see :mod:`rllib_mamql.columns`; actions count from 0.
        metadata: What the files say about themselves; ``expert_return`` is computed where they do not
            and there are rewards.
        files: Names of the files.
    """

    columns: JointColumns
    metadata: DatasetMetadata
    files: tuple[str, ...]


def read_dataset(path: str | Sequence[str], filesystem: Any = None) -> JointDataset:
    """Reads and validates a dataset.

    Accepts the joint layout (one row a joint step) and RLlib's long layout (one row an agent a step). A missing
    ``alive`` is all True; a missing ``next_obs`` is the next row's observation; ``rewards`` may be missing.

    Args:
        path: Folder, file, glob, or URI of one (``s3://``, ``gs://``, any that pyarrow or fsspec knows), or a list.
        filesystem: A pyarrow or fsspec filesystem that ``path`` lies in, or None to tell from the path.

    Returns:
        The dataset, with observations (N, *shape) in the space's dtype.

    Raises:
        DatasetError: If it cannot be found or read, or is not valid; the message is one line.
    """
    return read_files(find_files(path, filesystem))


def read_files(files: Sequence[ParquetFile]) -> JointDataset:
    """As :func:`read_dataset`, of files that are open already."""
    metadata = stated_metadata(files)
    if is_long_layout(files[0].schema):
        tables = [file.read() for file in files]
        if metadata is None:
            metadata = infer_metadata(tables)
        columns = convert_long_tables(list(zip(_names(files), tables, strict=True)), metadata)
        del tables
        _order_columns(columns, metadata.agents)
        validate_columns(columns, metadata, _locator(files) if len(files) == 1 else None)
    else:
        assert metadata is not None
        columns = _concatenate([from_table(file.read(), metadata, file.name) for file in files])
        locate = _locator(files)
        _add_next_obs(columns, metadata.agents, locate)
        _order_columns(columns, metadata.agents)
        validate_columns(columns, metadata, locate)
    columns, metadata = count_from_zero(columns, metadata), metadata.counted_from_zero()
    if metadata.expert_return is None:
        metadata = replace(metadata, expert_return=recorded_return(columns, metadata.agents))
    pa.default_memory_pool().release_unused()  # Arrow keeps as much as the tables took, which are gone.
    return JointDataset(columns, metadata, _names(files))


def read_metadata(path: str | Sequence[str], filesystem: Any = None) -> DatasetMetadata:
    """What a dataset says about itself, without reading its rows where it says so.

    Raises:
        DatasetError: As :func:`read_dataset`, but for faults in the rows.
    """
    files = find_files(path, filesystem)
    metadata = stated_metadata(files)
    return infer_metadata([file.read() for file in files]) if metadata is None else metadata.counted_from_zero()


def read_structure(files: Sequence[ParquetFile]) -> tuple[JointColumns, DatasetMetadata]:
    """Everything but observations and actions: enough to check episodes and returns of a dataset too large to hold.

    Returns:
        Columns eps_id, t, rewards (if there are any), terminateds, truncateds and alive, and the metadata as
        :func:`read_dataset` gives it.

    Raises:
        DatasetError: If the dataset has the long layout or no ``next_obs``, which need all rows at once, or if
            its episodes do not hold together.
    """
    metadata = stated_metadata(files)
    advice = "read it in memory (expert_in_memory: true) or write it again with write_dataset"
    if metadata is None or is_long_layout(files[0].schema):
        raise DatasetError(f"{files[0].name} has RLlib's long layout, which cannot be streamed: {advice}")
    parts = []
    for file in files:
        if set(file.schema.names) != set(files[0].schema.names):
            raise DatasetError(f"{files[0].name} and {file.name} have different columns: write all files alike")
        check_table_names(file.schema.names, metadata)
        absent = [name for name in _agent_columns(metadata, (NEXT_OBS,)) if name not in file.schema.names]
        if absent:
            raise DatasetError(f"{file.name} lacks {absent}, which streaming needs: {advice}")
        wanted = [EPS_ID, T, *_agent_columns(metadata, STRUCTURE_PREFIXES)]
        table = file.read([name for name in wanted if name in file.schema.names])
        parts.append(from_table(table, metadata, file.name, STRUCTURE_PREFIXES))
    columns = _concatenate(parts)
    check_episodes(columns, metadata.agents, _locator(files))
    if metadata.expert_return is None:
        metadata = replace(metadata, expert_return=recorded_return(columns, metadata.agents))
    return columns, metadata.counted_from_zero()


def size_in_bytes(path: str | Sequence[str], filesystem: Any = None) -> int:
    """Bytes that a dataset takes in memory, told from its files' footers; larger than the compressed files.

    Raises:
        DatasetError: As :func:`find_files`.
    """
    return size_of_files(find_files(path, filesystem))


def size_of_files(files: Sequence[ParquetFile]) -> int:
    """As :func:`size_in_bytes`, of files that are open already."""
    total = 0
    for file in files:
        if file.metadata is None:
            total += file.rows * 64
            for field in file.schema:
                total += file.rows * _cell_bytes(field.type)
        else:
            agents = len(file.metadata.agents) if is_long_layout(file.schema) else 1
            total += file.rows * file.metadata.row_bytes // agents
    return total


def _cell_bytes(kind: pa.DataType) -> int:
    """A guess for columns whose spaces are not known; lists of unknown length count as 1 KiB."""
    if isinstance(kind, pa.ExtensionType):
        kind = kind.storage_type
    if pa.types.is_fixed_size_list(kind):
        return int(kind.list_size) * _cell_bytes(kind.value_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return 1024
    return 8


def stated_metadata(files: Sequence[ParquetFile]) -> DatasetMetadata | None:
    """Metadata of all files as they state it, or None for the long layout without any.

    Raises:
        DatasetError: If a file states none, or they do not fit together.
    """
    layouts = {is_long_layout(file.schema) for file in files}
    if len(layouts) > 1:
        raise DatasetError(f"{files[0].name} and the files beside it have different layouts: read them separately")
    stated = [(file.name, file.metadata) for file in files if file.metadata is not None]
    if len(stated) < len(files):
        without = next(file.name for file in files if file.metadata is None)
        if stated:
            raise DatasetError(f"{without} has no '{METADATA_KEY}' metadata, but {stated[0][0]} has: add it")
        if layouts == {True}:
            return None
        raise DatasetError(
            f"{without} has no '{METADATA_KEY}' metadata in its Parquet schema, expected one JSON document with "
            "schema_version, agents and spaces: add it with pyarrow's Table.replace_schema_metadata"
        )
    # Masks need not be announced: their columns say so.
    return merge_metadata(
        [
            (file.name, stated_by.with_masks_of(file.schema.names))
            for file, (_, stated_by) in zip(files, stated, strict=True)
        ]
    )


def _names(files: Sequence[ParquetFile]) -> tuple[str, ...]:
    return tuple(file.name for file in files)


def _agent_columns(metadata: DatasetMetadata, prefixes: Sequence[str]) -> list[str]:
    return [column(prefix, agent) for agent in metadata.agents for prefix in prefixes]


def _locator(files: Sequence[ParquetFile]) -> Locate:
    ends, names = np.cumsum([file.rows for file in files]), _names(files)
    return lambda row: names[int(np.searchsorted(ends, row, side="right"))]


def _concatenate(parts: list[JointColumns]) -> JointColumns:
    if any(WEIGHT in part for part in parts):
        for part in parts:
            part.setdefault(WEIGHT, np.ones(num_rows(part), np.float32))
    names = set().union(*parts)
    for part in parts:
        if set(part) != names:
            raise DatasetError(f"columns {sorted(names - set(part))} are in some files only: write all files alike")
    return pour_together(parts)


def _add_next_obs(columns: JointColumns, agents: Sequence[str], locate: Locate | None) -> None:
    """Derives each missing ``next_obs`` from the next row of the same episode."""
    missing = [agent for agent in agents if column(NEXT_OBS, agent) not in columns]
    if missing:
        check_episodes(columns, agents, locate)
        order, episode = episode_order(columns)
        for agent in missing:
            derive_next_obs(columns, agent, order, episode, locate)


def _order_columns(columns: JointColumns, agents: Sequence[str]) -> None:
    schema = [EPS_ID, T, *(column(prefix, agent) for agent in agents for prefix in AGENT_PREFIXES), WEIGHT]
    ordered = {name: columns[name] for name in schema if name in columns}
    columns.clear()
    columns.update(ordered)
