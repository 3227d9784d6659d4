"""Reading and writing: what comes back is what went in, and what is broken is refused in one line."""

from __future__ import annotations

import pickle
import shutil
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
from gymnasium.spaces import Box, Discrete

from rllib_mamql.columns import JointColumns, concatenate, take
from rllib_mamql.data.files import find_files
from rllib_mamql.data.reading import read_dataset, read_metadata, read_structure, select_steps, size_in_bytes
from rllib_mamql.data.schema import AgentSpaces, DatasetMetadata
from rllib_mamql.data.summary import summarise
from rllib_mamql.data.writing import write_dataset
from rllib_mamql.errors import DatasetError
from rllib_mamql.learning.offline_input import metadata_of
from tests.support.joint_data import assert_equal, long_rows, make_columns, make_metadata, write_plain


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_dataset(make_columns(), make_metadata(env="toy"), tmp_path / "deep" / "data")


def test_round_trip(folder: Path) -> None:
    dataset = read_dataset(str(folder))
    columns = make_columns()
    assert_equal(dataset.columns, columns)
    assert list(dataset.columns) == list(columns)
    assert {name: values.dtype for name, values in dataset.columns.items()} == {
        name: values.dtype for name, values in columns.items()
    }
    assert dataset.files == (str(folder / "part-00000.parquet"),)
    assert replace(dataset.metadata, expert_return=None) == make_metadata(env="toy")
    assert read_metadata(str(folder)) == make_metadata(env="toy")


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float16, np.float64, np.bool_])
def test_dtypes_of_observations(tmp_path: Path, dtype: type) -> None:
    box = Box(0, 1, (3,), dtype)
    metadata = DatasetMetadata(("agent_0",), {"agent_0": AgentSpaces(box, Discrete(3))})
    columns = make_columns(shape=(3,), agents=["agent_0"])
    for name in ("obs.agent_0", "next_obs.agent_0"):
        columns[name] = np.round(columns[name]).astype(dtype)
    read = read_dataset(str(write_dataset(columns, metadata, tmp_path / "d"))).columns
    assert read["obs.agent_0"].dtype == dtype
    assert_equal(read, columns, ["agent_0"])


def test_equal_data_make_equal_bytes(tmp_path: Path) -> None:
    for name in "ab":
        write_dataset(make_columns(), make_metadata(seed=1), tmp_path / name)
    first, second = ((tmp_path / name / "part-00000.parquet").read_bytes() for name in "ab")
    assert first == second


def test_tensors_are_typed_and_plain_to_others(folder: Path) -> None:
    file = folder / "part-00000.parquet"
    assert pq.read_schema(file).field("obs.agent_0").type == pa.fixed_shape_tensor(pa.float32(), (2, 3))
    assert pq.ParquetFile(file).metadata.row_group(0).column(0).compression == "ZSTD"
    frame = pytest.importorskip("pandas").read_parquet(file)
    np.testing.assert_array_equal(frame["obs.agent_0"][0], make_columns()["obs.agent_0"][0].ravel())


def test_writing_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(pq, "write_table", fail)
    with pytest.raises(DatasetError, match="disk full"):
        write_dataset(make_columns(), make_metadata(), tmp_path / "d")
    assert list(tmp_path.iterdir()) == []


def test_only_an_empty_folder_is_written_to(tmp_path: Path) -> None:
    write_dataset(make_columns(), make_metadata(), tmp_path)
    with pytest.raises(DatasetError, match="not an empty folder"):
        write_dataset(make_columns(), make_metadata(), tmp_path)


def test_broken_columns_are_not_written(tmp_path: Path) -> None:
    columns = make_columns()
    columns["actions.agent_0"][0] = 99
    with pytest.raises(DatasetError, match="99"):
        write_dataset(columns, make_metadata(), tmp_path / "d")
    assert not (tmp_path / "d").exists()


def test_files_are_sorted_and_others_ignored(tmp_path: Path) -> None:
    tmp_path = tmp_path / "set"
    tmp_path.mkdir()
    parts = {name: make_columns(prefix=name, seed=seed) for seed, name in enumerate("ba")}
    for name, columns in parts.items():
        write_plain(str(tmp_path / f"{name}.parquet"), columns, make_metadata())
    for name in (".hidden.parquet", "_temporary.parquet", "README.md", "info.json"):
        (tmp_path / name).write_text("no parquet")
    both = concatenate([parts["a"], parts["b"]])
    for path in (
        str(tmp_path),
        f"{tmp_path}/",
        f"{tmp_path}/*.parquet",
        f"{tmp_path}/*",
        f"{tmp_path.parent}/**/?.parquet",
    ):
        assert_equal(read_dataset(path).columns, both)
    files = [str(tmp_path / "b.parquet"), str(tmp_path / "[a].parquet")]
    assert_equal(read_dataset(files).columns, both)


def test_relative_paths(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    assert_equal(read_dataset("data").columns, make_columns())
    assert_equal(read_dataset("./da*").columns, make_columns())


def test_remote_filesystems(folder: Path) -> None:
    data = (folder / "part-00000.parquet").read_bytes()
    with fsspec.filesystem("memory").open("/bucket/set/part-0.parquet", "wb") as file:
        file.write(data)
    local = pafs.SubTreeFileSystem(str(folder.parent), pafs.LocalFileSystem())
    for path, filesystem in (
        ("memory://bucket/set", None),
        ("memory://bucket/set/part-0.parquet", None),
        ("memory://bucket/s*/*.parquet", None),
        ("bucket/set", fsspec.filesystem("memory")),
        ("data", local),
        ("data/*.parquet", local),
        (folder.as_uri(), None),
    ):
        assert_equal(read_dataset(path, filesystem).columns, make_columns())
    with pytest.raises(DatasetError, match="memory://bucket/none does not exist"):
        read_dataset("memory://bucket/none")
    with pytest.raises(DatasetError, match="cannot open nosuch://"):
        read_dataset("nosuch://bucket")


def test_a_stranger_writes_with_pyarrow_alone(tmp_path: Path) -> None:
    columns = make_columns((4, 5, 3))
    for agent in ("agent_0", "agent_1"):
        ended = columns[f"terminateds.{agent}"] | columns[f"truncateds.{agent}"]
        columns[f"terminateds.{agent}"], columns[f"truncateds.{agent}"] = ended, np.zeros_like(ended)
    plain = {name: v for name, v in columns.items() if not name.startswith(("alive", "next_obs"))}
    plain["actions.agent_0"] = plain["actions.agent_0"].astype(np.int8)
    plain["terminateds.agent_0"] = plain["terminateds.agent_0"].astype(np.int64)
    order = np.random.default_rng(1).permutation(12)
    write_plain(str(tmp_path / "own.parquet"), take(plain, order), make_metadata())
    read = read_dataset(str(tmp_path)).columns
    back = take(read, np.argsort(order))
    last = columns["terminateds.agent_0"]
    for agent in ("agent_0", "agent_1"):
        # Nothing is bootstrapped after termination, so any finite observation will do there.
        np.testing.assert_array_equal(back[f"next_obs.{agent}"][last], columns[f"obs.{agent}"][last])
        columns[f"next_obs.{agent}"][last] = columns[f"obs.{agent}"][last]
    assert_equal(back, columns)


def test_fixed_size_lists_and_nulls_of_dead_agents(tmp_path: Path) -> None:
    columns = make_columns(early_end=True)
    dead = ~columns["alive.agent_1"].astype(bool)
    table = {name: pa.array(v.tolist()) for name, v in columns.items() if "obs" not in name}
    for name in (name for name in columns if "obs" in name):
        cells = columns[name].reshape(-1, 6).tolist()
        if name.endswith("1"):
            cells = [None if gone else cell for cell, gone in zip(cells, dead, strict=True)]
        table[name] = pa.array(cells, pa.list_(pa.float32(), 6))
    table["actions.agent_1"] = pa.array(np.where(dead, -1, columns["actions.agent_1"]))
    table["rewards.agent_1"] = pa.array(np.where(dead, np.nan, columns["rewards.agent_1"]))
    document = {"rllib_mamql": make_metadata().to_json()}
    pq.write_table(pa.table(table).replace_schema_metadata(document), tmp_path / "x.parquet")
    read = read_dataset(str(tmp_path)).columns
    assert_equal(read, columns)
    for name, values in read.items():
        assert name == "eps_id" or np.isfinite(values).all()
    assert (read["actions.agent_1"] >= 0).all()


def rewrite(folder: Path, change) -> None:
    file = folder / "part-00000.parquet"
    table = pq.read_table(file)
    pq.write_table(change(table).replace_schema_metadata(table.schema.metadata), file)


def set_column(name: str, values: list[object], kind: pa.DataType | None = None):
    def change(table: pa.Table) -> pa.Table:
        return table.set_column(table.schema.get_field_index(name), name, pa.array(values, kind))

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (set_column("actions.agent_0", [0.5] * 10), "holds 0.5, which does not fit in int64"),
        (set_column("actions.agent_0", ["a"] * 10), "type string, expected numbers"),
        (set_column("obs.agent_0", [pickle.dumps(1)] * 10), "type binary.*unpickled"),
        (set_column("obs.agent_0", [[1.0]] * 9 + [[1.0, 2.0]]), "different lengths"),
        (set_column("obs.agent_0", [[1.0]] * 10), r"shape \(1,\), the metadata says \(2, 3\)"),
        (set_column("obs.agent_0", [None] * 10, pa.list_(pa.float32())), "'e0', t=0: 'obs.agent_0' is null"),
        (set_column("obs.agent_0", [[None] * 6] * 10, pa.list_(pa.float32())), "nulls inside"),
        (set_column("rewards.agent_0", [1e39] * 10), "does not fit in float32"),
        (set_column("terminateds.agent_0", [2] * 10), "holds 2, which does not fit in bool"),
        (set_column("t", [None] * 10, pa.int32()), "'t' is null in row 0"),
        (set_column("eps_id", [None] * 10, pa.string()), "10 nulls"),
        (set_column("eps_id", [1.5] * 10), "type double, expected string"),
        (lambda t: t.drop_columns(["rewards.agent_1"]), r"rewards\.agent_1.*missing"),
        (lambda t: t.append_column("obs.agent_2", t.column("t")), r"obs\.agent_2.*not part of the schema"),
        (lambda t: t.drop_columns(["next_obs.agent_0"]), r"'e1', t=5: 'agent_0' is truncated and.*next_obs\.agent_0"),
        (lambda t: t.slice(0, 9), r"part-00000\.parquet: eps_id 'e1', t=4: the episode ends here"),
    ],
)
def test_faulty_columns(folder: Path, change, says: str) -> None:
    rewrite(folder, change)
    with pytest.raises(DatasetError, match=says) as error:
        read_dataset(str(folder))
    assert "\n" not in str(error.value) and "part-00000.parquet" in str(error.value)


def put(folder: Path, data: bytes) -> None:
    (folder / "part-00000.parquet").write_bytes(data)


def test_faulty_files(folder: Path, tmp_path: Path) -> None:
    whole = (folder / "part-00000.parquet").read_bytes()
    trap = pickle.dumps(make_columns())
    for data, says in (
        (b"", "is empty"),
        (whole[:-100], "truncated"),
        (whole[:6], "truncated"),
        (whole[:-40] + b"x" * 32 + whole[-8:], "corrupt"),
        (whole[:8] + b"\xff" * 2000 + whole[2008:], "damaged|corrupt"),
        (trap, "pickle, which is never loaded"),
        (b"hello world, hello", "not Parquet"),
    ):
        put(folder, data)
        with pytest.raises(DatasetError, match=says) as error:
            read_dataset(str(folder))
        assert "\n" not in str(error.value)
    (folder / "part-00000.parquet").rename(folder / "expert.pkl")
    with pytest.raises(DatasetError, match=r"holds no Parquet file.*expert\.pkl.*never loaded"):
        read_dataset(str(folder))
    with pytest.raises(DatasetError, match=r"not Parquet|pickle"):
        read_dataset(str(folder / "expert.pkl"))
    with pytest.raises(DatasetError, match="does not exist"):
        read_dataset(str(tmp_path / "nowhere"))
    with pytest.raises(DatasetError, match="did you mean one of them"):
        read_dataset(str(folder.parent))
    with pytest.raises(DatasetError, match="matches no Parquet"):
        read_dataset(str(folder / "*.parquet"))
    with pytest.raises(DatasetError, match=r"no glob.*bad character range"):
        read_dataset(str(folder / "[t-o].parquet"))
    with pytest.raises(DatasetError, match="no path"):
        read_dataset([])


def test_files_that_disagree(tmp_path: Path) -> None:
    write_plain(str(tmp_path / "a.parquet"), make_columns(prefix="a"), make_metadata(env="toy", seed=1, licence="MIT"))
    write_plain(str(tmp_path / "b.parquet"), make_columns(prefix="b"), make_metadata(env="toy", seed=2, licence="MIT"))
    metadata = read_dataset(str(tmp_path)).metadata
    assert (metadata.env, metadata.seed, metadata.licence) == ("toy", None, "MIT")
    write_plain(str(tmp_path / "c.parquet"), make_columns(prefix="c"), make_metadata(env="other"))
    with pytest.raises(DatasetError, match=r"disagree on env: .*a\.parquet has toy, .*c\.parquet has other"):
        read_dataset(str(tmp_path))
    write_plain(str(tmp_path / "c.parquet"), make_columns(prefix="c"), None)
    with pytest.raises(DatasetError, match=r"c\.parquet has no 'rllib_mamql' metadata"):
        read_dataset(str(tmp_path))


def test_episodes_of_one_name_in_two_files(tmp_path: Path) -> None:
    for name in "ab":
        write_plain(str(tmp_path / f"{name}.parquet"), make_columns(), make_metadata())
    with pytest.raises(DatasetError, match=r"b\.parquet: eps_id 'e0', t=0: .*twice.*own eps_id"):
        read_dataset(str(tmp_path))


def test_the_return_is_computed_where_it_is_not_stated(folder: Path) -> None:
    columns, summary = make_columns(), read_dataset(str(folder)).metadata.expert_return
    assert summary is not None
    totals = {
        agent: [columns[f"rewards.{agent}"][columns["eps_id"] == name].sum() for name in ("e0", "e1")]
        for agent in ("agent_0", "agent_1")
    }
    assert summary.episodes == 2
    assert summary.per_agent["agent_1"]["mean"] == pytest.approx(np.mean(totals["agent_1"]))
    assert summary.mean == pytest.approx(np.mean(list(totals.values())))
    # With two values the half width is t(0.975, 1) = 12.706 times half their distance.
    half = 12.706 * abs(totals["agent_0"][0] - totals["agent_0"][1]) / 2
    low, high = summary.per_agent["agent_0"]["ci95"]
    assert (high - low) / 2 == pytest.approx(half, rel=1e-3)


def test_size_is_that_in_memory(folder: Path) -> None:
    held = sum(values.nbytes for name, values in read_dataset(str(folder)).columns.items() if name != "eps_id")
    assert held <= size_in_bytes(str(folder)) <= 2 * held


def test_select_steps_takes_whole_episodes_and_cuts_one() -> None:
    columns = make_columns((5,) * 8)
    chosen = select_steps(columns, 17, seed=3)
    names, counts = np.unique(chosen["eps_id"], return_counts=True)
    assert sorted(counts) == [2, 5, 5, 5]
    cut = chosen["eps_id"] == names[counts == 2][0]
    assert chosen["t"][cut].tolist() == [0, 1]
    assert not (chosen["terminateds.agent_0"] | chosen["truncateds.agent_0"])[cut].any()
    other: JointColumns = select_steps(columns, 17, seed=4)
    assert set(other["eps_id"]) != set(chosen["eps_id"])
    with pytest.raises(DatasetError, match=r"41 expert steps.*has 40"):
        select_steps(columns, 41, seed=0)


# -- no rewards ----------------------------------------------------------------------------------------------------


def without_rewards(columns: JointColumns) -> JointColumns:
    return {name: values for name, values in columns.items() if not name.startswith("rewards.")}


def test_rewards_may_be_missing(tmp_path: Path) -> None:
    columns = without_rewards(make_columns())
    folder = write_dataset(columns, make_metadata(), tmp_path / "data")
    dataset = read_dataset(str(folder))
    assert_equal(dataset.columns, columns)
    assert dataset.metadata.expert_return is None
    structure, metadata = read_structure(find_files(str(folder)))
    assert "rewards.agent_0" not in structure and metadata.expert_return is None
    write_plain(str(tmp_path / "plain.parquet"), columns, make_metadata())
    assert_equal(read_dataset(str(tmp_path / "plain.parquet")).columns, columns)


def test_rewards_may_be_missing_in_the_long_layout(tmp_path: Path) -> None:
    rows = long_rows(make_columns(early_end=True))
    del rows["rewards"]
    pq.write_table(pa.table(rows), tmp_path / "long.parquet")
    dataset = read_dataset(str(tmp_path / "long.parquet"))
    assert "rewards.agent_0" not in dataset.columns and dataset.metadata.expert_return is None
    assert summarise(dataset)["return_per_agent"] is None


def test_rewards_are_those_of_all_agents_or_of_none(tmp_path: Path) -> None:
    columns = make_columns()
    del columns["rewards.agent_0"]
    with pytest.raises(DatasetError, match=r"rewards\.agent_0.*missing, while other agents.*leave out every agent's"):
        write_dataset(columns, make_metadata(), tmp_path / "data")
    for name, part in (("a", make_columns()), ("b", without_rewards(make_columns(prefix="f")))):
        write_plain(str(tmp_path / f"{name}.parquet"), part, make_metadata())
    with pytest.raises(DatasetError, match=r"rewards\.agent_0.* some files only: write all files alike"):
        read_dataset(str(tmp_path))


def test_inferred_spaces_stay_inferred_when_written(tmp_path: Path) -> None:
    metadata = replace(make_metadata(), spaces_inferred=True)
    folder = write_dataset(make_columns(), metadata, tmp_path / "data")
    assert read_metadata(str(folder)).spaces_inferred


def test_lengths_and_presence_are_counted(tmp_path: Path) -> None:
    columns = make_columns(early_end=True)
    columns["obs.agent_1"][3] = 7.0  # not there any more: its cells mean nothing
    found = summarise(read_dataset(str(write_dataset(columns, make_metadata(), tmp_path / "data"))))
    assert found["presence"]["agent_1"] == {"absent": 0, "late": 0, "early": 2}
    assert found["episode_lengths"] == {"min": 4, "mean": 5.0, "max": 6}


def test_a_dataset_that_was_written_anew_is_looked_into_anew(folder: Path, tmp_path: Path) -> None:
    config = SimpleNamespace(input_=str(folder), input_filesystem=None, input_filesystem_kwargs={})
    assert metadata_of(config).env == "toy"
    assert metadata_of(config) is metadata_of(config)
    shutil.rmtree(folder)
    write_dataset(make_columns(), make_metadata(env="other"), folder)
    assert metadata_of(config).env == "other"
    shutil.rmtree(folder)
    with pytest.raises(DatasetError, match="does not exist"):
        metadata_of(config)


@pytest.mark.parametrize("pattern", ["*" * 40 + "z", "*a" * 20 + "z", "**/" * 20 + "x", "**a" * 12 + "z"])
def test_globs_with_many_stars_end(folder: Path, pattern: str) -> None:
    (folder / ("a" * 100 + ".parquet")).touch()
    begun = time.monotonic()
    with pytest.raises(DatasetError, match="matches no Parquet file"):
        read_dataset(f"{folder}/{pattern}")
    assert time.monotonic() - begun < 2.0


def test_globs_match_what_they_say(tmp_path: Path) -> None:
    data = (make_columns(), make_metadata())
    for name in ("a/x.parquet", "a/b/y.parquet", "[c].parquet", "a/b/c/xz.parquet"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_plain(str(tmp_path / name), *data)
    found = {
        "*/*.parquet": ["a/x"], "**/*.parquet": ["[c]", "a/b/c/xz", "a/b/y", "a/x"], 
        "a/**.parquet": ["a/b/c/xz", "a/b/y", "a/x"],
        "**/[x-y]*.parquet": ["a/b/c/xz", "a/b/y", "a/x"], "a/[!y].parquet": ["a/x"], "a/b/**": ["a/b/c/xz", "a/b/y"],
        "[[]c].parquet": ["[c]"], "a/**/c/?z.parquet": ["a/b/c/xz"],
    }  # fmt: skip
    for pattern, names in found.items():
        files = [file.name for file in find_files(f"{tmp_path}/{pattern}")]
        assert sorted(set(files)) == [f"{tmp_path}/{name}.parquet" for name in names], pattern


def test_links_lead_to_files_and_folders_but_not_for_ever(folder: Path, tmp_path: Path) -> None:
    (folder / "up").symlink_to("..")
    (folder / "again").symlink_to(".")
    assert len(find_files(f"{tmp_path}/**/*.parquet")) == 1
    (tmp_path / "linked").symlink_to(folder)
    assert len(find_files(f"{tmp_path}/linked/*.parquet")) == len(find_files(f"{tmp_path}/link*/*.parquet")) == 1


@pytest.mark.parametrize("path", ["data/\ud800.parquet", "data/\0.parquet", "local://data/\0"])
def test_names_that_no_file_has_are_refused(path: str) -> None:
    with pytest.raises(DatasetError, match="cannot"):
        read_dataset(path)
