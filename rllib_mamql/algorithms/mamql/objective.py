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
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rllib_mamql.columns import IDLE_ACTION


@dataclass(frozen=True)
class CriticLoss:
    """Terms of the critic's loss, each ``(...)``; ``total`` is what is minimised.

    Attributes:
        total: ``-(expert_reward - chi_square) + value``, i.e. ``-J``.
        expert_reward: Mean implied reward ``rbar`` on expert rows.
        chi_square: Mean of ``rbar^2 / (4 c)`` on the rows that the penalty covers.
        value: Estimate of ``(1 - gamma) E_{s0}[Vbar(s0)]``.
    """

    total: Tensor
    expert_reward: Tensor
    chi_square: Tensor
    value: Tensor


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


def soft_value(q: Tensor, rationality: float) -> Tensor:
    """Soft value of a row of action values, ``(1 / lambda) log sum_a exp(lambda q_a)`` (arXiv 2503.04679).

    It lies between ``max(q)`` and ``max(q) + log(A) / lambda``.

    Args:
        q: Action values ``(..., A)``.
        rationality: Inverse temperature, > 0.

    Returns:
        Values ``(...)``.
    """
    return torch.logsumexp(rationality * q, dim=-1) / rationality


def log_policy(q: Tensor, rationality: float) -> Tensor:
    """Log-probabilities of the Boltzmann policy, ``lambda (q - V(q))``.

    Args:
        q: Action values ``(..., A)``.
        rationality: Inverse temperature, > 0.

    Returns:
        Log-probabilities ``(..., A)``; their exponentials sum to 1.
    """
    return torch.log_softmax(rationality * q, dim=-1)


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


def take_actions(values: Tensor, actions: Tensor) -> Tensor:
    """Picks ``values[..., actions]``.

    Args:
        values: ``(..., A)``.
        actions: Integer actions ``(...)`` in ``[0, A)``.

    Returns:
        ``(...)``.
    """
    return values.gather(-1, actions.long().unsqueeze(-1)).squeeze(-1)


def inverse_reward(q_taken: Tensor, next_value: Tensor, terminated: Tensor, discount: float) -> Tensor:
    """Reward that the critic implies, ``Qbar(s, a) - gamma (1 - terminated) Vbar(s')`` (inverse Bellman operator).

    Truncation is not termination: a truncated row bootstraps, so ``terminated`` must be False there.

    Args:
        q_taken: Action values of the actions taken ``(..., B)``.
        next_value: Soft values of the next observations ``(..., B)``.
        terminated: True where the agent's episode ended in a terminal state ``(..., B)``.
        discount: ``gamma`` in [0, 1).

    Returns:
        Implied rewards ``(..., B)``.
    """
    return q_taken - discount * torch.where(terminated, torch.zeros_like(next_value), next_value)


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


def weighted_mean(x: Tensor, weights: Tensor) -> Tensor:
    """Mean of ``x`` over its last axis with ``weights`` (both ``(..., B)``), ``(...)``.

    It is 0 where all weights are 0 (every row is a dead agent's).
    """
    return (x * weights).sum(-1) / weights.sum(-1).clamp_min(1e-8)


def critic_loss(
    *,
    expert_reward: Tensor,
    expert_weights: Tensor,
    penalised_reward: Tensor,
    penalised_weights: Tensor,
    value: Tensor,
    chi_square_scale: float | Tensor,
) -> CriticLoss:
    """Negative of IQ-Learn's concave objective (arXiv 2106.12142) on the marginal critic.

    Args:
        expert_reward: Implied rewards of expert rows ``(..., E)``.
        expert_weights: Their weights ``(..., E)``, >= 0; 0 for rows in which the agent was not alive.
        penalised_reward: Implied rewards of the rows that chi^2 covers ``(..., P)``: the expert's (the paper) or a
            mixture of expert and rollouts, which bounds the implied reward to +-2 at ``c = 1``.
        penalised_weights: Their weights ``(..., P)``.
        value: Estimate of ``(1 - gamma) E_{s0}[Vbar(s0)]``, ``(...)``, from :func:`value_from_starts` or
            :func:`value_telescoped`.
        chi_square_scale: ``c`` > 0; a larger one penalises less.

    Returns:
        The loss and its terms.
    """
    mean_reward = weighted_mean(expert_reward, expert_weights)
    chi_square = weighted_mean(penalised_reward.square(), penalised_weights) / (4.0 * chi_square_scale)
    return CriticLoss(
        total=value + chi_square - mean_reward,
        expert_reward=mean_reward,
        chi_square=chi_square,
        value=value,
    )


def value_from_starts(start_values: Tensor, weights: Tensor, discount: float) -> Tensor:
    """Value term from start states, ``(1 - gamma) E[Vbar(s0)]`` (the setting ``initial``).

    Args:
        start_values: ``Vbar`` of start observations ``(..., B)``.
        weights: ``(..., B)``, >= 0.
        discount: ``gamma`` in [0, 1).

    Returns:
        ``(...)``.
    """
    return (1.0 - discount) * weighted_mean(start_values, weights)


def value_telescoped(
    values: Tensor, next_values: Tensor, terminated: Tensor, weights: Tensor, discount: float
) -> Tensor:
    """The same term telescoped along trajectories, ``E[Vbar(s) - gamma (1 - terminated) Vbar(s')]``.

    Exact in expectation over the discounted occupancy of any policy from s0. The settings ``expert`` and ``rollout``
    put in rows drawn uniformly from data or buffer instead, which are not discounted: an estimate.

    Args:
        values: ``Vbar(s)``, ``(..., B)``.
        next_values: ``Vbar(s')``, ``(..., B)``.
        terminated: ``(..., B)``, bool.
        weights: ``(..., B)``, >= 0.
        discount: ``gamma`` in [0, 1).

    Returns:
        ``(...)``.
    """
    return weighted_mean(inverse_reward(values, next_values, terminated, discount), weights)


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


def implied_bounds(chi_square_scale: float, discount: float) -> tuple[float, float]:
    """How large implied rewards and action values can be where chi^2 covers all states.

    ``phi(r) = r - r^2 / (4 c)`` has its maximum at ``r = 2 c``: beyond it, a larger reward lowers the objective. What
    is paid so much at every step is worth ``2 c / (1 - gamma)``.

    Args:
        chi_square_scale: c > 0.
        discount: gamma in [0, 1).

    Returns:
        Bound of ``|rbar|`` and bound of ``|Q|``.
    """
    bound = 2.0 * chi_square_scale
    return bound, bound / (1.0 - discount)
