"""The solvable games are what they say, and their equilibria solve the soft Bellman equations."""

from __future__ import annotations

import pathlib
from dataclasses import replace

import numpy as np
import pytest

from rllib_mamql.errors import ConfigError
from rllib_mamql.solvable import (
    EXAMPLES,
    ConvergenceError,
    Game,
    all_rows,
    another_law,
    best_response,
    joint_values,
    marginalise,
    occupancy,
    random_game,
    sample_steps,
    soft_equilibrium,
    with_rewards,
)
from rllib_mamql.solvable.examples import KINDS

ROOT = pathlib.Path(__file__).parents[2]
SIZES = [(agents, actions) for agents in (2, 3, 4, 5) for actions in (2, 3, 4, 5)]


def slow_backup(game: Game, policies: tuple[np.ndarray, ...], value: np.ndarray, agent: int) -> np.ndarray:
    """Action values by plain loops over states and joint actions."""
    q = np.zeros((game.states, game.actions[agent]))
    for state in range(game.states):
        for joint in np.ndindex(*game.actions):
            chance = np.prod([policies[j][state, a] for j, a in enumerate(joint) if j != agent])
            following = game.transitions[(state, *joint)] @ value
            q[state, joint[agent]] += chance * (game.rewards[(agent, state, *joint)] + game.discount * following)
    return q


@pytest.mark.parametrize(("agents", "actions"), SIZES)
def test_every_example_is_solved(agents: int, actions: int) -> None:
    for name, make in EXAMPLES.items():
        game = make(agents=agents, actions=actions)
        found = soft_equilibrium(game)
        assert found.residual < 1e-10, name
        if agents == 2 or actions == 2:
            agent = agents - 1
            slow = slow_backup(game, found.policies, found.values[agent], agent)
            np.testing.assert_allclose(found.q[agent], slow, atol=1e-9, err_msg=name)
            policy = np.exp(game.rationality * (found.q[agent] - found.values[agent][:, None]))
            np.testing.assert_allclose(found.policies[agent], policy, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_random_games_are_of_their_kind(kind: str) -> None:
    game = random_game(0, kind=kind, actions=(2, 4, 3))
    assert soft_equilibrium(game).residual < 1e-10
    same = np.allclose(game.rewards[0], game.rewards[1])
    zero = np.allclose(game.rewards.sum(0), 0.0)
    assert (same, zero) == {"cooperative": (True, False), "competitive": (False, True), "mixed": (False, False)}[kind]


def test_pursuit_is_zero_sum_and_coordination_is_shared() -> None:
    np.testing.assert_allclose(EXAMPLES["pursuit"](agents=4).rewards.sum(0), 0.0, atol=1e-12)
    shared = EXAMPLES["coordination"](agents=3).rewards
    np.testing.assert_array_equal(shared[0], shared[2])


def test_joint_values_marginalise_to_the_marginal_ones() -> None:
    game = random_game(1, actions=(3, 2, 4))
    found = soft_equilibrium(game)
    for agent in range(3):
        joint = joint_values(game, found.values[agent], agent)
        np.testing.assert_allclose(marginalise(joint, found.policies, agent), found.q[agent], atol=1e-9)


def test_an_equilibrium_is_a_best_response_to_itself() -> None:
    game = EXAMPLES["congestion"](agents=3)
    policies = soft_equilibrium(game).policies
    for agent in range(3):
        np.testing.assert_allclose(best_response(game, policies, agent), policies[agent], atol=1e-8)


@pytest.mark.parametrize("form", ["own", "state", "sparse"])
def test_rewards_of_a_known_form(form: str) -> None:
    game = with_rewards(random_game(0, actions=(3, 2)), form, 1, pairs=2)
    for agent in range(2):
        own = np.moveaxis(game.rewards[agent], 1 + agent, 1)
        assert np.ptp(own, axis=2).max() == 0.0
        assert (np.ptp(own, axis=1).max() == 0.0) == (form == "state")
        assert form != "sparse" or np.count_nonzero(own[:, :, 0]) == 2


def test_rows_and_samples_follow_the_occupancy() -> None:
    game = random_game(2, actions=(3, 2))
    policies = soft_equilibrium(game).policies
    rows, steps = all_rows(game, policies), sample_steps(game, policies, 50_000, 0)
    expected = occupancy(game, policies)
    for data, tolerance in ((rows, 1e-12), (steps, 0.02)):
        assert data.weights.sum() == pytest.approx(1.0)
        seen = np.bincount(data.states, weights=data.weights, minlength=game.states)
        np.testing.assert_allclose(seen, expected, atol=tolerance)


def test_a_sample_is_a_matter_of_its_seed() -> None:
    game = random_game(2)
    policies = soft_equilibrium(game).policies
    first, again, other = (sample_steps(game, policies, 500, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.actions, again.actions)
    assert (first.actions != other.actions).any()


def test_what_does_not_fit_is_refused() -> None:
    game = random_game(0)
    with pytest.raises(ConfigError, match="rewards have shape"):
        replace(game, rewards=game.rewards[:1])
    with pytest.raises(ConfigError, match="give probabilities"):
        replace(game, transitions=game.transitions * 2)
    with pytest.raises(ConfigError, match="discount is 1"):
        replace(game, discount=1.0)
    with pytest.raises(ConfigError, match="did you mean 'competitive'"):
        random_game(0, kind="competetive")
    with pytest.raises(ConfigError, match="did you mean 'sparse'"):
        with_rewards(game, "spares", 0)
    with pytest.raises(ConvergenceError, match="allow more iterations"):
        soft_equilibrium(game, iterations=2)


def test_another_law_changes_the_dynamics_only() -> None:
    game = random_game(0)
    other = another_law(game, 1)
    assert (other.transitions != game.transitions).any()
    np.testing.assert_array_equal(other.rewards, game.rewards)
