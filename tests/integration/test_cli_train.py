"""Tiny runs of the real command: results, resuming, stopping, and what is left behind."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_line import ROOT, Rllib
from tests.support.terminal import check_recording, run_in_terminal, screen, without_numbers
from tests.support.toy_data import TOY

RLLIB = [sys.executable, "-c", "from rllib_mamql.cli.main import main; main()"]

PPO = f"""
toy:
  run: PPO
  env: {TOY}
  stop: {{training_iteration: 2}}
  checkpoint_freq: 1
  config:
    num_env_runners: 0
    train_batch_size_per_learner: 100
    minibatch_size: 100
    num_epochs: 1
    model_config: {{fcnet_hiddens: [8]}}
"""

MAMQL = f"""
toy:
  run: MAMQL
  env: {TOY}
  stop: {{training_iteration: 2}}
  checkpoint_freq: 1
  config:
    input_: data
    num_envs_per_env_runner: 2
    rollout_fragment_length: 10
    min_sample_timesteps_per_iteration: 100
    model_config: {{fcnet_hiddens: [16]}}
    reward_gauge: none
"""


class Command:
    """``rllib`` in a process group of its own, from a folder where tests.toy_env can be imported."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = {**os.environ, "RLLIB_TEST_MARK": str(folder), "PYTHONPATH": str(ROOT)}
        self.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "1"

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*RLLIB, *map(str, arguments)],
            cwd=self.folder,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str | Path) -> tuple[int, str]:
        process = self.start(*arguments)
        output, _ = process.communicate(timeout=120)
        return process.returncode, output

    def left_behind(self, patience_s: float = 5.0) -> dict[int, str]:
        """Processes with this test's mark that do not go away, by id: Ray's inherit the environment."""
        until = time.monotonic() + patience_s
        while True:
            left = self.processes()
            if not left or time.monotonic() > until:
                return left
            time.sleep(0.2)

    def processes(self) -> dict[int, str]:
        """Command lines of the processes with this test's mark, by id."""
        return {int(pid): line for pid in os.listdir("/proc") if pid.isdigit() and (line := self._marked(pid))}

    def sweep(self, patience_s: float = 30.0) -> None:
        """Ends what outlives a killed driver: Ray's agents take about a minute to notice."""
        until = time.monotonic() + patience_s
        while any("Agent" not in line for line in self.processes().values()):
            assert time.monotonic() < until, self.processes()
            time.sleep(0.2)
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)

    def _marked(self, pid: str) -> str:
        try:
            environ = Path(f"/proc/{pid}/environ").read_bytes()
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return ""
        if int(pid) == os.getpid() or f"RLLIB_TEST_MARK={self.folder}".encode() not in environ:
            return ""
        return line.replace(b"\0", b" ").decode()


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Command]:
    made = Command(tmp_path)
    yield made
    assert not made.left_behind()


def write(command: Command, text: str, data: Path | None = None) -> Path:
    if data is not None:
        shutil.copytree(data, command.folder / "data")
    path = command.folder / "file.yaml"
    path.write_text(text)
    return path


def results(folder: Path) -> list[dict[str, Any]]:
    (file,) = folder.glob("trial_*/result.json")
    return [json.loads(line) for line in file.read_text().splitlines()]


def iterations(folder: Path) -> list[int]:
    return [result["training_iteration"] for result in results(folder)]


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[str], timeout_s: float = 60.0) -> None:
    until = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until, "nothing happened"
        time.sleep(0.1)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
class TestTrain:
    @pytest.mark.parametrize("learners", ["0", pytest.param("2", marks=pytest.mark.slow)])
    def test_mamql_run_is_scored_and_its_checkpoint_evaluated(
        self, command: Command, toy_dataset: Path, rllib: Rllib, monkeypatch: pytest.MonkeyPatch, learners: str
    ) -> None:
        file = write(command, MAMQL, toy_dataset)
        options = ("--num-env-runners", "1", "--num-learners", learners, "--seed", "3", "--eval-episodes", "5")
        status, output = command.run("train", "--file", file, *options, "--json", "out.json")
        assert status == 0, output
        (trial,) = json.loads((command.folder / "out.json").read_text())["trials"]
        assert (trial["status"], trial["seed"]) == ("finished", 3)
        assert trial["env_steps"] >= 200
        assert trial["updates"] == trial["env_steps"] // 2
        assert trial["expert_return"] is not None and trial["random_return"] is not None
        assert "expert log-likelihood" in output

        options = ("--episodes", "6", "--greedy", "--video", "film.gif", "--json", "score.json")
        monkeypatch.chdir(command.folder)
        done = rllib("evaluate", command.folder / "results" / "toy", *options)
        assert done.status == 0, done
        score = json.loads((command.folder / "score.json").read_text())
        assert (score["episodes"], score["policy"], score["command"]) == (6, "greedy", "evaluate")
        assert score["checkpoint"] == trial["checkpoint"]
        assert (command.folder / "film.gif").stat().st_size > 0

    @pytest.mark.slow
    def test_one_trial_fails_and_the_other_is_scored(self, command: Command) -> None:
        file = write(command, f"{PPO}\n  max_failures: 0\n")
        fail_at = ("--set", "env_config.fail_at={grid_search: [150, 1000000]}")
        options = (*fail_at, "--seed", "1", "--eval-episodes", "4", "--json", "out.json")
        status, output = command.run("train", "--file", file, *options)
        assert status == 1, output
        assert "RuntimeError: the toy broke, as it was told to" in output
        assert "Traceback" not in output
        assert "return [95% CI]" in output
        document = json.loads((command.folder / "out.json").read_text())
        assert (document["schema_version"], document["command"]) == (1, "train")
        failed, finished = document["trials"]
        assert failed["status"] == "error"
        assert "the toy broke" in failed["error"]
        assert failed["return_mean"] is None
        assert finished["status"] == "finished"
        assert finished["config"]["env_config"] == {"fail_at": 1000000}
        assert (finished["seed"], finished["env_steps"]) == (1, 200)
        low, high = finished["return_ci95"]
        assert low <= finished["return_mean"] <= high
        assert set(finished["per_agent"]) == {"agent_0", "agent_1"}
        assert Path(finished["checkpoint"]).is_dir()
        assert 0 < finished["train_time_s"] <= finished["wall_time_s"]

    @pytest.mark.slow
    def test_resumes_after_kill_9(self, command: Command, toy_dataset: Path) -> None:
        slow = (
            "--set", "env_config.slow=0.006", "--set", "evaluation_rationality=null",
            "--stop", "training_iteration=6", "--eval-episodes", "0",
        )  # fmt: skip
        file = write(command, MAMQL, toy_dataset)
        process = command.start("train", "--file", file, *slow)
        folder = command.folder / "results" / "toy"

        def saved() -> bool:
            # The state on disk knows the first checkpoint once it is younger than the second one.
            second = list(folder.glob("trial_*/checkpoint_000001"))
            states = folder.glob("experiment_state-*.json")
            return bool(second) and any(s.stat().st_mtime > second[0].stat().st_mtime for s in states)

        wait_for(saved, process)
        process.kill()
        process.wait()
        command.sweep()
        (result,) = folder.glob("trial_*/result.json")
        with result.open("a") as log:
            log.write('{"training_iteration": 77, "cut')
        status, output = command.run("train", "--file", file, *slow, "--resume")
        assert status == 0, output
        assert "resuming" in output
        seen = iterations(folder)
        again = next(at for at in range(1, len(seen)) if results(folder)[at]["iterations_since_restore"] == 1)
        assert 1 < seen[again] <= seen[again - 1] + 1
        assert seen[again:] == list(range(seen[again], 7))
        *_, last = results(folder)
        assert last["num_env_steps_sampled_lifetime"] == 6 * 100
        assert last["learners"]["__all_modules__"]["num_gradient_steps_lifetime"] == 6 * 50
        assert [path.name for path in (command.folder / "results").iterdir()] == ["toy"]

    @pytest.mark.slow
    def test_a_search_that_is_killed_repeats_no_trial(self, command: Command, toy_dataset: Path) -> None:
        search = (
            "--num-samples", "3", "--max-concurrent", "1", "--set", "tune.search=optuna", "--set", "tune.seed=0",
            "--set", "lr={loguniform: [0.0001, 0.01]}", "--set", "evaluation_rationality=null", "--eval-episodes", "2",
            "--stop", "training_iteration=2",
        )  # fmt: skip
        file = write(command, MAMQL, toy_dataset)
        process = command.start("train", "--file", file, *search)
        folder = command.folder / "results" / "toy"

        def ended() -> dict[str, str]:
            logs = {log.parent.name: log.read_text() for log in folder.glob("trial_*/result.json")}
            return {trial: text for trial, text in logs.items() if '"training_iteration": 2' in text}

        def noted() -> bool:
            states = folder.glob("experiment_state-*.json")
            return bool(ended()) and any('\\"status\\": \\"TERMINATED' in state.read_text() for state in states)

        wait_for(noted, process)
        process.kill()
        process.wait()
        command.sweep()
        before = ended()
        status, output = command.run("train", "--file", file, *search, "--resume")
        assert status == 0, output
        after = ended()
        assert len(after) == 3 and {trial: after[trial] for trial in before} == before
        rates = {json.loads(path.read_text())["lr"] for path in folder.glob("trial_*/params.json")}
        assert len(rates) == 3

    @pytest.mark.slow
    def test_ctrl_c_saves_and_leaves_nothing_running(self, command: Command) -> None:
        options = ("--set", "checkpoint_freq=0", "--set", "env_config.slow=0.005", "--stop", "training_iteration=1000")
        file = write(command, PPO)
        process = command.start("train", "--file", file, *options)
        folder = command.folder / "results" / "toy"
        wait_for(lambda: list(folder.glob("trial_*/result.json")), process)
        # A terminal sends the signal to the whole group.
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 130, output
        assert "last checkpoint: " in output
        assert "Traceback" not in output
        assert not command.left_behind()
        assert list(folder.glob("trial_*/checkpoint_*/rllib_checkpoint.json"))

    @pytest.mark.slow
    def test_ray_starts_no_worker_ahead_of_need(self, command: Command) -> None:
        # They lack the environment in which Tune runs trials, and take time from the trials' start.
        code = (
            "import os; from rllib_mamql.cli.main import ENVIRONMENT\n"
            "os.environ.update({**ENVIRONMENT, **os.environ})\n"
            "from rllib_mamql.cli.options import RunOptions; from rllib_mamql.cli.session import ray_session\n"
            "with ray_session(RunOptions()): print('up', flush=True); input()"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=command.folder,
            env=command.environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        # Ray starts its workers before the driver hears from it.
        time.sleep(1.0)
        found = command.processes().values()
        process.communicate("\n", timeout=30)
        # The raylet is told how to start workers, so that its own line names their script.
        raylets = [line for line in found if "/raylet/raylet " in line]
        workers = [line for line in found if "_worker.py" in line or "ray::IDLE" in line]
        assert raylets
        assert not set(workers) - set(raylets)


@pytest.mark.slow
def test_a_refused_experiment_leaves_no_ray_and_a_trial_may_ask_for_more_cpus_than_there_are(
    command: Command, toy_dataset: Path
) -> None:
    # Ray starts while RLlib is imported, before an experiment has been checked.
    file = write(command, MAMQL, toy_dataset)
    status, output = command.run("train", "--file", file, "--set", "gama=0.9")
    assert status == 2
    assert "did you mean 'gamma'?" in output
    assert not command.processes()
    more = len(os.sched_getaffinity(0)) + 1
    words = ["--set", f"num_cpus_for_main_process={more}", "--stop", "training_iteration=1", "--eval-episodes", "0"]
    status, output = command.run("train", "--file", file, *words)
    assert status == 0, output
    assert "its processes share them" in " ".join(output.split())
    assert not command.processes()


@pytest.mark.slow
def test_a_search_on_a_terminal_and_its_longer_training(command: Command, toy_dataset: Path) -> None:
    environ = {name: command.environ[name] for name in ("RLLIB_TEST_MARK", "PYTHONPATH")}
    file = write(command, MAMQL, toy_dataset)
    words = [*RLLIB, "train", "--file", file.name, "--eval-episodes", "4", "--seed", "1"]
    search = [*words, "--set", "lr={grid_search: [0.001, 0.01]}"]
    for columns, command_line in ((80, search), (120, [*search, "--resume", "--stop", "training_iteration=3"])):
        status, written = run_in_terminal(command_line, columns, command.folder, **environ)
        shown = screen(written)
        assert status == 0, shown
        # What takes long is told of while it does.
        for text in ("loading RLlib", "starting Ray", "starting", "evaluating results"):
            assert text in written, text
        check_recording(f"train_{columns}", without_numbers(shown))
    assert "until training_iteration 3" in shown and shown.count("goes on with iteration 3 of 3") == 2, shown
    logs = [log.read_text().splitlines() for log in command.folder.glob("results/toy/trial_*/result.json")]
    assert [[json.loads(line)["training_iteration"] for line in log] for log in logs] == [[1, 2, 3]] * 2
    tables = [csv.DictReader(path.open()) for path in command.folder.glob("results/toy/trial_*/progress.csv")]
    assert all(float(row["return_mean"]) == float(row["env_runners/return_mean"]) for table in tables for row in table)


def test_a_second_run_does_not_touch_the_first(tmp_path: Path) -> None:
    from rllib_mamql.cli.experiment import Experiment, ExperimentSettings
    from rllib_mamql.cli.resuming import results_folder
    from rllib_mamql.errors import ConfigError

    experiment = Experiment("toy", ExperimentSettings(run="PPO", storage_path=str(tmp_path)), tmp_path)
    assert results_folder(experiment, resume=False) == (str(tmp_path), "toy")
    with pytest.raises(ConfigError, match="no run of 'toy'"):
        results_folder(experiment, resume=True)
    for name in ("toy", "toy-2", "toy-10", "toy-fast-11"):
        (tmp_path / name).mkdir()
    assert results_folder(experiment, resume=False)[1] == "toy-11"
    (tmp_path / "toy-2" / "tuner.pkl").touch()
    assert results_folder(experiment, resume=True)[1] == "toy-2"
