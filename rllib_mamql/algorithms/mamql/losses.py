"""MAMQL's losses, from the rows of a minibatch to the formulas of :mod:`objective`; read from top to bottom.

:class:`MAMQLLosses` goes through one gradient step: (1) marginal action values of every agent, which the learner
computed; (2) with a joint critic, its values marginalised over the others' policies, and the distillation of the
marginal critic from them; (3) the critic's loss; (4) every few steps, the regression of the explicit reward.

Losses of agents with equally many actions are computed at once: their tensors have a leading axis for the agents. With
small networks an update consists of many small operations; one for all agents in place of one for each is what makes
the cost of many agents bearable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from rllib_mamql.algorithms.mamql import objective
from rllib_mamql.algorithms.mamql.metrics import AgentTerms, summarise
from rllib_mamql.algorithms.mamql.module import MAMQLModule
from rllib_mamql.algorithms.mamql.others import OthersPolicies, Policies
from rllib_mamql.learning.losses import Losses
from rllib_mamql.learning.minibatch import AgentRows, Minibatch
from rllib_mamql.networks.masks import mean_over_legal
from rllib_mamql.networks.precision import Precision

INITIAL_Q = "initial_q/"
"""What begins the names of the losses' state, before an agent's."""


class Settings(Protocol):
    """What the losses read from ``MAMQLConfig``, which says what each means."""

    gamma: float
    rationality: float
    critic: str
    marginal_samples: int | None
    value_term: str | None
    rollout_share: float | str | None
    chi_square_states: str
    chi_square_scale: float | str
    learn_reward: bool
    reward_shrinkage: float
    reward_interval: int


class MAMQLLosses(Losses):
    """Losses of all agents; what the learner minimises.

    Args:
        config: Settings.
        modules: ``{module: networks}``.
        agents_of: ``{module: agents that it learns for}``.
        agents: All agents, in the order in which joint networks take the others.
        generator: Source of the others' actions, where joint critics sample them.
        precision: How networks are evaluated.
    """

    def __init__(
        self,
        config: Settings,
        modules: Mapping[str, MAMQLModule],
        agents_of: Mapping[str, list[str]],
        agents: Sequence[str],
        generator: torch.Generator,
        precision: Precision,
    ) -> None:
        super().__init__()
        self.needs_starts = config.value_term == "initial"
        self.report_last = config.reward_interval
        self._config, self._agents_of = config, dict(agents_of)
        share = config.rollout_share
        self.rollout_share: float | Tensor | None = None if isinstance(share, str) else share
        """Weight of rollouts in the value term, a scalar; None weighs all rows alike."""
        self.leaves_rollouts_out = share == 0.0
        """Whether their weight is 0, as the host knows."""
        self.chi_square_scale: float | Tensor = (
            1.0 if isinstance(config.chi_square_scale, str) else config.chi_square_scale
        )
        """Scale c of chi^2, a scalar."""
        self._networks = {
            agent: modules[module_id] for module_id, of_module in agents_of.items() for agent in of_module
        }
        alike: dict[int, list[str]] = {}
        for module_id in agents_of:
            alike.setdefault(int(modules[module_id].action_space.n), []).append(module_id)
        self._alike = list(alike.values())
        self._others = OthersPolicies(list(agents), config.rationality, config.marginal_samples, generator, precision)
        self._kept: dict[tuple[str, ...], AgentTerms] = {}
        self._initial_q: dict[str, Tensor] = {}

    def __call__(
        self, batch: Minibatch, scores: Mapping[str, Tensor], *, update: int, report: bool
    ) -> dict[str, Tensor]:
        """``{agent: loss}`` of one gradient step; see :class:`~rllib_mamql.learning.losses.Losses`."""
        policies = self._policies(batch, scores) if self._config.critic != "marginal" else []
        losses: dict[str, Tensor] = {}
        for modules in self._alike:
            agents = [agent for module_id in modules for agent in self._agents_of[module_id]]
            values = batch.places(torch.cat([scores[module_id] for module_id in modules]))
            losses.update(
                zip(agents, self._of_agents(agents, values, batch, policies, update, report).unbind(), strict=True)
            )
        return losses

    def _policies(self, batch: Minibatch, scores: Mapping[str, Tensor]) -> Policies:
        """Everyone's policies on a minibatch, once for all joint networks."""
        q: dict[str, tuple[Tensor, ...]] = {}
        for module_id, agents in self._agents_of.items():
            places = batch.places(scores[module_id])
            q.update({agent: tuple(place[index] for place in places) for index, agent in enumerate(agents)})
        return self._others.policies(batch, q)

    def _of_agents(
        self,
        agents: list[str],
        values: tuple[Tensor, ...],
        batch: Minibatch,
        policies: Policies,
        update: int,
        report: bool,
    ) -> Tensor:
        """Losses ``(n,)`` of agents with equally many actions, whose marginal critics gave ``values``.

        Args:
            agents: The agents.
            values: At observations ``(n, R, A)``, next observations ``(n, R, A)`` and starts ``(n, S, A)``.
            batch: The minibatch.
            policies: Everyone's, where the critics are joint.
            update: Gradient steps made before.
            report: Whether to keep the terms.
        """
        config, rows = self._config, AgentRows.of(batch, agents)
        distillation = None
        if config.critic != "marginal":
            pairs = [
                self._others.critic_values(
                    self._networks[agent], agent, batch, [place[index] for place in values], policies
                )
                for index, agent in enumerate(agents)
            ]
            values = tuple(torch.stack(place) for place in zip(*(marginal for marginal, _ in pairs), strict=True))
            distillation = torch.stack([distance for _, distance in pairs])
        critic, implied = critic_terms(values, rows, config, self.rollout_share, self.chi_square_scale)
        total = critic.total if distillation is None else critic.total + distillation
        reward = None
        if self.kind(update):
            predictions = torch.stack([self._reward(agent, batch, policies) for agent in agents])
            reward = objective.reward_loss(predictions, implied, rows.weights, config.reward_shrinkage)
            total = total + reward.total
        if report:
            self.terms[tuple(agents)] = AgentTerms(
                critic=critic,
                reward=reward,
                distillation=distillation,
                q=values[0].detach(),
                implied_reward=implied.detach(),
                expert_actions=rows.actions[:, : rows.expert_rows],
                expert_weights=rows.weights[:, : rows.expert_rows],
            )
        return total

    def kind(self, update: int) -> bool:
        """Whether the reward regression takes part in the step."""
        return self._config.learn_reward and update % self._config.reward_interval == 0

    def needs_rollouts(self, update: int) -> bool:
        """Not where they weigh nothing, but in the reward regression, and where a joint critic is distilled."""
        return not self.leaves_rollouts_out or self._config.critic != "marginal" or self.kind(update)

    def _reward(self, agent: str, batch: Minibatch, policies: Policies) -> Tensor:
        if self._config.critic == "joint":
            return self._others.marginal_reward(self._networks[agent], agent, batch, policies)
        return self._others.sampled_reward(self._networks[agent], agent, batch)

    # -- what is reported ---------------------------------------------------------------------------------------

    def keep(self, terms: Mapping[tuple[str, ...], AgentTerms]) -> None:
        """Keeps a step's terms by agents; see :class:`~rllib_mamql.learning.losses.Losses`."""
        for agents, found in terms.items():
            for agent, mean in zip(agents, mean_over_legal(found.q), strict=True):
                self._initial_q.setdefault(agent, mean)
            before = self._kept.get(agents)
            # Not every step has a reward regression: the last one of this call is reported.
            if found.reward is None and before is not None:
                found = replace(found, reward=before.reward)
            self._kept[agents] = found

    def metrics(self) -> dict[str, dict[str, float]]:
        """Metrics of the steps kept since the last call, by agent; see :func:`metrics.summarise`."""
        config = self._config
        found: dict[str, dict[str, float]] = {}
        for agents, terms in self._kept.items():
            initial_q = torch.stack([self._initial_q[agent].to(terms.q.device) for agent in agents])
            values = summarise(terms, initial_q, config.rationality, float(self.chi_square_scale), config.gamma)
            found.update(zip(agents, values, strict=True))
        self._kept = {}
        return found

    def get_state(self) -> dict[str, float]:
        """The first mean action values, which later ones are compared with."""
        return {f"{INITIAL_Q}{agent}": float(value) for agent, value in self._initial_q.items()}

    def set_state(self, state: Mapping[str, float]) -> None:
        """Restores :meth:`get_state`."""
        self._initial_q = {name.removeprefix(INITIAL_Q): torch.tensor(value) for name, value in state.items()}


# -- the critic --------------------------------------------------------------------------------------------------


def critic_terms(
    values: Sequence[Tensor],
    rows: AgentRows,
    config: Settings,
    rollout_share: float | Tensor | None,
    chi_square_scale: float | Tensor,
) -> tuple[objective.CriticLoss, Tensor]:
    """The critics' losses and the rewards that the critics imply.

    Args:
        values: Marginal action values at the observations ``(n, R, A)``, the next observations ``(n, R, A)`` and the
            start states ``(n, S, A)``; S = 0 where the value term needs none.
        rows: What the agents did.
        config: Settings of the objective.
        rollout_share: Weight of rollouts in the value term; None weighs all rows alike; at 0 chi^2 leaves them out.
        chi_square_scale: c > 0 of chi^2.

    Returns:
        The loss, each of its terms ``(n,)``, and implied rewards ``(n, R)``.
    """
    q_now, q_next, q_start = values
    lam = config.rationality
    assert config.value_term is not None
    return objective.inverse_q_loss(
        taken=objective.take_actions(q_now, rows.actions),
        value=objective.soft_value(q_now, lam),
        next_value=objective.soft_value(q_next, lam),
        start_value=objective.soft_value(q_start, lam),
        terminated=rows.terminated,
        weights=rows.weights,
        start_weights=rows.start_weights,
        expert_rows=rows.expert_rows,
        value_term=config.value_term,
        chi_square_states=config.chi_square_states,
        chi_square_scale=chi_square_scale,
        discount=config.gamma,
        rollout_share=rollout_share,
    )
