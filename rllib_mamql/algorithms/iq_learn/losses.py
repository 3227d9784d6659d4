"""IQ-Learn's loss of every agent, from the rows of a minibatch to the formulas of :mod:`rllib_mamql.learning.soft_q`.

With ``critic: independent`` agent i's critic is ``Q_i(s, a_i)``, and the others are a part of the world. With ``joint``
it is ``Q_i(s, a)`` over joint actions: each agent explains everybody's play, as if it alone chose all actions::

    mu_i(a | s) = exp(lambda (Q_i(s, a) - V_i(s))),    V_i(s) = (1 / lambda) log sum_a exp(lambda Q_i(s, a))

and acts by its own part of it, ``pi_i(a_i | s) = sum_{a_-i} mu_i(a_i, a_-i | s)``, which needs to know nobody else's
action. Both kinds are one formula on other columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from rllib_mamql.algorithms.iq_learn.module import own_scores
from rllib_mamql.columns import ACTIONS, column
from rllib_mamql.learning.losses import Losses
from rllib_mamql.learning.metrics import by_agent, explained
from rllib_mamql.learning.minibatch import AgentRows, Minibatch
from rllib_mamql.learning.soft_q import inverse_q_loss, log_policy, soft_value, take_actions


class Settings(Protocol):
    """What the loss reads from ``IQLearnMAConfig``, which says what each means."""

    gamma: float
    rationality: float
    critic: str
    value_term: str
    chi_square_states: str
    chi_square_scale: float


class IQLearnLosses(Losses):
    """``-J`` of every agent; what the learner minimises.

    Args:
        config: Settings.
        agents_of: ``{module: agents that it learns for}``.
        actions: ``{agent: number of actions}``, all agents in the environment's order.
    """

    def __init__(self, config: Settings, agents_of: Mapping[str, list[str]], actions: Mapping[str, int]) -> None:
        super().__init__()
        self.needs_starts = config.value_term == "initial"
        self._config, self._agents_of, self._actions = config, dict(agents_of), dict(actions)

    def __call__(
        self, batch: Minibatch, scores: Mapping[str, Tensor], *, update: int, report: bool
    ) -> dict[str, Tensor]:
        """``{agent: loss}`` of one gradient step; see :class:`~rllib_mamql.learning.losses.Losses`."""
        config, lam = self._config, self._config.rationality
        losses: dict[str, Tensor] = {}
        for module_id, agents in self._agents_of.items():
            rows = AgentRows.of(batch, agents)
            q, next_q, start_q = batch.places(scores[module_id])
            chosen = rows.actions if config.critic == "independent" else self._joint_actions(batch, agents)
            loss, _ = inverse_q_loss(
                taken=take_actions(q, chosen),
                value=soft_value(q, lam),
                next_value=soft_value(next_q, lam),
                start_value=soft_value(start_q, lam),
                terminated=rows.terminated,
                weights=rows.weights,
                start_weights=rows.start_weights,
                expert_rows=rows.expert_rows,
                value_term=config.value_term,
                chi_square_states=config.chi_square_states,
                chi_square_scale=config.chi_square_scale,
                discount=config.gamma,
            )
            losses.update(zip(agents, loss.total.unbind(), strict=True))
            if report:
                expert = slice(0, rows.expert_rows)
                own = own_scores(q[:, expert], q.shape[-1] // self._actions[agents[0]], lam)
                found = explained(log_policy(own, lam), rows.actions[:, expert], rows.weights[:, expert])
                self.terms |= by_agent({**loss.named(), **found}, agents)
        return losses

    def _joint_actions(self, batch: Minibatch, agents: list[str]) -> Tensor:
        """Which of a joint critic's outputs the joint actions are, for each of the agents, ``(n, R)``."""
        return torch.stack([joint_actions(batch.columns, agent, self._actions) for agent in agents])


def joint_actions(columns: Mapping[str, Tensor], agent: str, actions: Mapping[str, int]) -> Tensor:
    """Joint actions as numbers ``(R,)``: the agent's own action counts most, the last other agent's least.

    Args:
        columns: Joint rows.
        agent: Whose action comes first.
        actions: ``{agent: number of actions}``, all agents in the environment's order.
    """
    index = columns[column(ACTIONS, agent)].long()
    for other, count in actions.items():
        if other != agent:
            index = index * count + columns[column(ACTIONS, other)].long()
    return index
