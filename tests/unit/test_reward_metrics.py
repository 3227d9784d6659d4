"""Comparing rewards: numbers worked out by hand, and the undefined cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rllib_mamql.rewards import metrics


def test_affine_fit_leaves_what_no_line_explains() -> None:
    true = np.array([0.0, 1.0, 2.0, 3.0])
    assert metrics.mse_affine(5 * true - 2, true) == pytest.approx(0.0, abs=1e-12)
    # x = (0, 0, 1, 1): the best line is 0.5 + 2 x, residuals are all 0.5.
    assert metrics.mse_affine([0, 0, 1, 1], true) == pytest.approx(0.25)


def test_a_reward_upside_down_is_no_better_than_a_constant() -> None:
    true = np.array([0.0, 1.0, 2.0, 3.0])
    assert metrics.mse_affine(-true, true) == pytest.approx(1.25)
    assert metrics.mse_affine(np.full(4, 0.1), true) == pytest.approx(1.25)


def test_correlations() -> None:
    true = np.array([1.0, 2.0, 3.0, 10.0])
    assert metrics.pearson([1, 2, 3, 4], [1, 3, 2, 4]) == pytest.approx(0.8)
    assert metrics.spearman(np.exp(true), true) == pytest.approx(1.0)
    assert metrics.spearman([0, 0, 1], [0, 1, 2]) == pytest.approx(np.sqrt(0.75))  # mid-ranks of a tie
    assert metrics.pearson(torch.tensor([1.0, 2.0]), torch.tensor([-1.0, -2.0])) == pytest.approx(-1.0)


@pytest.mark.parametrize("constant", [0.0, 0.1, -1e6])
def test_constants(constant: float) -> None:
    true = np.array([0.0, 1.0, 2.0])
    flat = np.full(3, constant)
    assert metrics.pearson(flat, true) is None
    assert metrics.spearman(flat, true) is None
    assert metrics.spearman(true, flat) is None
    assert metrics.epic_distance(flat, true) == pytest.approx(np.sqrt(0.5))
    assert metrics.epic_distance(flat, flat + 1) == 0.0
    assert metrics.ranking_accuracy(flat, true) == pytest.approx(0.5)
    assert metrics.ranking_accuracy(true, flat) is None
    assert str(metrics.Metric(None)) == "-"
    assert str(metrics.Metric(0.5, (0.4, 0.6))) == "0.5 [0.4, 0.6]"


def test_a_pure_potential_is_a_constant_though_rounding_says_otherwise() -> None:
    rng = np.random.default_rng(0)
    potential, true = rng.normal(size=5), rng.normal(size=(5, 3))
    shaping = np.broadcast_to(0.9 * potential[None, None, :] - potential[:, None, None], (5, 3, 5))
    assert metrics.epic_tabular(shaping, true, 0.9) == pytest.approx(np.sqrt(0.5))
    assert metrics.epic_tabular(shaping.astype(np.float32), true, 0.9) == pytest.approx(np.sqrt(0.5))


def test_epic_distance_of_orthogonal_and_opposite_rewards() -> None:
    first, second = np.array([1.0, -1.0, 1.0, -1.0]), np.array([1.0, 1.0, -1.0, -1.0])
    assert metrics.epic_distance(first, second) == pytest.approx(np.sqrt(0.5))
    assert metrics.epic_distance(first, -3 * first) == pytest.approx(1.0)
    assert metrics.epic_distance(first, 3 * first + 5) == pytest.approx(0.0, abs=1e-12)


def test_canonical_form_by_hand() -> None:
    # One action, two states, R(s, s') = [[1, 2], [3, 5]]: means from s are 1.5 and 4, over all 2.75.
    reward = np.array([[[1.0, 2.0]], [[3.0, 5.0]]])
    expected = np.array([[[1 + 0.75 - 1.5, 2 + 2 - 1.5]], [[3 + 0.75 - 4, 5 + 2 - 4]]]) - 0.5 * 2.75
    np.testing.assert_allclose(metrics.canonical_tabular(reward, 0.5), expected)


def test_weighted_metrics_count_rows_as_often_as_their_weight() -> None:
    rng = np.random.default_rng(1)
    x, y, counts = rng.integers(0, 4, 20).astype(float), rng.integers(0, 4, 20).astype(float), rng.integers(0, 4, 20)
    for metric in (metrics.mse_affine, metrics.pearson, metrics.spearman, metrics.epic_distance):
        assert metric(x, y, counts) == pytest.approx(metric(np.repeat(x, counts), np.repeat(y, counts)))


def test_ranking_accuracy() -> None:
    # Of the 5 pairs that differ in truth: (0,1), (0,2), (0,3) agree, (1,3) is tied in prediction, (2,3) disagrees.
    assert metrics.ranking_accuracy([0, 2, 3, 2], [0, 1, 1, 2]) == pytest.approx((3 + 0.5 + 0) / 5)


def test_trajectory_returns() -> None:
    rewards, trajectories, steps = [1.0, 2.0, 4.0, 8.0], ["b", "a", "b", "a"], [0, 0, 1, 1]
    np.testing.assert_allclose(metrics.trajectory_returns(rewards, trajectories), [10.0, 5.0])
    np.testing.assert_allclose(metrics.trajectory_returns(rewards, trajectories, steps, 0.5), [6.0, 3.0])
    with pytest.raises(ValueError, match="steps is None"):
        metrics.trajectory_returns(rewards, trajectories, discount=0.5)


@pytest.mark.parametrize(
    "bad, message",
    [
        (lambda: metrics.pearson([1.0, np.nan], [1.0, 2.0]), "predicted has 1 values that are not finite"),
        (lambda: metrics.pearson([1.0, 2.0], [1.0, 2.0, 3.0]), "have shapes"),
        (lambda: metrics.pearson([1.0, 2.0], [1.0, 2.0], [0.0, 0.0]), "weights sum to"),
        (lambda: metrics.canonical_tabular(np.zeros((2, 1)), 0.9, [0.5, 0.6]), "coverage has shape"),
        (lambda: metrics.canonical_tabular(np.zeros((2, 1, 3)), 0.9), "reward table has shape"),
        (lambda: metrics.epic_tabular(np.zeros((2, 1)), np.zeros((2, 2)), 0.9), "the same game's"),
    ],
)
def test_bad_input_is_named(bad: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bad()


def rows(trajectories: int, steps: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    # Rows of a trajectory share most of their noise, as successive states do.
    true = rng.normal(size=(trajectories, 1)) + 0.2 * rng.normal(size=(trajectories, steps))
    noise = rng.normal(size=(trajectories, 1)) + 0.2 * rng.normal(size=(trajectories, steps))
    index = np.repeat(np.arange(trajectories), steps)
    return {"true": true.ravel(), "predicted": (true + noise).ravel(), "trajectories": index}


def test_intervals_draw_trajectories_not_rows() -> None:
    data = rows(trajectories=60, steps=20)
    whole = metrics.compare(**data, predicted_canonical=data["predicted"], true_canonical=data["true"])
    apart = metrics.compare(
        data["predicted"], data["true"], trajectories=np.arange(1200),
        predicted_canonical=data["predicted"], true_canonical=data["true"], resamples=100,
    )  # fmt: skip
    assert tuple(whole) == metrics.METRICS
    for name in ("mse_affine", "pearson", "spearman", "epic"):
        assert whole[name].value == apart[name].value
        (low, high), narrow = whole[name].ci95, apart[name].ci95
        assert low < whole[name].value < high
        assert high - low > 2 * (narrow[1] - narrow[0]), name
    low, high = whole["ranking_accuracy"].ci95
    assert 0.5 < low < whole["ranking_accuracy"].value < high < 1


def test_interval_is_of_the_right_width() -> None:
    # Independent pairs of correlation sqrt(1/2): the standard error of r is close to (1 - r^2) / sqrt(n).
    rng = np.random.default_rng(0)
    true = rng.normal(size=600)
    predicted = true + rng.normal(size=600)
    result = metrics.compare(
        predicted, true, trajectories=np.arange(600), predicted_canonical=predicted, true_canonical=true, resamples=300
    )
    low, high = result["pearson"].ci95
    assert (high - low) / (2 * 1.96) == pytest.approx(0.5 / np.sqrt(600), rel=0.15)


def test_undefined_metrics_have_no_interval() -> None:
    data = rows(trajectories=5, steps=3)
    zero = np.zeros(15)
    result = metrics.compare(
        zero, data["true"], trajectories=data["trajectories"], predicted_canonical=zero,
        true_canonical=data["true"], resamples=50,
    )  # fmt: skip
    assert result["pearson"] == result["spearman"] == metrics.Metric(None)
    assert result["epic"].value == pytest.approx(np.sqrt(0.5))
    assert result["ranking_accuracy"].value == 0.5
    single = metrics.compare(
        data["predicted"], data["true"], trajectories=zero, predicted_canonical=zero, true_canonical=zero
    )
    assert all(metric.ci95 is None for metric in single.values())
