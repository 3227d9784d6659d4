"""Tabular critics fitted by MAMQL's objective: what the learner optimises, without networks and without Ray.

Full batches and a second-order optimiser, so that what is left of an error belongs to the objective and the data, not
to the optimiser.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rllib_mamql.algorithms.mamql import objective
from rllib_mamql.solvable.anonymous import AnonymousGame
from rllib_mamql.solvable.game import Array, Game
from rllib_mamql.solvable.sampling import Steps

CHI_SQUARE_SCALE = 1e4
"""A weak regulariser: chi^2 pulls policies towards uniform by an amount that falls as 1 / c."""


@dataclass(frozen=True)
class Rows:
    """One agent's distinct transitions, ``N <= S A_i S``, as tensors.

    Attributes:
        states: ``(N,)``.
        actions: ``(N,)``, the agent's own.
        next_states: ``(N,)``.
        weights: ``(N,)``, > 0, summing to 1.
    """

    states: Tensor
    actions: Tensor
    next_states: Tensor
    weights: Tensor


def agent_rows(game: Game, steps: Steps, agent: int) -> Rows:
    """Merges an agent's equal transitions: the objective is the same and costs no more with more steps."""
    shape = (game.states, game.actions[agent], game.states)
    index = np.ravel_multi_index((steps.states, steps.actions[agent], steps.next_states), shape)
    weights = np.bincount(index, weights=steps.weights, minlength=int(np.prod(shape)))
    kept = np.flatnonzero(weights)
    states, actions, next_states = (torch.as_tensor(part) for part in np.unravel_index(kept, shape))
    return Rows(states, actions, next_states, torch.as_tensor(weights[kept]))


def loss_of_tables(
    q: Tensor, next_q: Tensor, rows: Rows, game: Game | AnonymousGame, chi_square_scale: float
) -> objective.CriticLoss:
    """The critic's loss on rows: penalty over expert rows (the paper), value term telescoped over them.

    The rows are weighted by the discounted occupancy, under which telescoping is exact.

    Args:
        q: ``Qbar(s, .)`` of the rows ``(N, A_i)``.
        next_q: ``Qbar(s', .)`` ``(N, A_i)``.
        rows: The transitions.
        game: For discount and rationality.
        chi_square_scale: c > 0.

    Returns:
        The loss and its terms.
    """
    ongoing = torch.zeros(len(rows.states), dtype=torch.bool)
    value, next_value = (objective.soft_value(one, game.rationality) for one in (q, next_q))
    taken = objective.take_actions(q, rows.actions)
    reward = objective.inverse_reward(taken, next_value, ongoing, game.discount)
    return objective.critic_loss(
        expert_reward=reward,
        expert_weights=rows.weights,
        penalised_reward=reward,
        penalised_weights=rows.weights,
        value=objective.value_telescoped(value, next_value, ongoing, rows.weights, game.discount),
        chi_square_scale=chi_square_scale,
    )


def minimise(loss_of: Callable[[], Tensor], parameters: Sequence[Tensor], iterations: int = 60) -> None:
    """Full-batch L-BFGS."""
    optimiser = torch.optim.LBFGS(
        list(parameters),
        max_iter=iterations,
        tolerance_grad=1e-9,
        tolerance_change=1e-13,
        history_size=30,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = loss_of()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]


def fit_marginal(game: Game, steps: Steps, agent: int, *, chi_square_scale: float = CHI_SQUARE_SCALE) -> Array:
    """Marginal critic ``Qbar_i`` of the data, ``(S, A_i)``: a table that is trained directly."""
    rows = agent_rows(game, steps, agent)
    q = torch.zeros(game.states, game.actions[agent], dtype=torch.float64, requires_grad=True)
    minimise(lambda: loss_of_tables(q[rows.states], q[rows.next_states], rows, game, chi_square_scale).total, [q])
    return np.asarray(q.detach().numpy())


def fit_joint(
    game: Game,
    steps: Steps,
    agent: int,
    policies: Sequence[Array],
    *,
    chi_square_scale: float = CHI_SQUARE_SCALE,
) -> tuple[Array, Array]:
    """Joint critic of the data, marginalised by full enumeration.

    Args:
        game: The game.
        steps: The data.
        agent: i.
        policies: Over which the critic is marginalised ``[(S, A_j), ...]``: learned ones, as in training.
        chi_square_scale: c > 0.

    Returns:
        ``Q_i`` ``(S, A_i, A_0, ...)``, the others' axes in their order; ``Qbar_i`` ``(S, A_i)``.
    """
    rows = agent_rows(game, steps, agent)
    others = [torch.as_tensor(policy) for other, policy in enumerate(policies) if other != agent]
    counts = [count for other, count in enumerate(game.actions) if other != agent]
    joint = torch.zeros(game.states, game.actions[agent], *counts, dtype=torch.float64, requires_grad=True)

    def loss() -> Tensor:
        q = objective.marginalise_full(joint, others)
        return loss_of_tables(q[rows.states], q[rows.next_states], rows, game, chi_square_scale).total

    minimise(loss, [joint])
    marginal = objective.marginalise_full(joint.detach(), others)
    return np.asarray(joint.detach().numpy()), np.asarray(marginal.numpy())


def total_variation(first: Array, second: Array) -> Array:
    """Total variation distance of two policies ``(S, A)`` in each state, ``(S,)``, in [0, 1]."""
    return np.asarray(0.5 * np.abs(first - second).sum(-1))
