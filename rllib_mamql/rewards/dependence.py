"""What a reward depends on, in any environment: no maps and no events are needed.

The policies play with a share of random actions. At every state that they visit, the marginal reward
``E_{a_-i ~ pi_-i}[ R_i(s, a_i, a_-i) ]`` of every own action is held against what is seen there:

- *curves*: the mean reward of each action by the value of one observation column. Only states that were visited count,
  unlike in a partial dependence plot: a column that is changed alone gives states that cannot be, and no reward was
  fitted there.
- *rules*: a tree of splits of columns and actions, grown where it explains most, whose leaves are the table's rows. It
  finds what no single column shows: a reward for meeting depends on where two agents are.
- pictures (observations with three axes): how much the reward changes where a patch of a channel is painted over with
  its mean, the occlusion saliency of Zeiler and Fergus (arXiv 1311.2901).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from rllib_mamql.columns import ALIVE, OBS, Array, column
from rllib_mamql.data.masks import MaskedBox
from rllib_mamql.learning.checkpoint import Checkpoint
from rllib_mamql.play.rollout import Watch
from rllib_mamql.rewards.exploration import explore
from rllib_mamql.rewards.maps import check_no_history, name_of, told_together
from rllib_mamql.rewards.marginal import marginal_recovered
from rllib_mamql.rewards.rules import Rule, grow
from rllib_mamql.rewards.settings import MapSettings
from rllib_mamql.rewards.store import check_rewards

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

SHARE = 0.25
"""Share of random actions in the play."""
BINS = 8
"""Most points of a curve; a column with no more values has a point for each."""
CURVES = 5
"""Columns that are drawn, those that explain most."""
ROWS = 10
"""Rows of the table."""
MOST_STATES = 4096
"""States of an agent that are looked at, at most."""
PATCHES = 12
"""Most patches along an axis of a picture."""
OCCLUDED = 256
"""States at which pictures are painted over."""


@dataclass(frozen=True)
class Curve:
    """Mean reward by the values of one column.

    Attributes:
        name: The column's.
        explained: Share of the reward's variance that the column's bins explain, actions told apart; in [0, 1].
        at: Mean value of the column in each bin ``(K,)``.
        means: Mean reward ``(A, K)``; NaN where an action is never legal.
        share: Share of the states in each bin ``(K,)``.
    """

    name: str
    explained: float
    at: Floats
    means: Floats
    share: Floats


@dataclass(frozen=True)
class Saliency:
    """How much a picture's patches matter.

    Attributes:
        change: Mean absolute change of the reward, over states and actions, where a patch of a channel is painted over
            with the mean picture's, ``(P, Q, C)``.
    """

    change: Floats


@dataclass(frozen=True)
class Dependence:
    """What one agent's reward depends on.

    Attributes:
        states: How many states were looked at.
        by_action: Mean reward of each action over the states ``(A,)``; NaN of one that was never legal.
        curves: Of the columns that explain most, best first; none of pictures.
        rules: The most telling rows, best first.
        saliency: Of pictures; else None.
    """

    states: int
    by_action: Floats
    curves: tuple[Curve, ...]
    rules: tuple[Rule, ...]
    saliency: Saliency | None = None


def reward_dependence(
    stored: Checkpoint, *, steps: int = MapSettings.steps, seed: int = MapSettings.seed, watch: Watch | None = None
) -> dict[str, Dependence]:
    """What the rewards of a checkpoint depend on.

    Args:
        stored: The checkpoint, recovered rewards in its modules.
        steps: Joint steps to play, with a share of random actions.
        seed: Seed of everything.
        watch: Told how many joint steps are played.

    Returns:
        ``{agent, or the agents of one module where there are more than two: what its reward depends on}``.

    Raises:
        ConfigError: If the checkpoint has no rewards, no environment, or a history.
    """
    check_rewards(stored)
    check_no_history(stored)
    columns = explore(stored, steps, share=SHARE, seed=seed, watch=watch)
    observations = {agent: columns[column(OBS, agent)] for agent in stored.module_of}
    alive = {agent: columns[column(ALIVE, agent)].astype(bool) for agent in stored.module_of}
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    found = {}
    for group in told_together(stored.module_of):
        rows = {agent: _some(alive[agent], MOST_STATES // len(group), rng) for agent in group}
        seen = np.concatenate([_without_mask(stored, agent, observations[agent][rows[agent]]) for agent in group])
        if not len(seen):
            continue
        rewards = np.concatenate([_marginal(stored, a, observations, alive, rows[a], generator) for a in group])
        if seen.ndim == 4:
            saliency = _saliency(stored, group, observations, alive, rows, generator)
            found[name_of(group)] = _of_picture(rewards, saliency)
        else:
            found[name_of(group)] = dependence_of(seen, rewards)
    return found


def dependence_of(seen: Array, rewards: Floats) -> Dependence:
    """What rewards depend on.

    Args:
        seen: Observations ``(N, *obs)`` of one or two axes.
        rewards: Of every own action there ``(N, A)``; not finite where it is not legal.
    """
    names = column_names(seen.shape[1:])
    table = np.asarray(seen, dtype=np.float64).reshape(len(seen), -1)
    rewards = np.where(np.isfinite(rewards), rewards, np.nan)
    curves = [_curve(names[place], table[:, place], rewards) for place in range(table.shape[1])]
    best = sorted((curve for curve in curves if len(curve.at) > 1), key=lambda curve: -curve.explained)
    telling = grow(table, rewards, names)[:ROWS]
    return Dependence(len(seen), _by_action(rewards), tuple(best[:CURVES]), tuple(telling))


def column_names(shape: Sequence[int]) -> list[str]:
    """What the columns of an observation are called: ``[3]``, or ``[entity 1, 3]`` of entities in rows."""
    if len(shape) == 1:
        return [f"[{place}]" for place in range(shape[0])]
    return [f"[entity {row}, {place}]" for row in range(shape[0]) for place in range(shape[1])]


def _some(alive: NDArray[np.bool_], most: int, rng: np.random.Generator) -> Rows:
    """Rows in which an agent acts, drawn where there are many."""
    rows = np.flatnonzero(alive)
    return rows if len(rows) <= most else np.sort(rng.choice(rows, most, replace=False))


def _marginal(
    stored: Checkpoint,
    agent: str,
    observations: Mapping[str, Array],
    alive: Mapping[str, Array],
    rows: Rows,
    generator: torch.Generator,
) -> Floats:
    """The marginal rewards ``(N, A)`` at some rows; NaN of illegal actions, of which networks say nothing."""
    seen, acting = ({one: values[rows] for one, values in each.items()} for each in (observations, alive))
    values = marginal_recovered(stored, agent, seen, acting, generator)
    space = stored.modules[stored.module_of[agent]].observation_space
    return np.where(space.legal(seen[agent]), values, np.nan) if isinstance(space, MaskedBox) else values


def _without_mask(stored: Checkpoint, agent: str, observations: Array) -> Array:
    space = stored.modules[stored.module_of[agent]].observation_space
    return space.split(observations)[0] if isinstance(space, MaskedBox) else observations


def _by_action(rewards: Floats) -> Floats:
    known = np.isfinite(rewards)
    total = np.where(known, rewards, 0.0).sum(0)
    return np.where(known.any(0), total / np.maximum(known.sum(0), 1), np.nan)


def _curve(name: str, values: Floats, rewards: Floats) -> Curve:
    """Mean rewards in bins of about equally many states."""
    distinct = np.unique(values)
    if len(distinct) > BINS:
        distinct = np.unique(np.quantile(values, np.linspace(0.0, 1.0, BINS + 1)[:-1], method="lower"))
    bins = np.searchsorted(distinct, values, side="right") - 1
    count = np.bincount(bins, minlength=len(distinct))
    means = np.stack([_by_action(rewards[bins == place]) for place in range(len(distinct))], axis=-1)
    average = np.nanmean(rewards)
    # Against what the actions alone explain: a column that tells nothing more explains nothing.
    by_action = _by_action(rewards)[:, None]
    spread = float(np.nanmean((rewards - average) ** 2))
    pairs = np.stack([np.isfinite(rewards[bins == place]).sum(0) for place in range(len(distinct))], axis=-1)
    between = float(np.nansum(pairs * (means - by_action) ** 2) / max(1, pairs.sum()))
    explained = min(1.0, between / spread) if spread > 0.0 else 0.0
    at = np.bincount(bins, values, minlength=len(distinct)) / count
    return Curve(name, explained, at, means, count / count.sum())


def _of_picture(rewards: Floats, saliency: Saliency) -> Dependence:
    change = saliency.change
    order = np.argsort(-change, axis=None)[:ROWS]
    total = float(np.square(change).sum()) or 1.0
    rules = []
    for place in order:
        row, across, channel = (int(index) for index in np.unravel_index(place, change.shape))
        part = float(change[row, across, channel])
        where = f"channel {channel}, patch {row} down, {across} across"
        rules.append(Rule(where, part, 0.0, 1.0, part**2 / total))
    return Dependence(len(rewards), _by_action(rewards), (), tuple(rules), saliency)


def _saliency(
    stored: Checkpoint,
    group: Sequence[str],
    observations: Mapping[str, Array],
    alive: Mapping[str, Array],
    rows: Mapping[str, Rows],
    generator: torch.Generator,
) -> Saliency:
    """Paints patches over, one after the other; the others' policies are asked at what they saw."""
    group = [agent for agent in group if len(rows[agent])]
    spaces = {agent: stored.modules[stored.module_of[agent]].observation_space for agent in group}
    height, width, channels = _without_mask(stored, group[0], observations[group[0]][:1]).shape[1:]
    edges = [np.linspace(0, size, min(size, PATCHES) + 1).astype(int) for size in (height, width)]
    change = np.zeros((len(edges[0]) - 1, len(edges[1]) - 1, channels))
    most = max(1, OCCLUDED // len(group))
    for agent in group:
        kept = rows[agent][:: max(1, len(rows[agent]) // most)][:most]
        mean = _without_mask(stored, agent, observations[agent][rows[agent]]).mean(0)
        seen = {one: values[kept] for one, values in observations.items()}
        acting = {one: values[kept] for one, values in alive.items()}
        everything = np.arange(len(kept))

        def paid(
            seen: Mapping[str, Array], agent: str = agent, acting: Mapping[str, Array] = acting, all_: Rows = everything
        ) -> Floats:
            return np.nan_to_num(_marginal(stored, agent, seen, acting, all_, generator.manual_seed(0)))

        before, space = paid(seen), spaces[agent]
        for row, across, channel in np.ndindex(change.shape):
            painted = _without_mask(stored, agent, seen[agent]).copy()
            part = (slice(*edges[0][row : row + 2]), slice(*edges[1][across : across + 2]), channel)
            painted[:, part[0], part[1], part[2]] = mean[part].astype(painted.dtype)
            # The same draws of the others' actions as before: what changes is the picture.
            if isinstance(space, MaskedBox):
                painted = space.join(painted, space.legal(seen[agent]))
            after = paid({**seen, agent: painted})
            change[row, across, channel] += np.abs(after - before).mean() / len(group)
    return Saliency(change)
