"""The rationality that explains actions best is the one they were drawn at."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rllib_mamql.algorithms.mamql import objective
from rllib_mamql.algorithms.mamql.rationality import MULTIPLES, RANGE, fit_rationality, likelihood_profile
from rllib_mamql.columns import EPS_ID, T, num_rows, take
from rllib_mamql.data.selection import hold_out
from rllib_mamql.errors import DatasetError
from tests.support.joint_data import make_columns


@pytest.mark.parametrize("true", [0.8, 3.0, 12.0])
def test_a_known_rationality_is_found(true: float) -> None:
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(40_000, 5, generator=generator)
    actions = torch.multinomial(objective.log_policy(q, true).exp(), 1, generator=generator).squeeze(-1)
    found, likelihood = fit_rationality(q, actions, 3.0)
    assert found == pytest.approx(true, rel=0.05)
    for other in (0.7 * true, 1.4 * true):
        assert likelihood > objective.take_actions(objective.log_policy(q, other), actions).mean()


def test_actions_that_are_always_best_give_the_end_of_the_range() -> None:
    q = torch.randn(100, 3)
    found, _ = fit_rationality(q, q.argmax(-1), 2.0)
    assert found == pytest.approx(2.0 * RANGE, rel=0.01)


def test_the_profile_is_concave_and_highest_next_to_the_fit() -> None:
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(5_000, 5, generator=generator)
    actions = torch.multinomial(objective.log_policy(q, 6.0).exp(), 1, generator=generator).squeeze(-1)
    profile = likelihood_profile(q, actions, 3.0)
    assert list(profile) == list(MULTIPLES)
    assert max(profile, key=lambda multiple: profile[multiple]) == 2.0
    slopes = np.diff(list(profile.values())) / np.diff(list(profile))
    assert (np.diff(slopes) < 0).all()


def test_whole_episodes_are_held_out_and_never_all() -> None:
    columns = make_columns(lengths=(4, 4))
    kept, held = hold_out(columns, 0.9, seed=0)
    assert set(kept[EPS_ID]).isdisjoint(held[EPS_ID])
    assert num_rows(kept) == num_rows(held) == 4


def test_of_a_single_episode_a_block_of_time_is_held_out() -> None:
    columns = make_columns(lengths=(40,))
    shuffled = take(columns, np.random.default_rng(0).permutation(40))
    kept, held = hold_out(shuffled, 0.1, seed=0)
    times = np.sort(held[T])
    assert len(times) == 4 and num_rows(kept) == 36 and times[0] % 4 == 0
    np.testing.assert_array_equal(np.diff(times), 1)
    assert any(set(hold_out(columns, 0.1, seed)[1][T]) != set(times) for seed in range(1, 5))
    with pytest.raises(DatasetError, match="at least two steps"):
        hold_out(take(columns, np.arange(1)), 0.1, seed=0)
