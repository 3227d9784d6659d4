import hashlib
import json
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest

with warnings.catch_warnings():
    # Importing PettingZoo's own tests warns about PettingZoo's own games.
    warnings.simplefilter("ignore")
    from pettingzoo.test import parallel_api_test, parallel_seed_test

from mamql_envs.gems_batch import ENTITY_COLUMNS, OBSERVATIONS, RULES
from mamql_envs.gems_v0 import parallel_env

UP, DOWN, LEFT, RIGHT, STAY = range(5)
COLUMN = {name: i for i, name in enumerate(ENTITY_COLUMNS)}
# Agents in the corners, gems of agent 0 in row 4, of agent 1 in row 8, shared ones in row 12.
AGENT_0, AGENT_1, GEMS_0, GEMS_1, SHARED = (0, 0), (14, 14), (2, 3, 4), (5, 6, 7), (8, 9, 10)
SETUP = [AGENT_0, AGENT_1, *((x, y) for y in (4, 8, 12) for x in (3, 7, 11))]


def at(x, y):
    return 15 * y + x


def prepare(agent_0=AGENT_0, agent_1=AGENT_1, **config):
    """An environment in the state SETUP, but for the places of the agents."""
    env = parallel_env(**config)
    env.reset(seed=0)
    env._batch._cells[0] = [at(*place) for place in [agent_0, agent_1, *SETUP[2:]]]
    return env


def step(env, action_0=STAY, action_1=STAY):
    """Takes a step; returns the rewards, the events and the gems that were moved."""
    before = env.cells
    _, rewards, _, _, infos = env.step({"agent_0": action_0, "agent_1": action_1})
    moved = [thing for thing in range(2, 11) if env.cells[thing] != before[thing]]
    return list(rewards.values()), [info["events"] for info in infos.values()], moved


def digest(observation, seed):
    """A hash of all that happens in an episode of random actions."""
    env, rng = parallel_env(observation=observation), np.random.default_rng(seed)
    observations, _ = env.reset(seed=seed)
    seen = hashlib.sha256()
    while env.agents:
        for agent in env.agents:
            seen.update(observations[agent].tobytes())
        observations, rewards, *_, infos = env.step({agent: int(rng.integers(5)) for agent in env.agents})
        seen.update(json.dumps([rewards, infos]).encode())
    return seen.hexdigest()


@pytest.mark.parametrize("gems_to_end", [7, None])
@pytest.mark.parametrize(
    ("observation", "rules"), [*((form, "standard") for form in OBSERVATIONS), ("grid", "published")]
)
def test_follows_the_parallel_api(observation, rules, gems_to_end):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config = {"observation": observation, "gems_to_end": gems_to_end, "rules": rules}
        parallel_api_test(parallel_env(**config), num_cycles=200)
        parallel_seed_test(lambda: parallel_env(**config), 200)


@pytest.mark.parametrize("observation", OBSERVATIONS)
def test_observations_are_in_their_space(observation):
    env, rng = parallel_env(observation=observation), np.random.default_rng(0)
    for seed in range(5):
        observations, _ = env.reset(seed=seed)
        while env.agents:
            for agent in env.agents:
                assert env.observation_space(agent).contains(observations[agent])
            observations, *_ = env.step({agent: rng.integers(5) for agent in env.agents})


def test_shapes_and_actions_are_those_of_the_game():
    shapes = {"grid": (5, 15, 15), "entities": (11, 13), "vector": (20,)}
    for observation, shape in shapes.items():
        env = parallel_env(observation=observation)
        for agent in env.possible_agents:
            assert env.observation_space(agent).shape == shape
            assert env.observation_space(agent).dtype == np.float32
            assert env.action_space(agent).n == 5
    assert env.possible_agents == ["agent_0", "agent_1"]
    assert env.metadata["return_aggregation"] == "mean"


@pytest.mark.parametrize(
    ("action", "place"),
    [(UP, (5, 5)), (DOWN, (5, 7)), (LEFT, (4, 6)), (RIGHT, (6, 6)), (STAY, (5, 6))],
)
def test_actions_move_as_they_say(action, place):
    env = prepare(agent_0=(5, 6))
    step(env, action)
    assert env.cells[0] == at(*place)


def test_walls_stop_and_agents_share_cells():
    env = prepare()
    for action in (UP, LEFT):
        step(env, action, {UP: DOWN, LEFT: RIGHT}[action])
        assert list(env.cells[:2]) == [at(*AGENT_0), at(*AGENT_1)]
    env = prepare(agent_0=(5, 6), agent_1=(6, 6))
    step(env, RIGHT, STAY)
    assert env.cells[0] == env.cells[1] == at(6, 6)


def test_only_gems_of_the_own_colour_are_taken():
    assert step(prepare(agent_0=(3, 3)), DOWN) == ([1, 0], [{"own_gem": 1}, {}], [2])
    assert step(prepare(agent_1=(8, 8)), STAY, LEFT) == ([0, 1], [{}, {"own_gem": 1}], [6])
    assert step(prepare(agent_0=(3, 7), agent_1=(3, 3)), DOWN, DOWN) == ([0, 0], [{}, {}], [])
    both = step(prepare(agent_0=(3, 3), agent_1=(3, 7)), DOWN, DOWN)
    assert both == ([1, 1], [{"own_gem": 1}, {"own_gem": 1}], [2, 5])


def test_shared_gems_need_both():
    events = [{"shared_gem": 1}, {"shared_gem": 1}]
    assert step(prepare(agent_0=(3, 11)), DOWN) == ([0, 0], [{}, {}], [])
    assert step(prepare(agent_0=(3, 11), agent_1=(3, 13)), DOWN, UP) == ([6, 6], events, [8])
    assert step(prepare(agent_0=(3, 11), agent_1=(11, 13)), DOWN, UP) == ([6, 6], events, [8, 10])
    waiting = prepare(agent_0=(3, 11), agent_1=(7, 10))
    assert step(waiting, DOWN, DOWN)[2] == []
    assert step(waiting, STAY, DOWN) == ([6, 6], events, [8, 9])
    alone = prepare(agent_0=(3, 3), agent_1=(7, 11))
    assert step(alone, DOWN, DOWN) == ([1, 0], [{"own_gem": 1}, {}], [2])


def test_by_the_published_rules_it_counts_who_stood_on_a_shared_gem_before_or_after_the_own_move():
    events = [{"shared_gem": 1}, {"shared_gem": 1}]
    # Shared gems are at (3, 12), (7, 12) and (11, 12). Agent 0 leaves one, agent 1 arrives at another.
    assert step(prepare((3, 12), (7, 11), rules="published"), UP, DOWN) == ([6, 6], events, [8, 9])
    assert step(prepare((3, 12), (7, 11)), UP, DOWN) == ([0, 0], [{}, {}], [])
    # Both leave; and both walk past each other, on the same gem.
    assert step(prepare((3, 12), (11, 12), rules="published"), UP, UP) == ([6, 6], events, [8, 10])
    assert step(prepare((3, 12), (3, 13), rules="published"), UP, UP) == ([6, 6], events, [8])
    assert step(prepare((3, 11), (7, 9), rules="published"), UP, DOWN) == ([0, 0], [{}, {}], [])
    # Own gems count where an agent is after its move only, each of them.
    own = prepare((3, 4), rules="published")
    assert step(own, UP) == ([0, 0], [{}, {}], [])
    own._batch._cells[0, 3] = at(3, 4)
    assert step(own, DOWN) == ([2, 0], [{"own_gem": 2}, {}], [2, 3])


def test_rules_that_are_not_known_are_refused():
    with pytest.raises(ValueError, match=r"rules='publisht'.*standard.*published"):
        parallel_env(rules="publisht")


@pytest.mark.parametrize("rules", RULES)
def test_ends_at_the_seventh_gem(rules):
    env = prepare(agent_0=(7, 11), agent_1=(3, 11), rules=rules)
    for taken in (2, 4, 6, 8):
        env._batch._cells[0] = [at(7, 11), at(3, 11), *(at(*place) for place in SETUP[2:])]
        _, rewards, terminated, truncated, _ = env.step({"agent_0": DOWN, "agent_1": DOWN})
        assert set(rewards.values()) == {6}
        assert set(terminated.values()) == {taken >= 7}
        assert set(truncated.values()) == {False}
    assert env.agents == []
    with pytest.raises(RuntimeError, match="reset"):
        env.step({})


@pytest.mark.parametrize(("gems_to_end", "rules"), [(7, "standard"), (None, "standard"), (None, "published")])
def test_time_truncates_and_never_terminates(gems_to_end, rules):
    env = parallel_env(gems_to_end=gems_to_end, rules=rules)
    env.reset(seed=0)
    for t in range(45):
        *_, terminated, truncated, _ = env.step({"agent_0": UP, "agent_1": UP})
        assert set(terminated.values()) == {False}
        assert set(truncated.values()) == {t == 44}
    assert env.agents == []


def test_a_last_gem_in_the_last_step_terminates():
    env = prepare(agent_0=(3, 3), horizon=1, gems_to_end=1)
    *_, terminated, truncated, _ = env.step({"agent_0": DOWN, "agent_1": STAY})
    assert set(terminated.values()) == {True} and set(truncated.values()) == {False}


def test_without_a_last_gem_taking_many_goes_on():
    env = prepare(agent_0=(3, 3), agent_1=(3, 7), gems_to_end=None)
    for _ in range(20):
        env._batch._cells[0] = [at(3, 3), at(3, 7), *(at(*place) for place in SETUP[2:])]
        step(env, DOWN, DOWN)
    assert env.agents


def test_the_grid_has_a_channel_for_each_kind():
    env = prepare(agent_0=(3, 3), agent_1=(3, 13))
    observations, *_ = env.step({"agent_0": STAY, "agent_1": STAY})
    grid = observations["agent_0"]
    assert np.array_equal(grid, observations["agent_1"])
    expected = np.zeros((5, 15, 15), np.float32)
    for channel, (x, y) in zip([0, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4], [(3, 3), (3, 13), *SETUP[2:]], strict=True):
        expected[channel, y, x] = 1
    assert np.array_equal(grid, expected)


def test_entities_are_seen_from_the_observing_agent():
    env = prepare(agent_0=(3, 3), agent_1=(12, 8), observation="entities")
    observations, *_ = env.step({"agent_0": STAY, "agent_1": STAY})
    first, second = observations["agent_0"], observations["agent_1"]
    kinds = ["is_self", "is_other"] + ["is_own_gem"] * 3 + ["is_others_gem"] * 3 + ["is_shared_gem"] * 3
    for table in (first, second):
        assert [ENTITY_COLUMNS[1 + row[1:6].argmax()] for row in table] == kinds
        assert (table[:, 1:6].sum(axis=1) == 1).all() and (table[:, 0] == 1).all()
    offset = slice(COLUMN["dx"], COLUMN["dy"] + 1)
    assert first[2, offset] == pytest.approx([0, 1 / 14])
    assert second[2, offset] == pytest.approx([-9 / 14, 0])
    assert second[5, offset] == pytest.approx([-9 / 14, -4 / 14])
    assert second[5, COLUMN["distance"]] == pytest.approx(13 / 28)
    assert list(second[5, COLUMN["above"] :]) == [1, 0, 1, 0]
    assert list(first[1, COLUMN["above"] :]) == [0, 1, 0, 1]
    assert not first[0, COLUMN["dx"] :].any()


def test_the_vector_is_the_offsets_of_the_entities():
    seen = []
    for observation in ("vector", "entities"):
        env = prepare(observation=observation)
        seen.append(env.step({"agent_0": DOWN, "agent_1": LEFT})[0])
    for agent in ("agent_0", "agent_1"):
        assert np.array_equal(seen[0][agent], seen[1][agent][1:, 6:8].ravel())


def test_earlier_observations_do_not_change():
    env = parallel_env(observation="entities")
    observations, _ = env.reset(seed=0)
    before = observations["agent_0"].copy()
    env.step({"agent_0": RIGHT, "agent_1": LEFT})
    assert np.array_equal(observations["agent_0"], before)


def test_resets_without_a_seed_follow_from_the_last_seed():
    def starts():
        env = parallel_env()
        env.reset(seed=4)
        episodes = [env.cells.tolist()]
        for _ in range(3):
            env.reset()
            episodes.append(env.cells.tolist())
        return episodes

    assert starts() == starts()
    assert len({tuple(cells) for cells in starts()}) == 4


def test_an_episode_is_the_same_in_another_process():
    program = "from tests.unit.test_gems_env import digest; print(digest('entities', 5))"
    here = digest("entities", 5)
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        found = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
        assert found.stdout.strip() == here, found.stderr


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"horizon": 0}, "horizon=0 is not an integer of at least 1"),
        ({"horizon": 2.5}, "horizon=2.5"),
        ({"horizon": True}, "horizon=True"),
        ({"gems_to_end": 0}, "gems_to_end=0"),
        ({"observation": "entity"}, "did you mean 'entities'"),
        ({"observation": 3}, "observation=3 is not known; known: grid, entities, vector"),
        ({"render_mode": "human"}, "render_mode='human' is not known; known: rgb_array"),
    ],
)
def test_wrong_arguments_are_named(argument, message):
    with pytest.raises(ValueError) as caught:
        parallel_env(**argument)
    assert message in str(caught.value)


@pytest.mark.parametrize("actions", [{"agent_0": 0}, {"agent_0": 5, "agent_1": 0}, {"agent_0": 0, "agent_1": -1}])
def test_wrong_actions_are_refused_and_change_nothing(actions):
    env = prepare()
    with pytest.raises(ValueError, match="action"):
        env.step(actions)
    assert list(env.cells[:2]) == [at(*AGENT_0), at(*AGENT_1)]


def test_using_before_reset_says_so():
    env = parallel_env(render_mode="rgb_array")
    for use in (lambda: env.step({}), env.render, lambda: env.cells):
        with pytest.raises(RuntimeError, match="reset"):
            use()


def test_renders_what_is_there():
    env = prepare(agent_0=(3, 3), agent_1=(9, 9), render_mode="rgb_array")
    image = env.render()
    assert image.shape == (360, 360, 3) and image.dtype == np.uint8
    centre = {(x, y): tuple(image[24 * y + 12, 24 * x + 12]) for x in range(15) for y in range(15)}
    colours = [centre[place] for place in [(3, 3), (9, 9), *SETUP[2:]]]
    assert colours[0] == colours[2] == colours[3] == colours[4]
    assert colours[1] == colours[5] == colours[6] == colours[7]
    assert len({colours[0], colours[1], colours[8], centre[(1, 1)]}) == 4
    env = prepare(agent_0=(9, 9), agent_1=(9, 9), render_mode="rgb_array")
    shared = env.render()[24 * 9 + 12, 24 * 9 + 6 : 24 * 9 + 18]
    assert {tuple(pixel) for pixel in shared} == {colours[0], colours[1]}
    assert prepare().render() is None
