"""The mathematics of MAMQL: tensors in, tensors out.

Source: *MAMQL: Multi-Agent Marginal Q-Learning from Demonstrations*, arXiv 2503.04679, on top of
*IQ-Learn: Inverse soft-Q Learning for Imitation*, arXiv 2106.12142. Formulas are of one agent ``i``; shapes use
``B`` for batch, ``A`` for the agent's own actions, ``K`` for sampled joint actions of the others. Axes before these,
``(...)``, are kept: with one for agents, losses come out one for each.

With rationality ``lambda`` (inverse temperature, > 0) and discount ``gamma`` (in [0, 1))::

    marginal critic    Qbar(s, a) = E_{a_-i ~ pi_-i}[ Q(s, a, a_-i) ]
    soft value         Vbar(s)    = (1 / lambda) log sum_a exp(lambda Qbar(s, a))
    policy             pi(a | s)  = exp(lambda (Qbar(s, a) - Vbar(s)))
    inverse Bellman    rbar       = Qbar(s, a) - gamma (1 - terminated) Vbar(s')
    objective          J          = E_expert[phi(rbar)] - (1 - gamma) E_{s0}[Vbar(s0)],  phi(x) = x - x^2 / (4 c)

All but the first line is what other soft-Q methods have as well: these formulas stand in
:mod:`rllib_mamql.learning.soft_q`. Here are the marginal critic and the reward.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rllib_mamql.columns import IDLE_ACTION
from rllib_mamql.learning.soft_q import (
    CriticLoss,
    critic_loss,
    implied_bounds,
    inverse_q_loss,
    inverse_reward,
    log_policy,
    soft_value,
    take_actions,
    value_from_starts,
    value_telescoped,
    weighted_mean,
)

__all__ = [
    "CriticLoss",
    "RewardLoss",
    "action_frequencies",
    "critic_loss",
    "idle_where_dead",
    "implied_bounds",
    "inverse_q_loss",
    "inverse_reward",
    "log_policy",
    "marginalise_full",
    "marginalise_sampled",
    "reward_loss",
    "soft_value",
    "take_actions",
    "value_from_starts",
    "value_telescoped",
    "weighted_mean",
]


@dataclass(frozen=True)
class RewardLoss:
    """Terms of the reward regression, each ``(...)``; ``total`` is what is minimised.

    Attributes:
        total: ``regression + shrinkage``.
        regression: Mean squared distance to the target.
        shrinkage: ``beta E[R^2]``.
    """

    total: Tensor
    regression: Tensor
    shrinkage: Tensor


def idle_where_dead(policy: Tensor, alive: Tensor) -> Tensor:
    """The policy as data show it: a dead agent 'plays' ``IDLE_ACTION``, for that is what its rows are filled with.

    Args:
        policy: Probabilities ``(..., A)``.
        alive: Whether the agent acts, bool ``(...)``.

    Returns:
        Probabilities ``(..., A)``.
    """
    idle = torch.zeros_like(policy)
    idle[..., IDLE_ACTION] = 1.0
    return torch.where(alive.unsqueeze(-1), policy, idle)


def marginalise_full(q_joint: Tensor, other_policies: Sequence[Tensor]) -> Tensor:
    """Exact expectation over the other agents' actions, ``sum_{a_-i} prod_j pi_j(a_j | s) Q(s, a, a_-i)``.

    Args:
        q_joint: ``(B, A, A_1, ..., A_m)``: own action, then one axis for each other agent.
        other_policies: For each other agent its probabilities ``(B, A_j)``, in the order of the axes.

    Returns:
        Marginal action values ``(B, A)``.
    """
    assert q_joint.dim() == 2 + len(other_policies)
    for policy in reversed(other_policies):
        shape = (policy.shape[0],) + (1,) * (q_joint.dim() - 2) + (policy.shape[1],)
        q_joint = (q_joint * policy.view(shape)).sum(-1)
    return q_joint


def action_frequencies(other_policies: Sequence[Tensor]) -> Tensor:
    """How often the others are expected to take each action: the mean of their policies.

    A critic that sees the others by their frequencies (mean-field Q-learning, arXiv 1802.05438) takes these in place of
    ``a_-i``. ``Q(s, a, E[f])`` is not ``E[Q(s, a, f)]`` but where Q is linear in f; the gap falls with their number
    where single agents do not matter (docs/results/many_agents.md).

    Args:
        other_policies: Probabilities ``(B, A_j)`` of each other agent, or one-hot actions; at least one agent.

    Returns:
        ``(B, F)``: for each number of actions that others have, ascending, the mean over those who have it.
    """
    sizes = sorted({policy.shape[-1] for policy in other_policies})
    means = [torch.stack([p for p in other_policies if p.shape[-1] == size]).mean(0) for size in sizes]
    return torch.cat(means, dim=-1)


def marginalise_sampled(q_samples: Tensor) -> Tensor:
    """Monte-Carlo estimate of the same expectation, the mean over sampled joint actions of the others.

    The mean is unbiased, but the soft value of it is not: log-sum-exp is convex, so by Jensen's inequality
    ``E[V(mean_K Q)] >= V(E[Q])``, with a bias that falls as ``1 / K``.

    Args:
        q_samples: ``(B, K, A)``: values under K draws of a_-i from the others' policies.

    Returns:
        Marginal action values ``(B, A)``.
    """
    return q_samples.mean(dim=1)


def reward_loss(prediction: Tensor, target: Tensor, weights: Tensor, shrinkage: float) -> RewardLoss:
    """Regression of the (marginalised) reward on the implied one, ``E[(R - stopgrad(rbar))^2] + beta E[R^2]``.

    Args:
        prediction: ``E_{a_-i ~ pi_-i}[R(s, a, a_-i)]`` or one sample of it ``(..., B)``.
        target: ``rbar`` ``(..., B)``; its gradient is stopped here.
        weights: ``(..., B)``, >= 0.
        shrinkage: ``beta`` >= 0.

    Returns:
        The loss and its terms.
    """
    regression = weighted_mean((prediction - target.detach()).square(), weights)
    shrink = shrinkage * weighted_mean(prediction.square(), weights)
    return RewardLoss(total=regression + shrink, regression=regression, shrinkage=shrink)
