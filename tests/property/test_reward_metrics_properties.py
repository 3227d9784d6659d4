"""The EPIC distance sees neither potentials nor positive affine maps, in any of its forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_mamql.rewards import metrics

TOLERANCE = 1e-6
seeds = st.integers(0, 2**31 - 1)
discounts = st.floats(0.0, 1.0)
scales = st.floats(1e-3, 1e3)
shifts = st.floats(-1e3, 1e3)
sizes = st.integers(2, 5)


def coverage(rng: np.random.Generator, size: int) -> np.ndarray:
    return rng.dirichlet(np.ones(size))


@settings(max_examples=60, deadline=None)
@given(seed=seeds, states=sizes, actions=sizes, discount=discounts, height=scales, scale=scales, shift=shifts)
def test_tabular(
    seed: int, states: int, actions: int, discount: float, height: float, scale: float, shift: float
) -> None:
    rng = np.random.default_rng(seed)
    reward, other = rng.normal(size=(2, states, actions, states))
    potential = height * rng.normal(size=states)
    shaped = scale * (reward + discount * potential[None, None, :] - potential[:, None, None]) + shift
    over = {"state_coverage": coverage(rng, states), "action_coverage": coverage(rng, actions)}
    assert metrics.epic_tabular(shaped, reward, discount, **over) < TOLERANCE
    before = metrics.epic_tabular(reward, other, discount, **over)
    assert metrics.epic_tabular(shaped, other, discount, **over) == pytest.approx(before, abs=TOLERANCE)
    assert metrics.epic_tabular(other, shaped, discount, **over) == pytest.approx(before, abs=TOLERANCE)


@settings(max_examples=60, deadline=None)
@given(seed=seeds, states=sizes, actions=sizes, discount=discounts, height=scales, scale=scales, shift=shifts)
def test_sampled(
    seed: int, states: int, actions: int, discount: float, height: float, scale: float, shift: float
) -> None:
    rng = np.random.default_rng(seed)
    reward, other = rng.normal(size=(2, states, actions, states))
    potential = height * rng.normal(size=states)
    shaped = scale * (reward + discount * potential[None, None, :] - potential[:, None, None]) + shift
    grid = [axis.ravel() for axis in np.meshgrid(*(np.arange(n) for n in reward.shape), indexing="ij")]
    pairs = [axis.ravel() for axis in np.meshgrid(np.arange(actions), np.arange(states), indexing="ij")]

    def canonical(table: np.ndarray, actions_and_states: list[np.ndarray]) -> np.ndarray:
        return metrics.canonical_sampled(
            lambda s, a, t: table[s, a, t], *grid,
            coverage_actions=actions_and_states[0], coverage_states=actions_and_states[1], discount=discount,
        )  # fmt: skip

    # A full batch gives the exact form, up to the constant that no correlation sees.
    assert metrics.epic_distance(canonical(shaped, pairs), canonical(reward, pairs)) < TOLERANCE
    exact = metrics.epic_tabular(reward, other, discount)
    sampled = metrics.epic_distance(canonical(reward, pairs), canonical(other, pairs))
    assert sampled == pytest.approx(exact, abs=TOLERANCE)
    # Shaping cancels in any batch.
    few = [axis[:3] for axis in pairs]
    assert metrics.epic_distance(canonical(shaped, few), canonical(reward, few)) < TOLERANCE


@settings(max_examples=60, deadline=None)
@given(seed=seeds, states=sizes, actions=sizes, discount=discounts, height=scales, scale=scales)
def test_additive(seed: int, states: int, actions: int, discount: float, height: float, scale: float) -> None:
    rng = np.random.default_rng(seed)
    table, potential = rng.normal(size=(states, actions)), height * rng.normal(size=states)
    s, t = rng.integers(states, size=(2, 50))
    a, terminated = rng.integers(actions, size=50), rng.random(50) < 0.2
    plain = metrics.canonical_additive(table[s, a], table[s], table[t], discount, terminated=terminated)
    shifted = table - potential[:, None]
    shaped = metrics.canonical_additive(
        scale * shifted[s, a], scale * shifted[s], scale * shifted[t], discount,
        next_term=scale * discount * potential[t], terminated=terminated,
    )  # fmt: skip
    assert metrics.epic_distance(shaped, plain) < TOLERANCE
    # Where nothing ends it is the tabular form on those rows, but for a constant.
    endless = metrics.canonical_additive(table[s, a], table[s], table[t], discount)
    gap = metrics.canonical_tabular(table, discount)[s, a, t] - endless
    np.testing.assert_allclose(gap, gap[0], atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(seed=seeds, rows=st.integers(2, 30), scale=scales, shift=shifts)
def test_ranges_symmetry_and_monotone_maps(seed: int, rows: int, scale: float, shift: float) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, rows))
    assert 0.0 <= metrics.epic_distance(x, y) <= 1.0
    assert metrics.epic_distance(x, y) == pytest.approx(metrics.epic_distance(y, x))
    assert metrics.pearson(scale * x + shift, y) == pytest.approx(metrics.pearson(x, y), abs=1e-6)
    assert metrics.spearman(np.exp(x), y) == pytest.approx(metrics.spearman(x, y))
    assert metrics.mse_affine(scale * x + shift, y) == pytest.approx(metrics.mse_affine(x, y), abs=1e-6)
    agreement = metrics.ranking_accuracy(x, y)
    assert metrics.ranking_accuracy(-x, y) == pytest.approx(1.0 - agreement)
    assert metrics.ranking_accuracy(scale * x, y) == pytest.approx(agreement)
