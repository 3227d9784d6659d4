"""Many intersections stepped as one against single ones: the same seeds and actions give the same episodes."""

import os

import numpy as np
import pytest

from mamql_envs.intersection_batch import IntersectionBatch, batched_env
from mamql_envs.intersection_v0 import IntersectionParallelEnv, parallel_env

EPISODES = int(os.environ.get("INTERSECTION_BATCH_EPISODES", "24"))
"""Over all cases; 200, which are then as long as can be, take a minute of the processor."""
HORIZON = {"horizon": 30 if EPISODES >= 200 else 14}
CASES = {
    "two, one destination": ({"vehicles": 2, "shared_destination": True}, 0.4),
    "four": ({"vehicles": 4}, 0.3),
    "six, wrecks stay": ({"vehicles": 6, "crash_ends_all": False, "observation": "entities"}, 0.08),
    "eight": ({"vehicles": 8}, 0.17),
    "eight, published": ({"vehicles": 8, "counting": "published", "crash_ends_all": False}, 0.05),
}


def state(vehicles):
    rows = [(v.x, v.y, v.heading, v.speed, v.target_speed, v.crashed) for v in vehicles]
    return np.array(rows, dtype=float)


def state_in_batch(batch, index):
    fleet = batch.fleet
    columns = (fleet.x, fleet.y, fleet.heading, fleet.speed, fleet.target, fleet.crashed)
    return np.stack([column[index :: batch.num_envs] for column in columns], axis=1)


class Episodes:
    """Plays the same in a batch and in single environments, and compares."""

    def __init__(self, size, config):
        self.rng = np.random.default_rng(size)
        self.batch = IntersectionBatch(size, IntersectionParallelEnv(**config))
        self.envs = [parallel_env(**config) for _ in range(size)]
        self.last = [{} for _ in range(size)]
        self.leanings = np.ones((size, 3))
        self.ended, self.worst, self.happened = 0, 0.0, set()

    def start(self, indices):
        seeds = self.rng.integers(2**31 - 1, size=len(indices))
        self.batch.reset_envs(indices, seeds)
        for index, seed in zip(indices, seeds, strict=True):
            # Some episodes lean to braking: standing vehicles are where rounding grows fastest.
            self.leanings[index] = self.rng.dirichlet(np.ones(3))
            self.last[index], _ = self.envs[index].reset(seed=int(seed))
        self.look(indices)

    def look(self, indices):
        seen = self.batch.observations()
        for index in indices:
            for agent, observation in self.last[index].items():
                assert seen[agent].dtype == observation.dtype and seen[agent][index].shape == observation.shape
                self.worst = max(self.worst, float(np.abs(observation - seen[agent][index]).max()))

    def step(self):
        agents = self.batch.agents
        actions = np.array([self.rng.choice(3, len(agents), p=leaning) for leaning in self.leanings]).T
        rewards, terminated, truncated, events = self.batch.step(dict(zip(agents, actions, strict=True)))
        metrics = self.batch.episode_metrics()
        for index, env in enumerate(self.envs):
            acting = list(env.agents)
            found = env.step({agent: int(actions[agents.index(agent), index]) for agent in acting})
            self.last[index].update(found[0])
            difference = state(env.sim.controlled_vehicles) - state_in_batch(self.batch, index)
            self.worst = max(self.worst, float(np.abs(difference).max()))
            for agent in agents:
                counted = {kind: count[index] for kind, count in events[agent].items() if count[index]}
                mine = rewards[agent][index], terminated[agent][index], truncated[agent][index], counted
                info = found[4].get(agent, {"events": {}})
                assert mine == (*(values.get(agent, 0) for values in found[1:4]), info["events"])
                if agent in acting:
                    published = {name: values[index] for name, values in metrics.items()}
                    assert info["episode_metrics"] == published
                self.happened.update(counted)
        self.look(range(len(self.envs)))
        over = [index for index, env in enumerate(self.envs) if not env.agents]
        self.ended += len(over)
        self.start(over)


@pytest.mark.parametrize(("config", "share"), CASES.values(), ids=CASES)
def test_each_environment_equals_the_single_one(config, share):
    episodes = round(EPISODES * share)
    both = Episodes(min(episodes, 10), config | HORIZON)
    both.start(list(range(len(both.envs))))
    while both.ended < episodes:
        both.step()
    print(f"{both.ended} episodes, largest difference {both.worst:.3g}")
    assert both.worst <= 1e-9
    assert both.happened


def test_an_episode_depends_on_its_own_seed_and_actions_only():
    large, small = batched_env(3), IntersectionBatch(1, IntersectionParallelEnv())
    large.reset_envs([2, 0, 1], [7, 8, 9])
    small.reset_envs([0], [7])
    rng = np.random.default_rng(0)
    for _ in range(3):
        actions = {agent: rng.integers(3, size=3) for agent in large.agents}
        large.step(actions)
        small.step({agent: chosen[2:] for agent, chosen in actions.items()})
        for agent, seen in small.observations().items():
            np.testing.assert_array_equal(large.observations()[agent][2], seen[0])


def test_drivers_without_agents_and_an_intersection_alone_are_stepped_singly():
    assert batched_env(1) is None
    assert batched_env(2, traffic=True) is None and batched_env(2, challenger=True) is None
    with pytest.raises(ValueError, match="vehicles=3"):
        batched_env(2, vehicles=3)


def test_wrong_use_is_named():
    batch = batched_env(2, vehicles=2)
    actions = {agent: np.zeros(2, int) for agent in batch.agents}
    with pytest.raises(RuntimeError, match=r"environments \[0, 1\]"):
        batch.step(actions)
    batch.reset(0)
    with pytest.raises(ValueError, match="actions of agent_1 must be from 0 to 2"):
        batch.step({**actions, "agent_1": np.array([0, 3])})
