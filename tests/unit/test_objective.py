"""Golden numbers, a slow scalar reference, gradient signs, and the end of an episode."""

from __future__ import annotations

import math

import pytest
import torch

from rllib_mamql.algorithms.mamql import objective
from rllib_mamql.columns import IDLE_ACTION

LAM, GAMMA, C = 2.0, 0.9, 0.5


def scalar_reference(
    q: list[list[float]], q_next: list[list[float]], actions: list[int], terminated: list[bool], experts: int
) -> tuple[float, float, float]:
    """(expert reward, chi^2 over all rows, telescoped value over all rows), one row at a time, by plain floats."""

    def value(row: list[float]) -> float:
        return math.log(sum(math.exp(LAM * x) for x in row)) / LAM

    rewards, values = [], []
    for row, nxt, action, end in zip(q, q_next, actions, terminated, strict=True):
        following = 0.0 if end else GAMMA * value(nxt)
        rewards.append(row[action] - following)
        values.append(value(row) - following)
    chi = sum(r * r for r in rewards) / len(rewards) / (4 * C)
    return sum(rewards[:experts]) / experts, chi, sum(values) / len(values)


def test_soft_value_golden() -> None:
    q = torch.tensor([[0.0, 0.0], [1.0, -1.0]])
    expected = torch.tensor([math.log(2) / 2, math.log(math.exp(2) + math.exp(-2)) / 2])
    torch.testing.assert_close(objective.soft_value(q, 2.0), expected)


def test_soft_value_tends_to_the_maximum() -> None:
    q = torch.tensor([[0.3, -2.0, 0.1]], dtype=torch.float64)
    assert objective.soft_value(q, 1e4).item() == pytest.approx(0.3, abs=1e-3)


def test_policy_is_softmax_of_advantage() -> None:
    q = torch.randn(5, 3, dtype=torch.float64)
    advantage = LAM * (q - objective.soft_value(q, LAM).unsqueeze(-1))
    torch.testing.assert_close(objective.log_policy(q, LAM), advantage)


def test_inverse_reward_bootstraps_through_truncation_only() -> None:
    q, v = torch.tensor([1.0, 1.0]), torch.tensor([10.0, 10.0])
    # Row 0 was terminated; row 1 was truncated, which is no termination.
    reward = objective.inverse_reward(q, v, torch.tensor([True, False]), 0.5)
    assert reward.tolist() == [1.0, -4.0]


def test_against_scalar_reference() -> None:
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    q_next = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    actions = torch.tensor([0, 2, 1, 1, 0, 2])
    terminated = torch.tensor([False, True, False, False, True, False])
    ones = torch.ones(6, dtype=torch.float64)
    value, next_value = objective.soft_value(q, LAM), objective.soft_value(q_next, LAM)
    implied = objective.inverse_reward(objective.take_actions(q, actions), next_value, terminated, GAMMA)
    loss = objective.critic_loss(
        expert_reward=implied[:4],
        expert_weights=ones[:4],
        penalised_reward=implied,
        penalised_weights=ones,
        value=objective.value_telescoped(value, next_value, terminated, ones, GAMMA),
        chi_square_scale=C,
    )
    expert, chi, telescoped = scalar_reference(
        q.tolist(), q_next.tolist(), actions.tolist(), terminated.tolist(), experts=4
    )
    assert loss.expert_reward.item() == pytest.approx(expert)
    assert loss.chi_square.item() == pytest.approx(chi)
    assert loss.value.item() == pytest.approx(telescoped)
    assert loss.total.item() == pytest.approx(telescoped + chi - expert)


def test_gradient_raises_the_expert_action_and_lowers_the_others() -> None:
    q = torch.zeros(1, 3, requires_grad=True)
    value = objective.soft_value(q, LAM)
    implied = objective.inverse_reward(q[:, 1], torch.zeros(1), torch.tensor([True]), GAMMA)
    one = torch.ones(1)
    objective.critic_loss(
        expert_reward=implied,
        expert_weights=one,
        penalised_reward=implied,
        penalised_weights=one,
        value=objective.value_telescoped(value, torch.zeros(1), torch.tensor([True]), one, GAMMA),
        chi_square_scale=1e6,
    ).total.backward()
    assert q.grad is not None
    # The loss is minimised: a negative gradient means that the value rises.
    assert q.grad[0, 1] < 0 and q.grad[0, 0] > 0 and q.grad[0, 2] > 0


def test_rows_without_weight_count_nothing() -> None:
    reward = torch.tensor([1.0, 1e6])
    weights = torch.tensor([1.0, 0.0])
    assert objective.weighted_mean(reward, weights).item() == 1.0
    assert objective.weighted_mean(reward, torch.zeros(2)).item() == 0.0


def test_value_from_starts() -> None:
    value = objective.value_from_starts(torch.tensor([2.0, 4.0]), torch.ones(2), 0.9)
    assert value.item() == pytest.approx(0.3)


def test_marginalise_full_against_loops() -> None:
    generator = torch.Generator().manual_seed(1)
    q = torch.randn(2, 3, 2, 4, generator=generator, dtype=torch.float64)
    policies = [torch.softmax(torch.randn(2, n, generator=generator, dtype=torch.float64), -1) for n in (2, 4)]
    expected = torch.zeros(2, 3, dtype=torch.float64)
    for b in range(2):
        for i in range(3):
            for j in range(2):
                for k in range(4):
                    expected[b, i] += policies[0][b, j] * policies[1][b, k] * q[b, i, j, k]
    torch.testing.assert_close(objective.marginalise_full(q, policies), expected)


def test_reward_loss_stops_the_targets_gradient() -> None:
    prediction = torch.tensor([1.0, 2.0], requires_grad=True)
    target = torch.tensor([0.0, 4.0], requires_grad=True)
    loss = objective.reward_loss(prediction, target, torch.ones(2), 0.1)
    loss.total.backward()
    assert loss.regression.item() == pytest.approx(2.5)
    assert loss.shrinkage.item() == pytest.approx(0.25)
    assert target.grad is None and prediction.grad is not None


def test_the_dead_are_idle() -> None:
    policy = torch.tensor([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]])
    shown = objective.idle_where_dead(policy, torch.tensor([True, False]))
    torch.testing.assert_close(shown, torch.tensor([[0.2, 0.5, 0.3], [1.0, 0.0, 0.0]]), rtol=0, atol=0)
    both = objective.idle_where_dead(policy.expand(4, 2, 3), torch.zeros(4, 2, dtype=torch.bool))
    assert both.shape == (4, 2, 3) and bool((both[..., IDLE_ACTION] == 1).all()) and float(both.sum()) == 8.0


def test_action_frequencies_are_means_over_those_with_equally_many_actions() -> None:
    first, second, third = (torch.tensor([row]) for row in ([0.5, 0.5], [0.2, 0.8, 0.0], [0.1, 0.9]))
    found = objective.action_frequencies([first, second, third])
    torch.testing.assert_close(found, torch.tensor([[0.3, 0.7, 0.2, 0.8, 0.0]]))
