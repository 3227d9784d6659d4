"""Names of what learners report, and how well scores explain the expert."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

NUM_GRADIENT_STEPS = "num_gradient_steps"
NUM_GRADIENT_STEPS_LIFETIME = "num_gradient_steps_lifetime"

EXPERT_LOG_LIKELIHOOD = "expert_log_likelihood"
EXPERT_ACCURACY = "expert_accuracy"
POLICY_ENTROPY = "policy_entropy"

ENVIRONMENT_FAULT = "environment_fault"
"""Key of a trial's last result where the environment's fault ended it: what was wrong."""
RETURN_MEAN = "return_mean"
"""Metric: an episode's return as evaluation counts it (mean over agents, or the team's; RLlib's sums over agents).

At the top of a result it is what searches compare by, and a column of ``progress.csv``, NaN before an episode ended."""
INCIDENTS = "incidents"
"""Key of a trial's result: what failed since the last one and was made good, a line each."""


def explained(log_policies: Tensor, actions: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """How well policies explain the expert's actions, by metric, each ``(...)``.

    ``expert_log_likelihood`` is the mean log-probability (nats, at most 0) of the expert's actions and
    ``expert_accuracy`` how often the most likely action is the expert's.

    Args:
        log_policies: Log-probabilities at the expert's observations ``(..., E, A)``.
        actions: The expert's ``(..., E)``.
        weights: ``(..., E)``, >= 0; 0 where the agent was not alive.
    """
    taken = log_policies.gather(-1, actions.long().unsqueeze(-1)).squeeze(-1)
    entropy = -(log_policies.exp() * log_policies).sum(-1)
    total = weights.sum(-1).clamp_min(1e-8)
    values = {
        EXPERT_LOG_LIKELIHOOD: taken,
        EXPERT_ACCURACY: (log_policies.argmax(-1) == actions).float(),
        POLICY_ENTROPY: entropy,
    }
    return {name: (value * weights).sum(-1) / total for name, value in values.items()}


def by_agent(values: Mapping[str, Tensor], agents: Sequence[str]) -> dict[str, dict[str, Tensor]]:
    """Metrics ``(n,)`` of n agents as ``{agent: {metric: scalar}}``, without gradients."""
    of = {name: value.detach().unbind() for name, value in values.items()}
    return {agent: {name: of[name][k] for name in of} for k, agent in enumerate(agents)}


def to_floats(values: dict[str, Tensor]) -> list[dict[str, float]]:
    """Metrics ``(n,)`` of n agents as n records; one copy for all: each would make the host wait for the device."""
    rows = torch.stack([value.detach() for value in values.values()], 1).tolist()
    return [dict(zip(values, row, strict=True)) for row in rows]
