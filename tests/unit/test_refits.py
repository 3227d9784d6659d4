"""Rewards fitted anew to what a learner played."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from rllib_mamql.columns import JointColumns, num_rows
from rllib_mamql.errors import ConfigError
from rllib_mamql.learning.checkpoint import Checkpoint, CheckpointError
from rllib_mamql.rewards import refits as module
from rllib_mamql.rewards.explanation import SCALE, gauge_loss, targets_of
from rllib_mamql.rewards.exploration import explore
from rllib_mamql.rewards.recover import recover
from rllib_mamql.rewards.refits import Refits, usual_rounds
from rllib_mamql.rewards.settings import RecoverySettings, RelearnSettings
from rllib_mamql.rewards.sources import reward_source
from rllib_mamql.rewards.store import REWARDS, read_explanations, read_with_rewards, write_rewards
from rllib_mamql.rewards.transitions import transitions_of

SETTINGS = RecoverySettings(gauge="rare", updates=20, steps=800)
RATIONALITY = 4.0


def with_rewards(folder: Path, settings: RecoverySettings = SETTINGS) -> tuple[Checkpoint, dict[str, Any]]:
    stored, _ = read_with_rewards(folder)
    write_rewards(folder, recover(stored, explore(stored, 100, 0.5, seed=0), settings), settings)
    stored, how = read_with_rewards(folder)
    assert how is not None
    return stored, how


@pytest.fixture
def folder(toy_checkpoint_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(toy_checkpoint_folder, tmp_path / "checkpoint"))


def test_a_round_fits_to_all_play_so_far_and_pays_from_then_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored, how = with_rewards(folder)
    source = reward_source(stored, shaped=True)
    seen: list[int] = []

    def watched(stored, columns, seed):
        seen.append(num_rows(columns))
        return transitions_of(stored, columns, seed)

    monkeypatch.setattr(module, "transitions_of", watched)
    refits, asked, told = Refits(stored, how, read_explanations(stored, how)), [], []
    before = stored.modules["shared"].reward
    observations, others = torch.rand(5, 8), torch.zeros(5, 1, dtype=torch.long)
    paid_before = before(observations, others)

    def play(steps: int) -> JointColumns:
        asked.append(steps)
        return explore(stored, steps, 1.0, seed=len(asked))

    for _ in range(2):
        told.append(refits(play))
        # The source that a learner was given pays the new rewards.
        paying = source.modules["shared"].reward
        assert paying is stored.modules["shared"].reward and paying is not before
        assert not torch.equal(paying(observations, others), paid_before)
    assert torch.equal(before(observations, others), paid_before)
    base = num_rows(explore(stored, SETTINGS.steps, SETTINGS.explore, SETTINGS.seed))
    assert asked == [100, 100] and min(told) > 0.0
    assert base < seen[0] < seen[1] and seen[1] - seen[0] == pytest.approx(100, abs=60)


def test_what_is_paid_in_the_learners_play_nears_what_explains_the_policies(folder: Path) -> None:
    stored, how = with_rewards(folder)
    known = read_explanations(stored, how)["shared"]
    played = explore(stored, 600, 1.0, seed=9)
    rows = transitions_of(stored, dict(played), seed=0)["shared"]
    before, refits = stored.modules["shared"].reward, Refits(stored, how, read_explanations(stored, how))
    refits(lambda steps: explore(stored, steps, 1.0, seed=8))
    refits.write(folder)
    explanation = read_explanations(stored, how)["shared"]
    expected = targets_of(explanation, rows)[0] / RATIONALITY

    def error(reward: torch.nn.Module) -> float:
        with torch.no_grad():
            paid = reward(rows.states[rows.now], rows.others)
        return float((paid.gather(1, rows.action[:, None])[:, 0] - expected).square().mean())

    assert error(stored.modules["shared"].reward) < 0.5 * error(before)
    # The explanation itself went on, in its gauge, on that play too: neither less faithful nor less sparse.
    draw = torch.Generator()
    with torch.no_grad():
        sizes = [float(gauge_loss(each, rows, SETTINGS, SCALE, draw.manual_seed(0))) for each in (known, explanation)]
    assert sizes[1] < sizes[0]


def test_an_explanation_is_kept_with_its_rewards_and_written_on(folder: Path, tmp_path: Path) -> None:
    stored, _ = read_with_rewards(folder)
    found = recover(stored, explore(stored, 200, 0.5, seed=0), SETTINGS)
    write_rewards(folder, found, SETTINGS)
    stored, how = read_with_rewards(folder)
    assert how is not None
    rows = transitions_of(stored, explore(stored, 200, 0.5, seed=1), seed=0)["shared"]
    for ours, theirs in zip(
        targets_of(read_explanations(stored, how)["shared"], rows),
        targets_of(found.explanations["shared"], rows),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)
    assert float(found.explanations["shared"].level) != 0.0

    refits = Refits(stored, how, read_explanations(stored, how))
    refits(lambda steps: explore(stored, steps, 1.0, seed=2))
    refits.write(folder)
    again, document = read_with_rewards(folder)
    assert document == how
    observations, others = torch.rand(5, 8), torch.zeros(5, 1, dtype=torch.long)
    torch.testing.assert_close(
        again.modules["shared"].reward(observations, others), stored.modules["shared"].reward(observations, others)
    )
    assert set(read_explanations(again, how)) == set(again.potentials) == {"shared"}


def test_a_learner_that_is_told_nothing_learns_in_rounds_where_the_explanation_holds(folder: Path) -> None:
    stored, how = with_rewards(folder)
    known = read_explanations(stored, how)
    assert usual_rounds(known, RelearnSettings(iterations=30)) == 10
    assert usual_rounds(known, RelearnSettings(iterations=4)) == 4
    for elsewhere in (RelearnSettings(sticky_actions=0.1), RelearnSettings(env_config={"steps": 7})):
        assert usual_rounds(known, elsewhere) == 1
    assert usual_rounds({}, RelearnSettings()) == 1


def test_rewards_without_an_explanation_are_named(folder: Path) -> None:
    stored, how = with_rewards(folder, dataclasses.replace(SETTINGS, gauge="none"))
    with pytest.raises(ConfigError, match="recover them in a gauge with `rllib recover`"):
        Refits(stored, how, read_explanations(stored, how))


def test_damaged_explanations_are_named(folder: Path) -> None:
    stored, how = with_rewards(folder)
    (folder / REWARDS).write_bytes((folder / REWARDS).read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="is damaged"):
        read_explanations(stored, how)
