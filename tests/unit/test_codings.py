"""Observations and actions of every kind that Gymnasium has, as arrays of a Box and as numbers from 0 on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from rllib_mamql.data.bounds import Bounds
from rllib_mamql.environments.actions import action_coding
from rllib_mamql.environments.observations import observation_coding
from rllib_mamql.errors import ConfigError
from tests.support.awkward_env import ACTIONS, OBSERVATIONS


@pytest.mark.parametrize("kind", [kind for kind in OBSERVATIONS if kind not in ("text", "sequence")])
def test_samples_of_every_space_lie_in_the_box_that_it_becomes(kind: str) -> None:
    space = OBSERVATIONS[kind]
    coding, bounds = observation_coding(space), None
    space.seed(0)
    for _ in range(20):
        array = coding.encode(space.sample())
        assert array.shape == coding.space.shape and array.dtype == coding.space.dtype
        bounds = bounds or Bounds(coding.space)
        assert bounds.hold(array) and (array >= coding.space.low).all() and (array <= coding.space.high).all()


@pytest.mark.parametrize(
    ("kind", "shape", "dtype"),
    [
        ("float16", (3,), "float16"),
        ("integers", (3,), "int64"),
        ("image", (12, 9, 3), "uint8"),
        ("single", (1,), "float32"),
        ("film", (96,), "float32"),
        ("one_of", (5,), "float32"),
        ("several", (7,), "float32"),
        ("switches", (4,), "float32"),
        ("nested", (48 + 3 + 2,), "float32"),
    ],
)
def test_a_box_keeps_its_form_and_the_rest_becomes_a_vector(kind: str, shape: tuple[int, ...], dtype: str) -> None:
    space = observation_coding(OBSERVATIONS[kind]).space
    assert (space.shape, str(np.dtype(space.dtype))) == (shape, dtype)


def test_what_a_vector_is_made_of() -> None:
    assert observation_coding(OBSERVATIONS["one_of"]).encode(-1).tolist() == [0, 1, 0, 0, 0]
    assert observation_coding(OBSERVATIONS["several"]).encode(np.array([2, 0])).tolist() == [0, 0, 1, 1, 0, 0, 0]
    camera = np.full((4, 4, 3), 51, np.uint8)
    nested = {"rest": (1, {"speed": np.array([0.5, -9.0], np.float32)}), "camera": camera}
    vector = observation_coding(OBSERVATIONS["nested"]).encode(nested)
    assert vector[:48] == pytest.approx(0.2) and vector[48:].tolist() == [0, 1, 0, 0.5, -9.0]


@pytest.mark.parametrize(
    ("kind", "observation", "says"),
    [
        ("one_of", 3, "not in Discrete"),
        ("one_of", 0.5, "not in Discrete"),
        ("several", [3, 0], "not in MultiDiscrete"),
        ("image", np.full((12, 9, 3), 0.5), "cannot express"),
        ("image", np.full((12, 9, 3), 300), "cannot express"),
        ("vector", np.zeros((3, 1)), "has shape"),
        ("nested", {"camera": 0}, "its space says"),
        ("nested", {"camera": np.zeros((4, 4, 3), np.uint8), "rest": (1,)}, "2 parts"),
        ("vector", None, "has shape"),
    ],
)
def test_an_observation_outside_its_space_says_how(kind: str, observation: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        observation_coding(OBSERVATIONS[kind]).encode(observation)


@pytest.mark.parametrize("kind", ["text", "sequence"])
def test_observations_of_no_fixed_size_are_refused_with_a_remedy(kind: str) -> None:
    with pytest.raises(ConfigError, match=r"of no fixed size.*#wrappers"):
        observation_coding(OBSERVATIONS[kind])


@pytest.mark.parametrize("kind", ["plain", "from_one", "several", "switches"])
def test_numbers_and_actions_are_one_to_one(kind: str) -> None:
    space = ACTIONS[kind]
    coding = action_coding(space)
    actions = [coding.native(number) for number in range(int(coding.space.n))]
    assert coding.space.start == 0 and all(space.contains(action) for action in actions)
    assert [coding.number(action) for action in actions] == list(range(int(coding.space.n)))
    assert len({str(action) for action in actions}) == len(actions)


def test_the_last_component_counts_fastest() -> None:
    coding = action_coding(spaces.MultiDiscrete([2, 3], start=[0, 5]))
    assert [coding.native(number).tolist() for number in (0, 1, 3)] == [[0, 5], [0, 6], [1, 5]]


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("continuous", "continuous"),
        ("too_many", "1,000,000 combinations, at most 1,024"),
        ("text", "make them Discrete"),
    ],
)
def test_other_actions_are_refused_with_a_remedy(kind: str, says: str) -> None:
    with pytest.raises(ConfigError, match=rf"{says}.*a wrapper can do that.*#wrappers"):
        action_coding(ACTIONS[kind])


def test_bounds_let_rounding_pass_and_nothing_else() -> None:
    bounds = Bounds(spaces.Box(0.0, 100.0, (2,), np.float32))
    assert bounds.hold(np.array([[0.0, 100.05], [-0.0005, 3.0]], np.float32))
    for wrong in (np.nan, np.inf, -1.0, 101.0):
        observations = np.array([[1.0, 2.0], [3.0, wrong]], np.float32)
        assert not bounds.hold(observations) and bounds.unsound(observations).tolist() == [False, True]
        assert "index 1" in bounds.describe(observations[1])
    assert Bounds(spaces.Box(0, 255, (2,), np.uint8)).any_will_do
    assert not Bounds(spaces.Box(0, 9, (2,), np.uint8)).hold(np.array([[3, 11]], np.uint8))
