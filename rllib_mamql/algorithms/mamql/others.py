"""The other agents in MAMQL's losses: joint networks marginalised over their policies, or given their actions."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from rllib_mamql.algorithms.mamql import objective
from rllib_mamql.algorithms.mamql.module import MAMQLModule
from rllib_mamql.columns import ACTIONS, ALIVE, NEXT_OBS, OBS, TERMINATEDS, column
from rllib_mamql.learning.minibatch import Minibatch
from rllib_mamql.networks.heads import MeanFieldHead
from rllib_mamql.networks.masks import is_legal, mask_of
from rllib_mamql.networks.precision import Precision

ActionValues = Mapping[str, tuple[Tensor, ...]]
"""By agent, marginal action values at (observation, next observation, start), each ``(rows, A)``."""
Policies = list[dict[str, Tensor]]
"""At (observation, next observation, start, where the value term needs it), by agent: probabilities ``(rows, A)``."""


class OthersPolicies:
    """Marginalises joint networks over the other agents' policies, or takes the others' actions from the data.

    Args:
        agents: All agents, in the order in which joint networks take the others.
        rationality: Inverse temperature of the policies.
        samples: Joint actions of the others drawn a row, or None for full enumeration.
        generator: Source of the draws.
        precision: How networks are evaluated.
    """

    def __init__(
        self,
        agents: list[str],
        rationality: float,
        samples: int | None,
        generator: torch.Generator,
        precision: Precision,
    ) -> None:
        self.agents, self.rationality, self.samples = agents, rationality, samples
        self.generator, self.precision = generator, precision

    def _others(self, agent: str) -> list[str]:
        return [other for other in self.agents if other != agent]

    def policies(self, batch: Minibatch, q: ActionValues) -> Policies:
        """Everyone's policies on a minibatch; a dead agent is idle, as its rows are filled.

        Args:
            batch: The minibatch.
            q: Everyone's marginal critic on it.
        """
        columns = batch.columns
        now = {agent: columns[column(ALIVE, agent)] for agent in self.agents}
        alive = [now, {agent: now[agent] & ~columns[column(TERMINATEDS, agent)] for agent in self.agents}]
        if batch.starts is not None:
            alive.append({agent: batch.starts[column(ALIVE, agent)] for agent in self.agents})
        return [
            {
                agent: objective.idle_where_dead(
                    objective.log_policy(q[agent][which].detach(), self.rationality).exp(), there[agent]
                )
                for agent in self.agents
            }
            for which, there in enumerate(alive)
        ]

    def critic_values(
        self, module: MAMQLModule, agent: str, batch: Minibatch, own: Sequence[Tensor], policies: Policies
    ) -> tuple[list[Tensor], Tensor]:
        """Marginalised joint critic at (observation, next observation, start), and the loss that distils it.

        The marginal critic is regressed on the marginalised joint one, so that acting costs one forward pass and
        the others' policies are at hand.

        Args:
            module: Holds ``Q_i(s, ., a_-i)``, or ``Q_i(s, ., f)``, which is taken at the expected frequencies.
            agent: Whose.
            batch: The minibatch.
            own: Its marginal critic there, each ``(rows, A)``.
            policies: Everyone's policies on it.

        Returns:
            Values, each ``(rows, A)``, and a scalar.
        """
        assert module.joint_critic is not None
        columns = batch.columns
        places = [columns[column(OBS, agent)], columns[column(NEXT_OBS, agent)]]
        if batch.starts is not None:
            places.append(batch.starts[column(OBS, agent)])
        values, distances = [], []
        others = self._others(agent)
        for which, observations in enumerate(places):
            theirs = [policies[which][other] for other in others]
            if isinstance(module.joint_critic, MeanFieldHead):
                nobody = observations.new_zeros(len(observations), 0)
                expected = objective.action_frequencies(theirs) if theirs else nobody
                marginal = self.precision(module.joint_critic, observations, expected)
            else:
                marginal = joint_marginal(
                    functools.partial(self.precision, module.joint_critic),
                    observations,
                    theirs,
                    samples=self.samples,
                    generator=self.generator,
                )
            # Behind the expectation: weighed sums of what stands for illegal would not be quite that.
            marginal = module.critic.restrict(marginal, observations)
            values.append(marginal)
            squares, masked = (own[which] - marginal.detach()).square(), mask_of(module.critic.encoder)
            distances.append(squares.mean() if masked is None else squares.sum() / is_legal(marginal).sum())
        if len(values) == 2:
            values.append(values[0][:0])
        return values, torch.stack(distances).sum()

    def marginal_reward(self, module: MAMQLModule, agent: str, batch: Minibatch, policies: Policies) -> Tensor:
        """Rewards of the actions taken, expected over the others' policies, ``(R,)``.

        Args:
            module: Holds ``R_i(s, ., a_-i)``.
            agent: Whose.
            batch: The minibatch.
            policies: Everyone's policies on it.
        """
        rewards = joint_marginal(
            functools.partial(self.precision, module.reward),
            batch.columns[column(OBS, agent)],
            [policies[0][other] for other in self._others(agent)],
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
    draws = [draw_actions(policy, samples, generator) for policy in other_policies]
    return objective.marginalise_sampled(network(observations, torch.stack(draws, dim=-1)))


def draw_actions(policy: Tensor, samples: int, generator: torch.Generator | None) -> Tensor:
    """Actions ``(B, K)`` drawn from probabilities ``(B, A)``, where the generator is: on the host or on the device.

    On the device by a race of exponentials, ``argmax_a p_a / e_a``: ``torch.multinomial`` makes the host wait there.
    """
    if generator is None or generator.device.type == "cpu":
        return torch.multinomial(policy.cpu(), samples, replacement=True, generator=generator).to(policy.device)
    shape = (len(policy), samples, policy.shape[-1])
    noise = torch.empty(shape, device=policy.device).exponential_(generator=generator)
    return (policy.unsqueeze(1) / noise).argmax(-1)


def enumerate_others(network: Callable[..., Tensor], observations: Tensor, other_actions: list[int]) -> Tensor:
    """Values of a joint network for every joint action of the others, ``(B, A, A_1, ..., A_m)``."""
    grid = torch.cartesian_prod(*(torch.arange(n, device=observations.device) for n in other_actions))
    grid = grid.view(1, -1, len(other_actions)).expand(observations.shape[0], -1, -1)
    values = network(observations, grid)
    return values.transpose(1, 2).reshape(observations.shape[0], values.shape[-1], *other_actions)
