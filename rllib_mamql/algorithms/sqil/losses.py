"""SQIL's loss of every agent, from the rows of a minibatch to the squared soft Bellman error.

Imitation as reinforcement learning: expert rows are paid 1, rollouts 0, whatever the environment says (SQIL,
arXiv 1905.11108, algorithm 1, with ``lambda_samp`` as the rollouts' weight)::

    target = r + gamma (1 - terminated) V(s'),    V(s') = (1 / lambda) log sum_a exp(lambda Q_target(s', a))
    loss   = E_expert[(Q(s, a) - target)^2] + lambda_samp E_rollout[(Q(s, a) - target)^2]
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from rllib_mamql.algorithms.sqil.module import SQILModule
from rllib_mamql.columns import NEXT_OBS, column
from rllib_mamql.learning.losses import Losses
from rllib_mamql.learning.metrics import by_agent, explained
from rllib_mamql.learning.minibatch import AgentRows, Minibatch
from rllib_mamql.learning.soft_q import inverse_reward, log_policy, soft_value, take_actions, weighted_mean
from rllib_mamql.networks.masks import mean_over_legal
from rllib_mamql.networks.precision import Precision

EXPERT_REWARD, ROLLOUT_REWARD = 1.0, 0.0


class Settings(Protocol):
    """What the loss reads from ``SQILConfig``, which says what each means."""

    gamma: float
    rationality: float
    rollout_weight: float
    target_rate: float


class SQILLosses(Losses):
    """Squared soft Bellman error of every agent; what the learner minimises.

    Args:
        config: Settings.
        modules: ``{module: networks}``.
        agents_of: ``{module: agents that it learns for}``.
        precision: How the target networks are evaluated.
    """

    needs_next = False

    def __init__(
        self,
        config: Settings,
        modules: Mapping[str, SQILModule],
        agents_of: Mapping[str, list[str]],
        precision: Precision,
    ) -> None:
        super().__init__()
        self._config, self._modules, self._agents_of = config, dict(modules), dict(agents_of)
        self._precision = precision

    def __call__(
        self, batch: Minibatch, scores: Mapping[str, Tensor], *, update: int, report: bool
    ) -> dict[str, Tensor]:
        """``{agent: loss}`` of one gradient step; see :class:`~rllib_mamql.learning.losses.Losses`."""
        config, lam = self._config, self._config.rationality
        losses: dict[str, Tensor] = {}
        for module_id, agents in self._agents_of.items():
            rows = AgentRows.of(batch, agents)
            expert, rollouts = slice(0, rows.expert_rows), slice(rows.expert_rows, None)
            q, _, _ = batch.places(scores[module_id])
            next_value = soft_value(self._target_values(module_id, agents, batch), lam)
            reward = torch.full_like(next_value, ROLLOUT_REWARD)
            reward[:, expert] = EXPERT_REWARD
            error = bellman_error(take_actions(q, rows.actions), reward, next_value, rows.terminated, config.gamma)
            of_expert = weighted_mean(error[:, expert], rows.weights[:, expert])
            of_rollouts = weighted_mean(error[:, rollouts], rows.weights[:, rollouts])
            total = of_expert + config.rollout_weight * of_rollouts
            losses.update(zip(agents, total.unbind(), strict=True))
            if report:
                found = {
                    "expert_bellman_error": of_expert,
                    "rollout_bellman_error": of_rollouts,
                    "q_mean": mean_over_legal(q),
                }
                found |= explained(log_policy(q[:, expert], lam), rows.actions[:, expert], rows.weights[:, expert])
                self.terms |= by_agent(found, agents)
        return losses

    @torch.no_grad()
    def _target_values(self, module_id: str, agents: list[str], batch: Minibatch) -> Tensor:
        """The target network at the agents' next observations, ``(n, R, A)``, after it has followed the trained one."""
        module = self._modules[module_id]
        # Here and not after the optimiser: a gradient step that is recorded for a GPU ends with that.
        module.move_target(self._config.target_rate)
        observations = torch.cat([batch.columns[column(NEXT_OBS, agent)] for agent in agents])
        values = self._precision(module.target, observations)
        return values.view(len(agents), -1, values.shape[-1])


def bellman_error(q_taken: Tensor, reward: Tensor, next_value: Tensor, terminated: Tensor, discount: float) -> Tensor:
    """Squared soft Bellman error, ``(Q(s, a) - r - gamma (1 - terminated) V(s'))^2``.

    Args:
        q_taken: Action values of the actions taken ``(..., B)``.
        reward: ``(..., B)``.
        next_value: Soft values of the next observations, without gradients ``(..., B)``.
        terminated: True where nothing follows ``(..., B)``; not where an episode was truncated.
        discount: ``gamma`` in [0, 1).

    Returns:
        ``(..., B)``.
    """
    return (inverse_reward(q_taken, next_value, terminated, discount) - reward).square()
