import numpy as np
import pytest

from mamql_envs.overcooked_batch import OvercookedBatch, batched_env
from mamql_envs.overcooked_compat import layout_names
from mamql_envs.overcooked_features import DIRECTIONS
from mamql_envs.overcooked_kitchen import DISH, HELD, IDLE, READY, RECIPES, UnknownKitchen, load_kitchen
from mamql_envs.overcooked_v0 import EVENTS, OBSERVATIONS, REWARD_SPLITS, REWARDS, parallel_env
from rllib_mamql.environments.registry import make_batch
from rllib_mamql.errors import ConfigError
from tests.support.overcooked_play import COOKING, EVERY_LAYOUT, INTERACT, STAY


class SideBySide:
    """A batch and single environments, stepped with the same actions and compared in everything."""

    def __init__(self, num_envs, **config):
        self.batch = OvercookedBatch(num_envs, **config)
        self.envs = [parallel_env(**config) for _ in range(num_envs)]
        self.seen = set()
        self.ends = 0
        self.reset(range(num_envs))
        for agent in self.batch.agents:
            assert self.batch.observation_spaces[agent] == self.envs[0].observation_space(agent)
            assert self.batch.action_spaces[agent] == self.envs[0].action_space(agent)

    def reset(self, rows):
        self.batch.reset_envs(list(rows), [5] * len(rows))
        found = self.batch.observations()
        for k in rows:
            observations, _ = self.envs[k].reset(seed=1)
            self.same_observations(found, observations, k)

    def same_observations(self, found, observations, k):
        for agent, seen in observations.items():
            assert found[agent].dtype == seen.dtype
            np.testing.assert_array_equal(found[agent][k], seen)

    def same_state(self):
        poses, held, lying = self.batch.state
        for k, env in enumerate(self.envs):
            for found, expected in zip(
                (poses[:, k], held[:, k], lying[k]), self.batch.kitchen.encode(env._state), strict=True
            ):
                np.testing.assert_array_equal(found, expected)

    def scatter(self, rng):
        """Puts the cooks anywhere, facing something if they can, with anything in hand, pots and counters."""
        kitchen = self.batch.kitchen
        facing = np.flatnonzero(kitchen.faced >= 0)
        for k, env in enumerate(self.envs):
            cells = rng.permutation(np.unique(facing >> 2))[: kitchen.players]
            self.batch._poses[:, k] = [rng.choice(facing[facing >> 2 == cell]) for cell in cells]
            self.batch._held[:, k] = rng.choice([0, 1, 2, DISH, rng.integers(READY, HELD)], size=kitchen.players)
            lying = self.batch._lying[k]
            counters, pots = range(*kitchen.counters.indices(99)), range(*kitchen.pots.indices(99))
            # Dishes on counters make others useless: they must be rare for both cases to occur.
            for place in counters:
                lying[place] = 0 if rng.random() < 0.8 else rng.integers(1, HELD)
            for place in pots:
                lying[place] = rng.choice(
                    [0, rng.integers(READY, len(kitchen.things)), rng.integers(READY, IDLE + len(RECIPES))]
                )
            self.decode(env, k)

    def decode(self, env, k):
        """Gives a single environment the state of the k-th of the batch."""
        kitchen, state = self.batch.kitchen, env._state
        poses, held, lying = self.batch.state
        for player, pose, thing in zip(state.players, poses[:, k], held[:, k], strict=True):
            player.held_object = None if thing == 0 else kitchen.things[thing].deepcopy()
            player.update_pos_and_or(kitchen.floor[pose >> 2], DIRECTIONS[pose & 3])
        state.objects.clear()
        for (cell, _), thing in zip(kitchen.places, lying[k], strict=True):
            if thing:
                state.add_object(kitchen.things[thing].deepcopy(), cell)

    def step(self, actions):
        """Steps with `{agent: (num_envs,)}`."""
        rewards, terminated, truncated, events = self.batch.step(actions)
        observations = self.batch.observations()
        for k, env in enumerate(self.envs):
            agents = list(env.agents)
            found = env.step({agent: actions[agent][k] for agent in agents})
            self.same_observations(observations, found[0], k)
            for agent in agents:
                assert rewards[agent][k] == found[1][agent]
                assert terminated[agent][k] == found[2][agent]
                assert truncated[agent][k] == found[3][agent]
                counted = {kind: n[k] for kind, n in events[agent].items() if n[k]}
                assert counted == found[4][agent]["events"]
                self.seen.update(counted)
        self.same_state()
        ended = np.flatnonzero(truncated["agent_0"])
        if len(ended):
            self.ends += len(ended)
            self.reset(ended)
        return rewards

    def random_actions(self, rng, interact):
        weights = [(1 - interact) / 5] * 5 + [interact]
        return {agent: rng.choice(6, size=self.batch.num_envs, p=weights) for agent in self.batch.agents}


@pytest.mark.parametrize("layout", EVERY_LAYOUT)
def test_each_environment_equals_the_single_one(layout):
    rng = np.random.default_rng(layout_names().index(layout))
    for observation, reward, split in zip(OBSERVATIONS, REWARDS, rng.permutation(REWARD_SPLITS), strict=True):
        pair = SideBySide(3, layout=layout, horizon=51, observation=observation, reward=reward, reward_split=split)
        for t in range(160):
            if t > 80:
                pair.scatter(rng)
            pair.step(pair.random_actions(rng, 0.3 if t <= 80 else 0.8))
        assert pair.ends == 9


@pytest.mark.parametrize("layout", ["cramped_room", pytest.param("soup_coordination", marks=pytest.mark.slow)])
def test_whatever_can_happen_is_compared(layout):
    rng, met = np.random.default_rng(0), set()
    pair = SideBySide(30, layout=layout, horizon=10_000, reward="shaped", reward_split="agent", observation="entities")
    kitchen = pair.batch.kitchen
    for _ in range(250):
        pair.scatter(rng)
        poses, held, lying = pair.batch.state
        for pose, thing in zip(poses, held, strict=True):
            places = kitchen.faced[pose]
            kinds = [kitchen.places[place][1] for place in places]
            met.update(zip(kinds, thing, lying[np.arange(30), places], strict=True))
        pair.step(dict.fromkeys(pair.batch.agents, np.full(30, INTERACT)))
    there = {kind for _, kind in kitchen.places}
    missed = {rule for rule in kitchen.rules if rule[0] in there} - met
    assert not missed
    assert pair.seen == set(EVENTS)


def test_a_soup_cooked_and_delivered():
    pair = SideBySide(2, layout="cramped_room", reward="shaped", reward_split="agent")
    returns = np.zeros((2, 2))
    for action in COOKING:
        rewards = pair.step({"agent_0": np.array([action, STAY]), "agent_1": np.array([STAY, STAY])})
        returns += [rewards[agent] for agent in pair.batch.agents]
    assert returns.tolist() == [[3 * 3 + 3 + 5 + 20, 0], [0, 0]]
    assert pair.seen >= {"potting_onion", "dish_pickup", "useful_dish_pickup", "soup_pickup", "soup_delivery"}


@pytest.mark.parametrize("layout", ["cramped_room", "multiplayer_schelling"])
def test_cooks_that_meet_or_cross_stay(layout):
    rng = np.random.default_rng(3)
    pair = SideBySide(40, layout=layout, horizon=10_000)
    stopped = 0
    for _ in range(40):
        pair.scatter(rng)
        before = pair.batch.state[0]
        pair.step({agent: rng.integers(4, size=40) for agent in pair.batch.agents})
        free = pair.batch.kitchen.moved[6 * before + (pair.batch.state[0] & 3)]
        stopped += int((free >> 2 != pair.batch.state[0] >> 2).any(axis=0).sum())
    assert stopped > 40


def test_an_episode_does_not_depend_on_the_batch():
    rng = np.random.default_rng(2)
    batch, other = OvercookedBatch(4), OvercookedBatch(2)
    batch.reset(0)
    other.reset(1)
    for _ in range(100):
        actions = {agent: rng.integers(6, size=4) for agent in batch.agents}
        batch.step(actions)
        other.step({agent: chosen[[0, 2]] for agent, chosen in actions.items()})
        for agent in batch.agents:
            np.testing.assert_array_equal(batch.observations()[agent][2], other.observations()[agent][1])
    before = batch.observations()
    batch.reset_envs([2], [12])
    after, start = batch.observations(), OvercookedBatch(1)
    start.reset(0)
    np.testing.assert_array_equal(np.delete(after["agent_0"], 2, 0), np.delete(before["agent_0"], 2, 0))
    np.testing.assert_array_equal(after["agent_0"][2], start.observations()["agent_0"][0])


def test_nothing_restarts_by_itself_and_ends_may_differ():
    batch = OvercookedBatch(3, horizon=4)
    stay = {agent: np.full(3, STAY) for agent in batch.agents}
    batch.reset(0)
    batch.step(stay)
    batch.reset_envs([1], [0])
    for expected in ([0, 0, 0], [0, 0, 0], [1, 0, 1]):
        _, terminated, truncated, _ = batch.step(stay)
        assert truncated["agent_1"].tolist() == expected and not terminated["agent_0"].any()
    with pytest.raises(RuntimeError, match=r"environments \[0, 2\]"):
        batch.step(stay)
    batch.reset_envs([0], [6])
    with pytest.raises(RuntimeError, match=r"environments \[2\]"):
        batch.step(stay)
    batch.reset_envs([2], [6])
    assert batch.step(stay)[2]["agent_0"].tolist() == [0, 1, 0]


def test_what_was_returned_stays_as_it_was():
    rng = np.random.default_rng(0)
    for observation in OBSERVATIONS:
        batch = OvercookedBatch(5, horizon=3, reward="shaped", observation=observation)
        batch.reset(0)
        results, copies = [], []
        for _ in range(6):
            actions = {agent: rng.integers(6, size=5) for agent in batch.agents}
            result = [batch.observations(), *batch.step(actions)[:3]]
            results.append(result)
            copies.append([{agent: values.copy() for agent, values in part.items()} for part in result])
            batch.reset_envs(np.flatnonzero(result[3]["agent_0"]), np.flatnonzero(result[3]["agent_0"]))
        for result, copy in zip(results, copies, strict=True):
            for part, kept in zip(result, copy, strict=True):
                assert all(np.array_equal(part[agent], kept[agent]) for agent in batch.agents)


def test_wrong_use_is_named():
    with pytest.raises(ValueError, match="num_envs=0"):
        OvercookedBatch(0)
    with pytest.raises(ValueError, match="cramped_room"):
        OvercookedBatch(2, layout="cramped_rom")
    batch = OvercookedBatch(2)
    stay = np.full(2, STAY)
    with pytest.raises(RuntimeError, match="reset_envs"):
        batch.step(dict.fromkeys(batch.agents, stay))
    batch.reset(0)
    for seeds in ([3], [3, -1]):
        with pytest.raises(ValueError, match="seed"):
            batch.reset_envs([0, 1], seeds)
    before = batch.state
    for wrong in (np.array([0, 6]), np.array([-1, 0]), np.array([0.0, 1.0]), np.array([1])):
        with pytest.raises(ValueError, match="agent_1"):
            batch.step({"agent_0": np.zeros(2, int), "agent_1": wrong})
    with pytest.raises(ValueError, match="agent_1"):
        batch.step({"agent_0": stay})
    assert all(np.array_equal(a, b) for a, b in zip(before, batch.state, strict=True))


def test_where_single_environments_have_to_do(monkeypatch):
    assert isinstance(make_batch("overcooked", {"layout": "tutorial_1"}, 2), OvercookedBatch)
    assert make_batch("overcooked", {"render_mode": None}, 2) is not None
    assert make_batch("overcooked", {"render_mode": "rgb_array"}, 2) is None
    with pytest.raises(ConfigError, match="cramped_rom"):
        make_batch("overcooked", {"layout": "cramped_rom"}, 2)

    def unknown(name, auto_cook):
        raise UnknownKitchen(name)

    monkeypatch.setattr("mamql_envs.overcooked_batch.load_kitchen", unknown)
    assert batched_env(2) is None


def test_a_state_without_a_number_is_refused():
    env, kitchen = parallel_env(), load_kitchen("cramped_room")
    env.reset()
    env._state.players[0].held_object = kitchen.layout.soup(1, 0, 3)
    with pytest.raises(UnknownKitchen, match="not ready"):
        kitchen.encode(env._state)


# -- full pots that cook by themselves -----------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["cramped_room", pytest.param("cramped_room_tomato", marks=pytest.mark.slow)])
def test_pots_that_cook_by_themselves_do_so_in_both(layout):
    rng = np.random.default_rng(4)
    pair = SideBySide(6, layout=layout, horizon=10_000, reward="shaped", observation="entities", auto_cook=True)
    for t in range(60):
        if t % 3 == 0:
            pair.scatter(rng)
        pair.step(pair.random_actions(rng, 0.8))


def test_a_soup_cooks_without_being_lit():
    batch = OvercookedBatch(1, layout="cramped_room", auto_cook=True)
    batch.reset(0)
    full, cooked = COOKING[:16], COOKING[17:]
    paid = 0.0
    # Interacting in front of the full pot, with empty hands, neither starts nor stops it.
    for action in [*full, INTERACT, *cooked]:
        rewards, *_ = batch.step({"agent_0": np.array([action]), "agent_1": np.array([STAY])})
        paid += float(rewards["agent_0"][0])
    assert paid == 20


def test_nobody_lights_a_pot_that_cooks_by_itself():
    batch, kitchen = OvercookedBatch(1, layout="cramped_room", auto_cook=True), load_kitchen("cramped_room")
    batch.reset(0)
    for action in [*COOKING[:6], INTERACT, STAY]:  # one onion, then empty hands
        batch.step({"agent_0": np.array([action]), "agent_1": np.array([STAY])})
    assert batch.state[2][0, kitchen.pots] == [IDLE + RECIPES.index((1, 0))]


def test_auto_cook_is_true_or_false():
    with pytest.raises(ValueError, match="auto_cook='yes' is neither true nor false"):
        parallel_env(auto_cook="yes")
