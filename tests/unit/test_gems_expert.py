import numpy as np
import pytest

from mamql_envs.gems_batch import AGENTS, GemsBatch
from mamql_envs.gems_expert import ScriptedExpert, action_probabilities, draw
from mamql_envs.gems_v0 import parallel_env

UP, DOWN, LEFT, RIGHT, STAY = range(5)


def play(policy, episodes, seed=0, **config):
    """Mean return per agent, and events of each kind per episode and agent."""
    batch, rng = GemsBatch(episodes, **config), np.random.default_rng(seed)
    batch.reset(seed)
    running = np.ones(episodes, bool)
    returns, counts = np.zeros((2, episodes)), np.zeros((2, 2, episodes))
    while running.any():
        actions = policy(batch.cells, rng)
        rewards, terminated, truncated, events = batch.step({a: actions[:, i] for i, a in enumerate(AGENTS)})
        for i, agent in enumerate(AGENTS):
            returns[i] += rewards[agent] * running
            counts[i] += np.array([events[agent][kind] for kind in ("own_gem", "shared_gem")]) * running
        ended = terminated["agent_0"] | truncated["agent_0"]
        running &= ~ended
        batch.reset_envs(np.flatnonzero(ended), np.flatnonzero(ended))
    return returns.mean(axis=1), counts.mean(axis=2)


def state(agent_0, agent_1, own_0, own_1, shared):
    return np.array([[15 * y + x for x, y in (agent_0, agent_1, *own_0, *own_1, *shared)]])


def test_takes_both_kinds_of_gems_and_scores_what_it_promises():
    returns, counts = play(lambda cells, rng: draw(action_probabilities(cells), rng), 2000)
    assert ((returns > 12.5) & (returns < 14)).all()
    own, shared = counts.T
    assert ((own > 1.6) & (own < 2.1)).all()
    assert ((shared > 1.7) & (shared < 2.2)).all()


def test_earns_more_without_lapses():
    returns, _ = play(lambda cells, rng: draw(action_probabilities(cells, lapses=0.0), rng), 2000)
    assert (returns > 14).all()


def test_by_the_published_rules_it_scores_as_much_and_never_stays():
    stayed = []

    def policy(cells, rng):
        actions = draw(action_probabilities(cells, rules="published"), rng)
        stayed.append((actions == STAY).any())
        return actions

    returns, counts = play(policy, 1000, rules="published")
    assert ((returns > 12.5) & (returns < 14)).all()
    assert (counts > 1.6).all() and not any(stayed)


def test_by_the_published_rules_it_waits_by_stepping_off_and_calls_from_beside():
    own_0, shared = [(0, 14), (1, 14), (2, 14)], [(7, 7), (0, 0), (1, 0)]
    own_1 = [(7, 4), (14, 13), (14, 14)]
    for first in ((7, 7), (6, 7)):
        on, other = action_probabilities(state(first, (7, 5), own_0, own_1, shared), lapses=0.0, rules="published")[0]
        assert other[DOWN] == pytest.approx(np.exp(2) / (1 + np.exp(2)), abs=1e-3)
        assert on == pytest.approx([0.25, 0.25, 0.25, 0.25, 0] if first == (7, 7) else [0, 0, 0, 1, 0], abs=1e-3)


def test_random_play_scores_next_to_nothing():
    returns, _ = play(lambda cells, rng: rng.integers(5, size=(len(cells), 2)), 2000)
    assert ((returns > 0.1) & (returns < 0.5)).all()


def test_plays_the_environment_as_its_probabilities_say():
    env, expert = parallel_env(), ScriptedExpert()
    totals = []
    for seed in range(150):
        observations, _ = env.reset(seed=seed)
        expert.reset(env, seed)
        totals.append(0.0)
        while env.agents:
            observations, rewards, *_ = env.step(expert.act(env, observations))
            totals[-1] += np.mean(list(rewards.values()))
    assert abs(np.mean(totals) - 13.3) < 3.5 * np.std(totals) / np.sqrt(len(totals))


def test_plays_by_the_rules_of_the_environment():
    env, expert = parallel_env(rules="published"), ScriptedExpert()
    for seed in range(5):
        env.reset(seed=seed)
        expert.reset(env, seed)
        while env.agents:
            actions = expert.act(env, {})
            assert STAY not in actions.values()
            env.step(actions)


def test_a_seed_gives_the_same_actions_and_another_seed_others():
    def actions(seed):
        env, expert = parallel_env(), ScriptedExpert()
        env.reset(seed=0)
        expert.reset(env, seed)
        return [expert.act(env, {}) for _ in range(30)]

    assert actions(3) == actions(3) != actions(4)


def test_probabilities_sum_to_one_and_without_lapses_only_moves_towards_gems_have_any():
    batch = GemsBatch(500)
    batch.reset(0)
    probabilities = action_probabilities(batch.cells)
    assert probabilities.shape == (500, 2, 5)
    assert np.allclose(probabilities.sum(axis=-1), 1)
    assert probabilities.min() >= 0.28 / 5
    rows = [[(x, y) for x in (3, 7, 11)] for y in (4, 8, 12)]
    first, second = action_probabilities(state((0, 0), (14, 14), *rows), lapses=0.0)[0]
    assert first[[UP, LEFT, STAY]].max() == 0 and first[[DOWN, RIGHT]].min() > 0.4
    assert second[[DOWN, RIGHT, STAY]].max() == 0 and second[[UP, LEFT]].min() > 0.4


def test_goes_for_what_is_near_of_either_kind_and_not_for_the_others():
    far = [(12, 14), (13, 14), (14, 14)]
    others = [(7, 6), (8, 7), (6, 7)]
    own = action_probabilities(state((7, 7), (0, 14), [(7, 9), *far[1:]], others, [(1, 1), (0, 0), (0, 1)]))
    shared = action_probabilities(state((7, 7), (0, 14), far, others, [(7, 9), (0, 0), (0, 1)]))
    for found in (own, shared):
        assert found[0, 0] == pytest.approx([0.056, 0.776, 0.056, 0.056, 0.056], abs=1e-3)


def test_waits_on_a_shared_gem_and_calls_the_other():
    own_0, shared = [(0, 14), (1, 14), (2, 14)], [(7, 7), (0, 0), (1, 0)]
    # Agent 1 has its own gem a step above, and the shared one two steps below.
    own_1 = [(7, 4), (14, 13), (14, 14)]
    first, second = action_probabilities(state((7, 7), (7, 5), own_0, own_1, shared), lapses=0.0)[0]
    assert first[STAY] > 0.99
    assert second[DOWN] == pytest.approx(np.exp(2) / (1 + np.exp(2)), abs=1e-3)
    _, second = action_probabilities(state((6, 7), (7, 5), own_0, own_1, shared), lapses=0.0)[0]
    assert second[UP] == pytest.approx(np.exp(2) / (1 + np.exp(2)), abs=1e-3)


def test_equal_moves_are_equally_likely():
    own = [(0, 14), (1, 14), (2, 14)], [(12, 0), (13, 0), (14, 0)]
    cells = state((7, 7), (10, 10), *own, [(8, 8), (14, 13), (14, 14)])
    sharp = action_probabilities(cells, temperature=0.05, lapses=0.0)[0]
    assert sharp[0] == pytest.approx([0, 0.5, 0, 0.5, 0], abs=1e-3)
    assert sharp[1] == pytest.approx([0.5, 0, 0.5, 0, 0], abs=1e-3)


def test_swapping_the_agents_swaps_their_play():
    batch = GemsBatch(200)
    batch.reset(1)
    swapped = batch.cells[:, [1, 0, 5, 6, 7, 2, 3, 4, 8, 9, 10]]
    assert np.allclose(action_probabilities(swapped)[:, ::-1], action_probabilities(batch.cells))


def test_draws_follow_their_probabilities():
    rng = np.random.default_rng(0)
    probabilities = np.array([0.1, 0.0, 0.6, 0.3, 0.0])
    drawn = draw(np.tile(probabilities, (50_000, 1)), rng)
    assert np.bincount(drawn, minlength=5) / 50_000 == pytest.approx(probabilities, abs=0.01)


def test_acting_before_reset_says_so():
    with pytest.raises(RuntimeError, match="reset"):
        ScriptedExpert().act(parallel_env(), {})
