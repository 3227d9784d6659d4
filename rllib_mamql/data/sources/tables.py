"""Tables and archives of arrays: long ones (a row for an agent's step) and joint ones (a row for all agents')."""

from __future__ import annotations

import fnmatch
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from rllib_mamql.columns import (
    ACTIONS,
    AGENT_ID,
    ALIVE,
    EPS_ID,
    NEXT_OBS,
    OBS,
    ONLY_AGENT,
    REWARDS,
    TERMINATEDS,
    TRUNCATEDS,
    WEIGHT,
    Array,
    T,
    column,
)
from rllib_mamql.data.files import find_files
from rllib_mamql.data.sources.found import Found
from rllib_mamql.data.sources.rows import AgentRows, episodes_of
from rllib_mamql.data.tables import array_column, cast_numbers, text_column
from rllib_mamql.errors import DatasetError, nearest, one_line

MEANINGS = (EPS_ID, AGENT_ID, T, OBS, ACTIONS, REWARDS, TERMINATEDS, TRUNCATEDS, NEXT_OBS)
"""What a column can mean; ``new_obs`` is RLlib's name of ``next_obs``."""
_OTHER_NAMES = {NEXT_OBS: "new_obs"}
ONLY_EPISODE = "eps-0"


def read_csv(path: str | pathlib.Path) -> pa.Table:
    """A file of comma-separated values whose first line names the columns.

    Raises:
        DatasetError: If it is missing or no such file.
    """
    try:
        table = pacsv.read_csv(str(path))
    except FileNotFoundError as error:
        raise DatasetError(f"{path} does not exist: check the path") from error
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} is no CSV file ({one_line(error)}): check it") from error
    if table.num_columns == 1:
        raise DatasetError(f"{path} has one column only, {table.column_names[0]!r}: separate values by commas")
    return table


def read_parquet(path: str | Sequence[str]) -> pa.Table:
    """Parquet files of any schema: a folder, file, glob or URI.

    Raises:
        DatasetError: If nothing is there, a file is damaged, or files differ in their columns.
    """
    tables = [file.read() for file in find_files(path)]
    try:
        return pa.concat_tables(tables)
    except pa.ArrowException as error:
        raise DatasetError(f"files of {path} differ in their columns: convert them one by one") from error


def read_npz(path: str | pathlib.Path) -> dict[str, Array]:
    """The arrays of an ``.npz`` archive; arrays of objects, which are pickles, are refused.

    Raises:
        DatasetError: If it is missing, no such archive, or holds objects.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise DatasetError(f"{path} does not exist: check the path") from error
    except Exception as error:  # zipfile, zlib and numpy each have errors of their own.
        text = one_line(error)
        hint = "save arrays of numbers: objects are pickles, which are never loaded"
        raise DatasetError(f"{path} is no archive of arrays ({text}): {hint}") from error


def from_table(table: pa.Table, columns: Mapping[str, str] | None = None) -> Found:
    """The episodes of a table.

    Args:
        table: One row for each step of an agent; or one for each joint step, with columns such as ``obs.ann``.
        columns: ``{meaning: column}`` where a column is not called by its meaning, one of ``MEANINGS``. ``obs`` and
            ``next_obs`` may name several columns, ``"x,y"`` or ``"feature_*"``, which make a vector.

    Raises:
        DatasetError: If a column is missing, holds no numbers, or rows do not hold together.
    """
    names = _chosen(table.column_names, columns)
    arrays: dict[str, Array] = {}
    empty: dict[str, Array] = {}
    for meaning, chosen in names.items():
        if meaning in (EPS_ID, AGENT_ID):
            if table.column(chosen[0]).null_count < len(table):  # RLlib names no agent where there is one only.
                arrays[meaning] = text_column(table, chosen[0])
            continue
        parts, nulls = zip(*(array_column(_numbers(table, name), name, None, None) for name in chosen), strict=True)
        arrays[meaning] = parts[0] if len(parts) == 1 else np.stack(parts, axis=1)
        empty[meaning] = np.any(nulls, axis=0)
    if T in empty and empty[T].any():
        raise DatasetError(f"'{T}' is empty in row {int(empty[T].argmax())}, expected a number in every row")
    return _noted(_episodes(arrays, empty, len(table)), table.column_names)


def from_arrays(arrays: Mapping[str, Any], columns: Mapping[str, str] | None = None) -> Found:
    """The episodes of arrays whose first axis is the step.

    Args:
        arrays: As the columns of a table: long, or joint, with names such as ``obs.ann``. Or joint with an axis for the
            agents: ``obs`` ``(N, agents, *obs)`` and the others ``(N, agents)``, with ``eps_id`` ``(N,)`` and the names
            of the ``agents``, if they have any.
        columns: ``{meaning: name}`` where an array is not called by its meaning.

    Raises:
        DatasetError: As :func:`from_table`.
    """
    found = {str(name): np.asarray(values) for name, values in arrays.items()}
    agents = found.pop("agents", None)
    names = _chosen(list(found), columns)
    chosen = {}
    for meaning, several in names.items():
        parts = [found[name] for name in several]
        chosen[meaning] = parts[0] if len(parts) == 1 else np.stack(parts, axis=-1)
        kinds = "fiubU" if meaning in (EPS_ID, AGENT_ID) else "fiub"
        if chosen[meaning].dtype.kind not in kinds:
            raise DatasetError(f"array '{several[0]}' is of type {chosen[meaning].dtype}, expected numbers")
    if chosen.get(ACTIONS, np.zeros(0)).ndim == 2:
        chosen = _unstacked(chosen, agents)
    lengths = {meaning: len(values) for meaning, values in chosen.items()}
    if len(set(lengths.values())) > 1:
        raise DatasetError(f"arrays have different numbers of steps, {lengths}: give each a row for every step")
    return _noted(_episodes(chosen, {}, next(iter(lengths.values()), 0)), list(found))


def _noted(found: Found, names: Sequence[str]) -> Found:
    """Says that weights, which datasets know and episodes do not, are left out."""
    if WEIGHT in names:
        found.notes.append(f"'{WEIGHT}' is left out: every step counts alike")
    return found


def _unstacked(arrays: dict[str, Array], agents: Array | None) -> dict[str, Array]:
    """Arrays with an axis for the agents as one array for each agent."""
    count = arrays[ACTIONS].shape[1]
    names = [f"agent_{i}" for i in range(count)] if agents is None else [str(name) for name in agents.ravel()]
    if len(names) != count:
        raise DatasetError(f"there are names of {len(names)} agents and actions of {count}: name each")
    result = {}
    for meaning, values in arrays.items():
        if meaning in (EPS_ID, T):
            result[meaning] = values
        elif values.ndim == 1 and meaning in (TERMINATEDS, TRUNCATEDS, REWARDS):
            result |= {column(meaning, name): values for name in names}
        elif values.ndim < 2 or values.shape[1] != count:
            raise DatasetError(
                f"array '{meaning}' has shape {values.shape}, expected {count} agents on its second axis"
            )
        else:
            result |= {column(meaning, name): values[:, i] for i, name in enumerate(names)}
    return result


def _chosen(found: Sequence[str], columns: Mapping[str, str] | None) -> dict[str, list[str]]:
    """``{meaning: columns}``: those named, and those called by a meaning."""
    result: dict[str, list[str]] = {}
    for meaning in found:
        prefix, dot, _ = meaning.partition(".")
        if meaning in MEANINGS or (dot and prefix in (*MEANINGS, ALIVE)):
            result[meaning] = [meaning]
    for meaning, other in _OTHER_NAMES.items():
        if other in found:
            result.setdefault(meaning, [other])
    for meaning, text in (columns or {}).items():
        if meaning not in MEANINGS:
            raise DatasetError(f"a column is given for {meaning!r}, which is no meaning: {nearest(meaning, MEANINGS)}")
        names = [name for pattern in text.split(",") for name in _matching(pattern.strip(), found)]
        if len(names) > 1 and meaning not in (OBS, NEXT_OBS):
            raise DatasetError(f"'{meaning}' is given the columns {names}, expected one: only obs may be of several")
        result[meaning] = names
    return result


def _matching(pattern: str, found: Sequence[str]) -> list[str]:
    if pattern in found:
        return [pattern]
    names = [name for name in found if fnmatch.fnmatchcase(name, pattern)] if set(pattern) & set("*?[") else []
    if not names:
        raise DatasetError(f"there is no column {pattern!r}; {nearest(pattern, found)}")
    return names


def _numbers(table: pa.Table, name: str) -> pa.Table:
    """The column as numbers: files of text hold dictionaries of words and empty columns of no type."""
    kind = table.column(name).type
    if pa.types.is_null(kind):
        return pa.table({name: table.column(name).cast(pa.float64())})
    texts = (pa.types.is_binary, pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    if any(is_kind(kind) for is_kind in texts):
        words = [str(value)[:20] for value in table.column(name).slice(0, 3).to_pylist()]
        raise DatasetError(
            f"column '{name}' holds texts such as {words}, expected numbers: nothing is decoded or unpickled "
            "(of RLlib's recordings: record with output_compress_columns=[])"
        )
    return table.select([name])


def _episodes(arrays: dict[str, Array], empty: Mapping[str, Array], rows: int) -> Found:
    """Episodes of columns by meaning; ``empty`` says which cells hold nothing."""
    if not rows:
        raise DatasetError("there are no rows: nothing is written")
    eps_id = arrays[EPS_ID].astype(str) if EPS_ID in arrays else np.full(rows, ONLY_EPISODE)
    time = None if T not in arrays else cast_numbers(arrays[T], np.int64, f"column '{T}'")
    joint = [name.partition(".")[2] for name in arrays if name.startswith(f"{OBS}.")]
    ids = arrays[AGENT_ID].astype(str) if AGENT_ID in arrays else np.full(rows, ONLY_AGENT)
    agents: dict[str, AgentRows] = {}
    for agent in joint or dict.fromkeys(ids.tolist()):
        names = {meaning: column(meaning, agent) if joint else meaning for meaning in (*MEANINGS, ALIVE)}
        own = {meaning: arrays[name] for meaning, name in names.items() if name in arrays}
        alive = own.get(ALIVE, np.ones(rows, np.bool_)).astype(bool) if joint else ids == agent
        blank = {meaning: empty[name] for meaning, name in names.items() if name in empty}
        agents[agent] = _agent_rows(agent, own, blank, eps_id, time, np.flatnonzero(alive))
    return episodes_of(agents)


def _agent_rows(
    agent: str, own: Mapping[str, Array], blank: Mapping[str, Array], eps_id: Array, time: Array | None, index: Any
) -> AgentRows:
    for meaning in (OBS, ACTIONS):
        if meaning not in own:
            raise DatasetError(f"there is no column '{meaning}' of '{agent}': add it, or say which column it is")
    # A row without an action may hold an episode's last observation, and nothing else.
    acts = ~blank.get(ACTIONS, np.zeros(len(eps_id), np.bool_))[index]
    optional = [name for name in (NEXT_OBS, REWARDS, TERMINATEDS, TRUNCATEDS) if name in own]
    for meaning in (OBS, *optional):
        bad = blank[meaning][index] & (acts | (meaning == OBS)) if meaning in blank else np.zeros(1, np.bool_)
        if bad.any():
            row = int(index[int(bad.argmax())])
            raise DatasetError(f"'{meaning}' of '{agent}' is empty in row {row}, expected a value: fill it, or drop it")
    return AgentRows(
        eps_id=eps_id[index],
        t=None if time is None else time[index],
        obs=own[OBS][index],
        actions=own[ACTIONS][index],
        acts=acts,
        **{meaning: own[meaning][index] for meaning in optional},
    )
