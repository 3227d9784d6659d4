"""How two rewards are compared, given that many rewards explain the same behaviour.

``R + gamma Phi(s') - Phi(s)`` is as good a reward as ``R`` for every potential ``Phi``, and so is ``a R + b`` for
``a > 0`` where episodes do not end. A raw error between two rewards therefore says nothing. What is used instead:

- ``mse_affine``: squared error left by the best increasing affine fit; in the true reward's units, squared.
- ``pearson``, ``spearman``: correlation of values and of ranks, in [-1, 1]. Blind to affine maps, not to shaping.
- ``epic``: distance in [0, 1] that is blind to both (Gleave et al., *Quantifying Differences in Reward Functions*,
  arXiv 2006.13900): ``sqrt((1 - rho) / 2)``, ``rho`` the Pearson correlation of the canonically shaped rewards::

      C(R)(s, a, s') = R(s, a, s') + E[gamma R(s', A, S') - R(s, A, S') - gamma R(S, A, S')]

  with S, S' drawn from a coverage distribution over states and A from one over actions, independently.
- ``ranking_accuracy``: share of pairs of trajectories that the two order alike by their returns, in [0, 1].

Undefined cases: a correlation with a constant is None (shown as ``-``); the EPIC distance of a constant from
anything else is ``sqrt(1/2)``, as for an unrelated reward, and of two constants 0; ranking accuracy is None where no
two trajectories differ in true return. The canonical forms are in :mod:`rllib_mamql.rewards.epic`.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from rllib_mamql.rewards.epic import (
    Array,
    as_array,
    as_distribution,
    as_floats,
    as_table,
    canonical_additive,
    canonical_sampled,
    canonical_tabular,
)

__all__ = [
    "METRICS",
    "UNRELATED",
    "Metric",
    "canonical_additive",
    "canonical_sampled",
    "canonical_tabular",
    "compare",
    "epic_distance",
    "epic_tabular",
    "mse_affine",
    "pearson",
    "ranking_accuracy",
    "rounding",
    "spearman",
    "trajectory_returns",
]

METRICS = ("mse_affine", "pearson", "spearman", "epic", "ranking_accuracy")
"""Names of the metrics, in the order in which they are shown."""

UNRELATED = float(np.sqrt(0.5))
"""EPIC distance of a constant, and of an unrelated reward."""

# A spread below this share of the values' size is rounding, not signal.
_ROUNDING = {2: 1e-2, 4: 1e-5, 8: 1e-9}


@dataclass(frozen=True)
class Metric:
    """A number and how sure it is.

    Attributes:
        value: The metric on all rows; None where it is undefined.
        ci95: Bootstrap 95% interval over trajectories; None where undefined or with fewer than two trajectories.
    """

    value: float | None
    ci95: tuple[float, float] | None = None

    def __str__(self) -> str:
        """``0.52 [0.48, 0.55]``, or ``-`` where undefined."""
        if self.value is None:
            return "-"
        interval = "" if self.ci95 is None else f" [{self.ci95[0]:.3g}, {self.ci95[1]:.3g}]"
        return f"{self.value:.3g}{interval}"


# -- pairs of values ------------------------------------------------------------------------------------------------


def mse_affine(predicted: Any, true: Any, weights: Any = None) -> float:
    """Mean squared error of ``a predicted + b`` against the true reward, at the best ``a >= 0`` and ``b``.

    A negative slope is not allowed: a reward upside down is no better than a constant, whose error is the true
    reward's variance.

    Args:
        predicted: ``(N,)``.
        true: ``(N,)``.
        weights: ``(N,)``, >= 0; None weighs all rows alike.

    Returns:
        Error >= 0, in squared units of the true reward.
    """
    x, y, w = _columns(predicted, true, weights)
    x, y = x - w @ x, y - w @ y
    slope = 0.0 if _constant(x, w, rounding(predicted)) else max(0.0, float(w @ (x * y)) / float(w @ (x * x)))
    return float(w @ (y - slope * x) ** 2)


def pearson(predicted: Any, true: Any, weights: Any = None) -> float | None:
    """Pearson correlation in [-1, 1]; None where either side is constant. Arguments as in :func:`mse_affine`."""
    x, y, w = _columns(predicted, true, weights)
    x, y = x - w @ x, y - w @ y
    if _constant(x, w, rounding(predicted)) or _constant(y, w, rounding(true)):
        return None
    return float(np.clip(w @ (x * y) / np.sqrt((w @ (x * x)) * (w @ (y * y))), -1.0, 1.0))


def spearman(predicted: Any, true: Any, weights: Any = None) -> float | None:
    """Pearson correlation of (weighted) mid-ranks; None where either side is constant.

    A row of integer weight k counts as k equal rows. Arguments as in :func:`mse_affine`.
    """
    x, y, w = _columns(predicted, true, weights)
    return pearson(_ranks(_groups(x), w), _ranks(_groups(y), w), w)


def epic_distance(
    predicted: Any,
    true: Any,
    weights: Any = None,
    *,
    predicted_noise: float | None = None,
    true_noise: float | None = None,
) -> float:
    """EPIC distance of two rewards that are already canonically shaped, ``sqrt((1 - pearson) / 2)``.

    Args:
        predicted: Canonically shaped values ``(N,)``.
        true: Canonically shaped values ``(N,)``.
        weights: ``(N,)``, >= 0; None weighs all rows alike.
        predicted_noise: A spread that is rounding and no signal, from the values before shaping (:func:`rounding`):
            the canonical form of a pure potential is zero up to rounding. None: from the shaped values.
        true_noise: The same of the true reward.

    Returns:
        0 (same up to shaping and positive scale) to 1 (opposite).
    """
    x, y, w = _columns(predicted, true, weights)
    x, y = x - w @ x, y - w @ y
    flat = (
        _constant(x, w, predicted_noise if predicted_noise is not None else rounding(predicted)),
        _constant(y, w, true_noise if true_noise is not None else rounding(true)),
    )
    if any(flat):
        return 0.0 if all(flat) else UNRELATED
    # Half the distance of the standardised values: the same number, without the rounding of 1 - rho near rho = 1.
    gap = x / np.sqrt(w @ (x * x)) - y / np.sqrt(w @ (y * y))
    return min(1.0, 0.5 * float(np.sqrt(w @ (gap * gap))))


def ranking_accuracy(predicted_returns: Any, true_returns: Any) -> float | None:
    """Share of pairs of trajectories whose order by predicted return is that by true return.

    Pairs with equal true returns have no order and are left out; pairs with equal predicted returns only count one
    half, as a coin would score. A constant predictor has 0.5.

    Args:
        predicted_returns: ``(T,)``, one a trajectory.
        true_returns: ``(T,)``.

    Returns:
        Share in [0, 1]; None where no two true returns differ.
    """
    agree, ordered = _pair_tables(as_floats(predicted_returns), as_floats(true_returns))
    total = ordered.sum()
    return float(agree.sum() / total) if total else None


def trajectory_returns(rewards: Any, trajectories: Any, steps: Any = None, discount: float = 1.0) -> Array:
    """Sum of (discounted) rewards of each trajectory, in the order of the sorted trajectory numbers.

    With ``discount`` equal to gamma, shaping changes a return only by the potentials of its two ends; without
    discounting it adds ``(gamma - 1) Phi(s)`` at every step.

    Args:
        rewards: ``(N,)``.
        trajectories: Number or name of the trajectory of each row ``(N,)``.
        steps: Step of each row within its trajectory ``(N,)``, from 0; needed if ``discount`` < 1.
        discount: In (0, 1].

    Returns:
        ``(T,)``.

    Raises:
        ValueError: If ``discount`` is below 1 and ``steps`` is missing.
    """
    values = as_floats(rewards)
    if discount != 1.0:
        if steps is None:
            raise ValueError(f"discount is {discount} and steps is None: give the step of each row")
        values = values * discount ** as_floats(steps)
    _, index = np.unique(as_array(trajectories), return_inverse=True)
    return np.asarray(np.bincount(index.ravel(), weights=values), dtype=np.float64)


def epic_tabular(
    predicted: Any,
    true: Any,
    discount: float,
    *,
    state_coverage: Any = None,
    action_coverage: Any = None,
    coverage: Any = None,
) -> float:
    """EPIC distance of two reward tables, exactly.

    Args:
        predicted: ``(S, A, S)`` or ``(S, A)``.
        true: ``(S, A, S)`` or ``(S, A)``.
        discount: gamma in [0, 1].
        state_coverage: Probabilities ``(S,)`` of the canonical form's S and S'; None: uniform.
        action_coverage: Probabilities ``(A,)``; None: uniform.
        coverage: Probabilities ``(S, A, S)`` over the transitions that are compared; None: the product of the
            two above. Give the dynamics' own to compare possible transitions only.

    Returns:
        Distance in [0, 1].
    """
    first, second = as_table(predicted), as_table(true)
    if first.shape != second.shape:
        raise ValueError(f"predicted and true have shapes {first.shape} and {second.shape}: give the same game's")
    states, actions = first.shape[:2]
    if coverage is None:
        over_states, over_actions = as_distribution(state_coverage, states), as_distribution(action_coverage, actions)
        coverage = np.einsum("s,a,t->sat", over_states, over_actions, over_states)
    return epic_distance(
        canonical_tabular(first, discount, state_coverage, action_coverage).ravel(),
        canonical_tabular(second, discount, state_coverage, action_coverage).ravel(),
        as_floats(coverage).ravel(),
        predicted_noise=rounding(predicted),
        true_noise=rounding(true),
    )


# -- the table of metrics -------------------------------------------------------------------------------------------


def compare(
    predicted: Any,
    true: Any,
    *,
    trajectories: Any,
    predicted_canonical: Any,
    true_canonical: Any,
    steps: Any = None,
    return_discount: float = 1.0,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Metric]:
    """All metrics of a predicted reward, with bootstrap intervals over whole trajectories.

    Rows of one trajectory depend on each other: drawing rows would make the intervals too narrow. Percentile
    intervals (:func:`scipy.stats.bootstrap`); resamples in which a metric is undefined are left out of its interval.

    Args:
        predicted: Predicted rewards ``(N,)``.
        true: True rewards ``(N,)``, marginalised over the others' actions in the same way.
        trajectories: Number or name of the trajectory of each row ``(N,)``.
        predicted_canonical: Predicted rewards, canonically shaped ``(N,)``.
        true_canonical: True rewards, canonically shaped ``(N,)``.
        steps: Steps within trajectories ``(N,)``; needed if ``return_discount`` < 1.
        return_discount: Discount of the returns that rank trajectories.
        resamples: Bootstrap resamples; 0 leaves the intervals out.
        seed: Seed of the resampling.

    Returns:
        ``{name: Metric}`` for :data:`METRICS`.
    """
    columns = [as_floats(column) for column in (predicted, true, predicted_canonical, true_canonical)]
    noises = (rounding(predicted), rounding(true))
    _, index = np.unique(as_array(trajectories), return_inverse=True)
    index = index.ravel()
    count = int(index.max()) + 1
    returns = [trajectory_returns(column, index, steps, return_discount) for column in columns[:2]]
    values = [
        mse_affine(columns[0], columns[1]),
        pearson(columns[0], columns[1]),
        spearman(columns[0], columns[1]),
        epic_distance(columns[2], columns[3], predicted_noise=noises[0], true_noise=noises[1]),
        ranking_accuracy(*returns),
    ]
    intervals: list[tuple[float, float] | None] = [None] * len(METRICS)
    if resamples and count > 1:
        agree, ordered = _pair_tables(*returns)
        groups = [_groups(column) for column in columns[:2]]

        def one(counts: Array) -> list[float]:
            weights = counts[index]
            total = counts @ ordered @ counts
            results = [
                mse_affine(columns[0], columns[1], weights),
                pearson(columns[0], columns[1], weights),
                pearson(_ranks(groups[0], weights), _ranks(groups[1], weights), weights),
                epic_distance(columns[2], columns[3], weights, predicted_noise=noises[0], true_noise=noises[1]),
                counts @ agree @ counts / total if total else None,
            ]
            return [np.nan if result is None else float(result) for result in results]

        def statistic(sample: NDArray[np.int64], axis: int = -1) -> Array:
            rows = np.moveaxis(sample, axis, -1).reshape(-1, count)
            table = np.array([one(np.bincount(row, minlength=count).astype(float)) for row in rows])
            return np.asarray(table.T.reshape(len(METRICS), *sample.shape[:-1]))

        with warnings.catch_warnings():
            # An undefined metric makes scipy warn of a degenerate distribution; here it has no interval instead.
            warnings.simplefilter("ignore", stats.DegenerateDataWarning)
            drawn = stats.bootstrap(
                (np.arange(count),),
                statistic,
                n_resamples=resamples,
                batch=resamples,
                vectorized=True,
                method="percentile",
                random_state=np.random.default_rng(seed),
            ).bootstrap_distribution
        intervals = [_interval(row) for row in drawn.reshape(len(METRICS), -1)]
    return {
        name: Metric(value, interval if value is not None else None)
        for name, value, interval in zip(METRICS, values, intervals, strict=True)
    }


# -- helpers --------------------------------------------------------------------------------------------------------


def rounding(values: Any) -> float:
    """Spread that rounding alone may cause in values of this size and type: below it, values count as constant."""
    array = as_array(values)
    share = _ROUNDING.get(array.dtype.itemsize, 1e-9) if array.dtype.kind == "f" else 1e-9
    return float(np.abs(array).max()) * share if array.size else 0.0


def _columns(predicted: Any, true: Any, weights: Any) -> tuple[Array, Array, Array]:
    x, y = as_floats(predicted), as_floats(true)
    w = np.ones(len(x)) if weights is None else as_floats(weights)
    if x.ndim != 1 or not x.shape == y.shape == w.shape:
        raise ValueError(f"predicted, true and weights have shapes {x.shape}, {y.shape}, {w.shape}: give (N,) each")
    for name, column in (("predicted", x), ("true", y), ("weights", w)):
        if not np.isfinite(column).all():
            raise ValueError(f"{name} has {int((~np.isfinite(column)).sum())} values that are not finite: mend them")
    total = w.sum()
    if (w < 0).any() or total <= 0:
        raise ValueError(f"weights sum to {total}, the lowest is {w.min(initial=0)}: give weights >= 0, not all 0")
    return x, y, w / total


def _constant(centred: Array, weights: Array, noise: float) -> bool:
    return bool(np.sqrt(weights @ (centred * centred)) <= noise)


def _groups(values: Array) -> NDArray[np.int64]:
    """For each row the place of its value among the distinct values."""
    return np.unique(values, return_inverse=True)[1].ravel()


def _ranks(groups: NDArray[np.int64], weights: Array) -> Array:
    mass = np.bincount(groups, weights=weights)
    return np.asarray((np.cumsum(mass) - 0.5 * mass)[groups])


def _pair_tables(predicted: Array, true: Array) -> tuple[Array, Array]:
    """``(T, T)``: score of each ordered pair (1, 1/2 or 0; 0 where there is no order) and whether it has an order."""
    signs = []
    for values in (predicted, true):
        gap = values[:, None] - values[None, :]
        signs.append(np.where(np.abs(gap) <= rounding(values), 0.0, np.sign(gap)))
    ordered = (signs[1] != 0).astype(float)
    return ordered * 0.5 * (1.0 + signs[0] * signs[1]), ordered


def _interval(draws: Array) -> tuple[float, float] | None:
    defined = draws[np.isfinite(draws)]
    if len(defined) < 0.5 * len(draws):
        return None
    low, high = np.quantile(defined, [0.025, 0.975])
    return float(low), float(high)
