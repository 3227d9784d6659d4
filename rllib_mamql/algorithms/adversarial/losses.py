"""The discriminators' loss of every agent, and what they pay for rollouts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from rllib_mamql.algorithms.adversarial.discriminators import Steps, steepness
from rllib_mamql.algorithms.adversarial.module import AdversarialModule
from rllib_mamql.algorithms.adversarial.objective import discriminator_loss
from rllib_mamql.columns import ACTIONS, ALIVE, NEXT_OBS, OBS, TERMINATEDS, column
from rllib_mamql.learning.losses import Losses
from rllib_mamql.learning.metrics import by_agent, explained
from rllib_mamql.learning.minibatch import AgentRows, Minibatch
from rllib_mamql.learning.replay import TensorColumns
from rllib_mamql.learning.soft_q import log_policy, take_actions, weighted_mean
from rllib_mamql.networks.precision import Precision

PART = 4096
"""Rows that are paid at a time."""


class Settings(Protocol):
    """What losses and rewards read from ``AdversarialConfig``, which says what each means."""

    rationality: float
    gradient_penalty: float


class AdversarialLosses(Losses):
    """Cross-entropy of every agent's discriminator; what the learner minimises, PPO's losses aside.

    Args:
        config: Settings.
        modules: ``{module: networks}``.
        agents_of: ``{module: agents that it learns for}``.
        precision: How the discriminators are evaluated.
    """

    needs_next = False

    def __init__(
        self,
        config: Settings,
        modules: Mapping[str, AdversarialModule],
        agents_of: Mapping[str, list[str]],
        precision: Precision,
    ) -> None:
        super().__init__()
        self._config, self._precision = config, precision
        self._modules, self._agents_of = dict(modules), dict(agents_of)

    def __call__(
        self, batch: Minibatch, scores: Mapping[str, Tensor], *, update: int, report: bool
    ) -> dict[str, Tensor]:
        """``{agent: loss}`` of one gradient step; see :class:`~rllib_mamql.learning.losses.Losses`."""
        losses: dict[str, Tensor] = {}
        for module_id, agents in self._agents_of.items():
            rows = AgentRows.of(batch, agents)
            # The policy is the generators' to change, not the discriminators'.
            log_policies = log_policy(batch.places(scores[module_id])[0].detach(), self._config.rationality)
            steps = steps_of(batch.columns, agents, take_actions(log_policies, rows.actions).view(-1))
            discriminator, penalty = self._modules[module_id].discriminator, self._config.gradient_penalty
            steps = steps.differentiable() if penalty else steps
            with self._precision.context():
                logits = discriminator(steps)
            steep = steepness(logits, steps).view(len(agents), -1) if penalty else None
            logits = self._precision.widen(logits).view(len(agents), -1)
            total = discriminator_loss(logits, rows.weights, rows.expert_rows)
            if steep is not None:
                total = total + penalty * weighted_mean(steep, rows.weights)
            losses.update(zip(agents, total.unbind(), strict=True))
            if report:
                expert, rollouts = slice(0, rows.expert_rows), slice(rows.expert_rows, None)
                right = torch.cat([logits[:, expert] > 0, logits[:, rollouts] <= 0], 1).float()
                found = {
                    "discriminator_loss": total,
                    "expert_accuracy_of_discriminator": weighted_mean(right[:, expert], rows.weights[:, expert]),
                    "rollout_accuracy_of_discriminator": weighted_mean(right[:, rollouts], rows.weights[:, rollouts]),
                }
                found |= explained(log_policies[:, expert], rows.actions[:, expert], rows.weights[:, expert])
                self.terms |= by_agent(found, agents)
        return losses

    @torch.no_grad()
    def rewards(self, columns: TensorColumns, agent: str, log_policies: Tensor) -> Tensor:
        """An agent's rewards by its discriminator.

        Args:
            columns: Joint rows, R of them.
            agent: Whose.
            log_policies: Log-probabilities of all actions by the policy that chose ``(R, A)``.

        Returns:
            ``(R,)``; means nothing where the agent is dead.
        """
        discriminator = next(
            self._modules[module_id].discriminator for module_id, agents in self._agents_of.items() if agent in agents
        )
        taken = take_actions(log_policies, columns[column(ACTIONS, agent)])
        parts = steps_of(columns, [agent], taken).split(PART)
        return torch.cat([discriminator.reward(discriminator(part)) for part in parts])


def steps_of(columns: TensorColumns, agents: Sequence[str], log_policy: Tensor) -> Steps:
    """Steps of some agents, those of one after those of the other.

    Args:
        columns: Joint rows, R of them.
        agents: Whose.
        log_policy: Of the actions taken ``(n R,)``.
    """
    obs, actions, next_obs, terminated = (
        torch.cat([columns[column(prefix, agent)] for agent in agents])
        for prefix in (OBS, ACTIONS, NEXT_OBS, TERMINATEDS)
    )
    return Steps(obs, actions, next_obs, terminated, log_policy)


def terminations(columns: TensorColumns, agents: Sequence[str]) -> Tensor:
    """In how many of some agents' rows they terminate, and in how many they are alive, ``(2,)``."""
    alive = torch.stack([columns[column(ALIVE, agent)].bool() for agent in agents])
    ends = torch.stack([columns[column(TERMINATEDS, agent)].bool() for agent in agents]) & alive
    return torch.stack([ends.sum(), alive.sum()]).float()
