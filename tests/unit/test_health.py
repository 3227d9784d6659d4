"""A checkpoint's examination: what is measured, with and without the demonstrations, and what is said of it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rllib_mamql.algorithms.registry import read_checkpoint
from rllib_mamql.cli.progress import TrialMonitor
from rllib_mamql.cli.results import bound_shares
from rllib_mamql.columns import Q_SHARE, REWARD_SHARE
from rllib_mamql.errors import ConfigError, DatasetError
from rllib_mamql.evaluation.evaluate import evaluate_checkpoint
from rllib_mamql.evaluation.health import examine
from rllib_mamql.evaluation.record import record_dataset
from rllib_mamql.learning.checkpoint import Checkpoint
from rllib_mamql.learning.demonstrations import find_demonstrations
from tests.support.toy_data import TOY, truncate, write_toy_dataset


@pytest.fixture(scope="module")
def stored(toy_checkpoint_folder: Path) -> Checkpoint:
    return read_checkpoint(toy_checkpoint_folder)


@pytest.fixture(scope="module")
def own_play(stored: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Demonstrations by the checkpoint itself."""
    out = tmp_path_factory.mktemp("data") / "own"
    record_dataset(TOY, {}, str(stored.path), 400, 0, out)
    return out


def trained_on(stored: Checkpoint, path: Path) -> Checkpoint:
    return replace(stored, settings=stored.settings | {"input": [str(path)]})


def test_without_demonstrations_only_play_is_measured(stored: Checkpoint) -> None:
    assert find_demonstrations(stored) is None, "the toy checkpoint names no dataset"
    health = examine(stored, None, steps=80)
    assert list(health.numbers) == ["bounds"] and set(health.numbers["bounds"]) == {"agent_0", "agent_1"}


def test_own_play_fits_in_all_respects(stored: Checkpoint, own_play: Path) -> None:
    expert = find_demonstrations(trained_on(stored, own_play))
    assert expert is not None
    health = examine(stored, expert, steps=200)
    assert health.warnings == []
    assert health.numbers["rationality"]["shared"]["best"] == pytest.approx(4.0, rel=0.25)
    assert health.numbers["rationality"]["shared"]["likelihood_by_multiple"]["1"] > -1.0986
    assert health.numbers["coverage"]["agent_0"]["uncovered"] < 0.2


def test_random_demonstrations_do_not_fit_a_decided_policy(stored: Checkpoint, long_toy_dataset: Path) -> None:
    expert = find_demonstrations(stored, long_toy_dataset)
    health = examine(stored, expert, steps=80)
    assert any("set evaluation_rationality" in warning for warning in health.warnings)


def test_a_critic_beyond_the_bound_is_told_in_the_evaluation(stored: Checkpoint) -> None:
    tight = replace(stored, settings=stored.settings | {"chi_square_scale": 1e-3})
    (first, *_) = examine(tight, None, steps=80).warnings
    assert "diverges" in first and "chi_square_states: mixture" in first
    old = replace(stored, settings={k: v for k, v in stored.settings.items() if k != "chi_square_scale"})
    assert examine(old, None, steps=80).warnings == [], "checkpoints of earlier versions do not say their scale"


def test_demonstrations_that_are_damaged_or_of_others(stored: Checkpoint, toy_dataset: Path, tmp_path: Path) -> None:
    other = write_toy_dataset(tmp_path / "other", rows=60, states=6)
    assert find_demonstrations(trained_on(stored, other)) is None
    with pytest.raises(ConfigError, match="other agents or observations"):
        find_demonstrations(stored, other)
    damaged = Path(shutil.copytree(toy_dataset, tmp_path / "damaged"))
    truncate(damaged)
    assert find_demonstrations(trained_on(stored, damaged)) is None
    with pytest.raises(DatasetError):
        find_demonstrations(stored, damaged)


def test_the_evaluation_carries_numbers_and_warnings(
    stored: Checkpoint, own_play: Path, long_toy_dataset: Path
) -> None:
    assert list(evaluate_checkpoint(stored.path, episodes=2).diagnostics) == ["bounds"]
    result = evaluate_checkpoint(stored.path, episodes=2, data=own_play)
    assert set(result.diagnostics) == {"bounds", "rationality", "coverage"}
    result = evaluate_checkpoint(stored.path, episodes=2, data=long_toy_dataset)
    assert any("rationality" in line for line in result.warnings)


class Trial:
    trial_id = "abc_00000"


def result(**shares: float) -> dict[str, Any]:
    return {"learners": {"shared": {"agent_0": {"q_mean": 1.0, **shares}, "lr": 0.1}, "__all_modules__": {"steps": 3}}}


def test_training_says_once_what_diverges(capsys: pytest.CaptureFixture[str]) -> None:
    monitor, trial = TrialMonitor("run", {}), Trial()
    healthy, ill = result(**{REWARD_SHARE: 0.4, Q_SHARE: 0.02}), result(**{REWARD_SHARE: 0.4, Q_SHARE: 0.9})
    assert bound_shares(healthy) == {"agent_0": {REWARD_SHARE: 0.4, Q_SHARE: 0.02}}
    assert bound_shares({}) == {}
    for step in (healthy, ill, ill):
        monitor.on_trial_result(0, [], trial, step)  # type: ignore[arg-type]
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    assert len(warnings) == 1
    assert "critic of agent_0 diverges" in warnings[0] and "chi_square_states: mixture" in warnings[0]
