"""The fast intersection against highway-env itself: the same seeds and actions give the same states."""

import os

import numpy as np
import pytest

from mamql_envs.intersection_compat import MultiAgentIntersectionEnv
from mamql_envs.intersection_sim import IntersectionSim, StartMixin, simulation_config
from mamql_envs.intersection_v0 import FASTER, IDLE, SLOWER, parallel_env

EPISODES = int(os.environ.get("INTERSECTION_STOCK_EPISODES", "24"))
"""Over all cases; 200 take about five minutes."""
STOCK = {"traffic": True, "challenger": True, "shared_destination": True}
TOLERANCE = 1e-9


class StockFromOurStart(StartMixin, MultiAgentIntersectionEnv):
    """highway-env's own dynamics, from starts that highway-env does not have."""


def state(env):
    rows = [(*v.position, v.heading, v.speed, v.target_speed, v.crashed, v.on_road) for v in env.road.vehicles]
    return np.array(rows, dtype=float).reshape(-1, 7)


def lanes(env):
    return [(v.lane_index, v.target_lane_index, v.route) for v in env.road.vehicles]


def pair(vehicles, settings, own_start):
    """highway-env and ours in the same configuration."""
    config = {**simulation_config(vehicles, **settings), "clear_arrived": False}
    ours = IntersectionSim(config)
    if own_start:
        return StockFromOurStart(config), ours
    # Nothing of ours in the stock environment, not even a key of the configuration.
    return MultiAgentIntersectionEnv({k: config[k] for k in config if k not in ("challenger", "clear_arrived")}), ours


def compare_episode(stock, ours, seed):
    """Plays both with the same random actions; returns the steps."""
    rng = np.random.default_rng(seed)
    # Some episodes lean to braking: standing vehicles are where rounding grows fastest.
    weights = rng.dirichlet(np.ones(3))
    stock.reset(seed=seed)
    ours.reset(seed=seed)
    steps, over = 0, False
    while not over:
        joint = tuple(int(a) for a in rng.choice(3, size=len(ours.controlled_vehicles), p=weights))
        results = [env.step(joint)[2:4] for env in (stock, ours)]
        expected, found = state(stock), state(ours)
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)
        assert lanes(ours) == lanes(stock)
        assert results[0] == results[1]
        assert stock.np_random.bit_generator.state == ours.np_random.bit_generator.state
        steps, over = steps + 1, any(results[0])
    return steps


@pytest.mark.parametrize(
    ("vehicles", "settings", "own_start", "share"),
    [
        (4, STOCK, False, 0.25),
        (2, {**STOCK, "traffic": False}, False, 0.25),
        (4, {}, True, 0.25),
        (8, {}, True, 0.25),
    ],
    ids=["stock", "stock without traffic", "own start", "own start, eight"],
)
@pytest.mark.parametrize("part", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_equals_highway_env(vehicles, settings, own_start, share, part):
    stock, ours = pair(vehicles, settings, own_start)
    seeds = range(max(3, round(EPISODES * share)))
    seeds = seeds[2:] if part else seeds[:2]
    assert sum(compare_episode(stock, ours, seed) for seed in seeds) > 0


def test_the_environment_plays_what_highway_env_plays():
    env = parallel_env(vehicles=4, challenger=True, shared_destination=True, horizon=13)
    stock, _ = pair(4, {**STOCK, "traffic": False}, False)
    published = 0.0
    for seed in range(3):
        rng = np.random.default_rng(seed)
        env.reset(seed=seed)
        stock.reset(seed=seed)
        published, infos = 0.0, {}
        while env.agents:
            actions = {agent: int(rng.choice([SLOWER, IDLE, FASTER], p=[0.1, 0.3, 0.6])) for agent in env.agents}
            joint = tuple(actions.get(agent, FASTER) for agent in env.possible_agents)
            _, reward, terminated, truncated, info = stock.step(joint)
            _, _, _, _, infos = env.step(actions)
            published += reward
            for mine, theirs in zip(env.sim.controlled_vehicles, stock.controlled_vehicles, strict=True):
                np.testing.assert_allclose(mine.position, theirs.position, rtol=0, atol=TOLERANCE)
            for agent in infos:
                assert infos[agent]["published_reward"] == info["agents_rewards"][env.possible_agents.index(agent)]
        assert terminated or truncated
        assert next(iter(infos.values()))["published_return"] == pytest.approx(published)
