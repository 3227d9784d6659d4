"""The parts of one agent's loss that look at the other agents: its joint critic and its reward network."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from rllib_mamql import objective
from rllib_mamql.columns import ACTIONS, ALIVE, NEXT_OBS, OBS, TERMINATEDS, column
from rllib_mamql.marginal import joint_marginal
from rllib_mamql.minibatch import Minibatch
from rllib_mamql.precision import Precision
from rllib_mamql.rl_module import MAMQLModule

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
