import copy
import dataclasses
import pathlib
import warnings
from collections import Counter

import numpy as np
import pytest

with warnings.catch_warnings():
    # Importing PettingZoo's own tests warns about PettingZoo's own games.
    warnings.simplefilter("ignore")
    from pettingzoo.test import parallel_api_test, parallel_seed_test

from mamql_envs.overcooked_batch import OvercookedBatch
from mamql_envs.overcooked_compat import layout_names
from mamql_envs.overcooked_kitchen import (
    COOKING,
    DISH,
    HELD,
    IDLE,
    NOTHING,
    ONION,
    READY,
    RECIPES,
    TOMATO,
    UnknownKitchen,
    cooking,
    load_kitchen,
)
from mamql_envs.overcooked_starts import draw_start, random_state
from mamql_envs.overcooked_v0 import OBSERVATIONS, REWARD_SPLITS, REWARDS, parallel_env
from rllib_mamql.data.reading import read_metadata
from rllib_mamql.data.schema import check_environment
from rllib_mamql.environments.registry import ignored_in_data, resolve_env_config
from rllib_mamql.errors import DatasetError
from tests.support.overcooked_play import EVERY_LAYOUT

SHIPPED = pathlib.Path(__file__).parents[2] / "offline_data" / "overcooked"


def same_numbers(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def numbers_of(batch, k):
    poses, held, lying = batch.state
    return poses[:, k], held[:, k], lying[k]


def is_standard(env):
    return env.overcooked_state == env.layout.start_state()


@pytest.mark.parametrize("layout", EVERY_LAYOUT)
def test_single_and_batch_start_and_go_on_alike(layout):
    rng = np.random.default_rng(layout_names().index(layout))
    for observation, reward, split in zip(OBSERVATIONS, REWARDS, rng.permutation(REWARD_SPLITS), strict=True):
        config = {"layout": layout, "observation": observation, "reward": reward, "reward_split": split}
        batch = OvercookedBatch(4, random_starts=0.8, **config)
        envs = [parallel_env(random_starts=0.8, **config) for _ in range(4)]
        kitchen = load_kitchen(layout)
        batch.reset(0)
        for places, seeds in (([0, 1, 2, 3], [3, 14, 15, 92]), ([2, 0], [65, 35])):
            batch.reset_envs(places, seeds)
            started = [envs[k].reset(seed=seed)[0] for k, seed in zip(places, seeds, strict=True)]
            for k, observations in zip(places, started, strict=True):
                same_numbers(kitchen.encode(envs[k].overcooked_state), numbers_of(batch, k))
                for agent, seen in observations.items():
                    np.testing.assert_array_equal(seen, batch.observations()[agent][k])
                    assert envs[k].observation_space(agent).contains(seen)
            for _ in range(60):
                actions = {agent: rng.choice(6, size=4, p=[0.12] * 5 + [0.4]) for agent in batch.agents}
                rewards, _, _, events = batch.step(actions)
                found = batch.observations()
                for k, env in enumerate(envs):
                    seen, earned, _, _, infos = env.step({agent: actions[agent][k] for agent in batch.agents})
                    for agent in batch.agents:
                        np.testing.assert_array_equal(seen[agent], found[agent][k])
                        assert env.observation_space(agent).contains(seen[agent])
                        assert earned[agent] == rewards[agent][k]
                        counted = {kind: n[k] for kind, n in events[agent].items() if n[k]}
                        assert counted == infos[agent]["events"]
            for k, env in enumerate(envs):
                same_numbers(kitchen.encode(env.overcooked_state), numbers_of(batch, k))


@pytest.mark.parametrize("layout", ["cramped_room", "forced_coordination_tomato", "long_cook_time"])
def test_the_package_state_has_the_numbers_drawn_and_shares_nothing(layout):
    kitchen, rng = load_kitchen(layout), np.random.default_rng(0)
    for _ in range(200):
        drawn = random_state(kitchen, rng)
        state, again = kitchen.decode(drawn), kitchen.decode(drawn)
        same_numbers(kitchen.encode(state), drawn)
        assert state == again and state.timestep == 0 and state.all_orders == kitchen.layout.start_state().all_orders
        mine = [*state.objects.values(), *(p.held_object for p in state.players if p.held_object)]
        assert all(thing.is_valid() for thing in mine)
        assert not {id(thing) for thing in mine} & {id(thing) for thing in kitchen.things}
        for player in state.players:
            assert player.held_object is None or player.held_object.position == player.position


def test_states_are_drawn_as_promised():
    # Two pots and both ingredients; soups cook for a number of steps of their own.
    kitchen, rng = load_kitchen("mdp_test"), np.random.default_rng(0)
    draws = [random_state(kitchen, rng) for _ in range(6000)]
    poses = np.array([draw[0] for draw in draws])
    held = np.array([draw[1] for draw in draws]).ravel()
    lying = np.array([draw[2] for draw in draws])
    assert (poses[:, 0] >> 2 != poses[:, 1] >> 2).all()

    def uniform(values, expected):
        found = Counter(np.asarray(values).tolist())
        assert set(found) == set(expected)
        share, n = 1 / len(expected), len(values)
        assert all(abs(count / n - share) < 4.5 * np.sqrt(share * (1 - share) / n) for count in found.values())

    uniform(poses[:, 0], range(4 * len(kitchen.floor)))
    uniform(poses[:, 1], range(4 * len(kitchen.floor)))
    uniform(np.minimum(held, READY), [NOTHING, ONION, TOMATO, DISH, READY])
    uniform(held[held >= READY], range(READY, HELD))
    assert not np.delete(lying, range(*kitchen.pots.indices(99)), axis=1).any()
    pots = lying[:, kitchen.pots]
    stage = (pots >= READY).astype(int) + (pots >= IDLE) + (pots >= COOKING)
    uniform(4 * stage[:, 0] + stage[:, 1], range(16))
    for first in (READY, IDLE):
        uniform(pots[(pots >= first) & (pots < first + len(RECIPES))], range(first, first + len(RECIPES)))
    recipe = len(RECIPES) - 1
    last = [cooking(recipe, left, kitchen.cook_times) for left in range(1, kitchen.cook_times[recipe] + 1)]
    uniform(pots[pots >= last[0]], last)


def test_only_what_the_layout_dispenses_is_drawn():
    kitchen, rng = load_kitchen("cramped_room"), np.random.default_rng(0)
    onions_only = {number for number, (_, tomatoes) in enumerate(RECIPES) if not tomatoes}
    held, lying = set(), set()
    for _ in range(3000):
        _, hands, places = random_state(kitchen, rng)
        held.update(hands.tolist())
        lying.update(places.tolist())
    assert held == {NOTHING, ONION, DISH, *(READY + number for number in onions_only)}
    everything = {READY + number for number in onions_only} | {IDLE + number for number in onions_only}
    for number in onions_only:
        everything |= {cooking(number, left, kitchen.cook_times) for left in range(1, kitchen.cook_times[number] + 1)}
    assert lying == {NOTHING} | everything


@pytest.mark.parametrize("probability", [0.25, 1.0, 1])
def test_the_share_of_random_starts(probability):
    n = 3000
    kitchen, rng = load_kitchen("cramped_room"), np.random.default_rng(1)
    drawn = sum(draw_start(kitchen, probability, rng) is not None for _ in range(n))
    assert abs(drawn / n - probability) <= 4 * np.sqrt(probability * (1 - probability) / n)
    batch = OvercookedBatch(n, random_starts=probability)
    batch.reset(2)
    standard = np.all(batch.state[0] == kitchen.start[0][:, None], axis=0) & ~batch.state[2].any(axis=1)
    assert abs(1 - standard.mean() - probability) < 4 * np.sqrt(probability * (1 - probability) / n) + 0.005


def test_without_random_starts_nothing_is_drawn(monkeypatch):
    def drawn(*args):
        raise AssertionError("something was drawn")

    monkeypatch.setattr("mamql_envs.overcooked_v0.load_kitchen", drawn)
    monkeypatch.setattr(np.random, "default_rng", drawn)
    for config in ({}, {"random_starts": 0}, {"random_starts": 0.0}):
        env, batch = parallel_env(**config), OvercookedBatch(2, **config)
        for seed in (None, 0, 1):
            env.reset(seed=seed)
            assert is_standard(env)
        batch.reset_envs([0, 1], [0, 1])
        for k in range(2):
            same_numbers(numbers_of(batch, k), batch.kitchen.start)


def test_the_seed_determines_the_start_and_those_that_follow():
    def starts(env, seeds):
        states = []
        for seed in seeds:
            env.reset(seed=seed)
            states.append(env.overcooked_state)
        return states

    one, other = parallel_env(random_starts=1.0), parallel_env(random_starts=1.0)
    first = starts(one, [3, None, None, None])
    assert starts(other, [3, None, None, None]) == first
    assert len(set(map(str, first))) == 4
    assert starts(one, [3]) == first[:1] != starts(one, [4])
    # A copy goes on as the original does, and does not disturb it.
    twin = copy.deepcopy(one)
    assert starts(twin, [None, None]) == starts(one, [None, None])
    unseeded = starts(parallel_env(random_starts=1.0), [None]) + starts(parallel_env(random_starts=1.0), [None])
    assert str(unseeded[0]) != str(unseeded[1])


def test_follows_the_parallel_api():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parallel_api_test(parallel_env(random_starts=0.5, horizon=40), num_cycles=100)
        parallel_seed_test(lambda: parallel_env(random_starts=0.5, horizon=40), 50)


@pytest.mark.parametrize("value", [-0.1, 1.01, float("nan"), float("inf"), 10**400, True, "0.5", None, [0.5], 0.5j])
def test_what_is_no_probability_is_refused(value):
    for build in (parallel_env, lambda **config: OvercookedBatch(2, **config)):
        with pytest.raises(
            ValueError, match=r"random_starts=.* is not a probability: give a number from 0 to 1"
        ) as caught:
            build(random_starts=value)
        assert repr(value) in str(caught.value)


def test_a_kitchen_without_numbers_has_no_random_starts(monkeypatch):
    def unknown(name, auto_cook):
        raise UnknownKitchen("a soup that never cooks")

    monkeypatch.setattr("mamql_envs.overcooked_v0.load_kitchen", unknown)
    parallel_env(random_starts=0.0).reset(seed=0)
    with pytest.raises(
        ValueError, match=r"random_starts=0.5.*'cramped_room'.*a soup that never cooks.*give 0"
    ) as caught:
        parallel_env(random_starts=0.5)
    assert not isinstance(caught.value, UnknownKitchen)


@pytest.mark.parametrize("recorded", [None, 0.0, 0.5])
def test_a_dataset_fits_whatever_its_starts(recorded):
    metadata = read_metadata(str(SHIPPED / "cramped_room"))
    config = {key: value for key, value in metadata.env_config.items() if key != "random_starts"}
    if recorded is not None:
        config["random_starts"] = recorded
    metadata = dataclasses.replace(metadata, env_config=config)
    env = parallel_env()
    spaces = [
        {agent: space(agent) for agent in env.possible_agents} for space in (env.observation_space, env.action_space)
    ]
    for wanted in ({}, {"random_starts": 0}, {"random_starts": 0.3}):
        resolved = resolve_env_config("overcooked", wanted)
        assert "random_starts" in resolved
        check_environment(metadata, env.possible_agents, *spaces, "overcooked", resolved, ignored_in_data("overcooked"))
    with pytest.raises(DatasetError, match="layout"):
        check_environment(
            metadata,
            env.possible_agents,
            *spaces,
            "overcooked",
            resolve_env_config("overcooked", {"layout": "corridor"}),
        )
