"""Which rewards explain a behaviour: what one, two and more environments identify, and where the rank fails."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rllib_mamql.errors import ConfigError
from rllib_mamql.rewards.metrics import epic_tabular
from rllib_mamql.solvable import (
    Evidence,
    Game,
    Identified,
    another_law,
    best_response,
    estimated_evidence,
    evidence,
    identify,
    marginals,
    pursuit,
    random_game,
    sample_steps,
    shape,
    soft_equilibrium,
    state_only,
    with_rewards,
)


def seen(games: list[Game], agent: int) -> list[Evidence]:
    return [evidence(game, soft_equilibrium(game).policies, agent) for game in games]


def true_reward(game: Game, agent: int) -> np.ndarray:
    return marginals(game, soft_equilibrium(game).policies, agent)[0]


def assert_identified(found: Identified, true: np.ndarray, discount: float) -> None:
    assert found.up_to_constant
    assert found.residual < 1e-8
    assert np.ptp(found.directions) < 1e-8, "what is left is a constant"
    assert found.distance(true) < 1e-6
    assert epic_tabular(found.reward, true, discount) < 1e-6


@pytest.mark.parametrize("agent", [0, 1])
def test_one_equilibrium_fits_many_rewards(agent: int) -> None:
    game = random_game(0)
    found = identify(seen([game], agent))
    true = true_reward(game, agent)
    assert found.undetermined == game.states
    assert found.distance(true) < 1e-8
    assert epic_tabular(found.reward, true, game.discount) > 0.2
    # Any potential gives another: it fits as well and yields the same policy.
    policies = soft_equilibrium(game).policies
    _, transition = marginals(game, policies, agent)
    other = shape(true, np.array([3.0, -1.0, 0.5, 2.0]), transition, game.discount)
    assert found.distance(other) < 1e-8
    table = np.expand_dims(other, 2 - agent)
    rewards = game.rewards.copy()
    rewards[agent] = np.broadcast_to(table, rewards[agent].shape)
    response = best_response(replace(game, rewards=rewards), policies, agent)
    np.testing.assert_allclose(response, policies[agent], atol=1e-8)


@pytest.mark.parametrize("agent", [0, 1, 2])
@pytest.mark.parametrize("second", ["discount", "law"])
def test_two_environments_identify_rewards_of_the_own_action(second: str, agent: int) -> None:
    game = with_rewards(random_game(5, actions=(3, 2, 4)), "own", 1)
    other = replace(game, discount=0.5) if second == "discount" else another_law(game, 9)
    assert_identified(identify(seen([game, other], agent)), true_reward(game, agent), game.discount)


def test_two_discounts_identify_any_reward_against_the_same_opponents() -> None:
    game = random_game(4, actions=(3, 3))  # the reward depends on the other's action
    policies = soft_equilibrium(game).policies
    patient, hasty = (replace(game, discount=discount) for discount in (0.9, 0.5))
    pair = [evidence(one, (best_response(one, policies, 0), policies[1]), 0) for one in (patient, hasty)]
    assert_identified(identify(pair), marginals(game, policies, 0)[0], game.discount)


def test_rewards_of_joint_actions_in_two_equilibria_refute_the_family_of_own_actions() -> None:
    game = random_game(0)
    pair = seen([game, another_law(game, 100)], 0)
    assert identify(pair, "own").residual > 1e-3
    assert identify(pair, "joint").residual < 1e-8
    assert identify(pair, "joint").undetermined == game.states


@pytest.mark.parametrize(("agent", "needed"), [(0, 3), (1, 6)])
def test_joint_rewards_need_as_many_environments_as_the_count_says(agent: int, needed: int) -> None:
    game = random_game(0)  # actions (3, 2): 6 / (3 - 1) and 6 / (2 - 1)
    assert needed == np.prod(game.actions) / (game.actions[agent] - 1)
    environments = seen([game, *(another_law(game, 100 + k) for k in range(needed))], agent)
    assert identify(environments[: needed - 1], "joint").undetermined > 1
    assert_identified(identify(environments[:needed], "joint"), true_reward(game, agent), game.discount)


def test_state_rewards_are_identified_from_one_equilibrium_as_by_the_gauge() -> None:
    game = pursuit(2, 3)
    for agent in range(2):
        found = identify(seen([game], agent), "state")
        true, transition = marginals(game, soft_equilibrium(game).policies, agent)
        assert_identified(found, true, game.discount)
        gauge = state_only(true, transition, game.discount).reward
        np.testing.assert_allclose(found.reward, gauge - gauge.mean(), atol=1e-8)


def test_a_state_reward_is_refuted_where_the_reward_depends_on_the_action() -> None:
    game = with_rewards(random_game(0), "own", 0)
    assert identify(seen([game], 0), "state").residual > 0.05


# -- where the rank condition fails -----------------------------------------------------------------------------------


def idle(game: Game) -> Game:
    """Dynamics that no action moves."""
    index = (slice(None),) + (slice(0, 1),) * game.agents
    return replace(game, transitions=np.broadcast_to(game.transitions[index], game.transitions.shape).copy())


def islands(game: Game) -> Game:
    """Two halves of the states without a way between them."""
    half = np.arange(game.states) < game.states // 2
    same = half[:, None] == half[None, :]
    kept = game.transitions * same.reshape(game.states, *(1,) * game.agents, game.states)
    return replace(game, transitions=kept / kept.sum(-1, keepdims=True))


@pytest.mark.parametrize("second", ["discount", "law"])
def test_dynamics_that_no_action_moves_identify_nothing_more(second: str) -> None:
    game = idle(with_rewards(random_game(0), "own", 0))
    other = replace(game, discount=0.5) if second == "discount" else idle(another_law(game, 9))
    found = identify(seen([game, other], 0))
    assert not found.up_to_constant
    assert found.undetermined == game.states
    assert found.distance(true_reward(game, 0)) < 1e-8


def test_two_islands_leave_a_constant_each() -> None:
    game = islands(with_rewards(random_game(0), "own", 0))
    found = identify(seen([game, replace(game, discount=0.5)], 0))
    assert found.undetermined == 2
    assert found.distance(true_reward(game, 0)) < 1e-6
    assert np.ptp(found.directions[:, :2].reshape(2, -1), axis=1).max() < 1e-8


def test_the_same_environment_twice_is_one() -> None:
    game = with_rewards(random_game(0), "own", 0)
    assert identify(seen([game, game], 0)).undetermined == game.states


def test_what_does_not_fit_is_refused() -> None:
    game = random_game(0)
    with pytest.raises(ConfigError, match="did you mean 'joint'"):
        identify(seen([game], 0), "joints")
    with pytest.raises(ConfigError, match="at least one"):
        identify([])
    with pytest.raises(ConfigError, match="shapes"):
        identify([*seen([game], 0), *seen([game], 1)])


# -- samples ----------------------------------------------------------------------------------------------------------


def errors(games: list[Game], family: str, steps: list[int], seeds: int) -> list[float]:
    """Root mean squared distance of the recovered reward from the true one, by the number of steps an environment."""
    policies = [soft_equilibrium(game).policies for game in games]
    true = marginals(games[0], policies[0], 0)[0]
    result = []
    for count in steps:
        squares = []
        for seed in range(seeds):
            data = [
                sample_steps(g, p, count, 10 * seed + k, chains=2_000)
                for k, (g, p) in enumerate(zip(games, policies, strict=True))
            ]
            found = identify([estimated_evidence(g, d, 0) for g, d in zip(games, data, strict=True)], family)
            squares.append(found.distance(true) ** 2)
        result.append(float(np.sqrt(np.mean(squares))))
    return result


@pytest.mark.parametrize("case", ["state", "two laws", "two discounts"])
def test_the_error_falls_with_the_root_of_the_sample(case: str) -> None:
    game = with_rewards(random_game(0), "own", 0)
    games, family = {
        "state": ([pursuit(2, 3)], "state"),
        "two laws": ([game, another_law(game, 50)], "own"),
        "two discounts": ([game, replace(game, discount=0.5)], "own"),
    }[case]
    steps = [4_000, 16_000, 64_000, 256_000]
    exponent = np.polyfit(np.log(steps), np.log(errors(games, family, steps, seeds=8)), 1)[0]
    assert -0.6 < exponent < -0.4, exponent
