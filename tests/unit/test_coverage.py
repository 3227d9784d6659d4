"""How much of the demonstrations rollouts come upon, and the weight that follows from it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rllib_mamql.algorithms.mamql import coverage
from rllib_mamql.algorithms.mamql.chosen import chosen, in_words
from rllib_mamql.algorithms.mamql.config import MAMQLConfig
from rllib_mamql.algorithms.mamql.coverage import EXPERT_ROWS, REACHED, Weights, bin_widths, reached, scale_of
from rllib_mamql.columns import OBS, column
from rllib_mamql.learning.learner import JOINT
from tests.unit.test_graphs import assert_equal
from tests.unit.test_learner import TOY, learner, play

AGENTS = ("agent_0", "agent_1")


def joint(*observations: torch.Tensor) -> dict[str, torch.Tensor]:
    return {column(OBS, agent): values for agent, values in zip(AGENTS, observations, strict=True)}


def test_counts_demonstrated_states_that_rollouts_came_upon() -> None:
    states = torch.eye(20)
    expert = joint(states, states.flip(0))
    assert reached(expert, expert, 20, AGENTS) == 1.0
    assert reached(expert, joint(states[[3, 3, 7, 4]], states.flip(0)[[3, 3, 7, 5]]), 4, AGENTS) == pytest.approx(
        2 / 20
    )
    assert reached(expert, joint(states, states), 20, AGENTS) == 0.0, "a state is what all agents see in it"


def test_rows_of_the_buffer_that_are_not_filled_yet_are_no_states() -> None:
    states = torch.eye(6)
    expert = joint(states, states)
    assert reached(expert, expert, 3, AGENTS) == 0.5
    assert reached(expert, expert, 0, AGENTS) == 0.0


def test_small_differences_do_not_matter_and_large_ones_do() -> None:
    rng = np.random.default_rng(0)
    states = torch.from_numpy(rng.integers(0, 5, (200, 2)).astype(np.float32))
    near = states + torch.from_numpy(rng.uniform(-0.01, 0.01, (200, 2)).astype(np.float32))
    assert reached(joint(states, states), joint(near, near), 200, AGENTS) > 0.9
    far = torch.from_numpy(rng.normal(size=(200, 8)).astype(np.float32))
    other = torch.from_numpy(rng.normal(size=(200, 8)).astype(np.float32))
    assert reached(joint(far, far), joint(other, other), 200, AGENTS) == 0.0


def test_a_column_that_never_changes_in_the_demonstrations_counts_too() -> None:
    states = torch.stack([torch.arange(10.0), torch.zeros(10)], 1)
    elsewhere = states + torch.tensor([0.0, 1.0])
    assert reached(joint(states, states), joint(elsewhere, elsewhere), 10, AGENTS) == 0.0


def test_images_of_bytes_and_more_rows_than_are_compared() -> None:
    images = torch.randint(0, 255, (EXPERT_ROWS + 50, 3, 3), dtype=torch.uint8)
    assert reached(joint(images, images), joint(images, images), len(images), AGENTS) == 1.0


@pytest.mark.parametrize(("share", "weight"), [(0.0, 0.0), (0.05, 0.25), (0.1, 0.5), (0.9, 0.5)])
def test_rows_weigh_alike_where_enough_is_reached(share: float, weight: float) -> None:
    assert Weights.of(share, (64, 64), 3.0).rollout_share == pytest.approx(weight)


def test_chi_square_is_strong_where_rollouts_weigh_and_weak_where_they_do_not() -> None:
    assert scale_of(1.0, 3.0) == pytest.approx(1.0) and scale_of(0.0, 3.0) == pytest.approx(30.0)
    scales = [scale_of(full, 3.0) for full in np.linspace(0, 1, 11)]
    assert scales == sorted(scales, reverse=True)
    assert scale_of(0.3, 6.0) == pytest.approx(scale_of(0.3, 3.0) / 2), (
        "policies hang on its product with the rationality"
    )


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ((0.5, 0.5, 1.0), "chosen: rollouts take full part, chi_square_scale 1, for policies came upon 50% of the"),
        ((0.0, 0.0, 30.0), "chosen: rollouts take no part, chi_square_scale 30, for policies came upon 0% of the"),
        ((0.05, 0.25, 1.9), "chosen: rollouts weigh 0.25, chi_square_scale 1.9, for policies came upon 5% of the"),
    ],
)
def test_says_what_was_chosen_and_why(found: tuple[float, float, float], words: str) -> None:
    settings = dict(zip((REACHED, "rollout_share", "chi_square_scale"), found, strict=True))
    assert in_words(chosen(settings | {"gamma": 0.9})) == [f"{words} demonstrated states"]
    assert chosen({"rollout_share": 0.5, "chi_square_scale": 1.0}) == {}, "it was told, and chose nothing"


def test_a_learner_weighs_rollouts_as_it_is_told() -> None:
    """At weight 0 as from the expert's rows alone, at the rows' own share as all rows alike."""
    alone = {"value_term": "expert", "chi_square_states": "expert"}
    for share, same in ((0.0, alone), (16 / 48, {"rollout_share": 16 / 48})):
        made, other = learner(), learner(**same, chi_square_scale=1.0)
        made.weigh(Weights(share, 1.0))
        for each in (made, other):
            each.replay.add(play(seed=9))
            each.update(num_updates=3)
        assert_equal(made, other, rtol=1e-5, atol=1e-6)
    assert 0.0 < made.reached() <= 1.0, "the toy game has few states"


@pytest.mark.parametrize(("critic", "rows"), [("marginal", [48, 32, 32, 32, 48]), ("joint", [48] * 5)])
def test_rollouts_that_weigh_nothing_are_drawn_for_what_they_still_serve(
    critic: str, rows: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the reward regression, here at every fourth step, and to distil a joint critic."""
    made = learner(critic=critic, reward_interval=4)
    made.replay.add(play(seed=9))
    drawn: list[int] = []
    update = made._update
    monkeypatch.setattr(
        made, "_update", lambda batch: drawn.append(next(iter(batch.values()))[JOINT].rows) or update(batch)
    )
    made.weigh(Weights.of(0.0, (32, 16), 3.0))
    made.update(num_updates=5)
    made.weigh(Weights.of(0.02, (32, 16), 3.0))
    made.update(num_updates=2)
    assert drawn == [*rows, 48, 48]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "auto"),
        ({"value_term": "rollout+expert"}, "auto"),
        ({"value_term": "expert"}, None),
        ({"mode": "offline"}, None),
        ({"rollout_share": 0.3}, 0.3),
        ({"rollout_share": None}, None),
    ],
)
def test_a_setting_that_is_given_stays(settings: dict[str, object], expected: object) -> None:
    config = MAMQLConfig().environment(TOY).offline_data(input_="unused").training(**settings)
    config.validate()
    assert config.rollout_share == expected


@pytest.mark.parametrize(
    ("settings", "scale"),
    [
        ({}, 30.0),
        ({"rollout_share": None}, 1.0),
        ({"rollout_share": 0}, 30.0),
        ({"rollout_share": 1}, 1.0),
        ({"value_term": "expert"}, 30.0),
        ({"value_term": "initial"}, 1.0),
        ({"mode": "offline"}, 30.0),
        ({"chi_square_scale": 7.0}, 7.0),
    ],
)
def test_the_scale_of_chi_square_follows_from_what_is_given(settings: dict[str, object], scale: float) -> None:
    assert learner(**settings).weights()["chi_square_scale"] == pytest.approx(scale)


def test_spreads_of_images_are_taken_some_numbers_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = {column(OBS, "a"): torch.randint(0, 256, (30, 4, 3, 3), dtype=torch.uint8)}
    rows = torch.tensor([3, 5, 28])
    whole = [bin_widths(columns, ["a"], some)["a"] for some in (None, rows)]
    torch.testing.assert_close(whole[0], 0.5 * columns["obs.a"].flatten(1).float().std(0, correction=0))
    torch.testing.assert_close(whole[1], 0.5 * columns["obs.a"][rows].flatten(1).float().std(0, correction=0))
    monkeypatch.setattr(coverage, "_PART", 60)
    for some, expected in zip((None, rows), whole, strict=True):
        torch.testing.assert_close(bin_widths(columns, ["a"], some)["a"], expected)
