"""The environments' argument checks say what is wrong, the value, and what is allowed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mamql_envs import checks


@pytest.mark.parametrize(
    ("check", "says"),
    [
        (
            lambda: checks.one_of("layout", "cramped", ("cramped_room", "corridor")),
            "did you mean 'cramped_room'? known",
        ),
        (lambda: checks.one_of("vehicles", 3, (2, 4)), "vehicles=3 is not known; known: 2, 4"),
        (lambda: checks.one_of("vehicles", True, (1, 2)), "vehicles=True is not known"),
        (lambda: checks.one_of("layout", None, ("corridor",)), "layout=None is not known; known: corridor"),
        (lambda: checks.render_mode("human", ("rgb_array",)), "render_mode='human' is not known; known: rgb_array"),
        (lambda: checks.flag("traffic", 1), "traffic=1 is neither true nor false"),
        (lambda: checks.steps("horizon", 0), "horizon=0 is not a number of steps: give an integer of at least 1"),
        (lambda: checks.steps("horizon", 2.0), "horizon=2.0 is not a number of steps"),
        (lambda: checks.positive("num_envs", True), "num_envs=True is not an integer of at least 1"),
        (lambda: checks.probability("random_starts", 1.5), "random_starts=1.5 is not a probability"),
        (lambda: checks.probability("random_starts", float("nan")), "is not a probability: give a number from 0 to 1"),
        (
            lambda: checks.action_of("a", {"b": 0}, ["a", "b"], 3),
            "no action for a: step() needs one for each of ['a', ",
        ),
        (lambda: checks.action_of("a", {"a": 3}, ["a"], 3), "action 3 of a is not an integer from 0 to 2"),
        (lambda: checks.action_of("a", {"a": 0.5}, ["a"], 3), "action 0.5 of a is not an integer"),
        (lambda: checks.rows_and_seeds([0, 1], [3]), "a non-negative seed for each of 2 environments, got [3]"),
        (lambda: checks.rows_and_seeds([0], [-1]), "a non-negative seed"),
    ],
)
def test_what_is_wrong_is_said(check: Callable[[], Any], says: str) -> None:
    with pytest.raises(ValueError) as caught:
        check()
    assert says in str(caught.value)


def test_what_is_right_is_given_back_in_plain_types() -> None:
    assert checks.one_of("vehicles", 4, (2, 4)) == 4
    assert checks.render_mode(None, ("rgb_array",)) is None
    assert checks.flag("traffic", np.True_) is True
    assert type(checks.steps("horizon", np.int64(3))) is int
    assert type(checks.probability("random_starts", np.float32(0.5))) is float
    assert type(checks.action_of("a", {"a": np.int64(1)}, ["a"], 3)) is int
