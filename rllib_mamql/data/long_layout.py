"""RLlib's long layout (one row an agent a step) to joint steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from gymnasium.spaces import Discrete

from rllib_mamql.columns import (
    ACTIONS,
    AGENT_ID,
    ALIVE,
    EPS_ID,
    MASK,
    NEXT_MASK,
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
    concatenate,
)
from rllib_mamql.data.agent_spaces import AgentSpaces, unbounded
from rllib_mamql.data.masks import MaskedBox, seen_space
from rllib_mamql.data.metadata import DatasetMetadata
from rllib_mamql.data.next_obs import derive_next_obs
from rllib_mamql.data.tables import array_column, text_column
from rllib_mamql.data.validation import check_episodes, episode_order, where
from rllib_mamql.errors import DatasetError

# RLlib's names, see ray.rllib.core.columns.Columns and ray.rllib.offline.offline_prelearner.SCHEMA.
NEW_OBS = "new_obs"

_REQUIRED = (EPS_ID, AGENT_ID, T, OBS, ACTIONS, TERMINATEDS, TRUNCATEDS)
_SCALARS = (ACTIONS, REWARDS, TERMINATEDS, TRUNCATEDS)


def is_long_layout(schema: pa.Schema) -> bool:
    """Whether a table has RLlib's long layout, told by its columns ``agent_id`` and ``obs``."""
    return {AGENT_ID, OBS} <= set(schema.names)


def infer_metadata(tables: Sequence[pa.Table]) -> DatasetMetadata:
    """Agents (sorted) and spaces as the rows show them: unbounded boxes, and as many actions as were seen.

    Raises:
        DatasetError: If a column is missing or an agent's observations differ in shape.
    """
    shapes: dict[str, tuple[tuple[int, ...], Any]] = {}
    sizes: dict[str, int] = {}
    for table in tables:
        _check_names(table)
        names, inverse = np.unique(text_column(table, AGENT_ID), return_inverse=True)
        for index, agent in enumerate(names.tolist()):
            rows = table.filter(pa.array(inverse == index))
            obs = array_column(rows, OBS, None, None)[0]
            found = (obs.shape[1:], obs.dtype)
            if shapes.setdefault(agent, found) != found:
                raise DatasetError(f"observations of '{agent}' are {found} in one file, {shapes[agent]} in another")
            actions = array_column(rows, ACTIONS, (), np.int64)[0]
            seen = int(actions.max()) + 1
            if MASK in rows.column_names:  # There is a number for each action.
                seen = array_column(rows, MASK, None, np.bool_)[0].shape[-1]
            sizes[agent] = max(sizes.get(agent, 1), seen)
    agents = tuple(sorted(shapes))
    spaces = {agent: AgentSpaces(unbounded(*shapes[agent]), Discrete(sizes[agent])) for agent in agents}
    if all(MASK in table.column_names for table in tables):
        spaces = {agent: each.with_masks() for agent, each in spaces.items()}
    return DatasetMetadata(agents=agents, spaces=spaces, spaces_inferred=True)


def _check_names(table: pa.Table) -> None:
    missing = [name for name in _REQUIRED if name not in table.column_names]
    if missing:
        raise DatasetError(f"RLlib's long layout needs the columns {list(_REQUIRED)}, {missing} are missing: add them")


def convert_long_tables(tables: Sequence[tuple[str, pa.Table]], metadata: DatasetMetadata) -> JointColumns:
    """Joins the agents' rows at each (eps_id, t); an agent that ended before is not alive.

    Args:
        tables: Pairs of file name and table; other columns than RLlib's and ``weight`` are ignored.
        metadata: Agents and spaces.

    Returns:
        Joint steps sorted by episode and t, with ``next_obs`` from ``new_obs`` or the next row.

    Raises:
        DatasetError: If a row has no partner at its (eps_id, t), appears twice, or an agent's rows are shifted in
            time.
    """
    parts: dict[str, list[JointColumns]] = {agent: [] for agent in metadata.agents}
    for file, table in tables:
        try:
            _check_names(table)
            ids = text_column(table, AGENT_ID)
            unknown = sorted(set(ids.tolist()) - set(metadata.agents))
            if unknown:
                raise DatasetError(f"rows of agents {unknown}, expected {list(metadata.agents)}: fix the metadata")
            for agent in metadata.agents:
                rows = table.filter(pa.array(ids == agent))
                if len(rows):
                    parts[agent].append(_agent_rows(rows, metadata.spaces[agent]))
        except DatasetError as error:
            raise DatasetError(f"{file}: {error}") from error
    for agent, own in parts.items():
        if not own:
            raise DatasetError(f"no rows of agent '{agent}', expected {list(metadata.agents)}: fix the metadata")
        if len({frozenset(part) for part in own}) > 1:
            raise DatasetError(
                "some files have the columns new_obs, rewards or weight and others not: write all files alike"
            )
    agents = {agent: concatenate(own) for agent, own in parts.items()}
    return _join(agents, metadata)


def _agent_rows(table: pa.Table, spaces: AgentSpaces) -> JointColumns:
    seen = seen_space(spaces.observation)
    shape, dtype, count = seen.shape, seen.dtype, int(spaces.action.n)
    wanted: list[tuple[str, tuple[int, ...], Any]] = [
        (T, (), np.int32),
        (OBS, shape, dtype),
        (NEW_OBS, shape, dtype),
        (ACTIONS, (), np.int64),
        (REWARDS, (), np.float32),
        (TERMINATEDS, (), np.bool_),
        (TRUNCATEDS, (), np.bool_),
        (WEIGHT, (), np.float32),
        *(((MASK, (count,), np.bool_), (NEXT_MASK, (count,), np.bool_)) if spaces.masked else ()),
    ]
    rows: JointColumns = {EPS_ID: text_column(table, EPS_ID)}
    for name, cell, kind in wanted:
        if name in table.column_names:
            rows[name], null = array_column(table, name, cell, kind)
            if null.any():
                raise DatasetError(f"column '{name}' has {int(null.sum())} nulls, expected a value in every row")
    if isinstance(spaces.observation, MaskedBox):
        for name, mask in ((OBS, MASK), (NEW_OBS, NEXT_MASK)):
            if (name in rows) != (mask in rows):
                raise DatasetError(f"columns '{name}' and '{mask}' belong together, one of them is missing: add it")
            if name in rows:
                rows[name] = spaces.observation.join(rows[name], rows.pop(mask))
    return rows


def _join(agents: dict[str, JointColumns], metadata: DatasetMetadata) -> JointColumns:
    names, codes = np.unique(np.concatenate([rows[EPS_ID] for rows in agents.values()]), return_inverse=True)
    t = np.concatenate([rows[T] for rows in agents.values()]).astype(np.int64)
    if (t < 0).any():
        raise DatasetError(f"t is {t.min()} in a row, expected 0 or more: fix the column")
    stride = int(t.max()) + 1
    keys = np.unique(codes * stride + t)
    episode, time = keys // stride, keys % stride
    columns: JointColumns = {EPS_ID: names[episode], T: time.astype(np.int32)}
    weights: list[Array] = []
    at = 0
    for agent, rows in agents.items():
        code, own_t = codes[at : at + len(rows[T])], t[at : at + len(rows[T])]
        at += len(rows[T])
        position = np.searchsorted(keys, code * stride + own_t)
        _check_partners(agents, agent, columns, (episode, time, position, code, own_t))
        alive = np.zeros(len(keys), np.bool_)
        alive[position] = True
        columns[column(ALIVE, agent)] = alive
        for source, prefix in ((OBS, OBS), (NEW_OBS, NEXT_OBS), *((n, n) for n in _SCALARS)):
            if source in rows:
                cells = np.zeros((len(keys), *rows[source].shape[1:]), rows[source].dtype)
                cells[position] = rows[source]
                columns[column(prefix, agent)] = cells
        if WEIGHT in rows:
            weight = np.full(len(keys), np.nan, np.float32)
            weight[position] = rows[WEIGHT]
            weights.append(weight)
    if weights:
        columns[WEIGHT] = _joint_weight(columns, weights)
    check_episodes(columns, metadata.agents)
    order, episode_of = episode_order(columns)
    for agent in metadata.agents:
        if column(NEXT_OBS, agent) not in columns:
            derive_next_obs(columns, agent, order, episode_of)
    _check_aligned(columns, metadata.agents)
    return columns


def _check_partners(
    agents: dict[str, JointColumns], agent: str, columns: JointColumns, index: tuple[np.ndarray, ...]
) -> None:
    """Each joint step needs a row of the agent, unless the agent ended earlier in that episode."""
    episode, time, position, code, own_t = index
    counts = np.bincount(position, minlength=len(episode))
    if (counts > 1).any():
        row = int((counts > 1).argmax())
        raise DatasetError(
            f"{where(columns, row)}: '{agent}' has {counts[row]} rows, expected one: give every episode its own eps_id"
        )
    ended = agents[agent][TERMINATEDS] | agents[agent][TRUNCATEDS]  # type: ignore[operator]
    end = np.full(int(episode.max()) + 1, np.iinfo(np.int64).max)
    np.minimum.at(end, code[ended], own_t[ended])
    bad = (counts == 0) & (time <= end[episode])
    if bad.any():
        row = int(bad.argmax())
        partner = next(
            other
            for other, rows in agents.items()
            if ((rows[EPS_ID] == columns[EPS_ID][row]) & (rows[T] == columns[T][row])).any()
        )
        raise DatasetError(
            f"{where(columns, row)}: '{partner}' has a row but '{agent}' has none and has not ended before, expected "
            "a row of every living agent at each step: the agents' rows are not aligned, record them again"
        )


def _joint_weight(columns: JointColumns, weights: Sequence[Array]) -> Array:
    stacked = np.stack(weights)
    low, high = np.nanmin(stacked, axis=0), np.nanmax(stacked, axis=0)
    if (low != high).any():
        row = int((low != high).argmax())
        raise DatasetError(
            f"{where(columns, row)}: agents have weights {low[row]} and {high[row]}, expected one weight a joint step"
        )
    return low.astype(np.float32)


def _check_aligned(columns: JointColumns, agents: Sequence[str]) -> None:
    """Finds an agent whose rows were shifted against the clock.

    A shift leaves breaks in the chain from ``next_obs`` to the next ``obs`` where episodes meet. Environments whose
    recorded chain breaks for every agent (noise added on reading, say) are left alone.
    """
    order, episode = episode_order(columns)
    if len(order) < 2:
        return
    breaks: dict[str, np.ndarray] = {}
    for agent in agents:
        alive = columns[column(ALIVE, agent)][order].astype(bool)
        pair = (episode[1:] == episode[:-1]) & alive[1:]
        after = columns[column(NEXT_OBS, agent)][order[:-1]].reshape(len(order) - 1, -1)
        before = columns[column(OBS, agent)][order[1:]].reshape(len(order) - 1, -1)
        breaks[agent] = np.flatnonzero(pair & (after != before).any(axis=1))
    sound = [agent for agent, rows in breaks.items() if not len(rows)]
    for agent, rows in breaks.items():
        if len(rows) and sound:
            row = order[rows[0]]
            raise DatasetError(
                f"{where(columns, row)}: new_obs of '{agent}' is not its obs at the next step in {len(rows)} rows, "
                f"while '{sound[0]}' has no such row: the agents' rows are shifted in time, record them again"
            )
