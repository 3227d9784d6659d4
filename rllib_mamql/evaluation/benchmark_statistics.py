"""Statistics over runs and problems, by the definitions of rliable (Agarwal et al. 2021, arXiv 2108.13264).

Scores are given as a list of problems, each an array of its runs; problems may have different numbers of runs.
rliable itself is not used: it cannot be installed beside pandas 3. ``tests/benchmarks/check_statistics.py`` compares.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
Scores = Sequence[Floats]
"""One array of runs ``(R_k,)`` for each problem k."""

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A statistic with its bootstrap interval; both ends are the value itself where there is one run only."""

    value: float
    low: float
    high: float


def interquartile_mean(scores: Floats) -> float:
    """Mean of the middle half of all runs: a quarter of them, rounded down, is left out at either end."""
    return float(stats.trim_mean(scores, 0.25, axis=None))


def aggregate(scores: Scores, resamples: int = RESAMPLES, seed: int = 0) -> Estimate:
    """The interquartile mean over the runs of all problems, with its stratified bootstrap interval."""
    return _estimate(lambda drawn: interquartile_mean(np.concatenate(drawn)), [scores], resamples, seed)


def improvement(better: Scores, worse: Scores, resamples: int = RESAMPLES, seed: int = 0) -> Estimate:
    """The probability that a run of one method scores above a run of another, on a problem drawn at random.

    On each problem it is the Mann-Whitney statistic over the number of pairs: ties count half.

    Args:
        better: The one method's scores.
        worse: The other's, on the same problems in the same order.
        resamples: Bootstrap samples.
        seed: Of the bootstrap.
    """
    assert len(better) == len(worse)

    def probability(drawn: Scores) -> float:
        return float(np.mean([_above(x, y) for x, y in zip(drawn[: len(better)], drawn[len(better) :], strict=True)]))

    return _estimate(probability, [better, worse], resamples, seed)


def profile(
    scores: Scores, thresholds: Floats, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[Floats, Floats, Floats]:
    """The performance profile: which share of all runs scores above each threshold, with a pointwise interval.

    Args:
        scores: A method's.
        thresholds: ``(T,)``.
        resamples: Bootstrap samples.
        seed: Of the bootstrap.

    Returns:
        Shares, lower and upper ends, each ``(T,)`` in [0, 1]. Every run counts alike.
    """

    def shares(drawn: Scores) -> Floats:
        return (np.concatenate(drawn)[:, None] > thresholds).mean(axis=0)

    rng = np.random.default_rng(seed)
    drawn = np.stack([shares(_resampled(scores, rng)) for _ in range(resamples)])
    low, high = np.quantile(drawn, _TAILS, axis=0)
    return shares(scores), low, high


_TAILS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)


def _above(x: Floats, y: Floats) -> float:
    return float(((x[:, None] > y) + 0.5 * (x[:, None] == y)).mean())


def _estimate(statistic: Callable[[Scores], float], groups: Sequence[Scores], resamples: int, seed: int) -> Estimate:
    """A statistic and its percentile interval: runs are drawn anew within each problem (and method), never across."""
    strata = [np.asarray(runs, np.float64) for scores in groups for runs in scores]
    value = statistic(strata)
    if all(len(runs) < 2 for runs in strata):
        return Estimate(value, value, value)
    rng = np.random.default_rng(seed)
    low, high = np.quantile([statistic(_resampled(strata, rng)) for _ in range(resamples)], _TAILS)
    return Estimate(value, float(low), float(high))


def _resampled(scores: Scores, rng: np.random.Generator) -> list[Floats]:
    return [runs[rng.integers(len(runs), size=len(runs))] for runs in scores]
