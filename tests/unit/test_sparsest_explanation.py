"""What the gauge ``rare`` keeps small, on games whose reward is known."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from rllib_mamql.rewards.explanation import FIRST_SCALE, SCALE, falling_scale, level_of, lowered, sparsity
from rllib_mamql.rewards.transitions import Transitions

PLACES, DISCOUNT, PAID = 10, 0.9, 10.0
STRENGTH, STRENGTH_OF_AMOUNTS = 0.3, 0.1
"""Of the logarithm and of ``|r|``: with these their policies err as little as each other's."""
UPDATES = 1000


def corridor() -> tuple[Tensor, Tensor]:
    """Where back, stay and forward lead (P, 3), and the reward: for the step from the end back to the start alone."""
    places = torch.arange(PLACES)
    to = torch.stack([(places - 1).clamp_min(0), places, (places + 1) % PLACES], dim=-1)
    reward = torch.zeros(PLACES, 3)
    reward[-1, 2] = PAID
    return to, reward


def value_of(q: Tensor) -> Tensor:
    return torch.logsumexp(q, -1) - math.log(3)


def explained(policy: Tensor, to: Tensor, size: Callable[[Tensor, float], Tensor]) -> tuple[Tensor, float]:
    """Reward and policy error of the table that explains a policy at least size, which may change over the fit."""
    q = torch.zeros(PLACES, 3, requires_grad=True)
    adam = torch.optim.Adam([q], lr=0.05)
    covered = 0.5 * policy + 0.5 / 3
    for update in range(UPDATES):
        share = update / UPDATES
        adam.param_groups[0]["lr"] = 0.05 * (1.0 - share)
        reward = q - DISCOUNT * value_of(q)[to]
        error = (policy * (policy.log() - torch.log_softmax(q, -1))).sum(-1).mean()
        loss = error + (covered * size(reward, share)).sum(-1).mean()
        adam.zero_grad()
        torch.autograd.backward(loss)
        adam.step()
    return reward.detach(), float(error.detach())


def test_a_way_is_not_paid_where_its_end_is() -> None:
    to, true = corridor()
    q = torch.zeros(PLACES, 3)
    for _ in range(500):
        q = true + DISCOUNT * value_of(q)[to]
    policy = torch.softmax(q, -1)

    def agrees(reward: Tensor) -> float:
        return float(torch.corrcoef(torch.stack([reward.flatten(), true.flatten()]))[0, 1])

    def logarithm(reward: Tensor, share: float) -> Tensor:
        return STRENGTH * sparsity(reward, falling_scale(min(1.0, share / 0.7)))

    found, error = explained(policy, to, logarithm)
    amounts, error_of_amounts = explained(policy, to, lambda reward, _: STRENGTH_OF_AMOUNTS * reward.abs())
    assert error < 0.01 and error == pytest.approx(error_of_amounts, rel=0.1)
    assert agrees(found) > 0.95 and agrees(amounts) < 0.75
    assert found[:-1, 2].abs().mean() < 0.01 * found[-1, 2], "steps on the way"
    assert amounts[:-1, 2].mean() > 0.1 * amounts[-1, 2]
    assert found[-1, 2] > 2.0 * amounts[-1, 2]


def test_the_size_of_a_reward_grows_with_its_logarithm() -> None:
    rewards = torch.tensor([0.0, -0.3, 0.3 * (math.e - 1.0)])
    assert sparsity(rewards, 0.3).tolist() == pytest.approx([0.0, 0.3 * math.log(2.0), 0.3])
    assert sparsity(torch.tensor(2.0), 1e6).item() == pytest.approx(2.0, rel=1e-3), "of a large scale it is the amount"
    once, often = torch.tensor([8.0] + 19 * [0.0]), torch.full((20,), 0.4)
    assert once.sum() == pytest.approx(often.sum().item())
    assert sparsity(once).sum() < 0.4 * sparsity(often).sum()
    assert [falling_scale(share) for share in (0.0, 0.5, 1.0)] == pytest.approx(
        [FIRST_SCALE, math.sqrt(FIRST_SCALE * SCALE), SCALE]
    )


def transitions(terminated: list[bool], likely: list[float]) -> Transitions:
    rows = torch.arange(len(terminated))
    policy = torch.tensor([[chance, 1.0 - chance] for chance in likely])
    zeros = torch.zeros(len(rows), dtype=torch.long)
    empty = torch.zeros(len(rows), 0, dtype=torch.long)
    return Transitions(policy, policy, [], rows, rows, zeros, empty, torch.tensor(terminated), rows, rows)


def test_a_wage_for_any_step_is_taken_out_of_rewards_and_values() -> None:
    rows = transitions(terminated=4 * [False] + [True], likely=[0.9, 0.9, 0.9, 0.1, 0.9])
    reward, value = torch.tensor([0.5, 0.5, 0.5, -2.0, 5.0]), torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    found, lower = lowered((reward, value), rows, 0.5, level_of((reward, value), rows, 0.5))
    assert found.tolist() == pytest.approx([0.0, 0.0, 0.0, -2.5, 4.0]), "1 less in all values"
    assert (value - lower).tolist() == pytest.approx(5 * [1.0])
    # Without ends, a discount of 1 leaves constants in values unseen.
    assert level_of((reward, value), transitions(5 * [False], 5 * [0.5]), 1.0) == 0.0
