"""What demonstrations do not determine of a reward, from the demonstrations and the policies alone.

Behaviour shows a reward as far as it depends on it (docs/results/identifiability.md). An expert that never errs shows
which actions are better and not by how much: twice the reward explains its play as well. One that errs now and then,
and as often where it costs much as where it costs little, shows a scale and no more. One that acts alike wherever it is
shows nothing.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from rllib_mamql.columns import ACTIONS, ALIVE, OBS, JointColumns, column
from rllib_mamql.learning.checkpoint import Checkpoint
from rllib_mamql.networks.tensors import in_parts

MOST_ROWS = 2000
"""Demonstrated steps of each agent that are looked at, at most."""
INDIFFERENT = 0.02
"""Nats that an agent's actions tell of its observation, below which they tell nothing."""
INFERIOR = math.log(0.5)
"""Log-likelihood beside that of the best action, below which an action is an error rather than a matter of taste."""
EVEN = 0.3
"""Standard deviation of the log-likelihoods of errors, as a share of their mean, below which they are all alike. From a
thousand steps of the scripted pair of Gems, which errs evenly, it is 0.18; of soft-optimal ones 0.6 and more."""


@torch.no_grad()
def unscaled_agents(stored: Checkpoint, demonstrations: JointColumns) -> list[str]:
    """Agents whose demonstrations are explained as well by rewards twice as large.

    At twice the rationality the same critics are those of twice the reward: where that makes the demonstrated actions
    no less likely, nothing bounds the reward from above.

    Args:
        stored: The checkpoint.
        demonstrations: What it learned from.
    """
    rationality = float(stored.settings["rationality"])
    result = []
    for agent, module_id in stored.module_of.items():
        q, actions = _critic_at(stored.modules[module_id], agent, demonstrations)
        if len(actions):
            once, twice = (
                torch.log_softmax(factor * rationality * q, dim=-1).gather(-1, actions[:, None]).mean()
                for factor in (1.0, 2.0)
            )
            if twice >= once:
                result.append(agent)
    return result


@torch.no_grad()
def indifferent_agents(stored: Checkpoint, demonstrations: JointColumns) -> list[str]:
    """Agents whose policies are the same wherever they are in the demonstrations."""
    rationality = float(stored.settings["rationality"])
    result = []
    for agent, module_id in stored.module_of.items():
        q, _ = _critic_at(stored.modules[module_id], agent, demonstrations)
        if len(q):
            policy = torch.softmax(rationality * q, dim=-1)
            told = _entropy(policy.mean(0, keepdim=True))[0] - _entropy(policy).mean()
            if told < INDIFFERENT:
                result.append(agent)
    return result


@torch.no_grad()
def even_agents(stored: Checkpoint, demonstrations: JointColumns) -> list[str]:
    """Agents whose errors are all alike, however much they cost.

    Of a soft-optimal agent an action is the rarer the more it costs: log pi(a | s) - log pi(a* | s) is lambda times the
    loss. Where that is about the same for all inferior actions in all states, a coin decides whether the agent errs,
    and what it plays for may be worth any amounts that prefer the same actions.

    Args:
        stored: The checkpoint.
        demonstrations: What it learned from.
    """
    rationality = float(stored.settings["rationality"])
    result = []
    for agent, module_id in stored.module_of.items():
        q, _ = _critic_at(stored.modules[module_id], agent, demonstrations)
        policy = torch.softmax(rationality * q, dim=-1)
        behind = policy.log() - policy.log().amax(-1, keepdim=True)
        errors = behind[(policy > 0.0) & (behind < INFERIOR)].double()
        if len(errors) > 1 and errors.std() < EVEN * errors.mean().abs():
            result.append(agent)
    return result


def _critic_at(module: Any, agent: str, demonstrations: JointColumns) -> tuple[torch.Tensor, torch.Tensor]:
    """Action values and actions at demonstrated steps of an agent, spread over them."""
    rows = np.flatnonzero(np.asarray(demonstrations[column(ALIVE, agent)], dtype=bool))
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST_ROWS)).astype(int)] if len(rows) else rows
    if not len(rows):
        return torch.zeros(0, 1), torch.zeros(0, dtype=torch.long)
    q = in_parts(module.average, demonstrations[column(OBS, agent)][rows]).float()
    return q, torch.as_tensor(np.asarray(demonstrations[column(ACTIONS, agent)])[rows]).long()


def _entropy(policy: torch.Tensor) -> torch.Tensor:
    return -(policy * policy.clamp_min(1e-12).log()).sum(-1)
