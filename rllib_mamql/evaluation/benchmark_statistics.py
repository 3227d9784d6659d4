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


def interquartile_mean(scores: Floats) -> Floats:
    """Mean ``(...)`` of the middle half of runs ``(..., R)``: at either end a quarter, rounded down, is left out."""
    found: Floats = np.asarray(stats.trim_mean(scores, 0.25, axis=-1))
    return found


def aggregate(scores: Scores, resamples: int = RESAMPLES, seed: int = 0) -> Estimate:
    """The interquartile mean over the runs of all problems, with its stratified bootstrap interval."""
    return _estimate(lambda drawn: interquartile_mean(np.concatenate(drawn, axis=-1)), scores, resamples, seed)


def improvement(better: Scores, worse: Scores, resamples: int = RESAMPLES, seed: int = 0) -> Estimate:
    """The probability that a run of one method scores above a run of another, on a problem drawn at random.

    On each problem it is the Mann-Whitney statistic over the number of pairs: ties count half.

    Args:
        better: The one method's scores.
        worse: The other's, on the same problems in the same order.
        resamples: Bootstrap samples.
        seed: Of the bootstrap.
    """
    problems = len(better)
    assert problems == len(worse)

    def probability(drawn: Scores) -> Floats:
        pairs = zip(drawn[:problems], drawn[problems:], strict=True)
        found: Floats = np.mean([_above(x[..., :, None], y[..., None, :]) for x, y in pairs], axis=0)
        return found

    return _estimate(probability, [*better, *worse], resamples, seed)


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
    drawn = np.concatenate(_resampled(scores, resamples, seed), axis=-1)
    low, high = np.quantile([(drawn > threshold).mean(axis=-1) for threshold in thresholds], _TAILS, axis=-1)
    return (np.concatenate(scores)[:, None] > thresholds).mean(axis=0), low, high


_TAILS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)


def _above(x: Floats, y: Floats) -> Floats:
    found: Floats = ((x > y) + 0.5 * (x == y)).mean(axis=(-2, -1))
    return found


def _estimate(statistic: Callable[[Scores], Floats], strata: Scores, resamples: int, seed: int) -> Estimate:
    """A statistic and its percentile interval.

    Args:
        statistic: From runs ``(..., R_k)`` of every stratum to values ``(...)``.
        strata: Runs that are drawn among themselves: those of one problem, and of one method.
        resamples: Bootstrap samples.
        seed: Of the bootstrap.
    """
    value = float(statistic(strata))
    if all(len(runs) < 2 for runs in strata):
        return Estimate(value, value, value)
    low, high = np.quantile(statistic(_resampled(strata, resamples, seed)), _TAILS)
    return Estimate(value, float(low), float(high))


def _resampled(strata: Scores, resamples: int, seed: int) -> list[Floats]:
    """Runs ``(resamples, R_k)`` of every stratum, drawn with replacement from its own."""
    rng = np.random.default_rng(seed)
    return [runs[rng.integers(len(runs), size=(resamples, len(runs)))] for runs in strata]
