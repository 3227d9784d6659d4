"""A behaviour clone learns for as long as that helps on episodes that it has not seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from rllib_mamql.algorithms.registry import read_checkpoint
from rllib_mamql.columns import ACTIONS, EPS_ID, OBS, JointColumns, column, num_rows, take
from rllib_mamql.errors import DatasetError
from rllib_mamql.learning import course
from rllib_mamql.learning.checkpoint import Checkpoint
from rllib_mamql.learning.demonstrations import demonstrations_for
from rllib_mamql.rewards import clone as cloning
from rllib_mamql.rewards.clone import clone_of, fit_clone


@pytest.fixture(scope="module")
def stored(toy_checkpoint_folder: Path) -> Checkpoint:
    return read_checkpoint(toy_checkpoint_folder)


def with_actions(columns: JointColumns, chosen: dict[str, np.ndarray]) -> JointColumns:
    return {**columns, **{column(ACTIONS, agent): actions for agent, actions in chosen.items()}}


def test_noise_is_learned_for_the_fewest_updates_and_a_rule_for_more(
    stored: Checkpoint, toy_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(course, "FEWEST", 10)
    monkeypatch.setattr(course, "MOST", 160)
    columns = demonstrations_for(stored, toy_dataset)
    rng = np.random.default_rng(0)
    agents = list(stored.module_of)
    dtype = columns[column(ACTIONS, agents[0])].dtype
    noise = {a: rng.integers(3, size=num_rows(columns)).astype(dtype) for a in agents}
    rule = {a: (columns[column(OBS, a)].argmax(1) % 3).astype(dtype) for a in agents}
    guessing = fit_clone(stored, with_actions(columns, noise), lr=0.01)
    knowing = fit_clone(stored, with_actions(columns, rule), lr=0.01)
    assert guessing.updates < knowing.updates
    assert knowing.held_out[knowing.updates] == min(knowing.held_out.values()) < 0.5 < guessing.held_out[10]
    # The tries end with the first that is no better.
    assert max(guessing.held_out) <= 2 * guessing.updates
    obs = torch.from_numpy(columns[column(OBS, agents[0])])
    right = knowing(agents[0], obs).argmax(1).numpy() == rule[agents[0]]
    assert right.mean() > 0.9


def test_given_updates_hold_nothing_out(stored: Checkpoint, toy_dataset: Path) -> None:
    clone = clone_of(stored, toy_dataset, None, 5, seed=0)
    assert clone.updates == 5 and clone.held_out == {} and "as asked" in clone.summary()


def test_the_clone_sees_the_steps_that_training_would_draw(
    stored: Checkpoint, toy_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[JointColumns] = []
    monkeypatch.setattr(cloning, "fit_clone", lambda stored, columns, **_: seen.append(columns))
    clone_of(stored, toy_dataset, 30, 5, seed=1)
    assert num_rows(seen[0]) == 30
    with pytest.raises(DatasetError, match="10000000"):
        clone_of(stored, toy_dataset, 10_000_000, 5, seed=1)


def test_one_step_cannot_choose(stored: Checkpoint, toy_dataset: Path) -> None:
    columns = demonstrations_for(stored, toy_dataset)
    with pytest.raises(DatasetError, match="--clone-updates"):
        fit_clone(stored, take(columns, np.arange(1)))


def test_one_episode_is_judged_by_blocks_of_its_time(
    stored: Checkpoint, toy_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(course, "FEWEST", 10)
    monkeypatch.setattr(course, "MOST", 20)
    columns = demonstrations_for(stored, toy_dataset)
    episodes = columns[EPS_ID].astype(str)
    assert set(fit_clone(stored, take(columns, episodes == episodes[0])).held_out) == {10, 20}
