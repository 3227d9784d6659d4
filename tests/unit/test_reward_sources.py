"""Rewards that replace an environment's own, and dynamics that change."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from pettingzoo.test import parallel_api_test

from mamql_envs.gems_v0 import GemsParallelEnv
from rllib_mamql.algorithms.mamql import objective
from rllib_mamql.algorithms.registry import read_checkpoint
from rllib_mamql.environments.wrappers import StickyActionsEnv
from rllib_mamql.errors import ConfigError
from rllib_mamql.learning.checkpoint import Checkpoint
from rllib_mamql.rewards.environment import TRUE_REWARD, RecoveredRewardEnv
from rllib_mamql.rewards.sources import RewardSource, reward_source
from rllib_mamql.rewards.true import joint_rewards, marginal_rewards
from tests.support.random_checkpoint import write_checkpoint
from tests.toy_env import ToyEnv


@pytest.fixture(scope="module")
def stored(toy_checkpoint_folder: Path) -> Checkpoint:
    return read_checkpoint(toy_checkpoint_folder)


def uniform(agent: str, observations: torch.Tensor) -> torch.Tensor:
    return torch.full((len(observations), 3), -math.log(3.0))


@pytest.mark.parametrize("kind", ["recovered", "implied", "cloning", "true"])
def test_the_wrapper_pays_the_sources_reward_and_keeps_the_true_one(stored: Checkpoint, kind: str) -> None:
    env = RecoveredRewardEnv(ToyEnv(mixed_end=True), reward_source(stored, kind, uniform))
    before, _ = env.reset(seed=0)
    module, discount, rationality = stored.modules["shared"], stored.settings["gamma"], stored.settings["rationality"]
    rng = np.random.default_rng(0)
    while env.agents:
        actions = {agent: int(rng.integers(3)) for agent in env.agents}
        after, rewards, terminated, _, infos = env.step(actions)
        true = float(np.array_equal(after["agent_0"][:4], after["agent_0"][4:]))
        for agent, other in (("agent_0", "agent_1"), ("agent_1", "agent_0")):
            now, following = (torch.from_numpy(o[agent])[None] for o in (before, after))
            value = objective.soft_value(module.average(following), rationality)[0]
            with torch.no_grad():
                paid = module.reward(now, torch.tensor([[actions[other]]]))[0, actions[agent]]
            expected = {
                "recovered": paid,
                "implied": module.average(now)[0, actions[agent]] - discount * value * (not terminated[agent]),
                "cloning": 0.0,
                "true": true,
            }[kind]
            assert rewards[agent] == pytest.approx(float(expected), abs=1e-5)
            assert infos[agent][TRUE_REWARD] == true
        before = after


def test_a_shaped_source_adds_the_difference_of_the_potential(stored: Checkpoint) -> None:
    with pytest.raises(ConfigError, match="no potential"):
        reward_source(stored, shaped=True)
    weights = torch.arange(8.0)
    shaped = dataclasses.replace(stored, potentials={"shared": lambda observations: observations @ weights})
    with pytest.raises(ConfigError, match="implied"):
        reward_source(shaped, "implied", shaped=True)
    envs = [RecoveredRewardEnv(ToyEnv(mixed_end=True), reward_source(shaped, shaped=s)) for s in (False, True)]
    before = envs[0].reset(seed=0)[0]
    envs[1].reset(seed=0)
    rng, discount, ends = np.random.default_rng(0), stored.settings["gamma"], 0
    while envs[0].agents:
        actions = {agent: int(rng.integers(3)) for agent in envs[0].agents}
        (after, plain, terminated, _, _), (_, dense, _, _, _) = (env.step(actions) for env in envs)
        for agent in actions:
            now, following = (float(o[agent] @ weights.numpy()) for o in (before, after))
            ends += terminated[agent]
            assert dense[agent] - plain[agent] == pytest.approx(
                discount * following * (not terminated[agent]) - now, abs=1e-4
            )
        before = after
    assert ends > 0


def test_wrapped_environments_keep_to_pettingzoos_rules() -> None:
    gems = GemsParallelEnv()
    pay = RewardSource("true", {}, {agent: "m" for agent in gems.possible_agents}, 0.9, 1.0)
    parallel_api_test(RecoveredRewardEnv(StickyActionsEnv(gems, 0.3), pay), num_cycles=60)


def test_sticky_actions_repeat_the_last_one_at_their_rate() -> None:
    env = StickyActionsEnv(ToyEnv(steps=2001, states=50), 0.3)
    env.reset(seed=1)
    place, moved = env.unwrapped.positions[0], 0
    for step in range(2000):
        # Moves alternate: an action that sticks goes the other way.
        env.step({"agent_0": 1 + step % 2, "agent_1": 0})
        new = env.unwrapped.positions[0]
        moved += (new - place) % 50 == ((-1, 1)[step % 2]) % 50
        place = new
    # A stuck action is the one played last, which may be the one now chosen: the rate settles at p (1 - s) = s / ...
    assert 0.6 < moved / 2000 < 0.9


def test_sticky_actions_follow_from_the_seed() -> None:
    def course(seed: int) -> list[int]:
        env = StickyActionsEnv(ToyEnv(steps=50, states=9), 0.5)
        env.reset(seed=seed)
        places = []
        for step in range(40):
            env.step({"agent_0": step % 3, "agent_1": 0})
            places.append(env.unwrapped.positions[0])
        return places

    assert course(1) == course(1) != course(2)
    with pytest.raises(ConfigError, match=r"sticky_actions is 1\.0"):
        StickyActionsEnv(ToyEnv(), 1.0)


def test_a_clones_reward_needs_its_clone_and_kinds_are_named(stored: Checkpoint) -> None:
    with pytest.raises(ConfigError, match="--data"):
        reward_source(stored, "cloning")
    with pytest.raises(ConfigError, match="recovered"):
        reward_source(stored, "recoverd")


def test_true_rewards_ask_for_every_joint_action_and_disturb_nothing() -> None:
    env = ToyEnv()
    env.reset(seed=0)
    table = joint_rewards(env, env.possible_agents, [3, 3])
    # From places 0 and 2 of 4 the agents meet by walking towards each other, either way round.
    expected = np.zeros((3, 3))
    expected[1, 2] = expected[2, 1] = 0.0
    for a, da in enumerate((0, -1, 1)):
        for b, db in enumerate((0, -1, 1)):
            expected[a, b] = float((0 + da) % 4 == (2 + db) % 4)
    assert np.array_equal(table, np.stack([expected, expected]))
    assert env.t == 0 and env.positions == [0, 2]
    policies = [np.array([0.2, 0.3, 0.5]), np.array([0.1, 0.6, 0.3])]
    first, second = marginal_rewards(table, policies)
    assert first == pytest.approx(expected @ policies[1])
    assert second == pytest.approx(policies[0] @ expected)


def test_too_many_joint_actions_name_the_way_out() -> None:
    with pytest.raises(ConfigError, match="--sampled"):
        joint_rewards(ToyEnv(), ["agent_0", "agent_1"], [40, 40])


def test_an_environment_that_cannot_be_copied_names_the_way_out() -> None:
    class Stuck(ToyEnv):
        def __deepcopy__(self, memo: object) -> None:
            raise TypeError("no copies")

    env = Stuck()
    env.reset()
    with pytest.raises(ConfigError, match="--sampled"):
        joint_rewards(env, env.possible_agents, [3, 3])


def test_only_recovered_rewards_are_shaped_whether_there_is_a_potential_or_not(tmp_path: Path) -> None:
    stored = read_checkpoint(write_checkpoint(tmp_path / "checkpoint"))
    assert not stored.potentials
    for kind in ("implied", "true"):
        with pytest.raises(ConfigError, match="shape the recovered one"):
            reward_source(stored, kind, shaped=True)
