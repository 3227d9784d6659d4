"""Arrow tables to joint columns and back; the one place that knows Arrow's types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rllib_mamql.columns import (
    ACTIONS,
    AGENT_PREFIXES,
    ALIVE,
    EPS_ID,
    MASK_OF,
    NEXT_OBS,
    OBS,
    REWARDS,
    TERMINATEDS,
    TRUNCATEDS,
    WEIGHT,
    Array,
    JointColumns,
    T,
    column,
)
from rllib_mamql.data.agent_spaces import AgentSpaces
from rllib_mamql.data.masks import MaskedBox, seen_space
from rllib_mamql.data.metadata import METADATA_KEY, DatasetMetadata
from rllib_mamql.data.untrusted import MOST_NUMBERS
from rllib_mamql.data.validation import check_names, check_rewards
from rllib_mamql.errors import DatasetError

MOST_FILLING = 64
"""Of a column in which cells are null, at most one in so many numbers need be there, or few in all."""
PANDAS_INDEX = "__index_level_0__"
STRUCTURE_PREFIXES = (REWARDS, TERMINATEDS, TRUNCATEDS, ALIVE)
"""Per-agent columns that tell episodes and returns; everything else is large."""

_SCALARS = {REWARDS: np.float32, ACTIONS: np.int64, TERMINATEDS: np.bool_, TRUNCATEDS: np.bool_, ALIVE: np.bool_}
_TENSOR_EXTENSIONS = ("arrow.fixed_shape_tensor", "ray.data.arrow_tensor", "ray.data.arrow_tensor_v2")


def to_table(columns: Mapping[str, Array], metadata: DatasetMetadata) -> pa.Table:
    """A table with the schema's column order and types, observations as fixed-shape tensors."""
    arrays: dict[str, pa.Array] = {
        EPS_ID: pa.array(columns[EPS_ID].astype(str).tolist(), pa.string()),
        T: pa.array(columns[T].astype(np.int32)),
    }
    for agent in metadata.agents:
        for prefix in AGENT_PREFIXES:
            name = column(prefix, agent)
            if prefix == REWARDS and name not in columns:
                continue
            values = columns[name]
            space = metadata.spaces[agent].observation
            if prefix in MASK_OF and isinstance(space, MaskedBox):
                values, legal = space.split(values)
                arrays[column(MASK_OF[prefix], agent)] = _tensor(np.ascontiguousarray(legal))
            values = np.ascontiguousarray(values)
            arrays[name] = _tensor(values) if values.ndim > 1 else pa.array(values)
    if WEIGHT in columns:
        arrays[WEIGHT] = pa.array(columns[WEIGHT])
    return pa.table(arrays).replace_schema_metadata({METADATA_KEY: metadata.to_json()})


def _tensor(values: Array) -> pa.Array:
    kind = pa.fixed_shape_tensor(pa.from_numpy_dtype(values.dtype), values.shape[1:])
    size = int(np.prod(values.shape[1:]))
    return pa.ExtensionArray.from_storage(kind, pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), size))


def from_table(
    table: pa.Table, metadata: DatasetMetadata, file: str, prefixes: Sequence[str] = AGENT_PREFIXES
) -> JointColumns:
    """Joint columns of a table; plain lists, other integer widths and nulls of dead agents are accepted.

    Args:
        table: One row a joint step.
        metadata: Agents and spaces.
        file: Name for messages.
        prefixes: Which per-agent columns are wanted.

    Returns:
        The columns in the schema's dtypes. ``next_obs``, ``rewards`` and ``weight`` are left out where the table has
        none; a missing ``alive`` is all True.

    Raises:
        DatasetError: If a column is missing, one too many, or cannot be cast without loss.
    """
    try:
        check_table_names(table.column_names, metadata, prefixes)
        return _joint_columns(table, metadata, prefixes)
    except DatasetError as error:
        raise DatasetError(f"{file}: {error}") from error


def check_table_names(
    names: Sequence[str], metadata: DatasetMetadata, prefixes: Sequence[str] = AGENT_PREFIXES
) -> None:
    """Checks a table's column names; next_obs, alive, weight and all agents' rewards may be missing.

    Raises:
        DatasetError: If another one is missing, or a column is not part of the schema.
    """
    needed, optional = [EPS_ID, T], [WEIGHT]
    for agent in metadata.agents:
        for prefix in AGENT_PREFIXES:
            wanted = prefix in prefixes and prefix not in (NEXT_OBS, ALIVE, REWARDS)
            (needed if wanted else optional).append(column(prefix, agent))
            if prefix in MASK_OF and metadata.spaces[agent].masked:
                beside = prefix in prefixes and column(prefix, agent) in names
                (needed if beside else optional).append(column(MASK_OF[prefix], agent))
    check_names([name for name in names if name != PANDAS_INDEX], needed, optional, metadata.agents)
    check_rewards(names, metadata.agents)


def _joint_columns(table: pa.Table, metadata: DatasetMetadata, prefixes: Sequence[str]) -> JointColumns:
    eps_id, t = text_column(table, EPS_ID), _full(table, T, np.int32)
    columns: JointColumns = {EPS_ID: eps_id, T: t}
    for agent in metadata.agents:
        declared = metadata.spaces[agent].observation
        space = seen_space(declared)
        missing: dict[str, npt.NDArray[np.bool_]] = {}
        for prefix in prefixes:
            name = column(prefix, agent)
            if name not in table.column_names:
                if prefix == ALIVE:
                    columns[name] = np.ones(len(t), np.bool_)
                continue
            is_obs = prefix in (OBS, NEXT_OBS)
            shape, dtype = (space.shape, space.dtype) if is_obs else ((), _SCALARS[prefix])
            columns[name], missing[name] = array_column(table, name, shape, dtype)
            if is_obs and isinstance(declared, MaskedBox):
                mask = column(MASK_OF[prefix], agent)
                legal, missing[mask] = array_column(table, mask, (declared.actions,), np.bool_)
                columns[name] = declared.join(columns[name], legal)
        alive = np.asarray(columns.get(column(ALIVE, agent), np.ones(len(t), np.bool_)), np.bool_)
        for name, null in missing.items():
            bad = null & alive if name != column(ALIVE, agent) else null
            if bad.any():
                row = int(bad.argmax())
                raise DatasetError(
                    f"eps_id '{eps_id[row]}', t={t[row]}: '{name}' is null, expected a value: "
                    f"nulls are allowed only where '{column(ALIVE, agent)}' is false"
                )
        _mend_dead_cells(columns, agent, alive, metadata.spaces[agent])
    if WEIGHT in table.column_names:
        columns[WEIGHT] = _full(table, WEIGHT, np.float32)
    return columns


def _full(table: pa.Table, name: str, dtype: Any) -> Array:
    values, null = array_column(table, name, (), dtype)
    if null.any():
        raise DatasetError(f"column '{name}' is null in row {int(null.argmax())}, expected a value in every row")
    return values


def _mend_dead_cells(columns: JointColumns, agent: str, alive: npt.NDArray[np.bool_], spaces: AgentSpaces) -> None:
    """Makes a dead agent's cells harmless: 0 times NaN is NaN, and an action indexes a table."""
    dead = ~alive
    if not dead.any():
        return
    for prefix in (OBS, NEXT_OBS, REWARDS):
        values = columns.get(column(prefix, agent))
        if values is not None and values.dtype.kind == "f":
            rows = np.flatnonzero(dead)
            values[rows] = np.nan_to_num(values[rows], nan=0.0, posinf=0.0, neginf=0.0)
    actions = columns.get(column(ACTIONS, agent))
    if actions is not None:
        first, end = spaces.start, spaces.start + int(spaces.action.n)
        actions[dead & ((actions < first) | (actions >= end))] = first  # type: ignore[operator]


def count_from_zero(columns: JointColumns, metadata: DatasetMetadata) -> JointColumns:
    """The same joint steps with actions as numbers from 0 on, as all but files have them.

    Args:
        columns: As files hold them.
        metadata: What the files say of the actions' start.
    """
    shifted = dict(columns)
    for agent in metadata.agents:
        if start := metadata.spaces[agent].start:
            name = column(ACTIONS, agent)
            shifted[name] = np.where(columns[column(ALIVE, agent)], columns[name] - start, 0)
    return shifted


def count_from_start(columns: JointColumns, metadata: DatasetMetadata) -> JointColumns:
    """Undoes :func:`count_from_zero`: the same joint steps as files hold them."""
    shifted = dict(columns)
    for agent in metadata.agents:
        if start := metadata.spaces[agent].start:
            name = column(ACTIONS, agent)
            shifted[name] = columns[name] + start
    return shifted


def text_column(table: pa.Table, name: str) -> Array:
    """A column of strings (numbers are written out), shape (N,).

    Raises:
        DatasetError: If it holds nulls or neither strings nor integers.
    """
    values = table.column(name)
    if values.null_count:
        raise DatasetError(f"column '{name}' has {values.null_count} nulls, expected a value in every row")
    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_integer)
    if not any(is_kind(kind) for is_kind in texts):
        raise DatasetError(f"column '{name}' has type {values.type}, expected string")
    try:
        return np.asarray(values.cast(pa.string()).to_pylist(), dtype=np.str_)
    except (UnicodeDecodeError, pa.ArrowInvalid) as error:
        raise DatasetError(f"column '{name}' holds what is no text ({error}): copy or record the file again") from None


def array_column(table: pa.Table, name: str, shape: tuple[int, ...] | None, dtype: Any) -> tuple[Array, np.ndarray]:
    """A column of numbers or tensors, with nulls as zeros.

    Args:
        table: Source.
        name: Column.
        shape: Shape of one cell, or None to take it as found.
        dtype: Wanted dtype, or None to take it as found.

    Returns:
        Values (N, *shape) and which rows are null (N,). The values may be written to.

    Raises:
        DatasetError: If shape or type do not fit.
    """
    values = table.column(name)
    null = np.zeros(len(values), np.bool_)
    if values.null_count:
        null = ~np.asarray(values.is_valid().to_numpy())
        values = values.drop_null()
    try:
        parts = [_cells(chunk, name, shape) for chunk in values.chunks if len(chunk)]
        if len({part.shape[1:] for part in parts}) > 1:
            raise DatasetError(f"column '{name}' has cells of different shapes, expected one shape")
    except pa.ArrowInvalid as error:
        raise DatasetError(f"column '{name}' cannot be read: {error}") from error
    _check_filling(name, len(null), shape or (), sum(part.size for part in parts) if null.any() else None)
    if not parts:
        empty_shape = shape or ()
        return np.zeros((len(null), *empty_shape), dtype or np.float32), null
    found = np.concatenate(parts)
    cast = found if dtype is None else cast_numbers(found, dtype, f"column '{name}'")
    if null.any():
        full = np.zeros((len(null), *cast.shape[1:]), cast.dtype)
        full[~null] = cast
        cast = full
    elif not cast.flags.writeable:
        cast = cast.copy()
    return cast, null


def _check_filling(name: str, rows: int, shape: tuple[int, ...], held: int | None) -> None:
    """Refuses to take memory for cells that are declared and not there.

    Args:
        name: The column.
        rows: Of the table.
        shape: Of a cell.
        held: Numbers that there are, where some cells are null; None where all are there.
    """
    wanted = rows * int(np.prod(shape, dtype=object))
    if held is not None and wanted > max(MOST_NUMBERS, MOST_FILLING * held):
        raise DatasetError(
            f"column '{name}' has {held} numbers in all, but its metadata declares {rows} rows of shape {list(shape)}: "
            "write the dataset again"
        )


def _cells(array: pa.Array, name: str, shape: tuple[int, ...] | None) -> np.ndarray:
    """Values of one chunk as (rows, *shape)."""
    rows, tensor_shape = len(array), None
    if isinstance(array, pa.ExtensionArray):
        kind = array.type
        if kind.extension_name not in _TENSOR_EXTENSIONS:
            raise DatasetError(f"column '{name}' has type '{kind.extension_name}', expected numbers or tensors")
        if kind.extension_name == "arrow.fixed_shape_tensor" and kind.permutation not in (
            None,
            list(range(len(kind.shape))),
        ):
            raise DatasetError(f"column '{name}' holds permuted tensors, expected row-major ones: write it again")
        tensor_shape = tuple(kind.shape) if getattr(kind, "shape", None) is not None else None
        array = array.storage
    found: list[int] = []
    while pa.types.is_list(array.type) or pa.types.is_large_list(array.type) or pa.types.is_fixed_size_list(array.type):
        outer, inner = len(array), array.flatten()
        size = len(inner) // outer if outer else 0
        if not pa.types.is_fixed_size_list(array.type):
            lengths = array.value_lengths()
            if lengths.null_count or (np.asarray(lengths) != size).any():
                raise DatasetError(f"column '{name}' has cells of different lengths, expected one shape")
        elif len(inner) != outer * array.type.list_size:
            raise DatasetError(f"column '{name}' has nulls inside its cells, expected numbers")
        found.append(size)
        array = inner
    kind = array.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise DatasetError(f"column '{name}' has type {kind}, expected numbers: nothing is decoded or unpickled")
    if array.null_count:
        raise DatasetError(f"column '{name}' has nulls inside its cells, expected numbers")
    cell = tuple(found) if tensor_shape is None else tensor_shape
    # A flat list is accepted for any shape: most tools cannot write nested ones.
    flat = tensor_shape is None and len(cell) <= 1 and shape is not None
    if shape is not None and cell != shape and not (flat and np.prod(cell) == np.prod(shape)):
        raise DatasetError(
            f"column '{name}' has cells of shape {cell}, the metadata says {shape}: fix the spaces or the column"
        )
    values = np.asarray(array.to_numpy(zero_copy_only=False))
    return values.reshape(rows, *(cell if shape is None else shape))


def cast_numbers(values: Array, dtype: Any, what: str) -> np.ndarray:
    """Casts where no information is lost, but for the rounding of floats.

    Args:
        values: Numbers.
        dtype: Wanted dtype.
        what: Names the values in a message.

    Raises:
        DatasetError: If a number does not fit.
    """
    dtype = np.dtype(dtype)
    if values.dtype == dtype:
        return values
    with np.errstate(over="ignore", invalid="ignore"):
        cast = values.astype(dtype)
        if values.dtype.kind == "f" and dtype.kind == "f":
            lossless = np.isfinite(cast) == np.isfinite(values)
        else:
            lossless = cast.astype(values.dtype) == values
    if not lossless.all():
        bad = values[~lossless].flat[0]
        raise DatasetError(f"{what} holds {bad}, which does not fit in {dtype}: fix the column")
    return cast
