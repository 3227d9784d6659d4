"""Each known failure has a number and a warning, and what is healthy has none."""

from __future__ import annotations

import numpy as np
import pytest

from rllib_mamql.algorithms.mamql.objective import implied_bounds
from rllib_mamql.columns import Q_SHARE, REWARD_SHARE
from rllib_mamql.evaluation import diagnostics
from rllib_mamql.evaluation.diagnostics import (
    Coverage,
    RationalityFit,
    coverage,
    coverage_warnings,
    divergence_warnings,
    event_ratio,
    event_warnings,
    over_agents,
    rationality_warnings,
)

EXPERT = {"a": {"own_gem": 1.9, "shared_gem": 1.9}, "b": {"own_gem": 2.1, "shared_gem": 1.9}}


def test_sums_and_ratios_are_over_agents() -> None:
    learned = {"a": {"own_gem": 2.0, "shared_gem": 0.0}, "b": {"own_gem": 2.0, "other": 1.0}}
    assert over_agents(learned) == {"other": 1.0, "own_gem": 4.0, "shared_gem": 0.0}
    assert event_ratio(learned, EXPERT) == {"other": None, "own_gem": pytest.approx(1.0), "shared_gem": 0.0}


def test_an_unknown_expert_gives_no_ratio_and_no_warning() -> None:
    assert event_ratio(EXPERT, {}) == {}
    assert event_warnings(EXPERT, {}) == []


def test_a_lost_kind_is_named_with_both_rates_and_a_remedy() -> None:
    learned = {"a": {"own_gem": 2.0, "shared_gem": 0.5}, "b": {"own_gem": 2.0, "shared_gem": 0.5}}
    (warning,) = event_warnings(learned, EXPERT)
    assert "shared_gem happens 1.00 times an episode, with the expert 3.80" in warning
    assert "own_gem is kept" in warning and "chi_square_scale" in warning


@pytest.mark.parametrize(
    "learned",
    [
        EXPERT,
        {
            "a": {"own_gem": 0.0, "shared_gem": 3.9},
            "b": {"own_gem": 4.0, "shared_gem": 0.0},
        },  # other roles
        {"a": {"own_gem": 0.1, "shared_gem": 0.1}, "b": {}},  # plays badly, but at nothing in particular
    ],
)
def test_no_false_alarm(learned: dict[str, dict[str, float]]) -> None:
    assert event_warnings(learned, EXPERT) == []


def test_kinds_that_the_expert_rarely_shows_do_not_count() -> None:
    expert = {"a": {"arrival": 2.0, "collision": 0.1}}
    assert event_warnings({"a": {"arrival": 2.0, "collision": 0.0}}, expert) == []


def test_bounds_follow_from_the_penalty() -> None:
    assert implied_bounds(1.0, 0.95) == (2.0, pytest.approx(40.0))
    scale = 3.0
    bound, _ = implied_bounds(scale, 0.5)
    rewards = np.linspace(-10.0, 20.0, 3001)
    assert rewards[np.argmax(rewards - rewards**2 / (4 * scale))] == pytest.approx(bound)


def test_divergence_names_the_agent_and_the_settings() -> None:
    # The drift that was measured with chi^2 over the expert's states only: mean Q at -45 with c = 1, gamma = 0.95.
    shares = {"agent_0": {REWARD_SHARE: 0.4, Q_SHARE: 45.0 / 40.0}, "agent_1": {REWARD_SHARE: 2.0, Q_SHARE: 0.01}}
    critic, implied = divergence_warnings(shares)
    assert critic.startswith("critic of agent_0 diverges") and "1.1 times" in critic
    assert implied.startswith("implied reward of agent_1 diverges")
    for warning in (critic, implied):
        assert "chi_square_states: mixture" in warning
        assert "chi_square_scale" in warning and "weight_decay" in warning


def test_what_is_no_number_has_diverged() -> None:
    assert len(divergence_warnings({"a": {REWARD_SHARE: float("nan"), Q_SHARE: float("inf")}})) == 2


@pytest.mark.parametrize("shares", [{}, {REWARD_SHARE: 0.5, Q_SHARE: 0.03}, {REWARD_SHARE: 1.1}])
def test_healthy_critics_are_not_warned_of(shares: dict[str, float]) -> None:
    assert divergence_warnings({"a": shares}) == []


def walks(seed: int, episodes: int = 20, steps: int = 25) -> tuple[np.ndarray, np.ndarray]:
    """Random walks in five dimensions of different scales: successive states are close to each other."""
    rng = np.random.default_rng(seed)
    states = rng.normal(size=(episodes, steps, 5)).cumsum(axis=1) * np.array([1.0, 10.0, 0.1, 1.0, 1.0])
    return states.reshape(-1, 5), np.repeat(np.arange(episodes), steps)


def test_play_like_the_expert_is_covered() -> None:
    expert, episodes = walks(0)
    found = coverage(walks(1)[0], expert, episodes)
    assert found.uncovered < 0.25 and found.play == pytest.approx(found.expert, rel=0.5)
    assert coverage_warnings({"a": found}) == []


def test_of_large_images_fewer_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    expert, episodes = walks(0)
    whole = coverage(walks(1)[0], expert, episodes)
    monkeypatch.setattr(diagnostics, "MOST_BYTES", 8 * 5 * 120)
    some = coverage(walks(1)[0], expert, episodes)
    assert some != whole and some.play == pytest.approx(whole.play, rel=1.0), "the spread is of all rows all the same"
    np.testing.assert_allclose(diagnostics._spread(expert), expert.std(axis=0))


def test_coverage_ignores_units() -> None:
    (expert, episodes), (play, _) = walks(0), walks(1)
    found, scaled = coverage(play, expert, episodes), coverage(1000.0 * play, 1000.0 * expert, episodes)
    assert found.uncovered == scaled.uncovered and found.play == pytest.approx(scaled.play)


def test_play_elsewhere_is_warned_of() -> None:
    expert, episodes = walks(0)
    found = coverage(walks(1)[0] + 100.0, expert, episodes)
    assert found.uncovered == 1.0
    (warning,) = coverage_warnings({"near": Coverage(1.0, 1.0, 0.05), "far": found})
    assert "100% of the states of far" in warning and "demonstrations" in warning


def test_a_deterministic_expert_is_covered_by_itself() -> None:
    path, episodes = np.tile(np.arange(30.0)[:, None], (4, 2)), np.repeat(np.arange(4), 30)
    found = coverage(path[:30], path, episodes)
    assert (found.play, found.expert, found.uncovered) == (0.0, 0.0, 0.0)
    assert coverage(path[:30] + 50.0, path, episodes).uncovered == 1.0


def test_a_feature_that_the_expert_never_changes_counts() -> None:
    rng = np.random.default_rng(0)
    expert = np.concatenate([rng.normal(size=(200, 2)), np.zeros((200, 1))], axis=1)
    play = np.concatenate([rng.normal(size=(100, 2)), np.full((100, 1), 20.0)], axis=1)
    assert coverage(play, expert, np.arange(200) // 20).uncovered == 1.0


def test_coverage_needs_two_episodes() -> None:
    with pytest.raises(ValueError, match="two expert episodes"):
        coverage(np.zeros((3, 1)), np.zeros((3, 1)), np.zeros(3))


def test_a_rationality_that_does_not_fit_is_named_with_its_remedy() -> None:
    (warning,) = rationality_warnings({"shared": RationalityFit(3.0, 12.0, -0.9, -0.6)})
    assert "rationality 3 of shared" in warning and "set evaluation_rationality" in warning
    assert warning.endswith("to 12")
    assert len(rationality_warnings({"shared": RationalityFit(3.0, 1.0, -0.9, -0.6)})) == 1


@pytest.mark.parametrize(
    "fit",
    [
        RationalityFit(3.0, 4.0, -0.9, -0.89),
        RationalityFit(3.0, 1.5, -0.9, -0.6),
        RationalityFit(3.0, 20.0, -0.1, -0.09),
    ],
)  # close enough, on the edge, without consequence
def test_a_rationality_that_fits_is_not_warned_of(fit: RationalityFit) -> None:
    assert rationality_warnings({"a": fit}) == []
