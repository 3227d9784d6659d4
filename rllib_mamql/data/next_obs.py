"""Successor observations where a dataset does not hold them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rllib_mamql.columns import ALIVE, NEXT_OBS, OBS, TERMINATEDS, JointColumns, column
from rllib_mamql.data.validation import Locate, where
from rllib_mamql.errors import DatasetError


def derive_next_obs(
    columns: JointColumns,
    agent: str,
    order: npt.NDArray[np.intp],
    episode: npt.NDArray[np.intp],
    locate: Locate | None = None,
) -> None:
    """Adds ``next_obs`` of an agent: the observation of the next row of its episode, or its own where it terminated.

    Args:
        columns: Joint steps whose episodes have been checked; written to.
        agent: Whose.
        order: Rows sorted by episode and t, from :func:`episode_order`.
        episode: Episode of each row in that order.
        locate: Names the file of a row.

    Raises:
        DatasetError: If an episode is truncated, so that the last observation is bootstrapped from but unknown.
    """
    obs = columns[column(OBS, agent)]
    alive = columns[column(ALIVE, agent)][order].astype(bool)
    terminated = columns[column(TERMINATEDS, agent)][order].astype(bool)
    followed = np.append((episode[1:] == episode[:-1]) & alive[1:], False)
    unknown = alive & ~followed & ~terminated
    if unknown.any():
        row = order[int(unknown.argmax())]
        raise DatasetError(
            f"{where(columns, row, locate)}: '{agent}' is truncated and the dataset has no "
            f"'{column(NEXT_OBS, agent)}', so its last observation is unknown: record the column"
        )
    source = np.where(followed, np.append(order[1:], order[-1]), order)
    following = np.empty_like(obs)
    following[order] = obs[source]
    columns[column(NEXT_OBS, agent)] = following
