"""MAMQL's objective on solvable games: the experts' policies, and their rewards in the gauge that fits them."""

from __future__ import annotations

import numpy as np
import pytest

from rllib_mamql.rewards.metrics import epic_tabular
from rllib_mamql.solvable import (
    EXAMPLES,
    Game,
    Gauged,
    Steps,
    all_rows,
    estimate,
    exploitability,
    implied_reward,
    marginals,
    occupancy,
    pursuit,
    random_game,
    remove_shaping,
    sample_steps,
    soft_equilibrium,
    sparsest,
    state_only,
    with_rewards,
)
from rllib_mamql.solvable.equilibrium import boltzmann
from rllib_mamql.solvable.examples import KINDS
from rllib_mamql.solvable.fitting import fit_joint, fit_marginal, total_variation
from rllib_mamql.solvable.gauge import sparsest_is_unique

# Every number of agents with every number of actions, and each structure with several of both; the marginalisation
# study (tests/benchmarks/marginalisation.py) covers all combinations.
CELLS = [
    (name, agents, actions)
    for agents in (2, 3, 4, 5)
    for actions in (2, 3, 4, 5)
    for place, name in enumerate(EXAMPLES)
    if (agents + actions) % len(EXAMPLES) == place
]


def learned_policies(game: Game, steps: Steps) -> dict[str, list[np.ndarray]]:
    lam, agents = game.rationality, range(game.agents)
    marginal = [boltzmann(fit_marginal(game, steps, agent), lam) for agent in agents]
    # The others' policies are the learned ones, as in training.
    joint = [boltzmann(fit_joint(game, steps, agent, marginal)[1], lam) for agent in agents]
    return {"marginal": marginal, "joint": joint}


def assert_policies(game: Game, steps: Steps, truth: tuple[np.ndarray, ...]) -> None:
    for critic, policies in learned_policies(game, steps).items():
        for agent, (learned, true) in enumerate(zip(policies, truth, strict=True)):
            worst = total_variation(learned, true).max()
            assert worst < 0.01, f"{critic} critic, agent {agent}: {worst}"
        # What a best response would gain, beyond what agents of this rationality leave on purpose.
        left = exploitability(game, policies, regularised=True)
        assert left < 1e-3, f"{critic} critic: {left}"


@pytest.mark.parametrize(("name", "agents", "actions"), CELLS)
def test_policies_from_exact_expectations(name: str, agents: int, actions: int) -> None:
    game = EXAMPLES[name](agents=agents, actions=actions)
    policies = soft_equilibrium(game).policies
    assert_policies(game, all_rows(game, policies), policies)


@pytest.mark.parametrize("kind", KINDS)
def test_policies_in_random_games_with_uneven_actions(kind: str) -> None:
    game = random_game(3, kind=kind, actions=(3, 2, 4))
    policies = soft_equilibrium(game).policies
    assert_policies(game, all_rows(game, policies), policies)


@pytest.mark.parametrize(
    ("name", "agents", "actions"), [("coordination", 3, 4), ("pursuit", 4, 3), ("congestion", 2, 3)]
)
def test_policies_from_samples(name: str, agents: int, actions: int) -> None:
    game = EXAMPLES[name](agents=agents, actions=actions)
    policies = soft_equilibrium(game).policies
    assert_policies(game, sample_steps(game, policies, 300_000, 0, chains=5_000), policies)


def gauged(game: Game, steps: Steps, agent: int, gauge: str, transition: np.ndarray) -> Gauged:
    """Reward from a critic that the objective fitted, with the dynamics that the agent is thought to face."""
    implied = implied_reward(fit_marginal(game, steps, agent), transition, game.discount, game.rationality)
    return {"sparse": sparsest, "state": state_only}[gauge](implied, transition, game.discount)


def structured(form: str) -> list[Game]:
    if form == "state":
        return [pursuit(2, 3), pursuit(3, 3), with_rewards(random_game(0), "state", 0)]
    return [with_rewards(EXAMPLES[name](), form, 1) for name in ("pursuit", "congestion")] + [
        with_rewards(random_game(1, states=5, actions=(3, 2, 3)), form, 1)
    ]


@pytest.mark.parametrize("samples", [None, 300_000])
@pytest.mark.parametrize("gauge", ["sparse", "state"])
def test_rewards_in_the_gauge_that_fits(gauge: str, samples: int | None) -> None:
    for game in structured(gauge):
        policies = soft_equilibrium(game).policies
        steps = all_rows(game, policies) if samples is None else sample_steps(game, policies, samples, 0, chains=5_000)
        for agent in range(game.agents):
            true, transition = marginals(game, policies, agent)
            counted = transition if samples is None else estimate(game, steps, agent)[1]
            found = gauged(game, steps, agent, gauge, counted)
            if gauge == "sparse":
                assert sparsest_is_unique(true, transition, game.discount)
            else:
                assert found.undetermined == 1
            distance = epic_tabular(found.reward, true, game.discount)
            assert distance < (1e-4 if samples is None else 0.05), f"{game.actions}, agent {agent}: {distance}"


def test_the_wrong_gauge_explains_the_policy_with_a_wrong_reward() -> None:
    game = pursuit(2, 3)  # its reward depends on the state alone and is not sparse once all actions count
    policies = soft_equilibrium(game).policies
    true, transition = marginals(game, policies, 0)
    found = gauged(game, all_rows(game, policies), 0, "sparse", transition)
    assert not sparsest_is_unique(true, transition, game.discount)
    assert epic_tabular(found.reward, true, game.discount) > 0.5
    weight = np.repeat(occupancy(game, policies)[:, None], 3, axis=1)
    plain = [remove_shaping(reward, transition, game.discount, weight) for reward in (found.reward, true)]
    np.testing.assert_allclose(*plain, atol=1e-4)


def test_the_critics_own_gauge_is_no_reward() -> None:
    game = pursuit(2, 3)
    found = soft_equilibrium(game)
    true, transition = marginals(game, found.policies, 0)
    # Another critic of the same policy: values shifted by state.
    q = found.q[0] + np.random.default_rng(0).normal(size=(game.states, 1))
    implied = implied_reward(q, transition, game.discount, game.rationality)
    assert epic_tabular(implied, true, game.discount) > 0.2
    assert epic_tabular(state_only(implied, transition, game.discount).reward, true, game.discount) < 1e-6


def test_a_state_reward_shows_only_through_actions_that_matter() -> None:
    game = with_rewards(random_game(0), "state", 0)
    still = np.repeat(game.transitions[:, :1, :1], 3, axis=1).repeat(2, axis=2)  # nobody's action moves the state
    found = state_only(np.zeros((4, 3)), still[:, :, 0], game.discount)
    assert found.undetermined == game.states
