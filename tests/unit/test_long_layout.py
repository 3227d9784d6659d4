"""RLlib's long layout becomes joint rows, or is refused where agents are not at the same steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gymnasium.spaces import Box, Discrete
from ray.rllib.core.columns import Columns

from rllib_mamql.columns import take
from rllib_mamql.data.long_layout import AGENT_ID, NEW_OBS
from rllib_mamql.data.reading import read_dataset, read_metadata, size_in_bytes
from rllib_mamql.data.schema import DatasetMetadata, check_environment
from rllib_mamql.errors import DatasetError
from tests.support.joint_data import assert_equal, long_rows, make_columns, make_metadata

Rows = dict[str, list[object]]


def write(path: Path, rows: Rows, metadata: DatasetMetadata | None = None) -> str:
    table = pa.table({name: pa.array(values) for name, values in rows.items()})
    if metadata is not None:
        table = table.replace_schema_metadata({"rllib_mamql": metadata.to_json()})
    pq.write_table(table, path)
    return str(path)


def pick(rows: Rows, keep) -> Rows:
    kept = [i for i in range(len(rows["t"])) if keep(rows["eps_id"][i], rows["agent_id"][i], rows["t"][i])]
    return {name: [values[i] for i in kept] for name, values in rows.items()}


def test_names_are_rllibs() -> None:
    assert (AGENT_ID, NEW_OBS) == (Columns.AGENT_ID, Columns.NEXT_OBS)


@pytest.mark.parametrize("early_end", [False, True])
def test_conversion(tmp_path: Path, early_end: bool) -> None:
    columns, rows = make_columns((4, 6, 3), early_end=early_end), None
    rows = long_rows(columns)
    order = np.random.default_rng(0).permutation(len(rows["t"]))
    rows = {name: [values[i] for i in order] for name, values in rows.items()} | {"infos": ["{}"] * len(order)}
    dataset = read_dataset(write(tmp_path / "a.parquet", rows, make_metadata()))
    assert_equal(take(columns, np.arange(13)), dataset.columns)
    assert list(dataset.columns) == list(columns)
    assert size_in_bytes(str(tmp_path)) > 0


def test_agents_and_spaces_are_inferred(tmp_path: Path) -> None:
    columns = make_columns(shape=(6,))
    path = write(tmp_path / "a.parquet", long_rows(columns))
    metadata = read_metadata(path)
    assert metadata.agents == ("agent_0", "agent_1") and metadata.spaces_inferred
    assert metadata.spaces["agent_0"].observation == Box(-np.inf, np.inf, (6,), np.float64)
    read = read_dataset(path).columns
    np.testing.assert_array_equal(read["obs.agent_1"], columns["obs.agent_1"])
    spaces = {agent: Box(0, 1, (6,), np.float32) for agent in metadata.agents}
    check_environment(metadata, metadata.agents, spaces, dict.fromkeys(spaces, Discrete(9)))
    with pytest.raises(DatasetError, match="actions"):
        check_environment(metadata, metadata.agents, spaces, dict.fromkeys(spaces, Discrete(1)))


def test_new_obs_is_derived_but_not_guessed(tmp_path: Path) -> None:
    columns = make_columns((4,))
    rows = long_rows(columns)
    del rows["new_obs"]
    read = read_dataset(write(tmp_path / "a.parquet", rows, make_metadata())).columns
    np.testing.assert_array_equal(read["next_obs.agent_1"][:-1], columns["next_obs.agent_1"][:-1])
    rows = long_rows(make_columns((4, 4)))
    del rows["new_obs"]
    with pytest.raises(DatasetError, match="'e1', t=3: 'agent_0' is truncated"):
        read_dataset(write(tmp_path / "a.parquet", rows, make_metadata()))


def test_a_row_without_partner_is_named(tmp_path: Path) -> None:
    rows = pick(long_rows(make_columns()), lambda e, a, t: (e, a, t) != ("e1", "agent_1", 2))
    with pytest.raises(DatasetError, match="eps_id 'e1', t=2: 'agent_0' has a row but 'agent_1' has none"):
        read_dataset(write(tmp_path / "a.parquet", rows, make_metadata()))


def test_rows_after_an_end_need_no_partner_but_before_they_do(tmp_path: Path) -> None:
    rows = long_rows(make_columns((5,), early_end=True))
    read_dataset(write(tmp_path / "a.parquet", rows, make_metadata()))
    rows = pick(rows, lambda e, a, t: not (a == "agent_1" and t == 3))
    with pytest.raises(DatasetError, match="t=3: 'agent_0' has a row but 'agent_1' has none"):
        read_dataset(write(tmp_path / "a.parquet", rows, make_metadata()))


def shift_time(rows: Rows) -> Rows:
    t = [int(t) + (agent == "agent_1") for t, agent in zip(rows["t"], rows["agent_id"], strict=True)]  # type: ignore[call-overload]
    return rows | {"t": t}


def shift_and_trim(rows: Rows) -> Rows:
    shifted = shift_time(rows)
    return pick(shifted, lambda e, a, t: not (t == 0 or t == {"e0": 4, "e1": 6}[e]))


def roll(names: tuple[str, ...]):
    def change(rows: Rows) -> Rows:
        mine = [i for i, agent in enumerate(rows["agent_id"]) if agent == "agent_1"]
        result = {name: list(values) for name, values in rows.items()}
        for name in names:
            for to, source in zip(mine, mine[-1:] + mine[:-1], strict=True):
                result[name][to] = rows[name][source]
        return result

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (shift_time, "'agent_0' has a row but 'agent_1' has none"),
        (shift_and_trim, "starts at t=1|has none|ends here"),
        (roll(("obs", "new_obs", "actions", "rewards", "terminateds", "truncateds")), "agent_1"),
        (roll(("obs", "new_obs", "actions", "rewards")), "'agent_1' is not its obs at the next step.*shifted"),
    ],
)
def test_one_agent_shifted_by_a_step_is_refused(tmp_path: Path, change, says: str) -> None:
    rows = change(long_rows(make_columns()))
    with pytest.raises(DatasetError, match=says):
        read_dataset(write(tmp_path / "a.parquet", rows, make_metadata()))


def test_other_faults(tmp_path: Path) -> None:
    rows = long_rows(make_columns())
    doubled = {name: values + values[:1] for name, values in rows.items()}
    with pytest.raises(DatasetError, match="'e0', t=0: 'agent_0' has 2 rows"):
        read_dataset(write(tmp_path / "a.parquet", doubled, make_metadata()))
    with pytest.raises(DatasetError, match=r"rows of agents .'agent_2'"):
        read_dataset(write(tmp_path / "a.parquet", rows | {"agent_id": ["agent_2"] * 20}, make_metadata()))
    alone = pick(rows, lambda e, a, t: a == "agent_0")
    with pytest.raises(DatasetError, match="no rows of agent 'agent_1'"):
        read_dataset(write(tmp_path / "a.parquet", alone, make_metadata()))
    del rows["terminateds"]
    with pytest.raises(DatasetError, match=r"terminateds.* are missing"):
        read_dataset(write(tmp_path / "a.parquet", rows, make_metadata()))


def test_weights_belong_to_joint_steps(tmp_path: Path) -> None:
    rows = long_rows(make_columns())
    rows["weight"] = [0.5] * 20
    assert (read_dataset(write(tmp_path / "a.parquet", rows, make_metadata())).columns["weight"] == 0.5).all()
    rows["weight"] = [0.5] * 19 + [1.0]
    with pytest.raises(DatasetError, match=r"'e1', t=5: agents have weights 0.5 and 1"):
        read_dataset(write(tmp_path / "a.parquet", rows, make_metadata()))


def test_one_step_alone_is_a_dataset(tmp_path: Path) -> None:
    rows = long_rows(make_columns((1,)))
    assert len(read_dataset(write(tmp_path / "a.parquet", rows, make_metadata())).columns["t"]) == 1
