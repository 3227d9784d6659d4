import numpy as np
import pytest

from mamql_envs.overcooked_compat import layout_names, load_layout
from mamql_envs.overcooked_expert import ScriptedExpert, check_layout
from mamql_envs.overcooked_v0 import parallel_env


def play(env, expert, seed):
    """Plays an episode; returns the joint actions and the team's return."""
    observations, _ = env.reset(seed=seed)
    expert.reset(env, seed)
    joint_actions, total = [], 0.0
    while env.agents:
        actions = expert.act(env, observations)
        joint_actions.append(tuple(actions.values()))
        observations, rewards, *_ = env.step(actions)
        total += rewards["agent_0"]
    return joint_actions, total


def playable(name):
    try:
        check_layout(load_layout(name))
    except ValueError:
        return False
    return True


PLAYABLE = [name for name in layout_names() if playable(name)]


@pytest.mark.parametrize(("layout", "low", "high"), [("cramped_room", 160, 200), ("asymmetric_advantages", 200, 280)])
def test_scores_what_the_pair_is_known_for(layout, low, high):
    env, expert = parallel_env(layout), ScriptedExpert()
    returns = [play(env, expert, seed)[1] for seed in range(5)]
    assert all(low <= total <= high for total in returns)


def test_a_seed_gives_the_same_actions_and_another_seed_others():
    env, expert = parallel_env("asymmetric_advantages", horizon=200), ScriptedExpert()
    first = play(env, expert, 3)
    assert play(env, expert, 3) == first
    assert play(parallel_env("asymmetric_advantages", horizon=200), ScriptedExpert(), 3) == first
    assert play(env, expert, 4) != first


def test_numpy_random_state_is_neither_used_nor_changed():
    env, expert = parallel_env("coordination_ring", horizon=100), ScriptedExpert()
    np.random.seed(0)
    expected = np.random.random(3)
    np.random.seed(0)
    first = play(env, expert, 1)
    assert np.array_equal(np.random.random(3), expected)
    np.random.seed(99)
    assert play(env, expert, 1) == first


def test_two_experts_in_turn_do_not_disturb_each_other():
    names = ("cramped_room", "five_by_five")
    alone = [play(parallel_env(name, horizon=60), ScriptedExpert(), 7)[0] for name in names]
    envs = [parallel_env(name, horizon=60) for name in names]
    experts = [ScriptedExpert() for _ in names]
    observations = []
    for env, expert in zip(envs, experts, strict=True):
        observations.append(env.reset()[0])
        expert.reset(env, 7)
    together = [[], []]
    for _ in range(60):
        for i, (env, expert) in enumerate(zip(envs, experts, strict=True)):
            actions = expert.act(env, observations[i])
            together[i].append(tuple(actions.values()))
            observations[i], *_ = env.step(actions)
    assert together == alone


@pytest.mark.parametrize("layout", PLAYABLE)
def test_plays_every_layout_that_it_accepts(layout):
    env = parallel_env(layout, horizon=60, observation="entities")
    joint_actions, _ = play(env, ScriptedExpert(), 0)
    assert len(joint_actions) == 60
    assert all(
        env.action_space(agent).contains(a)
        for pair in joint_actions
        for agent, a in zip(env.possible_agents, pair, strict=True)
    )


def test_accepts_the_well_known_layouts():
    assert {"cramped_room", "asymmetric_advantages", "coordination_ring", "forced_coordination"} <= set(PLAYABLE)


@pytest.mark.parametrize(
    ("layout", "reason"),
    [("cramped_room_single", "1 player"), ("multiplayer_schelling", "4 player"), ("simple_tomato", "tomato")],
)
def test_refuses_what_it_cannot_play(layout, reason):
    env = parallel_env(layout)
    env.reset()
    with pytest.raises(ValueError, match=reason):
        ScriptedExpert().reset(env, 0)


def test_acting_before_reset_says_so():
    env = parallel_env()
    observations, _ = env.reset()
    with pytest.raises(RuntimeError, match="reset"):
        ScriptedExpert().act(env, observations)
