"""What rewards depend on, told without maps and without events: known rewards are found again."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from torch import Tensor, nn

from rllib_mamql.algorithms.registry import read_checkpoint
from rllib_mamql.cli.tables import print_dependence
from rllib_mamql.data.masks import MaskedBox
from rllib_mamql.rewards import dependence
from rllib_mamql.rewards.dependence import Dependence, column_names, dependence_of, reward_dependence
from rllib_mamql.rewards.dependence_plots import plot_dependence
from rllib_mamql.rewards.rules import grow
from tests.support.toy_data import TOY
from tests.unit.test_reward_maps import untrained

NAMES = ["[0]", "[1]", "[2]"]


class AtPlaceOne(nn.Module):
    """The toy's: 2 for going right at place 1, else nothing."""

    def forward(self, observations: Tensor, others: Tensor) -> Tensor:
        paid = 2.0 * observations[:, 1:2] * torch.eye(3)[2]
        return paid if others.dim() == 2 else paid.unsqueeze(1).expand(-1, others.shape[1], -1)


class Meeting(nn.Module):
    """The toy's own reward: 1 where both come to one place."""

    def forward(self, observations: Tensor, others: Tensor) -> Tensor:
        moves = torch.tensor([0, -1, 1])
        own, other = observations[:, :4].argmax(-1), observations[:, 4:].argmax(-1)
        to = ((own[:, None] + moves) % 4)[:, None]
        came = (other[:, None] + moves[others[..., 0].view(len(own), -1)]) % 4
        met = (to == came[..., None]).float()
        return met if others.dim() == 3 else met[:, 0]


class RedCorner(nn.Module):
    """Of pictures: how red the upper left corner is, for action 1."""

    def forward(self, observations: Tensor, others: Tensor) -> Tensor:
        red = observations[:, :3, :3, 0].float().mean((1, 2)) / 255.0
        paid = red[:, None] * torch.eye(3)[1]
        return paid if others.dim() == 2 else paid.unsqueeze(1).expand(-1, others.shape[1], -1)


def test_a_rule_says_where_a_reward_is_paid() -> None:
    table = np.random.default_rng(0).random((400, 3))
    rewards = np.zeros((400, 2))
    rewards[(table[:, 0] > 0.5) & (table[:, 2] <= 0.25), 1] = 1.0
    first = grow(table, rewards, NAMES)[0]
    assert first.where.endswith("action 1") and "[1]" not in first.where
    assert first.mean > 0.8 and first.elsewhere < 0.05 and 0.04 < first.share < 0.09
    assert first.telling > 0.7


def test_what_two_columns_decide_together_is_found_though_neither_shows_alone() -> None:
    table = np.array([[a, b, c] for a in (0, 1) for b in (0, 1) for c in range(50)], dtype=float)
    rewards = (table[:, 0] != table[:, 1]).astype(float)[:, None].repeat(2, axis=1)
    rules = grow(table, rewards, NAMES)
    assert {rule.where: rule.mean for rule in rules} == {
        "[0] > 0.5, [1] <= 0.5": 1.0,
        "[0] <= 0.5, [1] > 0.5": 1.0,
        "[0] > 0.5, [1] > 0.5": 0.0,
        "[0] <= 0.5, [1] <= 0.5": 0.0,
    }


def test_a_reward_that_is_the_same_everywhere_has_no_rules(capsys: pytest.CaptureFixture[str]) -> None:
    found = dependence_of(np.random.default_rng(0).random((50, 3)), np.full((50, 2), 0.3))
    assert found.rules == () and found.by_action == pytest.approx(0.3)
    print_dependence({"ann": found})
    assert "ann: the reward is the same wherever it was seen, in 50 states" in capsys.readouterr().out


def test_illegal_actions_are_left_out() -> None:
    table = np.random.default_rng(0).random((200, 3))
    rewards = np.stack([table[:, 0], np.full(200, -np.inf), np.where(table[:, 1] > 0.5, 1.0, -np.inf)], axis=-1)
    found = dependence_of(table, rewards)
    assert np.isnan(found.by_action[1]) and found.by_action[2] == 1.0
    assert all(np.isfinite([rule.mean, rule.elsewhere]).all() for rule in found.rules)


def test_the_toys_rewards_are_read_off(
    toy_checkpoint_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = read_checkpoint(toy_checkpoint_folder)
    for module in stored.modules.values():
        module.reward = AtPlaceOne()
    found = reward_dependence(stored, steps=400)
    assert list(found) == ["agent_0", "agent_1"]
    for one in found.values():
        assert one.rules[0].where == "[1] > 0.5, action 2"
        assert (one.rules[0].mean, one.rules[0].elsewhere, one.rules[0].telling) == pytest.approx((2.0, 0.0, 1.0))
        (first, *_) = one.curves
        assert first.name == "[1]" and first.at.tolist() == [0.0, 1.0]
        np.testing.assert_allclose(first.means, [[0.0, 0.0], [0.0, 0.0], [0.0, 2.0]])
        assert one.by_action[2] > 0.0 == one.by_action[0] == one.by_action[1]
    for module in stored.modules.values():
        module.reward = Meeting()
    found = reward_dependence(stored, steps=400)
    best = found["agent_0"].rules[0]
    assert best.where.endswith("action 0") and best.mean > 0.8 > 0.4 > best.elsewhere, "who meets stays"
    plot_dependence(found, "toy", tmp_path / "toy.png")
    assert (tmp_path / "toy.png").stat().st_size > 10_000
    print_dependence(found)
    assert "What the reward of agent_0 depends on" in capsys.readouterr().out


@pytest.mark.slow
def test_pictures_show_where_they_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dependence, "OCCLUDED", 16)
    stored = untrained(TOY, {"form": "picture"})
    for module in stored.modules.values():
        module.reward = RedCorner()
    found: Dependence = reward_dependence(stored, steps=600)["agent_0"]
    assert found.saliency is not None and found.saliency.change.shape == (12, 12, 3)
    assert found.saliency.change[:3, :3, 0].min() > 0.0
    assert found.saliency.change.sum() == pytest.approx(found.saliency.change[:3, :3, 0].sum())
    assert found.rules[0].where.startswith("channel 0, patch ")
    assert found.by_action[1] > 0.0 == found.by_action[0]
    plot_dependence({"agent_0": found}, "pictures", tmp_path / "toy.svg")
    assert (tmp_path / "toy.svg").is_file()


class NearestLandmark(nn.Module):
    """simple_spread's heart: how near the nearest of three landmarks is; columns 4 to 9 are where they lie."""

    def forward(self, observations: Tensor, others: Tensor) -> Tensor:
        gaps = observations[:, 4:10].view(len(observations), 3, 2).norm(dim=-1)
        paid = -gaps.amin(-1, keepdim=True).expand(-1, 5)
        return paid if others.dim() == 2 else paid.unsqueeze(1).expand(-1, others.shape[1], -1)


class TowardsGoal(nn.Module):
    """Of simple_speaker_listener: to go right (2) pays by how far to the right the first landmark is, column 2."""

    def __init__(self, actions: int) -> None:
        super().__init__()
        self.actions = actions

    def forward(self, observations: Tensor, others: Tensor) -> Tensor:
        paid = observations[:, min(2, observations.shape[1] - 1)][:, None] * torch.eye(self.actions)[2]
        return paid if others.dim() == 2 else paid.unsqueeze(1).expand(-1, others.shape[1], -1)


class PreyAhead(nn.Module):
    """Of pursuit: whether prey (channel 2) is on the middle cell or the one above it."""

    def forward(self, observations: Tensor, others: Tensor) -> Tensor:
        paid = observations[:, 2:4, 3, 2].float().sum(-1, keepdim=True).expand(-1, 5)
        return paid if others.dim() == 2 else paid.unsqueeze(1).expand(-1, others.shape[1], -1)


@pytest.mark.slow
def test_environments_without_maps_show_what_is_paid() -> None:
    stored = untrained("pettingzoo:mpe2.simple_spread_v3", {}, sharing="all")
    stored.modules["shared"].reward = NearestLandmark()
    (name,) = found = reward_dependence(stored, steps=600)
    assert name == "agent_0 to agent_2", "agents that share a module are told of together"
    assert {curve.name for curve in found[name].curves} <= {f"[{place}]" for place in range(4, 10)} | {"[2]", "[3]"}
    assert np.ptp(found[name].by_action) < 1e-6

    stored = untrained("pettingzoo:mpe2.simple_speaker_listener_v4", {})
    for module in stored.modules.values():
        module.reward = TowardsGoal(int(module.action_space.n))
    curve = reward_dependence(stored, steps=600)["listener_0"].curves[0]
    assert curve.name == "[2]"
    assert np.diff(curve.means[2]).min() > 0.0 and np.ptp(curve.means[1]) < 1e-6

    size = {"x_size": 8, "y_size": 8, "n_pursuers": 2, "n_evaders": 4, "max_cycles": 40}
    stored = untrained("pettingzoo:pettingzoo.sisl.pursuit_v5", size, sharing="all")
    stored.modules["shared"].reward = PreyAhead()
    saliency = reward_dependence(stored, steps=600)["pursuer_0"].saliency
    assert saliency is not None and saliency.change.shape == (7, 7, 3)
    shown = np.argwhere(saliency.change > 1e-9).tolist()
    assert shown == [[2, 3, 2], [3, 3, 2]]


def test_networks_say_nothing_of_illegal_actions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dependence, "marginal_recovered", lambda *arguments: np.ones((2, 3)))
    space = MaskedBox(Box(0.0, 1.0, (2,), np.float32), 3)
    stored: Any = SimpleNamespace(modules={"m": SimpleNamespace(observation_space=space)}, module_of={"ann": "m"})
    seen = space.join(np.array([[0.1, 0.2], [0.3, 0.4]]), np.array([[1, 0, 1], [0, 1, 1]]))
    found = dependence._marginal(stored, "ann", {"ann": seen}, {"ann": np.ones(2, bool)}, np.arange(2), None)  # type: ignore[arg-type]
    np.testing.assert_array_equal(found, [[1.0, np.nan, 1.0], [np.nan, 1.0, 1.0]])
    assert dependence._without_mask(stored, "ann", seen).tolist() == [[0.1, 0.2], [0.3, 0.4]]


def test_an_action_that_is_seldom_legal_does_not_decide_what_explains() -> None:
    """A column that tells nothing tells nothing, however few legal pairs its bins have."""
    rng = np.random.default_rng(0)
    values, rewards = rng.random((1000, 2)), np.full((1000, 2), np.nan)
    rewards[:, 0] = values[:, 0] > 0.5
    rewards[:2, 1] = [0.0, 9.0]
    found = {curve.name: curve.explained for curve in dependence_of(values, rewards).curves}
    assert found["[0]"] > 0.6 > 0.4 > found["[1]"]


def test_of_many_columns_those_are_searched_two_levels_deep_that_show_something_alone() -> None:
    rng = np.random.default_rng(0)
    table = rng.integers(0, 2, (400, 40)).astype(float)
    rewards = ((table[:, 3] > 0.5) & (table[:, 30] > 0.5)).astype(float)[:, None].repeat(2, axis=1)
    (best, *_) = grow(table, rewards, column_names((40,)))
    assert best.where == "[3] > 0.5, [30] > 0.5" and best.mean == 1.0
