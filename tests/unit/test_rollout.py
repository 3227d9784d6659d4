"""Columns of a rollout: aligned, per agent, with true last observations and honest ends."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from pettingzoo import ParallelEnv

from rllib_mamql.columns import (
    ALIVE,
    EPS_ID,
    NEXT_OBS,
    OBS,
    TERMINATEDS,
    TRUNCATEDS,
    Gathered,
    JointColumns,
    Spares,
    T,
    column,
    concatenate,
)
from rllib_mamql.environments.registry import make_batch, make_env
from rllib_mamql.play.actors import random_actor
from rllib_mamql.play.batched import BatchedRollout, make_rollout
from rllib_mamql.play.rollout import ColumnarRollout


class Leaving(ParallelEnv):
    """agent_0 terminates after 2 steps, agent_1 is truncated after 4; observations count the agent's steps."""

    metadata = {"name": "leaving"}  # noqa: RUF012
    possible_agents = ["agent_0", "agent_1"]  # noqa: RUF012

    def observation_space(self, agent: str) -> gym.Space:
        return gym.spaces.Box(0, 100, (1,), np.float32)

    def action_space(self, agent: str) -> gym.Space:
        return gym.spaces.Discrete(3)

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[Any, Any]:
        self.agents, self.t = list(self.possible_agents), 0
        self.seed = seed
        return {a: np.zeros(1, np.float32) for a in self.agents}, {a: {} for a in self.agents}

    def step(self, actions: dict[str, int]) -> tuple[Any, ...]:
        assert set(actions) == set(self.agents), "only living agents act"
        self.t += 1
        now = self.agents
        observations = {a: np.full(1, self.t, np.float32) for a in now}
        terminated = {a: a == "agent_0" and self.t == 2 for a in now}
        truncated = {a: a == "agent_1" and self.t == 4 for a in now}
        infos = {a: {"events": {"step": 1}} for a in now}
        self.agents = [a for a in now if not (terminated[a] or truncated[a])]
        return observations, dict.fromkeys(now, 1.0), terminated, truncated, infos


def zeros(observations: Any, alive: Any) -> dict[str, np.ndarray]:
    return {agent: np.ones(len(flags), int) for agent, flags in alive.items()}


def test_agents_that_leave_early() -> None:
    rollout = ColumnarRollout(Leaving, num_envs=2, seed=0)
    columns, episodes = rollout.run(zeros, num_steps=8)
    assert columns[T].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert columns[column(ALIVE, "agent_0")].tolist() == [True] * 4 + [False] * 4
    assert columns[column(TERMINATEDS, "agent_0")].tolist() == [False] * 2 + [True] * 2 + [False] * 4
    assert columns[column(TRUNCATEDS, "agent_1")].tolist() == [False] * 6 + [True] * 2
    assert not columns[column(TERMINATEDS, "agent_1")].any()
    # The observation after the last step is the true one, not the first of the next episode.
    assert columns[column(NEXT_OBS, "agent_1")][-1] == 4 and columns[column(NEXT_OBS, "agent_0")][2] == 2
    assert [e.length for e in episodes] == [4, 4]
    assert episodes[0].returns == {"agent_0": 2.0, "agent_1": 4.0}
    assert episodes[0].lengths == {"agent_0": 2, "agent_1": 4}
    assert episodes[0].events == {"step": 6}
    assert len({*columns["eps_id"]}) == 2


def test_observations_chain_within_an_episode() -> None:
    columns, _ = ColumnarRollout(Leaving, num_envs=1, seed=0).run(zeros, num_steps=10)
    obs, nxt = columns[column(OBS, "agent_1")], columns[column(NEXT_OBS, "agent_1")]
    same = columns["eps_id"][1:] == columns["eps_id"][:-1]
    np.testing.assert_array_equal(obs[1:][same], nxt[:-1][same])


@pytest.mark.parametrize("episodes", [1, 3, 5])
def test_episode_counts_are_exact(episodes: int) -> None:
    _, finished = ColumnarRollout(Leaving, num_envs=3, seed=0).run(zeros, num_episodes=episodes, keep=False)
    assert len(finished) == episodes


def test_each_episode_has_its_own_seed_and_a_run_can_go_on() -> None:
    seeds: list[int] = []
    first = ColumnarRollout(Leaving, 2, seed=7, on_reset=lambda i, e, s: seeds.append(s))
    first.run(zeros, num_steps=16)
    assert len(set(seeds)) == len(seeds) >= 4
    later: list[int] = []
    second = ColumnarRollout(Leaving, 2, seed=1, on_reset=lambda i, e, s: later.append(s))
    second.set_state(first.get_state())
    first.run(zeros, num_episodes=1)
    second.run(zeros, num_episodes=1)
    assert seeds[-len(later) :] == later


@pytest.mark.parametrize(
    ("env", "config", "steps"),
    [
        ("gems", {"observation": "entities"}, 1200),
        ("overcooked", {"horizon": 37, "reward": "shaped", "reward_split": "agent"}, 1200),
        ("intersection", {"vehicles": 2, "horizon": 12}, 60),  # a single one takes long, and vehicles arrive in turn
    ],
)
def test_a_batch_gives_the_same_columns_as_single_environments(env: str, config: dict[str, Any], steps: int) -> None:
    batched = make_rollout(lambda: make_env(env, config), lambda n: make_batch(env, config, n), 3, seed=5)
    single = ColumnarRollout(lambda: make_env(env, config), 3, seed=5)
    assert isinstance(batched, BatchedRollout)
    sizes = {agent: int(space.n) for agent, space in single.action_spaces.items()}
    # Any rule that depends on nothing but what is seen, then the same draws for both.
    actors: list[list[Any]] = [[by_what_is_seen(sizes), random_actor(sizes, np.random.default_rng(0))] for _ in "12"]
    events: set[str] = set()
    for turn in range(2):
        results = [rollout.run(actors[k][turn], num_steps=steps) for k, rollout in enumerate((batched, single))]
        for name, values in results[1][0].items():
            np.testing.assert_array_equal(results[0][0][name], values, err_msg=name)
            assert results[0][0][name].dtype == values.dtype
        assert results[0][1] == results[1][1] and len(results[0][1]) >= 3
        events.update(kind for episode in results[0][1] for kind in episode.events)
        counts = [
            rollout.run(actors[k][turn], num_episodes=7, keep=False)[1] for k, rollout in enumerate((batched, single))
        ]
        assert counts[0] == counts[1] and len(counts[0]) == 7
    assert events
    told: list[list[Any]] = [[], []]
    for k, rollout in enumerate((batched, single)):
        rollout.on_step = lambda agent, found, k=k: told[k].append((agent, dict(found)))  # type: ignore[misc]
        rollout.run(actors[k][1], num_steps=max(steps // 2, 60))
    assert told[0] == told[1] and len(told[0]) >= steps // 2 and any(found for _, found in told[0])


def test_memory_of_columns_is_written_again_only_when_no_view_of_them_is_left() -> None:
    spares, shape = Spares(), (1000, 5, 7)

    def address(values: np.ndarray) -> int:
        return values.__array_interface__["data"][0]

    first = spares.empty(shape, np.dtype(np.float32))
    where = address(first)
    view = torch.from_numpy(first[3:].reshape(-1))
    del first
    assert address(spares.empty(shape, np.dtype(np.float32))) != where, "a tensor of it is left"
    del view
    again = spares.empty(shape, np.dtype(np.float32))
    assert address(again) == where and again.shape == shape
    other = spares.empty((3000, 5, 4), np.dtype(np.int16))
    assert other.dtype == np.int16 and other.shape == (3000, 5, 4) and address(other) != where
    assert spares.empty((3,), np.dtype(object)).tolist() == [None, None, None]


def test_no_more_memory_of_columns_is_kept_than_is_allowed() -> None:
    spares = Spares()
    dtype, third = np.dtype(np.uint8), Spares.MOST // 3
    sizes = (third, third // 3, Spares.MOST + 1)
    where = [spares.empty((size,), dtype).__array_interface__["data"][0] for size in sizes]
    held = spares.empty((third,), dtype)
    assert held.__array_interface__["data"][0] == where[0], "what is larger than all that may be kept is not"
    most = spares.empty((Spares.MOST - third,), dtype)
    kept = spares._kept
    assert sum(memory.nbytes for memory in kept) == Spares.MOST and len(kept) == 2, "what was free made room"
    assert len(spares.empty((third,), dtype)) == third and len(kept) == 2, "nothing is free: it is not kept"
    del held, most
    assert len(spares.empty((third,), dtype)) == third


def by_what_is_seen(sizes: dict[str, int]) -> Any:
    def act(observations: Any, alive: Any) -> dict[str, np.ndarray]:
        totals = {agent: np.abs(obs).reshape(len(obs), -1).sum(1) for agent, obs in observations.items()}
        return {agent: (total * 1000).astype(int) % sizes[agent] for agent, total in totals.items()}

    return act


def test_joint_steps_written_one_behind_the_other_are_those_joined() -> None:
    parts: list[JointColumns] = [
        {EPS_ID: np.array([f"eps-{k}", "other"], dtype=object), "obs.a": np.full((2, 3), k, np.float32)}
        for k in range(3)
    ]
    gathered = Gathered(6, Spares())
    for part in parts:
        gathered.add(part)
    joined = concatenate(parts)
    assert list(gathered.columns) == list(joined)
    for name, values in joined.items():
        np.testing.assert_array_equal(gathered.columns[name], values)
        assert gathered.columns[name].dtype == values.dtype
    with pytest.raises(ValueError, match=r"obs\.b"):
        gathered.add({EPS_ID: parts[0][EPS_ID], "obs.b": parts[0]["obs.a"]})
