"""Critic losses of agents with equally many actions, all at once: every tensor has a leading axis for the agents.

With small networks an update consists of many small operations; one for all agents in place of one for each is what
makes the cost of many agents bearable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rllib_mamql import objective
from rllib_mamql.columns import ACTIONS, ALIVE, TERMINATEDS, WEIGHT, column
from rllib_mamql.minibatch import Minibatch
from rllib_mamql.replay import TensorColumns

if TYPE_CHECKING:
    from rllib_mamql.config import MAMQLConfig


@dataclass(frozen=True)
class AgentRows:
    """What n agents did in a minibatch, without what they saw.

    Attributes:
        actions: ``(n, R)``.
        terminated: ``(n, R)``, bool.
        weights: ``(n, R)``, >= 0; 0 where the agent was not alive.
        start_weights: The same at the start states, ``(n, S)``, or None where the value term needs none.
        expert_rows: How many of the R rows, from the first on, are the expert's.
    """

    actions: Tensor
    terminated: Tensor
    weights: Tensor
    start_weights: Tensor | None
    expert_rows: int

    @classmethod
    def of(cls, batch: Minibatch, agents: Sequence[str]) -> AgentRows:
        """Stacks the agents' columns of a minibatch."""
        return cls(
            actions=_stack(batch.columns, ACTIONS, agents),
            terminated=_stack(batch.columns, TERMINATEDS, agents),
            weights=batch.columns[WEIGHT] * _stack(batch.columns, ALIVE, agents),
            start_weights=None if batch.starts is None else _stack(batch.starts, ALIVE, agents).float(),
            expert_rows=batch.expert_rows,
        )


def _stack(columns: TensorColumns, prefix: str, agents: Sequence[str]) -> Tensor:
    return torch.stack([columns[column(prefix, agent)] for agent in agents])


def critic_terms(values: Sequence[Tensor], rows: AgentRows, config: MAMQLConfig) -> tuple[objective.CriticLoss, Tensor]:
    """The critics' losses and the rewards that the critics imply.

    Args:
        values: Marginal action values at the observations ``(n, R, A)``, the next observations ``(n, R, A)`` and the
            start states ``(n, S, A)``; S = 0 where the value term needs none.
        rows: What the agents did.
        config: Settings of the objective.

    Returns:
        The loss, each of its terms ``(n,)``, and implied rewards ``(n, R)``.
    """
    q_now, q_next, q_start = values
    lam, discount = config.rationality, config.gamma
    value, next_value = objective.soft_value(q_now, lam), objective.soft_value(q_next, lam)
    implied = objective.inverse_reward(
        objective.take_actions(q_now, rows.actions), next_value, rows.terminated, discount
    )
    expert = slice(0, rows.expert_rows)
    penalised = slice(None) if config.chi_square_states == "mixture" else expert
    if rows.start_weights is not None:
        start_value = objective.soft_value(q_start, lam)
        value_term = objective.value_from_starts(start_value, rows.start_weights, discount)
    else:
        assert config.value_term is not None
        where = {
            "expert": expert,
            "rollout": slice(rows.expert_rows, None),
            "rollout+expert": slice(None),
        }[config.value_term]
        if value[:, where].shape[1] == 0:  # Offline, or nothing sampled yet.
            where = expert
        value_term = objective.value_telescoped(
            value[:, where], next_value[:, where], rows.terminated[:, where], rows.weights[:, where], discount
        )
    loss = objective.critic_loss(
        expert_reward=implied[:, expert],
        expert_weights=rows.weights[:, expert],
        penalised_reward=implied[:, penalised],
        penalised_weights=rows.weights[:, penalised],
        value=value_term,
        chi_square_scale=config.chi_square_scale,
    )
    return loss, implied
