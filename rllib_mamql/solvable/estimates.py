"""What samples of the others' actions make of soft values and policies, given the true joint critic."""

from __future__ import annotations

import numpy as np

from rllib_mamql.solvable.equilibrium import boltzmann, soft_values
from rllib_mamql.solvable.game import Array

DRAWS = 2_000
"""Draws a state of K > 1 samples."""


def estimates(q: Array, others: Array, rationality: float, samples: int, seed: int) -> dict[str, Array]:
    """Bias and variance of the soft value, and the mean policy, from samples of a_-i.

    Args:
        q: Joint critic ``(S, M, A)``; M numbers what the others may do.
        others: Probabilities ``(S, M)``.
        rationality: lambda > 0.
        samples: K; 1 is computed exactly, more from draws.
        seed: Of the draws.

    Returns:
        ``bias`` ``(S,)``, ``variance`` ``(S,)``, ``policy`` ``(S, A)``.
    """
    exact = soft_values((others[..., None] * q).sum(1), rationality)
    if samples == 1:
        drawn, weight = q, others
    else:
        rng = np.random.default_rng(seed)
        index = np.stack([rng.choice(len(row), (DRAWS, samples), p=row / row.sum()) for row in others])
        drawn = q[np.arange(len(q))[:, None, None], index].mean(2)
        weight = np.full(drawn.shape[:2], 1.0 / DRAWS)
    values = soft_values(drawn, rationality)
    mean = (weight * values).sum(1)
    return {
        "bias": mean - exact,
        "variance": (weight * (values - mean[:, None]) ** 2).sum(1),
        "policy": (weight[..., None] * boltzmann(drawn, rationality)).sum(1),
    }
