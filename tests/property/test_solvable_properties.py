"""What must hold for every solvable game."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_mamql.solvable import (
    Game,
    evidence,
    identify,
    marginalise,
    marginals,
    random_game,
    remove_shaping,
    shape,
    soft_equilibrium,
    sparsest,
    state_only,
)

seeds = st.integers(0, 2**31 - 1)
counts = st.lists(st.integers(2, 3), min_size=2, max_size=3).map(tuple)


def dirichlet(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.dirichlet(np.ones(shape[-1]), size=shape[:-1])


@settings(max_examples=20, deadline=None)
@given(seed=seeds, actions=counts)
def test_gauges_do_not_depend_on_the_explanation_they_start_from(seed: int, actions: tuple[int, ...]) -> None:
    rng = np.random.default_rng(seed)
    game = random_game(seed, actions=actions)
    policies = [dirichlet(rng, game.states, count) for count in actions]
    reward, transition = marginals(game, policies, 0)
    shaped = shape(reward, rng.normal(size=game.states), transition, game.discount)
    weight = np.ones_like(reward)
    pair = [remove_shaping(one, transition, game.discount, weight) for one in (reward, shaped)]
    np.testing.assert_allclose(*pair, atol=1e-8)
    first, second = (state_only(one, transition, game.discount).reward for one in (reward, shaped))
    np.testing.assert_allclose(first - first.mean(), second - second.mean(), atol=1e-6)
    sparse = [np.abs(sparsest(one, transition, game.discount).reward).sum() for one in (reward, shaped)]
    np.testing.assert_allclose(*sparse, rtol=1e-6)


@settings(max_examples=20, deadline=None)
@given(seed=seeds, actions=counts)
def test_the_order_of_the_agents_is_a_name(seed: int, actions: tuple[int, ...]) -> None:
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(4, *actions, 3))
    policies = [dirichlet(rng, 4, count) for count in actions]
    last = len(actions) - 1
    turned = np.moveaxis(table, 1, 1 + last)
    expected = marginalise(table, policies, 0)
    np.testing.assert_allclose(marginalise(turned, [*policies[1:], policies[0]], last), expected, atol=1e-12)


@settings(max_examples=10, deadline=None)
@given(seed=seeds, actions=counts)
def test_the_true_reward_always_fits_and_the_states_are_left_open(seed: int, actions: tuple[int, ...]) -> None:
    game: Game = random_game(seed, actions=actions, rationality=0.5)
    policies = soft_equilibrium(game).policies
    agent = seed % len(actions)
    found = identify([evidence(game, policies, agent)])
    assert found.undetermined == game.states
    assert found.distance(marginals(game, policies, agent)[0]) < 1e-7
