"""The reward that is learned along with its explanation, and the rows that it is regressed on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from rllib_mamql.algorithms.registry import read_checkpoint
from rllib_mamql.learning.checkpoint import Checkpoint
from rllib_mamql.networks.rewards import REWARD_HIDDENS
from rllib_mamql.rewards.explanation import Explanation, targets_of
from rllib_mamql.rewards.exploration import explore
from rllib_mamql.rewards.fitting import Budget, fit
from rllib_mamql.rewards.recover import recover
from rllib_mamql.rewards.regression import Draws, Regression
from rllib_mamql.rewards.settings import RecoverySettings
from rllib_mamql.rewards.transitions import transitions_of

SETTINGS = RecoverySettings(updates=300, steps=1500, strength=0.02)
DISCOUNT = 0.8


@pytest.fixture
def stored(toy_checkpoint_folder: Path) -> Checkpoint:
    """Policies and rewards with encoders of one form."""
    read = read_checkpoint(toy_checkpoint_folder)
    config = read.modules["shared"].model_config
    config[REWARD_HIDDENS] = config["fcnet_hiddens"]
    return read


def test_the_reward_goes_on_from_what_followed_the_explanation(stored: Checkpoint) -> None:
    module = stored.modules["shared"]
    rows = transitions_of(stored, explore(stored, SETTINGS.steps, SETTINGS.explore, seed=0), seed=0)["shared"]
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    explanation = Explanation(module, rows.other_actions, DISCOUNT, SETTINGS)
    assert explanation.follower is not None

    def loss(each: Explanation) -> torch.Tensor:
        found = each(rows, rows.segments(256, 8, generator))
        return found.error + 0.02 * found.kept.abs().mean() + 0.02 * found.behind

    explanation, _ = fit(
        explanation, loss, None, rate=4e-3, updates=300, budget=Budget(None), watch=lambda share: None
    )  # fmt: skip
    reward, value = (target / 4.0 for target in targets_of(explanation, rows))
    behind = float(explanation(rows, rows.judged).behind.detach())
    assert behind < 0.3

    networks = Regression(module, rows, SETTINGS, rationality=4.0)
    encoded = networks.without_encoders(rows, explanation)
    assert encoded is not None
    networks = networks.with_encoders()
    index = rows.judged
    left = networks.errors(rows, index, reward[index], value[index]).mean() / reward[index].var()
    assert float(left.detach()) == pytest.approx(behind, rel=0.1)


@pytest.mark.parametrize("changes", [{"inputs": "state_action"}, {"inputs": "state"}], ids=str)
def test_a_reward_that_sees_less_follows_nothing(stored: Checkpoint, changes: dict[str, str]) -> None:
    assert Explanation(stored.modules["shared"], (3,), DISCOUNT, RecoverySettings(**changes)).follower is None


def test_a_recovery_with_a_follower_says_what_one_without_says(stored: Checkpoint, toy_checkpoint_folder: Path) -> None:
    settings = dataclasses.replace(SETTINGS, updates=600, steps=3000)
    columns = explore(stored, settings.steps, settings.explore, seed=0)
    followed = recover(stored, columns, settings)
    alone = recover(read_checkpoint(toy_checkpoint_folder), columns, settings)
    assert followed.policy_error["shared"] < 0.01
    rows = transitions_of(stored, columns, seed=0)["shared"]
    states, others = rows.states[rows.now[rows.judged]], rows.others[rows.judged]
    with torch.no_grad():
        ours, theirs = (each.rewards["shared"](states, others).flatten() for each in (followed, alone))
    assert float(torch.corrcoef(torch.stack([ours, theirs]))[0, 1]) > 0.95


def test_drawn_rows_count_so_that_the_mean_is_that_of_all() -> None:
    rows = torch.arange(100, 200)
    reward = torch.zeros(100)
    reward[[3, 50]] = torch.tensor([2.0, -6.0])
    index, weight = Draws(rows, reward, torch.Generator().manual_seed(0))(40_000)
    assert int(index.min()) >= 100 and int(index.max()) < 200
    assert float((index == 150).float().mean()) == pytest.approx(0.5 * 0.01 + 0.5 * 0.75, abs=0.01)
    values = torch.linspace(-1.0, 1.0, 100) ** 2 + reward
    assert float((weight * values[index - 100]).mean()) == pytest.approx(float(values.mean()), abs=0.02)
    even, weight = Draws(rows, torch.zeros(100), torch.Generator().manual_seed(0))(1000)
    assert torch.equal(weight, torch.ones(1000)) and len(set(even.tolist())) > 90
