import copy
import json
import warnings

import numpy as np
import pytest

with warnings.catch_warnings():
    # Importing PettingZoo's own tests warns about PettingZoo's own games.
    warnings.simplefilter("ignore")
    from pettingzoo.test import parallel_api_test, parallel_seed_test

from mamql_envs.overcooked_features import EntityFeatures
from mamql_envs.overcooked_v0 import EVENTS, parallel_env
from tests.support.overcooked_play import COOKING, EAST, EVERY_LAYOUT, INTERACT, NORTH, STAY, WEST

COLUMN = {name: i for i, name in enumerate(EntityFeatures.COLUMNS)}


def random_actions(env, rng, interact=0.3):
    probabilities = [(1 - interact) / 5] * 5 + [interact]
    return {agent: int(rng.choice(6, p=probabilities)) for agent in env.agents}


def cook(env):
    """Plays COOKING; returns the summed rewards, the counted events and the last observations."""
    observations, _ = env.reset()
    returns = dict.fromkeys(env.agents, 0.0)
    events = {agent: {} for agent in env.agents}
    for action in COOKING:
        observations, rewards, _, _, infos = env.step({"agent_0": action, "agent_1": STAY})
        for agent, reward in rewards.items():
            returns[agent] += reward
            for kind, count in infos[agent]["events"].items():
                events[agent][kind] = events[agent].get(kind, 0) + count
    return returns, events, observations


@pytest.mark.parametrize("observation", ["vector", "entities"])
@pytest.mark.parametrize("layout", ["cramped_room", "tutorial_1", "multiplayer_schelling", "cramped_room_single"])
def test_follows_the_parallel_api(layout, observation):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parallel_api_test(parallel_env(layout=layout, observation=observation, horizon=40), num_cycles=100)
        parallel_seed_test(lambda: parallel_env(layout=layout, observation=observation, horizon=40), 50)


@pytest.mark.parametrize("layout", EVERY_LAYOUT)
def test_any_layout_plays_within_its_spaces(layout):
    rng = np.random.default_rng(0)
    envs = [
        parallel_env(layout, 30, "shaped", split, observation)
        for split, observation in (("agent", "vector"), ("team", "entities"))
    ]
    for env in envs:
        observations, _ = env.reset(seed=0)
        while env.agents:
            for agent in env.agents:
                assert env.observation_space(agent).contains(observations[agent])
            observations, *_ = env.step(random_actions(env, rng))


@pytest.mark.parametrize("layouts", [("cramped_room", "mdp_test"), ("soup_coordination", "long_cook_time")])
def test_equals_the_package_even_when_layouts_alternate(layouts):
    # The package keeps recipes (values, cooking times) in class attributes: a second layout must not disturb.
    rng = np.random.default_rng(1)
    envs = [parallel_env(layout, 10_000, "shaped", "agent") for layout in layouts]
    states = []
    for env in envs:
        env.reset(seed=0)
        states.append(env.overcooked_state)
    delivered = 0
    for _ in range(250):
        for i, env in enumerate(envs):
            layout = env.layout
            actions = random_actions(env, rng, interact=0.45)
            observations, rewards, terminated, truncated, _ = env.step(actions)
            joint = [layout.mdp.get_actions(states[i])[0][a] for a in actions.values()]
            states[i], info = layout.mdp.get_state_transition(states[i], joint)
            assert env.overcooked_state == states[i]
            expected = np.add(info["sparse_reward_by_agent"], info["shaped_reward_by_agent"])
            assert list(rewards.values()) == list(expected)
            features = layout.mdp.featurize_state(states[i], layout.action_manager)
            for agent, feature in zip(env.agents, features, strict=True):
                assert np.array_equal(observations[agent], feature.astype(np.float32))
            assert not any(terminated.values()) and not any(truncated.values())
            delivered += expected.sum() > 0
    assert delivered > 0


@pytest.mark.parametrize("layout", ["asymmetric_advantages", "coordination_ring", "tutorial_1", "scenario4"])
def test_vector_equals_featurize_state(layout):
    rng = np.random.default_rng(2)
    env = parallel_env(layout, 10_000)
    env.reset(seed=0)
    for _ in range(150):
        observations, *_ = env.step(random_actions(env, rng))
        features = env.layout.mdp.featurize_state(env.overcooked_state, env.layout.action_manager)
        for agent, feature in zip(env.agents, features, strict=True):
            assert np.array_equal(observations[agent], feature.astype(np.float32))


def test_cooking_one_soup_earns_what_the_package_promises():
    assert cook(parallel_env(reward="sparse", reward_split="team"))[0] == {"agent_0": 20.0, "agent_1": 20.0}
    assert cook(parallel_env(reward="sparse", reward_split="agent"))[0] == {"agent_0": 20.0, "agent_1": 0.0}
    # Three onions at 3, a dish at 3, the soup at 5.
    assert cook(parallel_env(reward="shaped", reward_split="team"))[0] == {"agent_0": 37.0, "agent_1": 37.0}
    assert cook(parallel_env(reward="shaped", reward_split="agent"))[0] == {"agent_0": 37.0, "agent_1": 0.0}


def test_events_are_counted_for_the_agent_that_caused_them():
    _, events, _ = cook(parallel_env())
    expected = {
        "potting_onion": 3,
        "dish_pickup": 1,
        "useful_dish_pickup": 1,
        "soup_pickup": 1,
        "soup_delivery": 1,
    }
    assert events == {"agent_0": expected, "agent_1": {}}
    assert set(expected) <= set(EVENTS)


def test_metadata_says_how_returns_combine():
    assert parallel_env(reward_split="team").metadata["return_aggregation"] == "mean"
    assert parallel_env(reward_split="agent").metadata["return_aggregation"] == "sum"


def test_every_agent_is_truncated_at_the_horizon_and_none_terminated():
    env = parallel_env(horizon=3)
    env.reset()
    for step in range(3):
        _, _, terminated, truncated, _ = env.step({"agent_0": STAY, "agent_1": STAY})
        assert terminated == {"agent_0": False, "agent_1": False}
        assert truncated == {"agent_0": step == 2, "agent_1": step == 2}
    assert env.agents == []
    with pytest.raises(RuntimeError, match="reset"):
        env.step({})


def test_entities_show_the_start_of_cramped_room():
    env = parallel_env(observation="entities")
    observations, _ = env.reset()
    table = observations["agent_0"]
    kinds = [EntityFeatures.TYPES[row[1:9].argmax()] for row in table if row[COLUMN["present"]]]
    assert kinds == [
        "self",
        "other",
        "onion_dispenser",
        "onion_dispenser",
        "dish_dispenser",
        "pot",
        "serving",
    ]
    assert not table[len(kinds) :].any()
    # Agent 0 is at (1, 2), agent 1 at (3, 1), in a kitchen of 5 x 4 cells; the pot is at (2, 0).
    assert table[1, COLUMN["dx"] : COLUMN["dy"] + 1] == pytest.approx([2 / 4, -1 / 3])
    assert table[5, COLUMN["dx"] : COLUMN["dy"] + 1] == pytest.approx([1 / 4, -2 / 3])
    blocked = table[0, COLUMN["blocked_north"] : COLUMN["blocked_west"] + 1]
    assert list(blocked) == [0, 1, 0, 1]


def test_entities_show_what_is_faced_carried_put_down_and_cooked():
    env = parallel_env(observation="entities")
    env.reset()

    def play(*actions):
        for action in actions:
            observations, *_ = env.step({"agent_0": action, "agent_1": STAY})
        return observations["agent_0"], observations["agent_1"]

    own, other = play(NORTH, WEST)
    assert own[:, COLUMN["faced"]].sum() == 1
    assert own[own[:, COLUMN["faced"]] == 1, COLUMN["is_onion_dispenser"]] == 1
    own, other = play(INTERACT)
    assert own[0, COLUMN["has_onion"]] == other[1, COLUMN["has_onion"]] == 1
    own, _ = play(NORTH, INTERACT)
    counters = own[own[:, COLUMN["is_counter"]] == 1]
    assert len(counters) == 1
    assert counters[0, [COLUMN["has_onion"], COLUMN["faced"]]].tolist() == [1, 1]
    assert own[0, COLUMN["has_onion"]] == 0

    env.reset()
    own, _ = play(*COOKING[:16])
    pot = own[own[:, COLUMN["is_pot"]] == 1][0]
    assert pot[COLUMN["onions"]] == 1
    assert [pot[COLUMN[name]] for name in ("waiting", "cooking", "ready")] == [1, 0, 0]
    own, _ = play(INTERACT)
    pot = own[own[:, COLUMN["is_pot"]] == 1][0]
    assert [pot[COLUMN[name]] for name in ("waiting", "cooking", "ready")] == [0, 1, 0]
    assert pot[COLUMN["steps_left"]] == pytest.approx(19 / 20)
    own, _ = play(*[STAY] * 19)
    pot = own[own[:, COLUMN["is_pot"]] == 1][0]
    assert [pot[COLUMN[name]] for name in ("waiting", "cooking", "ready", "steps_left")] == [0, 0, 1, 0]


def test_each_player_sees_itself_first():
    env = parallel_env(observation="entities")
    observations, _ = env.reset()
    first, second = observations["agent_0"], observations["agent_1"]
    offset = slice(COLUMN["dx"], COLUMN["dy"] + 1)
    assert first[0, COLUMN["is_self"]] == second[0, COLUMN["is_self"]] == 1
    assert np.allclose(first[1, offset], -second[1, offset])
    # Relative to the two players, every fixture is displaced by the same amount.
    fixtures = slice(2, 7)
    assert np.allclose(first[fixtures, offset] - second[fixtures, offset], first[1, offset], atol=1e-6)


def test_earlier_observations_and_states_do_not_change():
    env = parallel_env(observation="entities")
    observations, _ = env.reset()
    before = observations["agent_0"].copy()
    state = env.overcooked_state
    for action in COOKING[:10]:
        env.step({"agent_0": action, "agent_1": EAST})
    assert np.array_equal(observations["agent_0"], before)
    assert state.timestep == 0 and state.player_positions == ((1, 2), (3, 1))
    again, _ = env.reset()
    assert np.array_equal(again["agent_0"], before)


def test_a_layout_with_a_start_state_starts_there_each_time():
    env = parallel_env("tutorial_1")
    first, _ = env.reset()
    env.step({"agent_0": INTERACT, "agent_1": INTERACT})
    again, _ = env.reset()
    assert all(np.array_equal(first[agent], again[agent]) for agent in env.agents)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"layout": "cramped_rom"}, "layout='cramped_rom' is not known; did you mean 'cramped_room'"),
        ({"layout": "../planners/x"}, "layout='../planners/x' is not known"),
        ({"layout": 3}, "layout=3 is not known"),
        ({"horizon": 0}, "horizon=0"),
        ({"horizon": 2.5}, "horizon=2.5"),
        ({"horizon": True}, "horizon=True"),
        ({"reward": "dense"}, "reward='dense' is not known; known: sparse, shaped"),
        ({"reward_split": "agents"}, "did you mean 'agent'"),
        ({"observation": "entity"}, "did you mean 'entities'"),
        ({"render_mode": "human"}, "render_mode='human' is not known; known: rgb_array"),
    ],
)
def test_wrong_arguments_are_named(argument, message):
    with pytest.raises(ValueError) as caught:
        parallel_env(**argument)
    assert message in str(caught.value)


@pytest.mark.parametrize("actions", [{"agent_0": 0}, {"agent_0": 6, "agent_1": 0}, {"agent_0": -1, "agent_1": 0}])
def test_wrong_actions_are_refused(actions):
    env = parallel_env()
    env.reset()
    with pytest.raises(ValueError, match="action"):
        env.step(actions)


def test_using_before_reset_says_so():
    env = parallel_env(render_mode="rgb_array")
    for use in (lambda: env.step({}), env.render, lambda: env.overcooked_state):
        with pytest.raises(RuntimeError, match="reset"):
            use()


@pytest.mark.parametrize("layout", ["cramped_room", "multiplayer_schelling"])
def test_renders_an_image_that_changes(layout):
    env = parallel_env(layout, render_mode="rgb_array")
    env.reset()
    before = env.render()
    assert before.dtype == np.uint8 and before.ndim == 3 and before.shape[2] == 3
    env.step({agent: WEST for agent in env.agents})
    after = env.render()
    assert after.shape == before.shape and not np.array_equal(after, before)
    assert parallel_env(layout).render() is None


def test_bounds_are_finite_numbers_that_json_can_hold():
    space = parallel_env("long_cook_time").observation_space("agent_0")
    assert np.isfinite(json.loads(json.dumps([space.low.tolist(), space.high.tolist()]))).all()


def test_a_deep_copy_goes_its_own_way():
    env, reference = parallel_env(), parallel_env()
    for one in (env, reference):
        one.reset()
    rng = np.random.default_rng(0)
    for _ in range(60):
        actions = {agent: int(rng.integers(6)) for agent in env.agents}
        twin = copy.deepcopy(env)
        for _ in range(3):
            twin.step({agent: int(rng.integers(6)) for agent in twin.agents})
        after, expected = env.step(actions), reference.step(actions)
        assert after[1] == expected[1]
        for agent in env.possible_agents:
            np.testing.assert_array_equal(after[0][agent], expected[0][agent])
