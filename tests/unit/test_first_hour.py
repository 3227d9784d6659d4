"""What a user sees while trials run and when they have ended."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rllib_mamql.algorithms.registry import read_checkpoint
from rllib_mamql.cli.experiment import load_experiments
from rllib_mamql.cli.paths import newest_checkpoint
from rllib_mamql.cli.progress import TrialMonitor, Waiting
from rllib_mamql.cli.progress_csv import ProgressTable
from rllib_mamql.cli.progress_line import bar_width, progress_line, shortened
from rllib_mamql.cli.report import TrialReport
from rllib_mamql.cli.results import RETURN_MEAN, latest_return
from rllib_mamql.cli.resuming import is_over, longer
from rllib_mamql.cli.runs import training
from rllib_mamql.cli.trial_tables import best_first, winners
from rllib_mamql.cli.winner import best_of, write_winner
from rllib_mamql.data.reading import read_dataset
from rllib_mamql.data.schema import ReturnSummary
from rllib_mamql.environments.registry import make_env
from rllib_mamql.errors import ConfigError
from rllib_mamql.evaluation.diagnostics import greedy_warnings
from rllib_mamql.evaluation.evaluate import evaluate_checkpoint, random_returns
from rllib_mamql.rewards.environment import RecoveredRewardEnv
from rllib_mamql.rewards.sources import reward_source
from tests.support.command_line import ROOT, Rllib
from tests.support.toy_data import TOY

RESULT: dict[str, Any] = {
    "training_iteration": 3,
    "env_runners": {"num_env_steps_sampled_lifetime": 24_000, "return_mean": 143.2},
    "learners": {"a": {"a": {"expert_log_likelihood": -0.4}, "num_gradient_steps_lifetime": 12_000}},
}
STOP = {"training_iteration": 12}


def test_a_line_says_how_far_and_how_long() -> None:
    line = progress_line(RESULT, 62.0, STOP)
    assert line == (
        "iteration 3 of 12, return 143.20, 24,000 env steps, 12,000 updates, "
        "expert log-likelihood -0.400, 1:02, 3:06 left"
    )
    assert progress_line(RESULT, 62.0, {}).endswith("1:02") and "of 12" not in progress_line(RESULT, 62.0, {})
    assert progress_line(RESULT, 62.0, STOP, final="done").endswith("1:02, done")


def test_the_guide_shows_a_line_as_it_is() -> None:
    page = (ROOT / "docs" / "first_steps.md").read_text()
    assert f"overcooked-mamql 00000  {progress_line(RESULT, 62.0, STOP)}\n" in page


def test_a_line_keeps_what_matters_most_where_there_is_little_room() -> None:
    least = "iteration 3 of 12, return 143.20, 3:06 left"
    for width in range(24, 120):
        line = progress_line(RESULT, 62.0, STOP, width=width)
        assert "iteration 3 of 12" in line and "return 143.20" in line and line.endswith("3:06 left")
        assert len(line) <= max(width, len(least))


def test_what_does_not_fit_beside_it_is_the_names() -> None:
    assert shortened("overcooked-mamql 00003", 40) == "overcooked-mamql 00003"
    assert shortened("overcooked-mamql 00003", 18) == "overcooked.. 00003"
    assert shortened("overcooked-mamql 00003", 3) == "00003"
    assert bar_width(118, "overcooked-mamql 00003", STOP) == 12
    assert bar_width(78, "overcooked-mamql-with-a-long-name 00003", STOP) == 0


def test_the_latest_return_is_kept_while_no_episode_ends() -> None:
    result = RESULT | {"env_runners": {"num_env_steps_sampled_lifetime": 24_000, "return_mean": float("nan")}}
    assert "return" not in progress_line(result, 62.0, STOP)
    assert "return 7.00" in progress_line(result, 62.0, STOP, last_return=7.0)


def report(experiment: str, trial: str, mean: float | None) -> TrialReport:
    return TrialReport(
        experiment=experiment, trial=trial, seed=0, status="finished", config={}, return_mean=mean, return_ci95=None,
        per_agent={}, expert_return=None, random_return=None, normalised_score=None, env_steps=0, updates=0,
        train_time_s=0.0, wall_time_s=0.0, checkpoint=None,
    )  # fmt: skip


def test_a_search_ends_with_its_best_trial_first() -> None:
    given = [report("b", "1", 2.0), report("a", "2", None), report("b", "3", 5.0), report("a", "4", 1.0)]
    found = best_first(given)
    assert [each.trial for each in found] == ["3", "1", "4", "2"]
    # One trial with a return is no choice.
    assert [each.trial for each in winners(found)] == ["3"]


def test_without_a_command_the_help_is_shown() -> None:
    done = subprocess.run([sys.executable, "-m", "rllib_mamql"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage:") and "train" in done.stdout and len(done.stdout.splitlines()) > 10
    assert not done.stderr


def test_a_file_in_the_current_folder_takes_no_modules_place(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("raise SystemExit('the file in the current folder was imported')")
    script = Path(sys.executable).parent / "rllib"
    done = subprocess.run([script, "example", "list"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "overcooked" in done.stdout


def test_a_trial_that_waits_for_resources_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 2.0})
    monkeypatch.setattr("ray.available_resources", lambda: {"CPU": 0.5})
    waiting = Waiting()
    assert waiting.line({"CPU": 3.0}, 100.0) is None
    line = waiting.line({"CPU": 3.0}, 109.0)
    assert line is not None and "asks for 3 CPU, the cluster has 2 CPU (0.5 free)" in line and "num_learners" in line
    assert waiting.line({"CPU": 3.0}, 120.0) is None
    assert waiting.line({"CPU": 3.0}, 170.0) == line
    # A trial has started.
    assert waiting.line({}, 171.0) is None and waiting.line({"CPU": 2.0}, 172.0) is None
    # Its process may be starting.
    assert waiting.line({"CPU": 2.0}, 182.0) is None
    line = waiting.line({"CPU": 2.0, "GPU": 0.0}, 233.0)
    assert line is not None and "when other work ends" in line and "GPU" not in line


# -- one way to count a return ------------------------------------------------------------------------------------


def test_rllibs_own_returns_are_counted_as_evaluation_counts_them() -> None:
    ppo = {"env_runners": {"episode_return_mean": 12.0, "agent_episode_returns_mean": {"a": 4.0, "b": 8.0}}}
    assert latest_return(ppo) == 6.0 and latest_return(ppo, "sum") == 12.0
    assert latest_return({"env_runners": {"episode_return_mean": float("nan")}}) is None
    assert "return 6.00" in progress_line(ppo, 1.0, STOP)


class Trial:
    """What Tune hands to callbacks."""

    def __init__(self, folder: Path) -> None:
        self.trial_id, self.local_path, self.stopping_criterion = "1a2b3_00000", str(folder), {"training_iteration": 4}
        self.status, self.storage = "RUNNING", None

    def init_local_path(self) -> None:
        pass


def test_progress_csv_has_the_return_from_its_first_line_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ProgressTable, "_restore_from_remote", lambda self, file, trial: None)
    trial: Any = Trial(tmp_path)
    first = {"training_iteration": 1, "env_runners": {"num_env_steps_sampled_lifetime": 10}}
    second = {"training_iteration": 2, "env_runners": {"num_env_steps_sampled_lifetime": 20, "return_mean": 5.0}}
    resumed = {"env_runners": {"return_mean": 7.0, "num_env_steps_sampled_lifetime": 30}, "training_iteration": 3}
    for results in ((first, second), (resumed,)):
        monitor, table = TrialMonitor("run", {}), ProgressTable()
        for step in results:
            monitor.on_trial_result(0, [], trial, step)
            table.log_trial_result(0, trial, step)
        table.log_trial_end(trial)
    rows = list(csv.DictReader((tmp_path / "progress.csv").open()))
    assert [row[RETURN_MEAN] for row in rows] == ["nan", "5.0", "7.0"]
    assert [row["training_iteration"] for row in rows] == ["1", "2", "3"]
    assert [row["env_runners/return_mean"] for row in rows] == ["", "5.0", "7.0"]


# -- runs that lie in a folder ------------------------------------------------------------------------------------


def write_trial(
    run: Path, number: int, *, done: bool = True, mean: float = 0.0, evaluated: float | None = None
) -> Path:
    folder = run / f"trial_1a2b3_{number:05d}"
    saved = folder / "checkpoint_000000"
    saved.mkdir(parents=True)
    (saved / "mamql.json").write_text("{}")
    log = {"training_iteration": 3, "done": done, "env_runners": {"return_mean": mean}}
    (folder / "result.json").write_text(json.dumps(log) + '\n{"cut')
    if evaluated is not None:
        (folder / "evaluation.json").write_text(json.dumps({"return_mean": evaluated, "normalised_score": 0.5}))
        os.utime(folder / "result.json", (1.0, 1.0))
    return folder


def test_a_runs_folder_means_its_best_trial(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "search"
    best, newest = write_trial(run, 0, mean=5.0), write_trial(run, 1, mean=2.0)
    os.utime(best / "checkpoint_000000", (1.0, 1.0))
    assert newest_checkpoint(run) == best / "checkpoint_000000"
    said = capsys.readouterr().err
    assert said == "best of 2 trials: trial_1a2b3_00000, return 5.00 of the last episodes in training\n"
    # A final evaluation tells more than the last episodes in training.
    evaluated = write_trial(run, 2, mean=0.0, evaluated=3.5)
    assert newest_checkpoint(run) == evaluated / "checkpoint_000000"
    assert "return 3.50 in the final evaluation" in capsys.readouterr().err
    assert newest_checkpoint(newest) == newest / "checkpoint_000000" and not capsys.readouterr().err


def test_status_lists_runs(tmp_path: Path, rllib: Rllib, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    results = tmp_path / "results"
    write_trial(results / "first", 0, evaluated=12.5)
    write_trial(results / "second", 0, done=False, mean=3.25)
    failed = write_trial(results / "second", 1, done=False)
    (failed / "error.txt").write_text("it broke")
    monkeypatch.chdir(tmp_path)
    with training(results / "third"):
        write_trial(results / "third", 0, done=False)
        done = rllib("status", "--json", "status.json")
        with pytest.raises(ConfigError, match="by another process"), training(results / "third"):
            pass
    assert done.status == 0, done
    rows = {tuple(line.split()[:3]): line.split()[3:] for line in done.out.splitlines() if "0000" in line}
    assert rows == {
        ("first", "00000", "finished"): ["3", "12.50", "0.500", "checkpoint_000000"],
        ("second", "00000", "interrupted"): ["3", "3.25", "*", "-", "checkpoint_000000"],
        ("second", "00001", "failed"): ["3", "0.00", "*", "-", "checkpoint_000000"],
        ("third", "00000", "running"): ["3", "0.00", "*", "-", "checkpoint_000000"],
    }
    assert done.err.startswith("next: rllib evaluate results/")
    assert json.loads(Path("status.json").read_text())["trials"][0]["return_mean"] == 12.5
    assert [line.split()[2] for line in rllib("status", "results/third").out.splitlines() if "0000" in line] == [
        "interrupted"
    ]
    assert rllib("status", "nowhere").status == 2


def test_the_best_trials_settings_run_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    file = tmp_path / "search.yaml"
    file.write_text(
        """
        search:
          run: MAMQL
          env: gems
          stop: {training_iteration: 2}
          num_samples: 2
          config:
            input: data
            lambda: 0.9
            lr: {uniform: [0.0001, 0.01]}
            model_config: {fcnet_hiddens: {grid_search: [[8], [16]]}, fcnet_activation: relu}
        """
    )
    (experiment,) = load_experiments(file)
    own = {"lr": np.float64(0.003), "model_config": {"fcnet_hiddens": [16], "vf_share_layers": True}, "seed": 3}
    reports = [report("search", "1", 1.0), replace(report("search", "2", 2.0), config=own, fresh_return_mean=1.75)]
    assert best_of(reports) is reports[1]
    (written,) = load_experiments(write_winner(experiment, reports[1], tmp_path))
    assert (written.name, written.settings.run, written.settings.num_samples) == ("search-best", "MAMQL", 1)
    assert written.settings.stop == {"training_iteration": 2.0}
    assert written.settings.config == {
        "input": str(tmp_path / "data"), "lambda": 0.9, "lr": 0.003, "seed": 3,
        "model_config": {"fcnet_hiddens": [16], "fcnet_activation": "relu"},
    }  # fmt: skip
    text = (tmp_path / "best.yaml").read_text()
    assert "# The best trial of search: 2, return 2.00." in text and "on fresh episodes: 1.75" in text
    assert best_of(reports[:1]) is None, "one trial is no choice"


# -- training longer ----------------------------------------------------------------------------------------------


def test_a_resumed_run_trains_longer_and_never_shorter() -> None:
    assert longer({"training_iteration": 4.0}, {"training_iteration": 6}) == {"training_iteration": 6}
    assert longer({"training_iteration": 4.0}, {}) == {"training_iteration": 4.0}
    with pytest.raises(ConfigError, match=r"--stop training_iteration=3: the run was started with 4.*at least as long"):
        longer({"training_iteration": 4.0}, {"training_iteration": 3})


def test_a_trial_is_over_where_its_criteria_are_met_or_it_has_ended_by_itself() -> None:
    trial = SimpleNamespace(
        TERMINATED="TERMINATED", status="TERMINATED", last_result={"training_iteration": 4},
        stopping_criterion={"training_iteration": 4},
    )  # fmt: skip
    assert is_over(trial, {"training_iteration": 4}) and not is_over(trial, {"training_iteration": 6})
    trial.stopping_criterion = {"training_iteration": 9}
    assert is_over(trial, {"training_iteration": 12}), "a clone that is learned ends by itself"
    trial.status = "PENDING"
    assert not is_over(trial, {"training_iteration": 4})


# -- play that is far below sampling, or never ends ---------------------------------------------------------------


def test_greedy_play_far_below_sampling_is_warned_of(toy_checkpoint_folder: Path) -> None:
    def returns(mean: float) -> ReturnSummary:
        return ReturnSummary(mean=mean, ci95=(mean - 0.5, mean + 0.5), per_agent={}, episodes=10)

    (warning,) = greedy_warnings(returns(3.0), returns(8.0), 10.0, 0.0)
    assert "return 3.00, sampled ones 8.00" in warning and "--greedy" in warning
    assert not greedy_warnings(returns(7.5), returns(8.0), 10.0, 0.0), "within a tenth"
    assert not greedy_warnings(returns(7.5), returns(8.0), None, None)
    assert greedy_warnings(returns(3.0), returns(8.0), None, None)
    assert not greedy_warnings(returns(9.0), returns(8.0), 10.0, 0.0)
    told: list[int] = []
    result = evaluate_checkpoint(toy_checkpoint_folder, episodes=4, greedy=True, watch=told.append)
    assert told[-1] == 8, "as many are sampled"
    assert result.rationality == {} and "return_mean" in result.diagnostics["sampled"]


def test_recording_stops_where_episodes_never_end(rllib: Rllib, tmp_path: Path) -> None:
    endless = ("--env", TOY, "--env-config", "steps=1000000000")
    done = rllib("record", *endless, "--expert", "random", "--steps", 50, "--out", tmp_path / "data")
    assert done.status == 0 and f"{tmp_path / 'data'}: 50 joint steps" in done.out
    assert "no episode ended" in done.err
    dataset = read_dataset(str(tmp_path / "data"))
    assert dataset.metadata.random_return is None
    # The expert's episodes end, random ones do not: their return is not known.
    assert random_returns(TOY, {"steps": 1000}, episodes=4, most_steps=100) is None


def test_an_agent_may_leave_early_where_recovered_rewards_are_paid(toy_checkpoint_folder: Path) -> None:
    source = reward_source(read_checkpoint(toy_checkpoint_folder), "implied")
    env = RecoveredRewardEnv(make_env(TOY, {"leave_at": 2, "steps": 4}), source)
    env.reset(seed=0)
    paid = []
    while env.agents:
        _, rewards, *_ = env.step({agent: 0 for agent in env.agents})
        paid.append(sorted(rewards))
    assert paid == [["agent_0", "agent_1"]] * 2 + [["agent_1"]] * 2
