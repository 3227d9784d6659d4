"""What fails while a run is under way is told of, and nothing else is lost with it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rllib_mamql import MAMQLConfig, ray_internals
from rllib_mamql.algorithms.registry import read_checkpoint
from rllib_mamql.cli.adopting import Adopt, newer_checkpoint
from rllib_mamql.cli.experiment import Experiment, ExperimentSettings
from rllib_mamql.cli.options import RunOptions
from rllib_mamql.cli.progress import INTERRUPTION, TrialMonitor
from rllib_mamql.cli.resuming import RunPlace, claim_folder, claimed, results_folder, resumed
from rllib_mamql.cli.room import check_room
from rllib_mamql.data.checksums import is_whole, renew_checksum, write_checksums
from rllib_mamql.environments.patience import PATIENCE
from rllib_mamql.environments.standard import StandardEnv
from rllib_mamql.errors import (
    ConfigError,
    DatasetError,
    EnvironmentFault,
    EnvironmentHang,
    full_disk,
    last_line,
    no_space,
)
from rllib_mamql.learning.checkpoint import DOCUMENT
from rllib_mamql.learning.offline_input import JointOfflineData
from rllib_mamql.learning.shares import deal_rows
from rllib_mamql.learning.streaming import JointStepSource
from rllib_mamql.play.batched import BatchedRollout
from tests.support.toy_data import write_toy_dataset
from tests.toy_env import ToyEnv

# -- environments that hang -----------------------------------------------------------------------------------------


class Stuck(ToyEnv):
    """Waits in its third step, and catches whatever it can."""

    def step(self, actions: dict[str, int]) -> Any:
        if self.t == 2:
            try:
                time.sleep(20.0)
            except Exception:
                time.sleep(20.0)
        return super().step(actions)


def test_a_step_that_does_not_end_is_an_error_of_that_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PATIENCE, "limit_s", 0.2)
    env = StandardEnv(Stuck(), "stuck")
    env.reset(seed=1)
    for _ in range(2):
        env.step({"agent_0": 0, "agent_1": 0})
    begun = time.monotonic()
    with pytest.raises(EnvironmentHang, match=r"environment 'stuck', step 3 .* no answer within 0.2 s .*test_failures"):
        env.step({"agent_0": 0, "agent_1": 0})
    assert time.monotonic() - begun < 5.0
    # The clock stands still between calls.
    time.sleep(0.4)
    env.reset(seed=1)
    assert env.step({"agent_0": 0, "agent_1": 0})


def test_calls_in_other_threads_have_no_clock() -> None:
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(PATIENCE.begin("other")))
    thread.start()
    thread.join()
    assert found == [False]


class StuckBatch:
    """Two environments as one, of which a step does not come back, or fails."""

    num_envs = 2

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails

    def reset_envs(self, rows: Any, seeds: Any) -> None:
        pass

    def observations(self) -> dict[str, np.ndarray]:
        return {agent: np.zeros((2, 8), np.float32) for agent in ("agent_0", "agent_1")}

    def step(self, actions: Any) -> Any:
        if self.fails:
            raise RuntimeError("no fuel")
        time.sleep(20.0)


def test_batches_of_environments_have_a_clock_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PATIENCE, "limit_s", 0.2)

    def act(observations: Any, alive: Any) -> dict[str, np.ndarray]:
        return {agent: np.zeros(2, np.int64) for agent in alive}

    with pytest.raises(EnvironmentHang, match=r"'stuck', step of a batch of 2: no answer within 0.2 s .*test_failures"):
        BatchedRollout(lambda: StandardEnv(ToyEnv(), "stuck"), StuckBatch(), 0).run(act, num_steps=4)
    with pytest.raises(EnvironmentFault, match=r"'stuck', step of a batch of 2: raised RuntimeError: no fuel \("):
        BatchedRollout(lambda: StandardEnv(ToyEnv(), "stuck"), StuckBatch(fails=True), 0).run(act, num_steps=4)


def test_who_plays_a_checkpoint_waits_as_long_as_training_did(
    toy_checkpoint_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PATIENCE, "limit_s", 7.0)
    read_checkpoint(toy_checkpoint_folder)
    assert PATIENCE.limit_s == 300.0
    copied = Path(shutil.copytree(toy_checkpoint_folder, tmp_path / "checkpoint"))
    document = json.loads((copied / DOCUMENT).read_text())
    for limit in (12.5, "long", -1.0):
        document["settings"]["env_step_timeout_s"] = limit
        (copied / DOCUMENT).write_text(json.dumps(document))
        if limit == 12.5:
            read_checkpoint(copied)
        else:
            with pytest.raises(ConfigError, match="env_step_timeout_s is"):
                read_checkpoint(copied)
        assert PATIENCE.limit_s == 12.5
    made = MAMQLConfig().environment("pettingzoo:tests.toy_env").offline_data(input_="x")
    made.training(env_step_timeout_s=3.5).validate()
    assert PATIENCE.limit_s == 3.5 and made.recorded()["env_step_timeout_s"] == 3.5


# -- several learners -----------------------------------------------------------------------------------------------


def test_every_learner_gets_starts_and_rows() -> None:
    # Episodes of even length: dealt out row by row, two learners' starts would all go to the first.
    times = np.tile(np.arange(4), 3)
    shares = deal_rows(times, 2)
    assert sorted(np.concatenate(shares).tolist()) == list(range(12))
    assert [len(share) for share in shares] == [6, 6]
    assert [int((times[share] == 0).sum()) for share in shares] == [2, 1]
    with pytest.raises(ConfigError, match="1 expert steps are too few for 2 learners"):
        deal_rows(np.zeros(1), 2)


class Manager:
    """Two learners, of which one answers and the other never does."""

    def __init__(self, answers: list[list[Any]]) -> None:
        self.answers, self.waited = answers, 0

    def num_outstanding_async_reqs(self) -> int:
        return sum(map(len, self.answers)) or 1

    def fetch_ready_async_reqs(self, timeout_seconds: float) -> list[Any]:
        self.waited += 1
        return self.answers.pop(0) if self.answers else []


def answer(actor: int, value: Any) -> Any:
    return SimpleNamespace(actor_id=actor, ok=not isinstance(value, Exception), get=lambda: value)


def test_one_learners_error_ends_the_group_at_once() -> None:
    manager = Manager([[], [answer(1, ValueError("its own"))]])
    group = SimpleNamespace(is_remote=True, _worker_manager=manager, update=lambda **kwargs: None)
    with pytest.raises(ValueError, match="its own"):
        ray_internals.update_together(group, num_updates=1)
    assert manager.waited == 2


# -- folders --------------------------------------------------------------------------------------------------------


def test_two_runs_that_start_at_once_get_a_folder_each(tmp_path: Path) -> None:
    # Both had found the name free.
    assert [claim_folder(str(tmp_path), "toy-7", "toy-7") for _ in range(3)] == ["toy-7", "toy-7-2", "toy-7-3"]
    assert claim_folder(str(tmp_path), "toy-7", "toy-7-3") == "toy-7-4"
    assert len(list(tmp_path.iterdir())) == 4


def test_storage_that_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(ConfigError, match=r"the disk is full.*nothing was started"):
            claim_folder(str(tmp_path), "toy", "toy")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConfigError, match="cannot be written to"):
        claim_folder("/proc/nowhere", "toy", "toy")


def test_nothing_is_left_of_a_run_that_is_refused(tmp_path: Path) -> None:
    root, experiment = tmp_path / "results", Experiment("toy", ExperimentSettings(run="MAMQL"), tmp_path)
    with pytest.raises(ConfigError, match="no room"), claimed([RunPlace(str(root), "toy")], [experiment]) as places:
        assert places == [RunPlace(str(root), "toy")] and (root / "toy").is_dir()
        raise ConfigError("no room")
    assert not root.exists()


def test_a_full_disk_is_told_from_other_errors() -> None:
    assert no_space(ValueError("wrong")) is None
    assert "the disk is full" in str(no_space(RuntimeError(f"OSError: [Errno 28] {os.strerror(errno.ENOSPC)}")))


# -- checkpoints ----------------------------------------------------------------------------------------------------


def write_checkpoint(trial: Path, number: int, iteration: int) -> Path:
    folder = trial / f"checkpoint_{number:06d}"
    folder.mkdir(parents=True)
    (folder / "mamql.json").write_text(json.dumps({"training_iteration": iteration}))
    (folder / "networks.npz").write_bytes(bytes(100))
    write_checksums(folder)
    return folder


def test_checkpoints_that_are_not_whole_are_told(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, 0, 1)
    assert is_whole(folder)
    (folder / "rewards.npz").write_bytes(b"later")
    assert is_whole(folder)
    (folder / "mamql.json").write_text("{}")
    renew_checksum(folder, "mamql.json")
    assert is_whole(folder)
    (folder / "networks.npz").write_bytes(bytes(99) + b"x")
    assert not is_whole(folder)
    renew_checksum(folder, "mamql.json")
    assert not is_whole(folder), "what was not replaced is as it was listed"
    (folder / "networks.npz").unlink()
    assert not is_whole(folder)
    (folder / "checksums.json").write_text("[")
    assert not is_whole(folder)


def test_a_resume_finds_checkpoints_that_the_snapshot_does_not_know(tmp_path: Path) -> None:
    trial = tmp_path / "trial_ab_00000"
    for number in range(3):
        write_checkpoint(trial, number, number + 1)
    lines = [json.dumps({"training_iteration": number}) for number in (1, 2, 3)]
    (trial / "result.json").write_text("\n".join([*lines, '{"cut']))
    newer = newer_checkpoint(trial, known=1)
    assert newer is not None and (newer.path.name, newer.iteration) == ("checkpoint_000002", 3)
    # The last one was being written when the driver was killed.
    (trial / "checkpoint_000002" / "networks.npz").unlink()
    newer = newer_checkpoint(trial, known=None)
    assert newer is not None and (newer.iteration, newer.result["training_iteration"]) == (2, 2)
    assert newer_checkpoint(trial, known=2) is None


def test_trials_of_a_lost_record_go_on_from_their_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "trial_old_00001"
    write_checkpoint(old, 4, 5)
    (old / "result.json").write_text('{"training_iteration": 5}\n')
    told: list[Any] = []
    monkeypatch.setattr(ray_internals, "adopt_checkpoint", lambda *each: told.append(each))
    new = tmp_path / "trial_new_00001"
    trial: Any = SimpleNamespace(
        trial_id="new_00001", path=str(new), latest_checkpoint_result=None, evaluated_params={}
    )
    adopt, adopted = Adopt(), (trial, old / "checkpoint_000004", 4, {"training_iteration": 5})
    for iteration in (1, 2):
        adopt.on_trial_start(iteration, [trial], trial)
    assert told == [adopted]
    # Of a search only those of a trial with the same values.
    trial.evaluated_params = {"lr": 0.1, "env_config/layout": "ring"}
    for made_with, count in ((None, 1), ({"lr": 0.1, "env_config": {"layout": "room"}}, 1), ({"lr": 0.1}, 1)):
        if made_with is not None:
            (old / "params.json").write_text(json.dumps(made_with))
        Adopt().on_trial_start(1, [trial], trial)
        assert len(told) == count
    (old / "params.json").write_text('{"lr": 0.1, "env_config": {"layout": "ring"}, "seed": 3}')
    Adopt().on_trial_start(1, [trial], trial)
    assert told == [adopted, adopted]


def test_a_run_without_tunes_record_is_resumed_from_its_checkpoints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from rllib_mamql.algorithms.mamql.algorithm import MAMQL

    toy = Experiment("toy", ExperimentSettings(run="MAMQL", storage_path=str(tmp_path)), tmp_path)
    (tmp_path / "toy").mkdir()
    with pytest.raises(ConfigError, match="no run of 'toy'"):
        results_folder(toy, resume=True)
    write_checkpoint(tmp_path / "toy" / "trial_ab_00000", 0, 1)
    assert results_folder(toy, resume=True) == (str(tmp_path), "toy")
    item: Any = SimpleNamespace(algorithm=MAMQL)
    assert resumed(item, str(tmp_path), "toy", {}) is None
    said = capsys.readouterr().err
    assert "Tune's record of" in said and "from their checkpoints where there are whole ones" in said


# -- what is said ---------------------------------------------------------------------------------------------------


def test_incidents_and_restarts_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    monitor = TrialMonitor("toy", {"training_iteration": 2})
    error = RuntimeError("Traceback\nValueError: broke")
    trial = SimpleNamespace(
        trial_id="ab_00000", checkpoint=SimpleNamespace(path="/r/checkpoint_000003"), max_failures=2, last_result={},
        run_metadata=SimpleNamespace(num_failures=1), get_error=lambda: error,
        storage=SimpleNamespace(storage_fs_path="/"),
    )  # fmt: skip
    monitor.on_trial_start(1, [], trial)  # type: ignore[arg-type]
    monitor.on_trial_result(1, [], trial, {"training_iteration": 1, "incidents": ["1 of 2 env runners died"]})  # type: ignore[arg-type]
    monitor.on_trial_recover(1, [], trial)  # type: ignore[arg-type]
    said = capsys.readouterr().err
    assert "warning: toy 00000: 1 of 2 env runners died" in said
    assert "toy 00000 failed and goes on from checkpoint_000003, restart 1 of 2: ValueError: broke" in said


def test_a_restart_is_a_line_also_where_tune_has_the_error_as_a_text(capsys: pytest.CaptureFixture[str]) -> None:
    monitor = TrialMonitor("toy", {})
    trial: Any = SimpleNamespace(
        trial_id="ab_00000", checkpoint=None, max_failures=2, run_metadata=SimpleNamespace(num_failures=2),
        get_error=lambda: "Failure #1 ...\nThe actor died unexpectedly", storage=SimpleNamespace(storage_fs_path="/"),
    )  # fmt: skip
    monitor.on_trial_recover(1, [], trial)
    assert "goes on from its beginning, restart 2 of 2: its process died" in capsys.readouterr().err


def test_a_dead_process_is_said_in_a_few_words() -> None:
    error = RuntimeError("The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR ...")
    assert last_line(error).startswith("its process died")


def test_sigterm_asks_trials_to_save(capsys: pytest.CaptureFixture[str]) -> None:
    with INTERRUPTION.watch():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        assert INTERRUPTION.at is not None
    assert "waiting for a last checkpoint" in capsys.readouterr().err


def test_a_trial_that_a_cluster_can_never_run_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = RunOptions(ray_address="auto")
    monkeypatch.setattr("rllib_mamql.cli.room.living_nodes", lambda: [{"CPU": 2.0}, {"CPU": 2.0, "GPU": 0.0}])
    with pytest.raises(ConfigError, match=r"asks for 5 CPUs, the cluster has 4: .*--wait-for-nodes"):
        check_room(cluster, [[{"CPU": 1.0}] * 5])
    with pytest.raises(ConfigError, match="asks for 1 GPUs, the cluster has 0"):
        check_room(cluster, [[{"CPU": 1.0, "GPU": 1.0}]])
    with pytest.raises(ConfigError, match=r"one process of a trial asks for 3 CPU, the largest node .* has 2 CPU"):
        check_room(cluster, [[{"CPU": 1.0}, {"CPU": 3.0}]])
    check_room(RunOptions(ray_address="auto", wait_for_nodes=True), [[{"CPU": 5.0}]])
    check_room(cluster, [[{"CPU": 1.0, "GPU": 0.0}] * 4])


def test_a_path_that_a_node_lacks_is_named_with_the_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = SimpleNamespace(input_=str(tmp_path / "demos"))
    with pytest.raises(DatasetError, match="demos does not exist"):
        JointOfflineData(config)
    monkeypatch.setattr("rllib_mamql.learning.nodes.this_node", lambda: "node b (10.0.0.2)")
    with pytest.raises(DatasetError, match=r"^on node b \(10.0.0.2\): .*demos does not exist.*every node must see"):
        JointOfflineData(config)
    write_toy_dataset(tmp_path / "demos")
    source = JointStepSource(JointOfflineData(config)._files, epochs=1)
    shutil.rmtree(tmp_path / "demos")
    with pytest.raises(DatasetError, match=r"^on node b \(10.0.0.2\): .* is gone"):
        for task in source.get_read_tasks(1):
            list(task())


def test_tunes_own_files_that_a_full_disk_cut_off_are_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rllib_mamql.cli.tuning import _fitted

    def fit() -> None:
        raise EOFError("Ran out of input")

    with pytest.raises(RuntimeError, match="is cut off: start anew"):
        _fitted(SimpleNamespace(fit=fit), str(tmp_path))
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=1000))
    with pytest.raises(OSError, match="No space left") as caught:
        _fitted(SimpleNamespace(fit=fit), str(tmp_path))
    assert str(no_space(caught.value)).startswith(f"the disk is full at {tmp_path}")
    assert full_disk(None, str(tmp_path)) == no_space(caught.value)
