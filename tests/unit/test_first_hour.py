"""What a user sees while trials run and when they have ended."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rllib_mamql.cli.progress import Waiting, progress_line
from rllib_mamql.cli.report import TrialReport
from rllib_mamql.cli.tables import best_first, winners

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


def test_a_line_keeps_what_matters_most_where_there_is_little_room() -> None:
    for width in range(24, 120):
        line = progress_line(RESULT, 62.0, STOP, width=width)
        assert "iteration 3 of 12" in line and "left" in line
        assert len(line) <= max(width, len("iteration 3 of 12, 3:06 left"))
        assert ("return 143.20" in line) == (width >= len("iteration 3 of 12, return 143.20, 3:06 left"))


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
