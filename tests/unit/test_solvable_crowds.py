"""Games of many agents solved by counts, held against the enumeration of all joint actions where agents are few."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from rllib_mamql.algorithms.mamql import objective
from rllib_mamql.errors import ConfigError
from rllib_mamql.solvable import CROWDS, AnonymousGame, anonymous_equilibrium, evidence, marginals, soft_equilibrium
from rllib_mamql.solvable.anonymous import (
    as_game,
    at_mean_counts,
    compositions,
    count_probabilities,
    faced,
    joint_critic,
    marginal,
    positions,
    visited,
)
from rllib_mamql.solvable.equilibrium import joint_values, occupancy
from rllib_mamql.solvable.estimates import estimates


@pytest.mark.parametrize(("total", "parts"), [(0, 2), (4, 2), (5, 3), (3, 4)])
def test_every_vector_of_counts_is_listed_once_and_found_where_it_stands(total: int, parts: int) -> None:
    counts = compositions(total, parts)
    every = sorted(c for c in itertools.product(range(total + 1), repeat=parts) if sum(c) == total)
    assert counts.tolist() == [list(c) for c in every]
    np.testing.assert_array_equal(positions(counts), np.arange(len(counts)))


def test_probabilities_of_counts_are_those_of_the_joint_actions() -> None:
    policies = np.random.default_rng(0).dirichlet(np.ones(3), size=(4, 2))  # 4 agents, 2 states
    found = count_probabilities(policies)
    expected = np.zeros_like(found)
    for joint in itertools.product(range(3), repeat=4):
        chance = np.prod([policies[agent, :, action] for agent, action in enumerate(joint)], axis=0)
        expected[:, positions(np.bincount(joint, minlength=3))] += chance
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("agents", [2, 4])
@pytest.mark.parametrize("name", list(CROWDS))
def test_the_solution_by_counts_is_that_of_enumeration(name: str, agents: int) -> None:
    game = CROWDS[name](agents, seed=0)
    found, table = anonymous_equilibrium(game), as_game(game)
    enumerated = soft_equilibrium(table)
    for agent, kind in enumerate(np.repeat(np.arange(len(game.kinds)), game.kinds)):
        np.testing.assert_allclose(found.policies[kind], enumerated.policies[agent], atol=1e-8)
        np.testing.assert_allclose(found.q[kind], enumerated.q[agent], atol=1e-7)
        for ours, theirs in zip(
            faced(game, kind, found.policies), marginals(table, enumerated.policies, agent), strict=True
        ):
            np.testing.assert_allclose(ours, theirs, atol=1e-8)
    np.testing.assert_allclose(visited(game, found.policies), occupancy(table, enumerated.policies), atol=1e-8)
    # One sample of what the others do has the same bias, whether joint actions or counts are enumerated.
    joint = np.moveaxis(joint_critic(game, 0, found.values[0]), 1, -1)
    by_counts = estimates(joint, game.others_of(0, found.policies), game.rationality, 1, 0)
    every = np.moveaxis(joint_values(table, enumerated.values[0], 0), 1, -1).reshape(3, -1, 3)
    by_actions = estimates(every, evidence(table, enumerated.policies, 0).others, game.rationality, 1, 0)
    for key in ("bias", "variance", "policy"):
        np.testing.assert_allclose(by_counts[key], by_actions[key], atol=1e-7)


def test_what_enumeration_could_not_solve_is_solved() -> None:
    game = CROWDS["sharing"](32, seed=0)
    found = anonymous_equilibrium(game)
    assert game.agents == 32 and found.residual < 1e-10
    others = game.others_of(0, found.policies)
    np.testing.assert_allclose(others.sum(-1), 1.0, atol=1e-12)
    q = marginal(joint_critic(game, 0, found.values[0]), others)
    np.testing.assert_allclose(q, found.q[0], atol=1e-8)


def test_the_mean_field_is_exact_where_the_critic_is_linear_in_the_counts() -> None:
    rng = np.random.default_rng(0)
    slopes, policies = rng.normal(size=(2, 3, 3)), rng.dirichlet(np.ones(3), size=(7, 2))
    linear = slopes @ compositions(7, 3).T
    expected = marginal(linear, count_probabilities(policies))
    np.testing.assert_allclose(at_mean_counts(linear, policies.sum(0)), expected, atol=1e-10)
    # The algorithm's frequencies are the same numbers a head.
    shown = objective.action_frequencies([torch.as_tensor(policy) for policy in policies])
    np.testing.assert_allclose(7 * shown.numpy(), policies.sum(0), atol=1e-12)


def test_the_mean_field_reads_whole_counts_off_the_table() -> None:
    table = np.random.default_rng(0).normal(size=(1, 3, 15))
    for place, counts in enumerate(compositions(4, 3)):
        np.testing.assert_allclose(at_mean_counts(table, counts[None].astype(float)), table[..., place])


@pytest.mark.slow
def test_the_mean_field_nears_the_marginal_as_a_smooth_crowd_grows_and_not_where_single_agents_matter() -> None:
    error = {}
    for name in ("sharing", "channels"):
        for agents in (6, 24):
            game = CROWDS[name](agents, seed=1)
            found = anonymous_equilibrium(game, tolerance=1e-6)
            means = np.einsum("k,ksa->sa", np.array(game.kinds) - [1, 0, 0], np.stack(found.policies))
            guess = at_mean_counts(joint_critic(game, 0, found.values[0]), means)
            error[name, agents] = np.abs(guess - found.q[0]).mean()
    assert error["sharing", 24] < 0.4 * error["sharing", 6]
    assert error["channels", 24] > 5 * error["sharing", 24]


def test_what_does_not_fit_is_refused() -> None:
    game = CROWDS["sharing"](4, seed=0)
    with pytest.raises(ConfigError, match=r"kinds are \(0, 4\)"):
        AnonymousGame((0, 4), game.transitions, game.rewards)
    with pytest.raises(ConfigError, match="5 agents of 3 actions"):
        AnonymousGame((2, 2, 1), game.transitions, game.rewards)
    with pytest.raises(ConfigError, match=r"discount is 1\.0"):
        AnonymousGame(game.kinds, game.transitions, game.rewards, discount=1.0)
