"""RLlib's offline input: the same rows whether held in memory or streamed, dealt to one learner or to two."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest

from rllib_mamql.columns import JointColumns, concatenate, num_rows, take
from rllib_mamql.data.files import find_files
from rllib_mamql.data.writing import write_dataset
from rllib_mamql.errors import ConfigError, DatasetError
from rllib_mamql.learning.offline_input import JointOfflineData, JointOfflinePreLearner
from rllib_mamql.learning.streaming import (
    BLOCK_ROWS,
    RUN_TASKS,
    TASK_ROWS,
    JointStepSource,
    epochs_of_a_run,
    iterate_batches,
)
from tests.support.joint_data import assert_equal, long_rows, make_columns, make_metadata, write_plain

LENGTHS = (10,) * 12


def config(path: object, **settings: Any) -> SimpleNamespace:
    return SimpleNamespace(input_=str(path), seed=5, **settings)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    # The name looks like a Hive partition, which must not become a column.
    return write_dataset(make_columns(LENGTHS), make_metadata(env="toy"), tmp_path / "seed=1")


def ordered(columns: JointColumns) -> JointColumns:
    columns = columns | {"eps_id": columns["eps_id"].astype(str)}
    return take(columns, np.lexsort((columns["t"], columns["eps_id"])))


def one_epoch(batches: Iterator[JointColumns], rows: int, batch_size: int) -> JointColumns:
    assert rows % batch_size == 0
    return concatenate(list(itertools.islice(batches, rows // batch_size)))


def test_the_size_decides(folder: Path) -> None:
    data = JointOfflineData(config(folder))
    assert data.in_memory and data.dataset is not None and data.num_steps == 120
    assert_equal(data.dataset.columns, make_columns(LENGTHS))
    assert data.metadata.env == "toy" and data.metadata.expert_return is not None
    streamed = JointOfflineData(config(folder, expert_memory_limit=1000))
    assert not streamed.in_memory and streamed.dataset is None and streamed.num_steps == 120
    assert streamed.metadata == data.metadata
    assert JointOfflineData(config(folder, expert_memory_limit=1000, expert_in_memory=True)).in_memory


def test_batches_from_memory(folder: Path) -> None:
    data = JointOfflineData(config(folder, expert_steps=25))
    assert data.num_steps == 25
    first, second = data.sample(64), JointOfflineData(config(folder, expert_steps=25)).sample(64)
    assert isinstance(first, dict) and isinstance(second, dict)
    assert num_rows(first) == 64
    assert_equal(first, second)


def test_the_streamed_rows_are_those_in_memory(folder: Path, ray_session: None) -> None:
    filesystem = pafs.SubTreeFileSystem(str(folder.parent), pafs.LocalFileSystem())
    for steps in (None, 60):
        settings = {"input_filesystem": filesystem, "expert_steps": steps}
        held = JointOfflineData(config(folder.name, **settings)).dataset
        assert held is not None
        data = JointOfflineData(config(folder.name, expert_in_memory=False, **settings))
        batches = iterate_batches(data.streams(1, epochs=1)[0], 30, seed=1)
        epoch = one_epoch(batches, data.num_steps, 30)
        assert {name: values.dtype for name, values in epoch.items() if name != "eps_id"} == {
            name: values.dtype for name, values in held.columns.items() if name != "eps_id"
        }
        assert (epoch["t"] != held.columns["t"]).any()
        assert_equal(ordered(epoch), ordered(held.columns))
        assert num_rows(next(batches)) == 30
        batches.close()


def test_two_learners_share_the_rows(folder: Path, ray_session: None) -> None:
    def consume(stream: Any) -> JointColumns:
        return concatenate(list(itertools.islice(iterate_batches(stream, 20, seed=1), 3)))

    data = JointOfflineData(config(folder, expert_in_memory=False))
    assert len(data.sample(20, return_iterator=True, num_shards=2)) == 2
    with ThreadPoolExecutor(2) as pool:  # Neither share comes to its end before the other is asked for.
        shares = list(pool.map(consume, data.streams(2, epochs=1)))
    assert_equal(ordered(concatenate(shares)), ordered(make_columns(LENGTHS)))


@pytest.mark.slow
def test_a_stream_goes_through_small_files_over_and_over(tmp_path: Path, ray_session: None) -> None:
    """Ray Data takes seconds to start: not at the end of each of these epochs."""
    for part in range(3):
        columns = make_columns((10,) * 12)
        columns["eps_id"] = np.array([f"{part} {name}" for name in columns["eps_id"]])
        write_dataset(columns, make_metadata(env="toy"), tmp_path / f"part{part}")
    files = [str(tmp_path / f"part{part}") for part in range(3)]
    data = JointOfflineData(SimpleNamespace(input_=files, seed=5, expert_in_memory=False))
    stream, starts = data.streams()[0], []

    class Counted:
        def iter_batches(self, **settings: Any) -> Any:
            starts.append(settings)
            return stream.iter_batches(**settings)

    batches = iterate_batches(Counted(), 360, seed=1)
    seen = list(itertools.islice(batches, 200))
    assert len(starts) == 1
    counts = np.unique(concatenate(seen)["t"], return_counts=True)[1]
    assert counts.sum() == 200 * 360 and counts.min() > 0.9 * counts.max()
    batches.close()


def test_a_dataset_that_goes_away_is_named(tmp_path: Path) -> None:
    folder = write_dataset(make_columns((10,) * 12), make_metadata(env="toy"), tmp_path / "data")
    (task,) = JointStepSource(find_files(str(folder)), 1).get_read_tasks(1)
    assert sum(map(len, task())) == 120
    (folder / "part-00000.parquet").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(DatasetError, match=r"part-00000\.parquet is damaged"):
        list(task())
    (folder / "part-00000.parquet").unlink()
    with pytest.raises(DatasetError, match=r"part-00000\.parquet is gone"):
        list(task())


def test_tasks_of_a_stream_are_of_bounded_size(tmp_path: Path) -> None:
    folder = write_dataset(make_columns((10,) * 12), make_metadata(env="toy"), tmp_path / "data")
    tasks = JointStepSource(find_files(str(folder)), epochs_of_a_run(120)).get_read_tasks(1)
    assert len(tasks) <= RUN_TASKS
    rows = [len(table) for table in tasks[0]()]
    assert TASK_ROWS <= sum(rows) < TASK_ROWS + 120 and max(rows) < BLOCK_ROWS + 120
    assert epochs_of_a_run(10**9) == 1


def test_faults_in_a_stream(folder: Path, ray_session: None) -> None:
    data = JointOfflineData(config(folder, expert_in_memory=False))
    table = pq.read_table(folder / "part-00000.parquet")
    index = table.schema.get_field_index("actions.agent_1")
    broken = table.set_column(index, "actions.agent_1", pa.array([9] * 120)).cast(table.schema)
    pq.write_table(broken, folder / "part-00000.parquet")
    with pytest.raises(DatasetError, match="'e0', t=0: action of 'agent_1' is 9") as error:
        data.sample(16)
    assert "\n" not in str(error.value)


def test_what_cannot_be_streamed_is_told_early(tmp_path: Path) -> None:
    columns = make_columns()
    write_plain(
        str(tmp_path / "a.parquet"),
        {name: values for name, values in columns.items() if not name.startswith("next_obs")},
        make_metadata(),
    )
    with pytest.raises(DatasetError, match=r"lacks .*next_obs\.agent_0.*expert_in_memory"):
        JointOfflineData(config(tmp_path, expert_in_memory=False))
    pq.write_table(pa.table(long_rows(columns)), tmp_path / "a.parquet")
    with pytest.raises(DatasetError, match=r"long layout.*expert_in_memory"):
        JointOfflineData(config(tmp_path, expert_in_memory=False))
    write_plain(str(tmp_path / "a.parquet"), columns | {"weigth": np.ones(10)}, make_metadata())
    with pytest.raises(DatasetError, match="did you mean 'weight'"):
        JointOfflineData(config(tmp_path, expert_in_memory=False))
    cut = take(columns, np.arange(9))
    write_plain(str(tmp_path / "a.parquet"), cut, make_metadata())
    with pytest.raises(DatasetError, match=r"a\.parquet: eps_id 'e1', t=4: the episode ends here"):
        JointOfflineData(config(tmp_path, expert_in_memory=False))


def test_settings_that_are_not_supported(folder: Path) -> None:
    for settings, says in (
        ({"input_read_method": "read_json"}, "read_json"),
        ({"input_read_episodes": True}, "input_read_episodes"),
        ({"input_filesystem": "ftp"}, "ftp"),
    ):
        with pytest.raises(ConfigError, match=says):
            JointOfflineData(config(folder, **settings))
    with pytest.raises(DatasetError, match=r"121 expert steps.*has 120"):
        JointOfflineData(config(folder, expert_steps=121))


def test_keywords_of_the_read_that_ray_would_ignore_are_refused(folder: Path) -> None:
    data = JointOfflineData(config(folder, expert_in_memory=False, input_read_method_kwargs={"concurency": 1}))
    with pytest.raises(ConfigError, match="'concurency', which changes nothing; did you mean 'concurrency'"):
        data.streams()


def test_rllibs_config_takes_both_classes() -> None:
    from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

    made = AlgorithmConfig().offline_data(
        input_=["x"], offline_data_class=JointOfflineData, prelearner_class=JointOfflinePreLearner
    )
    assert made.is_offline and made.offline_data_class is JointOfflineData
