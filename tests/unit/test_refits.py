"""Rewards recovered anew, with what a learner played among the transitions."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from rllib_mamql.columns import JointColumns, num_rows
from rllib_mamql.rewards import refits as module
from rllib_mamql.rewards.exploration import explore
from rllib_mamql.rewards.recover import recover
from rllib_mamql.rewards.refits import Refits
from rllib_mamql.rewards.settings import RecoverySettings
from rllib_mamql.rewards.sources import reward_source
from rllib_mamql.rewards.store import read_with_rewards, write_rewards

SETTINGS = RecoverySettings(updates=20, steps=300)


def test_a_round_recovers_from_all_play_so_far_and_pays_from_then_on(
    toy_checkpoint_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(toy_checkpoint_folder, tmp_path / "checkpoint"))
    stored, _ = read_with_rewards(folder)
    write_rewards(folder, recover(stored, explore(stored, 100, 0.5, seed=0), SETTINGS), SETTINGS)
    stored, how = read_with_rewards(folder)
    assert how is not None
    source = reward_source(stored, shaped=True)
    seen: list[int] = []

    def watched(stored, columns, settings, watch):
        seen.append(num_rows(columns))
        return recover(stored, columns, settings, watch)

    monkeypatch.setattr(module, "recover", watched)
    refits = Refits(stored, SETTINGS)
    asked: list[int] = []
    before = stored.modules["shared"].reward
    observations, others = torch.rand(5, 8), torch.zeros(5, 1, dtype=torch.long)

    def play(steps: int) -> JointColumns:
        asked.append(steps)
        return explore(stored, steps, 1.0, seed=len(asked))

    for _ in range(2):
        found = refits(play)
        # The source that a learner was given pays the new rewards, and shapes by the new potential.
        paying = source.modules["shared"].reward
        assert paying is found.rewards["shared"] and paying is not before
        assert source.potentials["shared"] is found.potentials["shared"]
        assert not torch.equal(paying(observations, others), before(observations, others))
    base = num_rows(explore(stored, SETTINGS.steps, SETTINGS.explore, SETTINGS.seed))
    assert asked == [100, 100]
    assert base < seen[0] < seen[1] and seen[1] - seen[0] == pytest.approx(100, abs=60)
