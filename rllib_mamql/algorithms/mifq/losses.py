"""MIFQ's loss of the team, from the rows of a minibatch to the formulas of :mod:`rllib_mamql.learning.soft_q`.

Each agent scores its own actions, ``Q_i(s, a_i)`` with soft value ``V_i(s)``, and acts by its own Boltzmann policy.
The team's values are mixed from these by one monotone network (:class:`~.module.MonotoneMixing`), and IQ-Learn's
objective is asked of the team alone (MIFQ, arXiv 2310.06801)::

    Q(s, a) = M(s; Q_1(s, a_1), ..., Q_n(s, a_n)),    V(s) = M(s; V_1(s), ..., V_n(s))
    J       = E_expert[phi(Q(s, a) - gamma V(s'))] - (1 - gamma) E_{s0}[V(s0)]

It is a loss for agents with a common aim: one reward explains everybody's play.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from rllib_mamql.columns import ALIVE, NEXT_OBS, OBS, TERMINATEDS, WEIGHT, column
from rllib_mamql.learning.losses import Losses
from rllib_mamql.learning.metrics import by_agent, explained
from rllib_mamql.learning.minibatch import AgentRows, Minibatch
from rllib_mamql.learning.replay import TensorColumns
from rllib_mamql.learning.soft_q import inverse_q_loss, log_policy, soft_value, take_actions

Mixing = Callable[[Tensor, Tensor, Tensor], Tensor]
"""``(observations (R, F), values (..., R, n), who counts (R, n)) -> (..., R)``."""


class Settings(Protocol):
    """What the loss reads from ``MIFQConfig``, which says what each means."""

    gamma: float
    rationality: float
    value_term: str
    chi_square_states: str
    chi_square_scale: float


class MIFQLosses(Losses):
    """``-J`` of the team; what the learner minimises.

    Args:
        config: Settings.
        mixing: The mixing network.
        agents_of: ``{module: agents that it learns for}``.
        agents: All agents, in the order in which they are mixed.
        sizes: How many numbers each sees, where masks stand behind them; None: all.
    """

    def __init__(
        self,
        config: Settings,
        mixing: Mixing,
        agents_of: Mapping[str, list[str]],
        agents: Sequence[str],
        sizes: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__()
        self.needs_starts = config.value_term == "initial"
        self._config, self._mixing = config, mixing
        self._agents_of, self._agents, self._sizes = dict(agents_of), list(agents), sizes or {}

    def __call__(
        self, batch: Minibatch, scores: Mapping[str, Tensor], *, update: int, report: bool
    ) -> dict[str, Tensor]:
        """``{agent: loss}``: the team's in equal parts; see :class:`~rllib_mamql.learning.losses.Losses`."""
        config, lam, columns = self._config, self._config.rationality, batch.columns
        taken: dict[str, Tensor] = {}
        value: dict[str, Tensor] = {}
        next_value: dict[str, Tensor] = {}
        start_value: dict[str, Tensor] = {}
        for module_id, agents in self._agents_of.items():
            rows = AgentRows.of(batch, agents)
            q, next_q, start_q = batch.places(scores[module_id])
            taken |= zip(agents, take_actions(q, rows.actions).unbind(), strict=True)
            value |= zip(agents, soft_value(q, lam).unbind(), strict=True)
            next_value |= zip(agents, soft_value(next_q, lam).unbind(), strict=True)
            start_value |= zip(agents, soft_value(start_q, lam).unbind(), strict=True)
            if report:
                self._explain(agents, q, rows)
        alive = self._each(columns, ALIVE)
        going = alive & ~self._each(columns, TERMINATEDS)
        both = torch.stack([self._in_order(taken), self._in_order(value)])
        team_taken, team_value = self._mixing(self._observed(columns, OBS), both, alive)
        team_next = self._mixing(self._observed(columns, NEXT_OBS), self._in_order(next_value), going)
        team_start, start_weights = team_value[:0], None
        if batch.starts is not None:
            alive_then = self._each(batch.starts, ALIVE)
            team_start = self._mixing(self._observed(batch.starts, OBS), self._in_order(start_value), alive_then)
            start_weights = alive_then.any(-1).float()
        loss, _ = inverse_q_loss(
            taken=team_taken,
            value=team_value,
            next_value=team_next,
            start_value=team_start,
            terminated=~going.any(-1),
            weights=columns[WEIGHT] * alive.any(-1),
            start_weights=start_weights,
            expert_rows=batch.expert_rows,
            value_term=config.value_term,
            chi_square_states=config.chi_square_states,
            chi_square_scale=config.chi_square_scale,
            discount=config.gamma,
        )
        if report:
            for agent in self._agents:
                self.terms[agent] |= {name: term.detach() for name, term in loss.named().items()}
        return {agent: loss.total / len(self._agents) for agent in self._agents}

    def _in_order(self, values: Mapping[str, Tensor]) -> Tensor:
        """Numbers of all agents, ``(rows, n)``."""
        return torch.stack([values[agent] for agent in self._agents], -1)

    def _each(self, columns: TensorColumns, prefix: str) -> Tensor:
        """A column of all agents, ``(rows, n)``."""
        return torch.stack([columns[column(prefix, agent)] for agent in self._agents], -1).bool()

    def _observed(self, columns: TensorColumns, prefix: str) -> Tensor:
        """What all agents see, in one row, ``(rows, features)``; pictures in bytes are brought into [0, 1]."""
        seen = [columns[column(prefix, agent)].flatten(1)[:, : self._sizes.get(agent)] for agent in self._agents]
        return torch.cat([each / 255.0 if each.dtype == torch.uint8 else each.float() for each in seen], -1)

    def _explain(self, agents: list[str], q: Tensor, rows: AgentRows) -> None:
        """Leaves how well the agents' own policies explain the expert's actions."""
        expert = slice(0, rows.expert_rows)
        log_policies = log_policy(q[:, expert], self._config.rationality)
        found = explained(log_policies, rows.actions[:, expert], rows.weights[:, expert])
        self.terms |= by_agent(found, agents)
