"""How decidedly policies act, chosen from how often their play comes back to the same states."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rllib_mamql.algorithms.mamql.chosen import chosen, in_words
from rllib_mamql.algorithms.registry import read_checkpoint
from rllib_mamql.columns import EPS_ID, OBS, JointColumns, column, concatenate, num_rows
from rllib_mamql.data.reading import read_dataset
from rllib_mamql.evaluation import decided, health
from rllib_mamql.evaluation.decided import act_decidedly, coming_back, decide
from rllib_mamql.evaluation.diagnostics import RationalityFit
from rllib_mamql.learning.checkpoint import DOCUMENT
from rllib_mamql.play.actors import most_steps

AGENTS = ("a", "b")
WIDTHS = {agent: torch.full((2,), 0.5) for agent in AGENTS}


def steps(states: list[int], episodes: list[str] | None = None, others: list[int] | None = None) -> JointColumns:
    return {
        EPS_ID: np.array(episodes or ["e"] * len(states)),
        column(OBS, "a"): np.array([[state, 0] for state in states], np.float32),
        column(OBS, "b"): np.array([[state, 1] for state in others or states], np.float32),
    }


def test_states_that_an_episode_was_in_before_are_counted() -> None:
    assert coming_back([steps([1, 2, 3, 4])], AGENTS, WIDTHS) == 0.0
    assert coming_back([steps([1, 2, 1, 2])], AGENTS, WIDTHS) == 0.5
    assert coming_back([steps([1, 2, 1, 2], ["e", "e", "f", "f"])], AGENTS, WIDTHS) == 0.0, "another episode's"
    assert coming_back([steps([1, 2, 1, 2], others=[1, 2, 3, 4])], AGENTS, WIDTHS) == 0.0, "what all observe"
    nearly = steps([1, 2, 1, 2])
    nearly[column(OBS, "a")][2:] += 0.1
    assert coming_back([nearly], AGENTS, WIDTHS) == 0.5
    assert coming_back([steps([1, 2]), steps([1, 2])], AGENTS, WIDTHS) == 0.5, "whatever the parts"


def stored_at(folder: Path, tmp_path: Path) -> Any:
    return read_checkpoint(shutil.copytree(folder, tmp_path / "copy"))


@pytest.mark.parametrize(
    ("shares", "multiple"),
    [
        ({1.0: 0.2, 3.0: 0.3}, 3.0),
        ({1.0: 0.2, 1.5: 0.29, 2.0: 0.31, 3.0: 0.32}, 1.5),
        ({1.0: 0.2, 1.5: 0.4, 2.0: 0.4, 3.0: 0.4}, 1.0),
    ],
)
def test_the_highest_multiple_before_play_gets_stuck(
    shares: dict[float, float],
    multiple: float,
    toy_checkpoint_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decided, "_play", lambda stored, multiple, seed: iter([{"at": multiple}]))
    monkeypatch.setattr(decided, "widths_of", lambda columns, agents: WIDTHS)
    monkeypatch.setattr(decided, "coming_back", lambda parts, agents, widths: shares[next(iter(parts))["at"]])
    found = decide(stored_at(toy_checkpoint_folder, tmp_path), None)
    assert found.multiple == multiple and found.demonstrated is None
    assert dict(found.coming_back) == shares


def test_as_often_as_experts_is_not_stuck(
    toy_checkpoint_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decided, "_play", lambda stored, multiple, seed: iter([{"share": 0.1 * multiple}]))
    monkeypatch.setattr(decided, "widths_of", lambda columns, agents: WIDTHS)
    monkeypatch.setattr(decided, "coming_back", lambda parts, agents, widths: next(iter(parts))["share"])
    stored = stored_at(toy_checkpoint_folder, tmp_path)
    assert decide(stored, {"share": 0.25}).multiple == 3.0
    assert decide(stored, {"share": 0.05}).multiple == 2.0


def test_the_checkpoint_acts_so_and_says_why(
    toy_checkpoint_folder: Path, toy_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = stored_at(toy_checkpoint_folder, tmp_path)
    before = {name: module.evaluation_rationality for name, module in stored.modules.items()}
    found = act_decidedly(stored, seed=3)
    assert before == {name: module.evaluation_rationality for name, module in stored.modules.items()}, (
        "of the file only"
    )
    again = read_checkpoint(stored.path)
    assert all(
        module.evaluation_rationality == found.multiple * module.rationality for module in again.modules.values()
    )
    assert chosen(again.settings)["acting_multiple"] == found.multiple
    assert act_decidedly(stored, seed=3) == found, "the same from the same seed"
    fits = {"shared": RationalityFit(9.0, 3.0, -0.5, -0.1)}
    monkeypatch.setattr(health, "_fits_of", lambda *arguments: fits)
    for read, warned in ((stored, True), (again, False)):
        found_of = health.examine(read, read_dataset(toy_dataset).columns, seed=0).warnings
        assert any("does not fit the expert" in warning for warning in found_of) == warned
    assert not list(stored.path.glob(f".{DOCUMENT}*")) and json.loads((stored.path / DOCUMENT).read_text())


def test_in_words() -> None:
    found = {"acting_multiple": 2.0, "coming_back": 0.104, "demonstrations_coming_back": 0.4}
    (line,) = in_words(found)
    assert line == "chosen: acts at 2x training's rationality; 10% of states revisited (expert 40%)"
    assert len(line) <= 80
    (line,) = in_words({"acting_multiple": 1.0, "coming_back": 0.3})
    assert line == "chosen: acts at 1x training's rationality; 30% of states revisited"


def test_large_images_are_not_kept(toy_checkpoint_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = read_checkpoint(toy_checkpoint_folder)
    (whole,) = decided._play(stored, 1.0, 0)
    assert num_rows(whole) == decided.STEPS
    of_a_step = decided.STEPS * 2**40 // most_steps(stored, decided.STEPS * 2**40)
    monkeypatch.setattr(decided, "KEPT_BYTES", 60 * of_a_step)
    monkeypatch.setattr(decided, "MOST_BYTES", 200 * of_a_step)
    parts = list(decided._play(stored, 1.0, 0))
    assert [num_rows(part) for part in parts] == [64, 64, 64, 32], "whole batches, and fewer steps in all"
    for name, values in concatenate(parts).items():
        np.testing.assert_array_equal(values, whole[name][: len(values)])
