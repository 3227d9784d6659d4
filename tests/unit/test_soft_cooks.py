import numpy as np
import pytest

from mamql_envs.overcooked_batch import OvercookedBatch
from mamql_envs.overcooked_kitchen import INTERACT, NOTHING, NUM_ACTIONS, READY, RECIPES, load_kitchen
from mamql_envs.overcooked_v0 import parallel_env
from tests.benchmarks.soft_cooks import LAYOUT, Tables, solve, stored
from tests.support.overcooked_play import COOKING, STAY

KITCHEN = load_kitchen(LAYOUT)


@pytest.fixture(scope="module")
def tables():
    return Tables(KITCHEN)


def without_drops(actions, poses, held):
    """The actions `(2, n)`, but nobody puts anything onto a counter."""
    counters = np.arange(len(KITCHEN.places))[KITCHEN.counters]
    dropping = (actions == INTERACT) & np.isin(KITCHEN.faced[poses], counters) & (held != NOTHING)
    return np.where(dropping, STAY, actions)


def test_decoding_is_the_inverse_of_encoding(tables):
    states = np.arange(tables.states)
    poses, held, potted = tables.decode(states)
    lying = np.zeros((tables.states, len(KITCHEN.places)), np.int64)
    lying[:, KITCHEN.pots] = potted[:, None]
    np.testing.assert_array_equal(tables.encode(poses, held, lying), states)


def test_transitions_are_those_of_a_batch_of_kitchens_in_any_state(tables):
    rng = np.random.default_rng(0)
    batch = OvercookedBatch(20_000, layout=LAYOUT)
    batch.reset_envs(np.arange(20_000), np.zeros(20_000, np.int64))
    states = rng.integers(tables.states, size=20_000)
    batch._poses, batch._held, batch._lying[:, KITCHEN.pots.start] = tables.decode(states)
    paying = 0
    for _ in range(3):
        poses, held, _ = batch.state
        actions = rng.choice(NUM_ACTIONS, p=[0.1, 0.1, 0.1, 0.1, 0.1, 0.5], size=poses.shape)
        actions = without_drops(actions, poses, held)
        rewards, *_ = batch.step(dict(zip(batch.agents, actions, strict=True)))
        joint = NUM_ACTIONS * actions[0] + actions[1]
        np.testing.assert_array_equal(rewards["agent_0"], 20 * tables.paid[joint, states])
        states, expected = tables.encode(*batch.state), tables.nxt[joint, states]
        np.testing.assert_array_equal(states, expected)
        paying += (rewards["agent_0"] > 0).sum()
    assert paying > 100


def test_transitions_are_those_of_the_environment_that_steps_one_by_one(tables):
    rng = np.random.default_rng(1)
    env = parallel_env(layout=LAYOUT, horizon=400)
    delivered = 0

    def state():
        poses, held, lying = KITCHEN.encode(env.overcooked_state)
        return tables.encode(poses[:, None], held[:, None], lying[None]).item()

    for _ in range(5):
        env.reset(seed=0)
        # A soup first, then anything.
        for t in range(400):
            poses, held, _ = KITCHEN.encode(env.overcooked_state)
            actions = rng.choice(NUM_ACTIONS, p=[0.13, 0.13, 0.13, 0.13, 0.06, 0.42], size=2)
            if t < len(COOKING):
                actions = np.array([COOKING[t], STAY])
            actions = without_drops(actions, poses, held)
            joint, before = NUM_ACTIONS * actions[0] + actions[1], state()
            _, rewards, *_ = env.step(dict(zip(env.possible_agents, actions.tolist(), strict=True)))
            assert rewards["agent_0"] == 20 * tables.paid[joint, before]
            assert state() == tables.nxt[joint, before]
            delivered += tables.paid[joint, before]
    assert delivered >= 5


def test_what_is_dropped_is_discarded_and_tomatoes_are_refused(tables):
    counter = np.flatnonzero(KITCHEN.faced == KITCHEN.counters.start)[0]
    far = np.flatnonzero(np.arange(len(KITCHEN.faced)) // 4 != counter // 4)[0]
    poses, hands = np.array([[counter], [far]]), np.array([[1], [0]])
    empty = np.zeros((1, len(KITCHEN.places)), np.int64)
    before = tables.encode(poses, hands, empty)
    after = tables.nxt[NUM_ACTIONS * INTERACT + STAY, before]
    assert after == tables.encode(poses, 0 * hands, empty)
    with pytest.raises(ValueError, match="tomato"):
        tables.encode(poses, np.array([[READY + RECIPES.index((0, 1))], [0]]), empty)


def test_sweeps_converge_to_the_response_to_one_another(tables):
    pair = solve(tables, soup=2.0, discount=0.3, sweeps=7)
    values = pair.changes[:, 0]
    assert (values[1:] < 0.7 * values[:-1]).all() and pair.changes[-1, 1] < 0.02
    np.testing.assert_allclose(pair.policies.sum(1), 1.0, atol=1e-5)
    # Without a future: cook 0 before the counter with a soup is paid for interacting, log mean exp (2, 0, 0, 0, 0, 0).
    serving = np.flatnonzero(KITCHEN.faced == [kind for _, kind in KITCHEN.places].index("serving"))[0]
    far = np.flatnonzero(np.arange(len(KITCHEN.faced)) // 4 != serving // 4)[0]
    soup = READY + RECIPES.index((3, 0))
    state = tables.encode(
        np.array([[serving], [far]]), np.array([[soup], [NOTHING]]), np.zeros((1, len(KITCHEN.places)), np.int64)
    )
    now = solve(tables, soup=2.0, discount=0.0, sweeps=1)
    assert now.values[0, state] == pytest.approx(np.log((np.exp(2) + 5) / 6), rel=1e-5)
    assert now.values[1, state] == pytest.approx(2 / 6, rel=1e-5)


def test_a_stored_pair_is_read_again_and_only_for_its_settings(tables, tmp_path):
    path = tmp_path / "pair.npz"
    made = stored(path, tables, soup=1.0, discount=0.5, sweeps=1)
    read = stored(path, tables, soup=1.0, discount=0.5, sweeps=1)
    assert (read.soup, read.sweeps) == (1.0, 1)
    np.testing.assert_array_equal(read.policies, made.policies)
    with pytest.raises(ValueError, match=r"discount=0\.5, not 0\.9"):
        stored(path, tables, soup=1.0, discount=0.9, sweeps=1)
