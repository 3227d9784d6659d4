"""Rows that tell most about a reward: the leaves of a regression tree, grown where it explains most.

The tree is that of Breiman and others (*Classification and Regression Trees*, 1984) over the columns of observations
and the own action; the leaf whose best split explains most is split next. A split is looked for two levels deep where
one level shows nothing: of rewards that depend on two things at once, neither shows alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

LEAVES = 24
"""Leaves at which a tree stops growing."""
CUTS = 11
"""Most places at which a column is cut."""
FEWEST = 0.005
"""Least share of the pairs of states and actions in a leaf."""
SHOWS = 0.05
"""Share of a leaf's squares that a single split must explain, if none is to be looked for two levels deep."""
DEEP_ROWS, DEEP_COLUMNS = 2000, 24
"""Rows and columns of the search two levels deep, at most: it takes time in rows times squared columns. The columns are
those that explain most alone; actions come on top."""
LITTLE = 1e-3
"""A split that explains less of the reward's variance than this is not made."""


@dataclass(frozen=True)
class Rule:
    """A row: where, and what is paid there.

    Attributes:
        where: The conditions in words, such as ``[3] > 0.5, action 2``.
        mean: Mean reward there; of pictures how much a patch changes it.
        elsewhere: Mean reward elsewhere.
        share: Share of the pairs of visited states and actions that it is true of.
        telling: Share of the reward's variance that being there or elsewhere explains.
    """

    where: str
    mean: float
    elsewhere: float
    share: float
    telling: float


@dataclass(frozen=True)
class _Split:
    gain: float
    feature: int
    cut: float


@dataclass(frozen=True, eq=False)
class _Leaf:
    rows: Rows
    conditions: tuple[tuple[int, float, bool], ...]
    split: _Split | None


def grow(table: Floats, rewards: Floats, names: list[str]) -> list[Rule]:
    """Rows that tell most, best first.

    Args:
        table: Columns of observations ``(N, F)``.
        rewards: Of every own action there ``(N, A)``; NaN where it is not legal.
        names: Of the columns.
    """
    states, chosen = np.nonzero(np.isfinite(rewards))
    target = rewards[states, chosen]
    variance = float(target.var())
    if variance <= 1e-12 * max(1.0, float(np.square(target).mean())):
        return []
    one_hot = np.eye(rewards.shape[1])[chosen]
    features = np.concatenate([table[states], one_hot], axis=1)
    cuts = [_cuts(features[:, place]) for place in range(features.shape[1])]
    least = max(2, round(FEWEST * len(target)))
    everything = np.arange(len(target))
    actions = rewards.shape[1]
    leaves = [_leaf(everything, (), features, cuts, target, least, actions)]
    while len(leaves) < LEAVES:
        splittable = [leaf for leaf in leaves if leaf.split is not None]
        if not splittable:
            break
        best = max(splittable, key=lambda leaf: leaf.split.gain if leaf.split else 0.0)
        assert best.split is not None
        if best.split.gain / (variance * len(target)) < LITTLE:
            break
        above = features[best.rows, best.split.feature] > best.split.cut
        leaves.remove(best)
        for side in (True, False):
            conditions = (*best.conditions, (best.split.feature, best.split.cut, side))
            leaves.append(_leaf(best.rows[above == side], conditions, features, cuts, target, least, actions))
    if len(leaves) == 1:
        return []
    rules = [_rule(leaf, target, variance, names, actions) for leaf in leaves]
    return sorted(rules, key=lambda rule: -rule.telling)


def _cuts(values: Floats) -> Floats:
    """Places between values where a column may be cut."""
    distinct = np.unique(values)
    if len(distinct) > CUTS + 1:
        return np.unique(np.quantile(values, np.linspace(0.0, 1.0, CUTS + 2)[1:-1]))
    return np.asarray((distinct[:-1] + distinct[1:]) / 2)


def _leaf(
    rows: Rows, conditions: tuple[tuple[int, float, bool], ...], features: Floats, cuts: list[Floats], target: Floats,
    least: int, actions: int,
) -> _Leaf:  # fmt: skip
    best = _best_split(rows, features, cuts, target, least)
    around = float(np.square(target[rows] - target[rows].mean()).sum())
    if len(rows) < 4 * least or around < 1e-9 or (best is not None and best.gain > SHOWS * around):
        return _Leaf(rows, conditions, best)
    # Nothing shows alone: the cut after which a second one explains most, both together.
    some = rows[:: -(-len(rows) // DEEP_ROWS)]
    part = len(some) / len(rows)
    fewest = max(2, round(part * least))
    deep = _promising(some, features, cuts, target, fewest, actions)
    for place, places in enumerate(deep):
        for cut in places:
            above = features[some, place] > cut
            if min(above.sum(), len(some) - above.sum()) < fewest:
                continue
            first = _gain(target[some], above)
            second = [_best_split(some[above == side], features, deep, target, fewest) for side in (True, False)]
            total = (first + sum(found.gain for found in second if found)) / part
            if total > (1.0 + 1e-9) * (best.gain if best else LITTLE * around):
                best = _Split(total, place, float(cut))
    return _Leaf(rows, conditions, best)


def _promising(
    rows: Rows, features: Floats, cuts: list[Floats], target: Floats, least: int, actions: int
) -> list[Floats]:
    """The cuts of the columns that explain most alone, and of all actions; none of the others."""
    columns = len(cuts) - actions
    if columns <= DEEP_COLUMNS:
        return cuts
    alone = (slice(place, place + 1) for place in range(columns))
    splits = [_best_split(rows, features[:, one], cuts[one], target, least) for one in alone]
    gains = [found.gain if found else 0.0 for found in splits]
    kept = {*np.argsort(gains)[-DEEP_COLUMNS:].tolist(), *range(columns, len(cuts))}
    return [places if place in kept else np.zeros(0) for place, places in enumerate(cuts)]


def _best_split(rows: Rows, features: Floats, cuts: list[Floats], target: Floats, least: int) -> _Split | None:
    values = target[rows]
    total, count = float(values.sum()), len(rows)
    best = None
    for place, places in enumerate(cuts):
        if not len(places):
            continue
        above = features[rows, place][None] > places[:, None]
        number = above.sum(-1)
        inside = above @ values
        with np.errstate(divide="ignore", invalid="ignore"):
            gain = inside**2 / number + (total - inside) ** 2 / (count - number) - total**2 / count
        gain = np.where((number >= least) & (count - number >= least), gain, -np.inf)
        found = int(gain.argmax())
        if np.isfinite(gain[found]) and gain[found] > (best.gain if best else 0.0):
            best = _Split(float(gain[found]), place, float(places[found]))
    return best


def _gain(values: Floats, above: NDArray[np.bool_]) -> float:
    total, inside, number = float(values.sum()), float(values[above].sum()), int(above.sum())
    rest = len(values) - number
    return inside**2 / number + (total - inside) ** 2 / rest - total**2 / len(values)


def _rule(leaf: _Leaf, target: Floats, variance: float, names: list[str], actions: int) -> Rule:
    there = np.zeros(len(target), dtype=bool)
    there[leaf.rows] = True
    share, mean, elsewhere = float(there.mean()), float(target[there].mean()), float(target[~there].mean())
    telling = share * (1.0 - share) * (mean - elsewhere) ** 2 / variance
    return Rule(_in_words(leaf.conditions, names, actions), mean, elsewhere, share, telling)


def _in_words(conditions: tuple[tuple[int, float, bool], ...], names: list[str], actions: int) -> str:
    """Conditions in words: of each column the interval, of actions which one it is, or which ones it is not."""
    low: dict[int, float] = {}
    high: dict[int, float] = {}
    action: int | None = None
    others: list[int] = []
    for place, cut, above in conditions:
        if place >= len(names):
            if above:
                action = place - len(names)
            else:
                others.append(place - len(names))
        elif above:
            low[place] = max(cut, low.get(place, cut))
        else:
            high[place] = min(cut, high.get(place, cut))
    parts = []
    for place in sorted({*low, *high}):
        under, over = low.get(place), high.get(place)
        if under is not None and over is not None:
            parts.append(f"{under:.3g} < {names[place]} <= {over:.3g}")
        else:
            parts.append(f"{names[place]} > {under:.3g}" if under is not None else f"{names[place]} <= {over:.3g}")
    if action is not None:
        parts.append(f"action {action}")
    elif others:
        left = [str(one) for one in range(actions) if one not in others]
        told = f"action {' or '.join(left)}" if len(left) <= len(others) else f"not action {sorted(others)}"
        parts.append(told.replace("[", "").replace("]", ""))
    return ", ".join(parts) or "everywhere"
