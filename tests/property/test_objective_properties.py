"""What must hold for every input of the objective."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_mamql.algorithms.mamql import objective

seeds = st.integers(0, 2**31 - 1)
rationalities = st.floats(0.1, 30.0)


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=50, deadline=None)
@given(seed=seeds, shift=st.floats(-100, 100), rationality=rationalities)
def test_shifting_values_shifts_the_soft_value_and_leaves_the_policy(
    seed: int, shift: float, rationality: float
) -> None:
    q = draw(seed, 4, 5)
    torch.testing.assert_close(
        objective.soft_value(q + shift, rationality), objective.soft_value(q, rationality) + shift
    )
    torch.testing.assert_close(objective.log_policy(q + shift, rationality), objective.log_policy(q, rationality))


@settings(max_examples=50, deadline=None)
@given(seed=seeds, rationality=rationalities)
def test_soft_value_bounds(seed: int, rationality: float) -> None:
    q = draw(seed, 4, 5)
    value, top = objective.soft_value(q, rationality), q.max(-1).values
    assert (value >= top - 1e-9).all()
    assert (value <= top + torch.log(torch.tensor(5.0)) / rationality + 1e-9).all()


@settings(max_examples=30, deadline=None)
@given(seed=seeds)
def test_a_minibatch_and_its_repetition_agree(seed: int) -> None:
    rewards, weights = draw(seed, 6), draw(seed + 1, 6).abs()
    once = objective.weighted_mean(rewards, weights)
    twice = objective.weighted_mean(rewards.repeat(2), weights.repeat(2))
    torch.testing.assert_close(once, twice)


@settings(max_examples=30, deadline=None)
@given(seed=seeds)
def test_permuting_the_other_agents_changes_nothing(seed: int) -> None:
    q = draw(seed, 3, 4, 2, 5)
    policies = [torch.softmax(draw(seed + k, 3, n), -1) for k, n in ((1, 2), (2, 5))]
    swapped = objective.marginalise_full(q.transpose(2, 3), policies[::-1])
    torch.testing.assert_close(objective.marginalise_full(q, policies), swapped)


@settings(max_examples=30, deadline=None)
@given(seed=seeds, rationality=rationalities)
def test_sampled_marginals_overestimate_the_soft_value(seed: int, rationality: float) -> None:
    # Jensen, exactly: the mean over equally likely samples of V is at least V of the mean.
    samples = draw(seed, 3, 8, 4)
    single = objective.soft_value(samples, rationality).mean(1)
    assert (single >= objective.soft_value(objective.marginalise_sampled(samples), rationality) - 1e-9).all()
