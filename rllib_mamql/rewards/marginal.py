"""Recovered rewards as one agent can expect them: marginalised over the other agents' policies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rllib_mamql.algorithms.mamql import objective
from rllib_mamql.algorithms.mamql.others import joint_marginal
from rllib_mamql.learning.checkpoint import Checkpoint
from rllib_mamql.networks.tensors import in_parts, rows_at_once, to_tensor

ENUMERATED = 125
"""Most joint actions of the others that are all tried; of more, ``SAMPLES`` are drawn."""
SAMPLES = 32


@torch.no_grad()
def marginal_recovered(
    stored: Checkpoint,
    agent: str,
    observations: Mapping[str, NDArray[Any]],
    alive: Mapping[str, NDArray[Any]],
    generator: torch.Generator,
) -> NDArray[np.float64]:
    """``E_{a_-i ~ pi_-i}[ R_i(s, a_i, a_-i) ]`` for all own actions.

    Args:
        stored: The checkpoint.
        agent: Whose reward.
        observations: ``{agent: (N, *obs)}``.
        alive: ``{agent: (N,)}``; a dead agent is idle, as in recovery.
        generator: Source of draws, where the others have too many joint actions to try all.

    Returns:
        ``(N, A)``.
    """
    module = stored.modules[stored.module_of[agent]]
    others = [other for other in stored.module_of if other != agent]
    joint = math.prod(int(stored.modules[stored.module_of[other]].action_space.n) for other in others)
    samples = None if joint <= ENUMERATED else SAMPLES
    count = len(observations[agent])
    parts = [np.zeros((0, int(module.action_space.n)))]
    size = rows_at_once(observations[agent], most=2048)
    for start in range(0, count, size):
        rows = slice(start, start + size)
        policies = [policy_of(stored, other, observations[other][rows], alive[other][rows]) for other in others]
        own = to_tensor(observations[agent][rows])
        values = joint_marginal(module.reward, own, policies, samples=samples, generator=generator)
        parts.append(values.double().numpy())
    return np.concatenate(parts)


@torch.no_grad()
def policy_of(stored: Checkpoint, agent: str, observations: NDArray[Any], alive: NDArray[Any]) -> Tensor:
    """An agent's policy at the training rationality, ``(N, A)``; where it is dead, it is idle, as in the data."""
    network, rationality = stored.modules[stored.module_of[agent]].average, float(stored.settings["rationality"])
    policy = objective.log_policy(in_parts(network, observations), rationality).exp()
    return objective.idle_where_dead(policy, torch.as_tensor(np.asarray(alive, dtype=bool)))
