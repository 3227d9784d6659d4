"""Known ways in which imitation fails, told from numbers: pure functions, words for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rllib_mamql.columns import Q_SHARE, REWARD_SHARE
from rllib_mamql.data.schema import ReturnSummary

Array = NDArray[Any]

REGULAR = 0.2
"""Events an episode from which on the expert is held to show a kind regularly."""

COLLAPSED, KEPT = 0.5, 0.7
"""A kind below the first share of the expert's rate while another is above the second: play fell onto one kind."""

REWARD_LIMIT, Q_LIMIT = 1.5, 0.5
"""A critic that learns has shares of some tenths (about 1 where the expert is deterministic) and some hundredths."""

COVERED, UNCOVERED = 0.95, 0.5
"""Play is far off where more than the second share is farther away than the first share of the expert's own states."""
SAME_STATE = 0.02
"""States closer than so many root-mean-square deviations are the same."""
BASE_ROWS, QUERY_ROWS = 3000, 400
"""Rows that distances are measured to and from."""
MOST_BYTES = 2**27
"""Of them in float64: fewer rows where they are large images."""

FAR_BELOW = 0.1
"""Share of the way from random play to the expert (or of the return) that greedy play may lose against sampled play."""

LEAST_GAIN = 0.02
"""Nats a step that another rationality must explain the expert better by; less is noise."""

Events = Mapping[str, Mapping[str, float]]
"""``{agent: {kind: mean count an episode}}``."""


def over_agents(events: Events) -> dict[str, float]:
    """Sums over agents, ``{kind: count an episode}``, kinds in alphabetical order."""
    kinds = sorted({kind for counts in events.values() for kind in counts})
    return {kind: sum(counts.get(kind, 0.0) for counts in events.values()) for kind in kinds}


def event_ratio(learned: Events, expert: Events) -> dict[str, float | None]:
    """How often a kind of reward event happens, against the expert, over all agents.

    Args:
        learned: Of the learned policies.
        expert: Of the expert; empty if unknown.

    Returns:
        ``{kind: learned rate / expert's}`` for every kind of either; None where the expert shows none; empty where
        the expert is unknown.
    """
    if not expert:
        return {}
    mine, theirs = over_agents(learned), over_agents(expert)
    return {kind: mine.get(kind, 0.0) / theirs[kind] if theirs.get(kind) else None for kind in sorted({*mine, *theirs})}


def event_warnings(learned: Events, expert: Events) -> list[str]:
    """Says where play collapsed onto some kinds of reward events while the expert collects others as well.

    Rates are compared over all agents together: which agent does what may differ from the expert's division of work.

    Args:
        learned: Of the learned policies.
        expert: Of the expert; empty if unknown.

    Returns:
        One sentence for each kind that was lost.
    """
    ratios, mine, theirs = event_ratio(learned, expert), over_agents(learned), over_agents(expert)
    regular = {kind: ratio for kind, ratio in ratios.items() if ratio is not None and theirs[kind] >= REGULAR}
    kept = [kind for kind, ratio in regular.items() if ratio >= KEPT]
    return [
        f"play collapsed: {kind} happens {mine.get(kind, 0.0):.2f} times an episode, with the expert "
        f"{theirs[kind]:.2f}, while {' and '.join(kept)} {'is' if len(kept) == 1 else 'are'} kept; "
        "try more rollouts (a smaller updates_per_step), a lower rationality or a larger chi_square_scale"
        for kind, ratio in regular.items()
        if kept and ratio < COLLAPSED
    ]


def divergence_warnings(shares: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Says whose critic or implied reward grows without bound.

    Args:
        shares: ``{agent: {REWARD_SHARE: 90th percentile of |rbar| in its bound, Q_SHARE: |mean Q| in its bound}}``, the
            bounds of :func:`implied_bounds`; either may be missing.

    Returns:
        One sentence for each agent and kind.
    """
    remedy = "try chi_square_states: mixture, a smaller chi_square_scale or a larger weight_decay"
    # Not "greater than": what is not a number has diverged as well.
    return [
        f"{what} of {agent} diverges: {size} is {values[name]:.2g} times {bound}, expected below {limit:g}; {remedy}"
        for agent, values in shares.items()
        for name, limit, what, size, bound in (
            (REWARD_SHARE, REWARD_LIMIT, "implied reward", "its 90th percentile", "2 chi_square_scale"),
            (Q_SHARE, Q_LIMIT, "critic", "the mean action value", "2 chi_square_scale / (1 - gamma)"),
        )
        if name in values and not values[name] <= limit
    ]


def greedy_warnings(
    greedy: ReturnSummary, sampled: ReturnSummary, expert: float | None, random: float | None
) -> list[str]:
    """Says where the most likely actions return far less than sampled ones.

    Args:
        greedy: Returns of the most likely actions.
        sampled: Returns of sampled ones.
        expert: The expert's mean return; None if unknown.
        random: Random play's.

    Returns:
        One sentence, or none where the intervals meet.
    """
    known = expert is not None and random is not None and expert > random
    scale = expert - random if known else abs(sampled.mean)  # type: ignore[operator]
    if sampled.mean - greedy.mean <= FAR_BELOW * scale or greedy.ci95[1] >= sampled.ci95[0]:
        return []
    return [
        f"the most likely actions return {greedy.mean:.2f}, sampled ones {sampled.mean:.2f}: agents that always do the "
        "same wait for each other or go in circles; leave --greedy out"
    ]


@dataclass(frozen=True)
class Coverage:
    """How far from the expert's states play is, in the expert's standard deviations.

    Attributes:
        play: Median distance of a state from play to the nearest expert state.
        expert: The same of expert states to the expert's other episodes.
        uncovered: Share of play farther away than ``COVERED`` of the expert's states; ``1 - COVERED`` if alike.
    """

    play: float
    expert: float
    uncovered: float


def coverage(play: Array, expert: Array, episodes: Array, *, seed: int = 0) -> Coverage:
    """Compares distances from play to the expert's states with those among the expert's own episodes.

    Episodes are told apart since successive states are close to each other whatever the expert does: half of them are
    the states to come close to, the others show how close the expert itself comes to them.

    Args:
        play: Observations ``(N, d)``, flat.
        expert: The expert's, ``(M, d)``.
        episodes: Episode of each of these, ``(M,)``; of at least two.
        seed: Seed of which episodes and rows are taken.

    Raises:
        ValueError: If there are no rows to compare.
    """
    rng = np.random.default_rng(seed)
    names = rng.permutation(np.unique(episodes))
    if len(names) < 2 or not len(play):
        raise ValueError(f"coverage needs play and two expert episodes, got {len(play)} states, {len(names)} episodes")
    held = np.isin(episodes, names[: len(names) // 2])
    scale = _spread(expert)
    # What never changes with the expert has no scale of its own: a change of it in play counts as it is.
    scale = np.where(scale > 1e-6, scale, 1.0)
    base = _some(expert, np.flatnonzero(~held), BASE_ROWS, rng) / scale
    query = _some(expert, np.flatnonzero(held), QUERY_ROWS, rng) / scale
    from scipy.spatial import cKDTree  # Here: learners start sooner without.

    tree = cKDTree(base)
    to_play, _ = tree.query(_some(play, np.arange(len(play)), QUERY_ROWS, rng) / scale)
    to_expert, _ = tree.query(query)
    # A deterministic expert repeats itself exactly; steps smaller than this are no other state.
    least = SAME_STATE * float(np.sqrt((query.std(axis=0) ** 2).sum()))
    edge = max(float(np.quantile(to_expert, COVERED)), least)
    return Coverage(float(np.median(to_play)), float(np.median(to_expert)), float((to_play > edge).mean()))


def _some(values: Array, rows: Array, count: int, rng: np.random.Generator) -> Array:
    """Some of the rows in float64: so many at most, and fewer of large images."""
    count = max(1, min(count, MOST_BYTES // (8 * max(1, values.shape[1]))))
    chosen = rows if len(rows) <= count else rows[rng.choice(len(rows), count, replace=False)]
    return np.asarray(values[chosen], np.float64)


def _spread(values: Array) -> Array:
    """Standard deviation of each number ``(d,)``, some numbers at a time: images are large in float64."""
    part = max(1, MOST_BYTES // (8 * len(values)))
    parts = [values[:, first : first + part] for first in range(0, max(1, values.shape[1]), part)]
    return np.concatenate([some.std(axis=0, dtype=np.float64) for some in parts])


def coverage_warnings(found: Mapping[str, Coverage]) -> list[str]:
    """Says whose play is in states that the expert's data does not show.

    Args:
        found: ``{agent: coverage}``.

    Returns:
        One sentence, or none.
    """
    far = {agent: value for agent, value in found.items() if value.uncovered > UNCOVERED}
    if not far:
        return []
    agent, worst = max(far.items(), key=lambda item: item[1].uncovered)
    return [
        f"play leaves the demonstrations: {worst.uncovered:.0%} of the states of {agent} are farther from the expert's "
        f"than {COVERED:.0%} of the expert's own (median distance {worst.play:.2g} against {worst.expert:.2g}), so "
        "learning is slow there; train longer, add demonstrations, or use more rollouts (a smaller updates_per_step)"
    ]


@dataclass(frozen=True)
class RationalityFit:
    """How well a rationality explains the expert's actions.

    Attributes:
        acting: The rationality that the policy acts at.
        best: The one at which the expert's actions are most likely.
        acting_likelihood: Mean log-likelihood of the expert's actions at ``acting`` in nats.
        best_likelihood: The same at ``best``.
    """

    acting: float
    best: float
    acting_likelihood: float
    best_likelihood: float


def rationality_warnings(fits: Mapping[str, RationalityFit]) -> list[str]:
    """Says which rationality does not fit, and what it should be.

    Args:
        fits: ``{module: fit}``.

    Returns:
        One sentence for each module whose best rationality is outside of [1/2, 2] times the one it acts at, where that
        matters (``LEAST_GAIN``).
    """
    return [
        f"rationality {fit.acting:.3g} of {module} does not fit the expert, whose actions are most likely at "
        f"{fit.best:.3g} ({fit.best_likelihood:.3f} nats a step, now {fit.acting_likelihood:.3f}); "
        f"set evaluation_rationality (or, to train anew, rationality) to {fit.best:.2g}"
        for module, fit in fits.items()
        if not 0.5 <= fit.best / fit.acting <= 2.0 and fit.best_likelihood - fit.acting_likelihood > LEAST_GAIN
    ]
