"""An iteration has as many joint steps with any number of env runners, and rounds ahead count where they belong."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from rllib_mamql.algorithms.mamql.config import MAMQLConfig
from rllib_mamql.learning.rounds import Rounds


class Group:
    """As much of RLlib's group of env runners as counts."""

    def __init__(self, runners: int) -> None:
        self.runners, self.under_way = runners, 0

    def num_remote_env_runners(self) -> int:
        return self.runners

    def num_in_flight_async_reqs(self, tag: str) -> int:
        return self.under_way


def rounds(group: Group, staleness: int = 0, least: int | None = 2000) -> Rounds:
    config: Any = SimpleNamespace(
        num_learners=0,
        staleness=staleness,
        num_envs_per_env_runner=8,
        min_sample_timesteps_per_iteration=least,
        get_rollout_fragment_length=lambda: 20,
    )
    return Rounds(group, config)  # type: ignore[arg-type]


def iteration(made: Rounds, least: int = 2000) -> list[list[int]]:
    """Rounds until RLlib ends an iteration."""
    made.begin_iteration()
    found: list[list[int]] = []
    while 8 * sum(map(sum, found)) < least:
        found.append(made.steps())
    return found


@pytest.mark.parametrize("runners", [0, 1, 2, 3, 4, 5, 7, 13, 16, 100])
def test_an_iteration_is_as_long_with_any_number_of_runners(runners: int) -> None:
    made = rounds(Group(runners))
    for _ in range(3):
        found = iteration(made)
        assert sum(map(sum, found)) == 260  # of 8 environments: 13 rounds of 20 steps of one runner
        assert all(len(steps) == max(1, runners) and max(steps) - min(steps) <= 1 for steps in found)
        assert all(max(steps) <= 20 for steps in found)


def test_rounds_are_whole_while_there_is_room() -> None:
    assert iteration(rounds(Group(4))) == [[20] * 4, [20] * 4, [20] * 4, [5] * 4]
    assert iteration(rounds(Group(0))) == [[20]] * 13


@pytest.mark.parametrize("least", [None, 0, 1, 160])
def test_the_shortest_iteration_is_a_round_of_one_runner(least: int | None) -> None:
    assert rounds(Group(2), least=least).steps() == [10, 10]


def test_what_is_sampled_ahead_is_the_first_round_of_the_next_iteration() -> None:
    group = Group(4)
    made = rounds(group, staleness=1)
    made.begin_iteration()
    first = [made.steps() for _ in range(4)]
    ahead, group.under_way = made.steps(), 4
    made.begin_iteration()
    second = [ahead, *(made.steps() for _ in range(3))]
    assert first == second == [[20] * 4, [20] * 4, [20] * 4, [5] * 4]
    made.steps()
    group.under_way = 0  # a checkpoint was loaded, and what ran is dropped
    assert iteration(made) == first


def test_runners_sample_ahead_where_a_gpu_would_wait() -> None:
    assert MAMQLConfig().staleness == 0
    assert MAMQLConfig().env_runners(num_env_runners=2).staleness == 0
    assert MAMQLConfig().learners(num_gpus_per_learner=1).staleness == 0
    with_gpu = MAMQLConfig().env_runners(num_env_runners=2).learners(num_gpus_per_learner=1)
    assert with_gpu.staleness == 1
    assert with_gpu.training(rollout_staleness=0).staleness == 0
