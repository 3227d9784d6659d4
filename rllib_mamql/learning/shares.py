"""How the demonstrations are dealt out to several learners."""

from __future__ import annotations

import numpy as np

from rllib_mamql.columns import Array
from rllib_mamql.errors import ConfigError


def deal_rows(times: Array, learners: int) -> list[Array]:
    """Rows of each learner: the first steps of episodes are dealt out one by one, and then all other rows.

    Every learner needs both. Dealt out row by row, episodes of even length would give two learners' starts to one.

    Args:
        times: Each row's step in its episode, ``(N,)``.
        learners: How many, >= 1.

    Returns:
        A sorted array of row numbers for each learner; their sizes differ by one at most.

    Raises:
        ConfigError: If there are fewer rows than learners.
    """
    if len(times) < learners:
        raise ConfigError(f"{len(times)} expert steps are too few for {learners} learners: lower num_learners")
    first = np.asarray(times) == 0
    order = np.concatenate([np.flatnonzero(first), np.flatnonzero(~first)])
    return [np.sort(order[rank::learners]) for rank in range(learners)]
