"""Soft Q-learning from demonstrations: the formulas that several algorithms share; tensors in, tensors out.

Source: *IQ-Learn: Inverse soft-Q Learning for Imitation*, arXiv 2106.12142. Shapes use ``B`` for batch and ``A`` for
actions. Axes before these, ``(...)``, are kept: with one for agents, losses come out one for each.

With rationality ``lambda`` (inverse temperature, > 0) and discount ``gamma`` (in [0, 1))::

    soft value         V(s)      = (1 / lambda) log sum_a exp(lambda Q(s, a))
    policy             pi(a | s) = exp(lambda (Q(s, a) - V(s)))
    inverse Bellman    r         = Q(s, a) - gamma (1 - terminated) V(s')
    objective          J         = E_expert[phi(r)] - (1 - gamma) E_{s0}[V(s0)],  phi(x) = x - x^2 / (4 c)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

VALUE_TERMS = ("initial", "expert", "rollout", "rollout+expert")
"""Estimators of ``(1 - gamma) E_{s0}[V(s0)]``: from start states, or telescoped over rows."""
CHI_SQUARE_STATES = ("expert", "mixture")
"""Rows that the chi^2 penalty may cover."""


@dataclass(frozen=True)
class CriticLoss:
    """Terms of the critic's loss, each ``(...)``; ``total`` is what is minimised.

    Attributes:
        total: ``-(expert_reward - chi_square) + value``, i.e. ``-J``.
        expert_reward: Mean implied reward ``r`` on expert rows.
        chi_square: Mean of ``r^2 / (4 c)`` on the rows that the penalty covers.
        value: Estimate of ``(1 - gamma) E_{s0}[V(s0)]``.
    """

    total: Tensor
    expert_reward: Tensor
    chi_square: Tensor
    value: Tensor

    def named(self) -> dict[str, Tensor]:
        """The terms by the names of their metrics."""
        return {
            "critic_loss": self.total, "expert_reward": self.expert_reward,
            "chi_square": self.chi_square, "value_term": self.value,
        }  # fmt: skip


def soft_value(q: Tensor, rationality: float) -> Tensor:
    """Soft value of a row of action values, ``(1 / lambda) log sum_a exp(lambda q_a)``.

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
    """Reward that the critic implies, ``Q(s, a) - gamma (1 - terminated) V(s')`` (inverse Bellman operator).

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
    """Negative of IQ-Learn's concave objective (arXiv 2106.12142).

    Args:
        expert_reward: Implied rewards of expert rows ``(..., E)``.
        expert_weights: Their weights ``(..., E)``, >= 0; 0 for rows in which the agent was not alive.
        penalised_reward: Implied rewards of the rows that chi^2 covers ``(..., P)``: the expert's (the paper) or a
            mixture of expert and rollouts, which bounds the implied reward to +-2 at ``c = 1``.
        penalised_weights: Their weights ``(..., P)``.
        value: Estimate of ``(1 - gamma) E_{s0}[V(s0)]``, ``(...)``, from :func:`value_from_starts` or
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
    """Value term from start states, ``(1 - gamma) E[V(s0)]`` (the setting ``initial``).

    Args:
        start_values: ``V`` of start observations ``(..., B)``.
        weights: ``(..., B)``, >= 0.
        discount: ``gamma`` in [0, 1).

    Returns:
        ``(...)``.
    """
    return (1.0 - discount) * weighted_mean(start_values, weights)


def value_telescoped(
    values: Tensor, next_values: Tensor, terminated: Tensor, weights: Tensor, discount: float
) -> Tensor:
    """The same term telescoped along trajectories, ``E[V(s) - gamma (1 - terminated) V(s')]``.

    Exact in expectation over the discounted occupancy of any policy from s0. The settings ``expert`` and ``rollout``
    put in rows drawn uniformly from data or buffer instead, which are not discounted: an estimate.

    Args:
        values: ``V(s)``, ``(..., B)``.
        next_values: ``V(s')``, ``(..., B)``.
        terminated: ``(..., B)``, bool.
        weights: ``(..., B)``, >= 0.
        discount: ``gamma`` in [0, 1).

    Returns:
        ``(...)``.
    """
    return weighted_mean(inverse_reward(values, next_values, terminated, discount), weights)


def implied_bounds(chi_square_scale: float, discount: float) -> tuple[float, float]:
    """How large implied rewards and action values can be where chi^2 covers all states.

    ``phi(r) = r - r^2 / (4 c)`` has its maximum at ``r = 2 c``: beyond it, a larger reward lowers the objective. What
    is paid so much at every step is worth ``2 c / (1 - gamma)``.

    Args:
        chi_square_scale: c > 0.
        discount: gamma in [0, 1).

    Returns:
        Bound of ``|r|`` and bound of ``|Q|``.
    """
    bound = 2.0 * chi_square_scale
    return bound, bound / (1.0 - discount)


def inverse_q_loss(
    *,
    taken: Tensor,
    value: Tensor,
    next_value: Tensor,
    start_value: Tensor,
    terminated: Tensor,
    weights: Tensor,
    start_weights: Tensor | None,
    expert_rows: int,
    value_term: str,
    chi_square_states: str,
    chi_square_scale: float | Tensor,
    discount: float,
    rollout_share: float | Tensor | None = None,
) -> tuple[CriticLoss, Tensor]:
    """IQ-Learn's loss on the rows of a minibatch, the expert's first, then rollouts.

    Args:
        taken: ``Q(s, a)`` of what was done ``(..., R)``.
        value: ``V(s)``, ``(..., R)``.
        next_value: ``V(s')``, ``(..., R)``.
        start_value: ``V(s0)`` of start states ``(..., S)``; S = 0 where the value term needs none.
        terminated: True where nothing follows ``(..., R)``.
        weights: ``(..., R)``, >= 0.
        start_weights: ``(..., S)``, >= 0, or None where there are no start states.
        expert_rows: How many of the R rows are the expert's.
        value_term: One of ``VALUE_TERMS``; where there are no rollouts the expert's rows take their place.
        chi_square_states: One of ``CHI_SQUARE_STATES``.
        chi_square_scale: c > 0.
        discount: ``gamma`` in [0, 1).
        rollout_share: Weight in [0, 1] of the rollouts in the telescoped value term; None weighs all its rows alike; at
            0 chi^2 leaves them out.

    Returns:
        The loss, and implied rewards ``(..., R)``.
    """
    expert, rollouts, every = slice(0, expert_rows), slice(expert_rows, None), slice(None)
    reward = inverse_reward(taken, next_value, terminated, discount)

    def over(where: slice) -> Tensor:
        return value_telescoped(
            value[..., where], next_value[..., where], terminated[..., where], weights[..., where], discount
        )

    if value_term == "initial":
        assert start_weights is not None
        estimate = value_from_starts(start_value, start_weights, discount)
    elif taken.shape[-1] == expert_rows:  # Offline, or nothing sampled yet.
        estimate = over(expert)
    elif rollout_share is not None:
        estimate = (1.0 - rollout_share) * over(expert) + rollout_share * over(rollouts)
    else:
        estimate = over({"expert": expert, "rollout": rollouts, "rollout+expert": every}[value_term])
    penalties = weights
    if rollout_share is not None:
        penalties = torch.cat([weights[..., expert], weights[..., rollouts] * (rollout_share > 0)], -1)
    penalised = every if chi_square_states == "mixture" else expert
    loss = critic_loss(
        expert_reward=reward[..., expert],
        expert_weights=weights[..., expert],
        penalised_reward=reward[..., penalised],
        penalised_weights=penalties[..., penalised],
        value=estimate,
        chi_square_scale=chi_square_scale,
    )
    return loss, reward
