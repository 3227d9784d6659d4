"""MAMQL's losses, from the rows of a minibatch to the formulas of :mod:`objective`.

Losses of agents with equally many actions are computed at once: their tensors have a leading axis for the agents. With
small networks an update consists of many small operations; one for all agents in place of one for each is what makes
the cost of many agents bearable.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rllib_mamql.algorithms.mamql import objective
from rllib_mamql.algorithms.mamql.module import MAMQLModule
from rllib_mamql.columns import ACTIONS, ALIVE, NEXT_OBS, OBS, TERMINATEDS, WEIGHT, column
from rllib_mamql.learning.minibatch import Minibatch
from rllib_mamql.learning.replay import TensorColumns
from rllib_mamql.networks.precision import Precision

if TYPE_CHECKING:
    from rllib_mamql.algorithms.mamql.config import MAMQLConfig

ActionValues = Mapping[str, tuple[Tensor, ...]]
"""By agent, marginal action values at (observation, next observation, start), each ``(rows, A)``."""


@dataclass(frozen=True)
class JointTerms:
    """Marginalises joint networks over the other agents' policies, or takes the others' actions from the data.

    Attributes:
        agents: All agents, in the order in which joint networks take the others.
        rationality: Inverse temperature of the policies.
        samples: Joint actions of the others drawn a row, or None for full enumeration.
        generator: Source of the draws.
        precision: How networks are evaluated.
    """

    agents: list[str]
    rationality: float
    samples: int | None
    generator: torch.Generator
    precision: Precision

    def _others(self, agent: str) -> list[str]:
        return [other for other in self.agents if other != agent]

    def _policies(self, agent: str, q: ActionValues, which: int, alive: Mapping[str, Tensor]) -> list[Tensor]:
        """Policies of the other agents at the same rows; a dead agent 'plays' action 0, as its rows are filled."""
        policies = []
        for other in self._others(agent):
            policy = objective.log_policy(q[other][which].detach(), self.rationality).exp()
            nothing = torch.zeros_like(policy)
            nothing[:, 0] = 1.0
            policies.append(torch.where(alive[other].unsqueeze(-1), policy, nothing))
        return policies

    def critic_values(
        self, module: MAMQLModule, agent: str, batch: Minibatch, q: ActionValues
    ) -> tuple[list[Tensor], Tensor]:
        """Marginalised joint critic at (observation, next observation, start), and the loss that distils it.

        The marginal critic is regressed on the marginalised joint one, so that acting costs one forward pass and
        the others' policies are at hand.

        Args:
            module: Holds ``Q_i(s, ., a_-i)``.
            agent: Whose.
            batch: The minibatch.
            q: Everyone's marginal critic on it.

        Returns:
            Values, each ``(rows, A)``, and a scalar.
        """
        assert module.joint_critic is not None
        columns = batch.columns
        places = [columns[column(OBS, agent)], columns[column(NEXT_OBS, agent)]]
        alive_now = {other: columns[column(ALIVE, other)] for other in self.agents}
        alive_next = {other: alive_now[other] & ~columns[column(TERMINATEDS, other)] for other in self.agents}
        alive = [alive_now, alive_next]
        if batch.starts is not None:
            places.append(batch.starts[column(OBS, agent)])
            alive.append({other: batch.starts[column(ALIVE, other)] for other in self.agents})
        values, distances = [], []
        for which, observations in enumerate(places):
            policies = self._policies(agent, q, which, alive[which])
            marginal = joint_marginal(
                functools.partial(self.precision, module.joint_critic),
                observations,
                policies,
                samples=self.samples,
                generator=self.generator,
            )
            values.append(marginal)
            distances.append((q[agent][which] - marginal.detach()).square().mean())
        if len(values) == 2:
            values.append(values[0][:0])
        return values, torch.stack(distances).sum()

    def marginal_reward(self, module: MAMQLModule, agent: str, batch: Minibatch, q: ActionValues) -> Tensor:
        """Rewards of the actions taken, expected over the others' policies, ``(R,)``.

        Args:
            module: Holds ``R_i(s, ., a_-i)``.
            agent: Whose.
            batch: The minibatch.
            q: Everyone's marginal critic on it.
        """
        alive = {other: batch.columns[column(ALIVE, other)] for other in self.agents}
        rewards = joint_marginal(
            functools.partial(self.precision, module.reward),
            batch.columns[column(OBS, agent)],
            self._policies(agent, q, 0, alive),
            samples=self.samples,
            generator=self.generator,
        )
        return objective.take_actions(rewards, batch.columns[column(ACTIONS, agent)])

    def sampled_reward(self, module: MAMQLModule, agent: str, batch: Minibatch) -> Tensor:
        """Rewards of the actions taken, ``(R,)``, for one sample of a_-i a transition: the data's own.

        Args:
            module: Holds ``R_i(s, ., a_-i)``.
            agent: Whose.
            batch: The minibatch.
        """
        columns = batch.columns
        observations = columns[column(OBS, agent)]
        others = [columns[column(ACTIONS, other)] for other in self._others(agent)]
        taken = torch.stack(others, dim=-1) if others else observations.new_zeros(len(observations), 0)
        return objective.take_actions(
            self.precision(module.reward, observations, taken.long()), columns[column(ACTIONS, agent)]
        )


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


def enumerate_others(network: Callable[..., Tensor], observations: Tensor, other_actions: list[int]) -> Tensor:
    """Values of a joint network for every joint action of the others, ``(B, A, A_1, ..., A_m)``."""
    grid = torch.cartesian_prod(*(torch.arange(n, device=observations.device) for n in other_actions))
    grid = grid.view(1, -1, len(other_actions)).expand(observations.shape[0], -1, -1)
    values = network(observations, grid)
    return values.transpose(1, 2).reshape(observations.shape[0], values.shape[-1], *other_actions)


def joint_marginal(
    network: Callable[..., Tensor],
    observations: Tensor,
    other_policies: list[Tensor],
    *,
    samples: int | None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """``E_{a_-i ~ pi_-i}[ f(s, ., a_-i) ]`` of a joint network.

    Args:
        network: Scores own actions given the others', ``(observations, others (B, K, m)) -> (B, K, A)``.
        observations: ``(B, *obs)``.
        other_policies: Probabilities ``(B, A_j)`` of each other agent, in the network's order.
        samples: ``K`` joint actions drawn a row, or None for full enumeration (exact; grows as the product of
            the others' action counts).
        generator: Source of the draws.

    Returns:
        ``(B, A)``.
    """
    if not other_policies:
        return network(observations, observations.new_zeros(len(observations), 0, dtype=torch.long))
    if samples is None:
        return objective.marginalise_full(
            enumerate_others(network, observations, [policy.shape[-1] for policy in other_policies]), other_policies
        )
    draws = [
        torch.multinomial(policy.cpu(), samples, replacement=True, generator=generator).to(policy.device)
        for policy in other_policies
    ]
    return objective.marginalise_sampled(network(observations, torch.stack(draws, dim=-1)))
