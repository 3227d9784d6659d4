import numpy as np
import pytest

from mamql_envs.intersection_expert import ScriptedExpert
from mamql_envs.intersection_outlook import FASTER, SLOWER, foresee
from mamql_envs.intersection_v0 import parallel_env


def evaluate(env, seeds):
    """Mean return per vehicle, and the share of episodes with a collision."""
    expert, returns, collisions = ScriptedExpert(), [], 0
    for seed in seeds:
        observations, _ = env.reset(seed=seed)
        expert.reset(env, seed)
        total, crashed = 0.0, False
        while env.agents:
            observations, rewards, _, _, infos = env.step(expert.act(env, observations))
            total += sum(rewards.values())
            crashed = crashed or any("collision" in info["events"] for info in infos.values())
        returns.append(total / env.vehicles)
        collisions += crashed
    return float(np.mean(returns)), collisions / len(returns)


@pytest.mark.parametrize(("vehicles", "episodes", "least"), [(2, 8, 1.9), (4, 15, 1.8), (6, 8, 1.6), (8, 8, 1.6)])
def test_brings_vehicles_across(vehicles, episodes, least):
    score, collisions = evaluate(parallel_env(vehicles=vehicles), range(500, 500 + episodes))
    assert score >= least
    assert collisions <= 0.04


def test_copes_with_traffic():
    score, _ = evaluate(parallel_env(traffic=True, challenger=True), range(4))
    assert score > 0.5


def test_is_a_function_of_what_can_be_seen():
    env = parallel_env()
    one, other = ScriptedExpert(), ScriptedExpert()
    observations, _ = env.reset(seed=7)
    one.reset(env, 0)
    while env.agents:
        other.reset(env, 99)
        actions = one.act(env, observations)
        assert actions == other.act(env, {}) == one.act(env, observations)
        assert list(actions) == env.agents
        observations, *_ = env.step(actions)


def test_foresees_how_a_vehicle_drives():
    env = parallel_env(vehicles=2, horizon=9)
    env.reset(seed=3)
    car = env.vehicle("agent_0")
    _, start = env.place(car)
    wishes = np.array([[0, 0, 0, 2, 2, 2, 2, 1, 1]])
    foreseen, first = foresee(start, car.speed, car.target_speed, wishes)
    assert first[0] == SLOWER
    at = []
    for second in range(9):
        # The last two seconds: one step down from the top, then hold.
        action = SLOWER if second in (0, 1, 2, 7) else FASTER if second < 7 else 1
        env.step({agent: action for agent in env.agents})
        at.append(env.place(car)[1])
    np.testing.assert_allclose(foreseen[0, 4::5], at, atol=0.35)
