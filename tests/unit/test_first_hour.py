"""What a user sees while trials run and when they have ended."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ray.rllib.utils.pre_checks.env import check_multiagent_environments

from rllib_mamql.algorithms.registry import read_checkpoint
from rllib_mamql.cli.experiment import load_experiments
from rllib_mamql.cli.progress import TrialMonitor
from rllib_mamql.cli.progress_csv import ProgressTable
from rllib_mamql.cli.progress_line import bar_width, progress_line, shortened
from rllib_mamql.cli.results import RETURN_MEAN, latest_return
from rllib_mamql.cli.room import Waiting
from rllib_mamql.cli.settings import prepare
from rllib_mamql.data.reading import read_dataset
from rllib_mamql.data.schema import ReturnSummary
from rllib_mamql.environments.adapter import PettingZooAdapter
from rllib_mamql.environments.registry import make_env
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
    groups = {"a": {"state": "PENDING"}}
    monkeypatch.setattr("rllib_mamql.cli.room.living_nodes", lambda: [{"CPU": 1.0}, {"CPU": 1.0}])
    monkeypatch.setattr("ray.available_resources", lambda: {"CPU": 0.5})
    monkeypatch.setattr("ray.util.placement_group_table", lambda: groups)
    three = [{"CPU": 1.0}] * 3
    waiting = Waiting()
    assert waiting.line(three, 100.0) is None
    line = waiting.line(three, 109.0)
    assert line is not None and "asks for 3 CPU, the cluster has 2 CPU (0.5 free)" in line and "num_learners" in line
    assert waiting.line(three, 120.0) is None
    assert waiting.line(three, 170.0) == line
    # A trial has started.
    assert waiting.line([], 171.0) is None and waiting.line([{"CPU": 1.0}], 172.0) is None
    line = waiting.line([{"CPU": 1.0, "GPU": 0.0}], 181.0)
    assert line is not None and "when other work ends" in line and "GPU" not in line
    line = waiting.line([{"CPU": 2.0}], 242.0)
    assert line is not None and "do not fit on 2 nodes side by side" in line
    # Nothing waits for a place: the trial's process is starting.
    groups["a"]["state"] = "CREATED"
    assert waiting.line([{"CPU": 1.0}], 303.0) is None


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


def test_an_agent_may_leave_in_its_first_step_from_an_environment_of_rllibs_own(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not the names of the agents in the env"):
        check_multiagent_environments(PettingZooAdapter(make_env(TOY, {"leave_at": 1})))
    (tmp_path / "ppo.yaml").write_text(f"early: {{run: PPO, env: '{TOY}', config: {{env_config: {{leave_at: 1}}}}}}")
    (experiment,) = load_experiments(tmp_path / "ppo.yaml")
    assert prepare(experiment).param_space["disable_env_checking"] is True


def test_an_agent_may_leave_early_where_recovered_rewards_are_paid(toy_checkpoint_folder: Path) -> None:
    source = reward_source(read_checkpoint(toy_checkpoint_folder), "implied")
    env = RecoveredRewardEnv(make_env(TOY, {"leave_at": 2, "steps": 4}), source)
    env.reset(seed=0)
    paid = []
    while env.agents:
        _, rewards, *_ = env.step({agent: 0 for agent in env.agents})
        paid.append(sorted(rewards))
    assert paid == [["agent_0", "agent_1"]] * 2 + [["agent_1"]] * 2
