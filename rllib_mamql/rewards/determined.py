"""What demonstrations do not determine of a reward, from the demonstrations and the policies alone.

Behaviour shows a reward as far as it depends on it (docs/results/identifiability.md). An expert that never errs shows
which actions are better and not by how much: twice the reward explains its play as well. One that errs now and then,
and as often where it costs much as where it costs little, shows a scale and no more. One that acts alike wherever it is
shows nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rllib_mamql.columns import ACTIONS, ALIVE, OBS, JointColumns, column
from rllib_mamql.learning.checkpoint import Checkpoint
from rllib_mamql.networks.tensors import in_parts

MOST_ROWS = 2000
"""Demonstrated steps of each agent that are looked at, at most."""
INDIFFERENT = 0.02
"""Nats that an agent's actions tell of its observation, below which they tell nothing."""
INFERIOR = math.log(0.5)
"""Log-likelihood beside that of the best action, below which an action is an error rather than a matter of taste."""
EVEN = math.log(2.0)
"""Standard deviation of the log-likelihoods of errors, in nats, below which they are all alike: a factor of two. From a
thousand steps of the scripted pair of Gems, which errs evenly, it is 0.4; of the soft-optimal pair 1.3; in the kitchen
and at the intersection 2 and more."""

Judge = Callable[[Tensor, Tensor], bool]
"""``(logits of the policy at demonstrated steps (R, A), the actions there (R,)) -> whether it is so``; R > 0."""


def unscaled_agents(stored: Checkpoint, demonstrations: JointColumns) -> list[str]:
    """Agents whose demonstrations are explained as well by rewards twice as large.

    At twice the rationality the same critics are those of twice the reward: where that makes the demonstrated actions
    no less likely, nothing bounds the reward from above.

    Args:
        stored: The checkpoint.
        demonstrations: What it learned from.
    """

    def unscaled(logits: Tensor, actions: Tensor) -> bool:
        once, twice = (
            torch.log_softmax(factor * logits, dim=-1).gather(-1, actions[:, None]).mean() for factor in (1.0, 2.0)
        )
        return bool(twice >= once)

    return _agents(stored, demonstrations, unscaled)


def indifferent_agents(stored: Checkpoint, demonstrations: JointColumns) -> list[str]:
    """Agents whose policies are the same wherever they are in the demonstrations; arguments as above."""

    def indifferent(logits: Tensor, actions: Tensor) -> bool:
        policy = torch.softmax(logits, dim=-1)
        told = _entropy(policy.mean(0, keepdim=True))[0] - _entropy(policy).mean()
        return bool(told < INDIFFERENT)

    return _agents(stored, demonstrations, indifferent)


def even_agents(stored: Checkpoint, demonstrations: JointColumns) -> list[str]:
    """Agents whose errors are all alike, however much they cost; arguments as above.

    Of a soft-optimal agent an action is the rarer the more it costs: log pi(a | s) - log pi(a* | s) is minus lambda
    times the loss. Where that is about the same for all inferior actions in all states, a coin decides whether the
    agent errs, and what it plays for may be worth any amounts that prefer the same actions.
    """

    def even(logits: Tensor, actions: Tensor) -> bool:
        policy = torch.softmax(logits, dim=-1)
        behind = policy.log() - policy.log().amax(-1, keepdim=True)
        errors = behind[(policy > 0.0) & (behind < INFERIOR)].double()
        return len(errors) > 1 and bool(errors.std() < EVEN)

    return _agents(stored, demonstrations, even)


@torch.no_grad()
def _agents(stored: Checkpoint, demonstrations: JointColumns, judge: Judge) -> list[str]:
    """Agents of whom something is so, judged by their policies at training's rationality where they demonstrated."""
    rationality = float(stored.settings["rationality"])
    found = []
    for agent, module_id in stored.module_of.items():
        q, actions = _critic_at(stored.modules[module_id], agent, demonstrations)
        if len(actions) and judge(rationality * q, actions):
            found.append(agent)
    return found


def _critic_at(module: Any, agent: str, demonstrations: JointColumns) -> tuple[Tensor, Tensor]:
    """Action values and actions at demonstrated steps of an agent, spread over them."""
    rows = np.flatnonzero(np.asarray(demonstrations[column(ALIVE, agent)], dtype=bool))
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST_ROWS)).astype(int)] if len(rows) else rows
    if not len(rows):
        return torch.zeros(0, 1), torch.zeros(0, dtype=torch.long)
    q = in_parts(module.average, demonstrations[column(OBS, agent)][rows]).float()
    return q, torch.as_tensor(np.asarray(demonstrations[column(ACTIONS, agent)])[rows]).long()


def _entropy(policy: Tensor) -> Tensor:
    return -(policy * policy.clamp_min(1e-12).log()).sum(-1)
