"""Small joint datasets that satisfy the schema, for tests of the data path."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from gymnasium.spaces import Box, Discrete

from rllib_mamql.columns import AGENT_PREFIXES, JointColumns, column
from rllib_mamql.data.schema import AgentSpaces, DatasetMetadata

AGENTS = ("agent_0", "agent_1")
ACTIONS = 3


def make_metadata(shape: tuple[int, ...] = (2, 3), agents: Sequence[str] = AGENTS, **fields: object) -> DatasetMetadata:
    spaces = {agent: AgentSpaces(Box(-np.inf, 1.0, shape), Discrete(ACTIONS)) for agent in agents}
    return DatasetMetadata(tuple(agents), spaces, **fields)  # type: ignore[arg-type]


def make_columns(
    lengths: Sequence[int] = (4, 6),
    shape: tuple[int, ...] = (2, 3),
    agents: Sequence[str] = AGENTS,
    seed: int = 0,
    early_end: bool = False,
    prefix: str = "e",
) -> JointColumns:
    """Random walks; even episodes terminate, odd ones are truncated; with ``early_end`` agent 1 stops a step early."""
    rng = np.random.default_rng(seed)
    eps_id = np.repeat([f"{prefix}{i}" for i in range(len(lengths))], lengths)
    t = np.concatenate([np.arange(length) for length in lengths]).astype(np.int32)
    episode, length = np.repeat(np.arange(len(lengths)), lengths), np.repeat(lengths, lengths)
    columns: JointColumns = {"eps_id": eps_id, "t": t}
    for index, agent in enumerate(agents):
        end = length - (2 if early_end and index == 1 else 1)
        walks = [rng.random((steps + 1, *shape), np.float32) for steps in lengths]
        values = {
            "obs": np.concatenate([walk[:-1] for walk in walks]),
            "next_obs": np.concatenate([walk[1:] for walk in walks]),
            "actions": rng.integers(0, ACTIONS, len(t)),
            "rewards": rng.random(len(t), np.float32),
            "terminateds": (t == end) & (episode % 2 == 0),
            "truncateds": (t == end) & (episode % 2 == 1),
            "alive": t <= end,
        }
        columns |= {column(name, agent): values[name] for name in AGENT_PREFIXES}
    return columns


def write_plain(path: str, columns: JointColumns, metadata: DatasetMetadata | None) -> None:
    """Writes columns as a stranger would: pyarrow alone, flat lists for tensors."""
    arrays = {}
    for name, values in columns.items():
        flat = values.reshape(len(values), -1) if values.ndim > 1 else values
        arrays[name] = pa.array(flat.tolist(), pa.list_(pa.float64()) if values.ndim > 1 else None)
    table = pa.table(arrays)
    if metadata is not None:
        table = table.replace_schema_metadata({"rllib_mamql": metadata.to_json()})
    pq.write_table(table, path)


def long_rows(columns: JointColumns, agents: Sequence[str] = AGENTS) -> dict[str, list[object]]:
    """The same steps in RLlib's long layout, living agents only."""
    names = {"obs": "obs", "next_obs": "new_obs"} | {
        name: name for name in ("actions", "rewards", "terminateds", "truncateds")
    }
    rows: dict[str, list[object]] = {name: [] for name in ("eps_id", "agent_id", "t", *names.values())}
    for agent in agents:
        for row in np.flatnonzero(columns[column("alive", agent)]):
            rows["eps_id"].append(str(columns["eps_id"][row]))
            rows["agent_id"].append(agent)
            rows["t"].append(int(columns["t"][row]))
            for ours, theirs in names.items():
                rows[theirs].append(
                    columns[column(ours, agent)][row].ravel().tolist()
                    if "obs" in ours
                    else columns[column(ours, agent)][row].item()
                )
    return rows


def assert_equal(left: JointColumns, right: JointColumns, agents: Sequence[str] = AGENTS) -> None:
    """Same rows in the same order, but for the cells of dead agents."""
    assert set(left) == set(right)
    for name in left:
        rows = np.ones(len(left["t"]), bool)
        prefix, _, agent = name.partition(".")
        if agent and prefix != "alive":
            rows = left[column("alive", agent)].astype(bool)
        np.testing.assert_array_equal(left[name][rows], right[name][rows], err_msg=name)
