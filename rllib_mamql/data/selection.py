"""Reproducible subsets of a dataset, by joint steps."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rllib_mamql.columns import EPS_ID, Array, JointColumns, take
from rllib_mamql.data.validation import episode_order
from rllib_mamql.errors import DatasetError

BLOCKS = 10
"""Parts of equal time into which a single episode is cut, to hold out some of them."""


def select_episodes(columns: Mapping[str, Array], steps: int, seed: int) -> dict[str, int]:
    """Which episodes, and how many first steps of each, make up ``steps`` joint steps.

    Episodes are taken whole in a random order that depends on the seed and the set of episodes alone (not on
    the order of rows), and the last one is cut; so a smaller selection is part of a larger one.

    Args:
        columns: At least eps_id.
        steps: Joint steps wanted, from 1 to the number of rows.
        seed: Seed of the order.

    Returns:
        ``{eps_id: number of first steps}`` in the order taken.

    Raises:
        DatasetError: If ``steps`` is out of range.
    """
    names, lengths = np.unique(columns[EPS_ID].astype(str), return_counts=True)
    available = int(lengths.sum())
    if not 1 <= steps <= available:
        raise DatasetError(f"{steps} expert steps are wanted, the dataset has {available}: choose 1 to {available}")
    chosen: dict[str, int] = {}
    for index in np.random.default_rng(seed).permutation(len(names)):
        chosen[str(names[index])] = min(int(lengths[index]), steps)
        steps -= chosen[str(names[index])]
        if steps == 0:
            break
    return chosen


def hold_out(columns: JointColumns, share: float, seed: int) -> tuple[JointColumns, JointColumns]:
    """Splits joint steps by whole episodes; those of a single episode by blocks of time.

    Args:
        columns: Joint steps, at least two.
        share: Share of the episodes or blocks to hold out, in (0, 1); at least one is held out, and never all.
        seed: Seed of the choice.

    Returns:
        The rows to train on and those held out.

    Raises:
        DatasetError: If there is one step only.
    """
    episodes = columns[EPS_ID].astype(str)
    if len(episodes) < 2:
        raise DatasetError(f"holding out needs at least two steps, the data has {len(episodes)}: use more expert_steps")
    names = np.unique(episodes)
    if len(names) == 1:
        order, _ = episode_order(columns)
        episodes = np.empty(len(order), dtype=np.int64)
        episodes[order] = np.arange(len(order)) * min(BLOCKS, len(order)) // len(order)
        names = np.unique(episodes)
    count = min(max(1, round(share * len(names))), len(names) - 1)
    chosen = np.random.default_rng(seed).permutation(names)[:count]
    held = np.isin(episodes, chosen)
    return take(columns, ~held), take(columns, held)


def select_steps(columns: Mapping[str, Array], steps: int, seed: int) -> JointColumns:
    """A subset of exactly ``steps`` rows: whole episodes in random order, then the first steps of one more.

    The cut episode keeps its flags as recorded: a cut is no termination.

    Args:
        columns: Joint steps.
        steps: Joint steps wanted, from 1 to the number of rows.
        seed: Seed of the order.

    Returns:
        The rows, episode by episode in the order taken and sorted by t.

    Raises:
        DatasetError: If ``steps`` is out of range.
    """
    chosen = select_episodes(columns, steps, seed)
    order, episode = episode_order(columns)
    starts = np.flatnonzero(np.append(True, episode[1:] != episode[:-1]))
    start_of = dict(zip(columns[EPS_ID].astype(str)[order[starts]].tolist(), starts.tolist(), strict=True))
    rows = [order[start_of[name] : start_of[name] + count] for name, count in chosen.items()]
    return take(columns, np.concatenate(rows))
