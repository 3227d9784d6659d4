"""Reward events against the expert's, and the warning where play collapses onto one kind."""

from __future__ import annotations

import pytest

from rllib_mamql.diagnostics import event_ratio, event_warnings, over_agents

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
