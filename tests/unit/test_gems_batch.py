import numpy as np
import pytest

from mamql_envs.gems_batch import AGENTS, OBSERVATIONS, RULES, GemsBatch
from mamql_envs.gems_v0 import batched_env, parallel_env

MOVES = [(0, -1), (0, 1), (-1, 0), (1, 0), (0, 0)]


def reference(cells, actions, rules="standard"):
    """One step by the rules, in plain Python: the agents' cells, rewards, and which gems are taken."""
    agents, gems = [], list(cells[2:])
    for cell, action in zip(cells[:2], actions, strict=True):
        x, y = cell % 15 + MOVES[action][0], cell // 15 + MOVES[action][1]
        agents.append(15 * min(max(y, 0), 14) + min(max(x, 0), 14))
    rewards, taken = [0.0, 0.0], set()
    for i in range(2):
        for gem in range(3 * i, 3 * i + 3):
            if gems[gem] == agents[i]:
                rewards[i] += 1
                taken.add(gem)
    places = [
        {agent} | ({before} if rules == "published" else set()) for agent, before in zip(agents, cells[:2], strict=True)
    ]
    stood_on = [[gem for gem in range(6, 9) if gems[gem] in place] for place in places]
    if all(stood_on):
        rewards = [reward + 6 for reward in rewards]
        taken.update(*stood_on)
    return agents, rewards, taken


def crowd(batch):
    """Moves the agents next to gems, so that much happens."""
    rng = np.random.default_rng(int(batch.cells.sum()))
    for agent in range(2):
        gems = rng.choice([2 + 3 * agent, 8, 9, 10], size=batch.num_envs)
        batch._cells[:, agent] = batch.cells[np.arange(batch.num_envs), gems]


def random_actions(rng, n):
    return {agent: rng.integers(5, size=n) for agent in AGENTS}


@pytest.mark.parametrize("rules", RULES)
def test_equals_the_rules_written_plainly(rules):
    rng, kinds = np.random.default_rng(0), set()
    batch = GemsBatch(200, gems_to_end=None, horizon=1000, rules=rules)
    batch.reset(0)
    for t in range(20):
        if t % 2:
            crowd(batch)
        before = batch.cells
        actions = random_actions(rng, 200)
        rewards, _, _, events = batch.step(actions)
        after = batch.cells
        for k in range(200):
            agents, earned, taken = reference(before[k], [actions[agent][k] for agent in AGENTS], rules)
            assert list(after[k, :2]) == agents
            assert [rewards[agent][k] for agent in AGENTS] == earned
            for gem in range(9):
                if rules == "standard":
                    assert (after[k, 2 + gem] != before[k, 2 + gem]) == (gem in taken)
                    assert gem not in taken or after[k, 2 + gem] not in agents
                else:
                    assert gem in taken or after[k, 2 + gem] == before[k, 2 + gem]
                    assert gem not in taken or min(divmod(after[k, 2 + gem], 15)) >= 1
            assert rules == "published" or len(set(after[k, 2:])) == 9
            for agent, reward in zip(AGENTS, earned, strict=True):
                counted = {kind: events[agent][kind][k] for kind in events[agent]}
                assert counted["own_gem"] + 6 * counted["shared_gem"] == reward
            kinds.add((len(taken), *earned))
    assert {(1, 1, 0), (1, 0, 1), (2, 1, 1), (1, 6, 6), (2, 6, 6)} <= kinds


@pytest.mark.parametrize(
    ("rules", "observation", "gems_to_end"),
    [*(("standard", form, end) for form in OBSERVATIONS for end in (7, None)), ("published", "vector", 7)],
)
def test_each_environment_equals_the_single_one(rules, observation, gems_to_end):
    config = {"observation": observation, "gems_to_end": gems_to_end, "horizon": 20, "rules": rules}
    rng = np.random.default_rng(1)
    batch = batched_env(6, **config)
    envs = [parallel_env(**config) for _ in range(6)]
    seeds = np.arange(6) * 7
    batch.reset_envs(range(6), seeds)
    first = batch.observations()
    for k, env in enumerate(envs):
        observations, _ = env.reset(seed=int(seeds[k]))
        assert all(np.array_equal(observations[agent], first[agent][k]) for agent in AGENTS)
    ends = 0
    for t in range(60):
        if t % 2:
            crowd(batch)
            for k, env in enumerate(envs):
                env._batch._cells[0] = batch.cells[k]
        actions = random_actions(rng, 6)
        rewards, terminated, truncated, events = batch.step(actions)
        seen = batch.observations()
        for k, env in enumerate(envs):
            found = env.step({agent: actions[agent][k] for agent in AGENTS})
            for agent in AGENTS:
                assert np.array_equal(found[0][agent], seen[agent][k])
                assert found[1][agent] == rewards[agent][k]
                assert found[2][agent] == terminated[agent][k]
                assert found[3][agent] == truncated[agent][k]
                counted = {kind: n[k] for kind, n in events[agent].items() if n[k]}
                assert found[4][agent]["events"] == counted
        ended = np.flatnonzero(terminated["agent_0"] | truncated["agent_0"])
        seeds = 1000 * t + ended
        batch.reset_envs(ended, seeds)
        for k, seed in zip(ended, seeds, strict=True):
            envs[k].reset(seed=int(seed))
        ends += len(ended)
    assert ends >= 6


def test_an_episode_depends_on_its_own_seed_only():
    rng = np.random.default_rng(2)
    batch, other = GemsBatch(4, gems_to_end=None), GemsBatch(2, gems_to_end=None)
    batch.reset_envs([0, 1, 2, 3], [10, 11, 12, 13])
    other.reset_envs([1, 0], [12, 99])
    for _ in range(40):
        actions = random_actions(rng, 4)
        batch.step(actions)
        other.step({agent: np.array([chosen[0], chosen[2]]) for agent, chosen in actions.items()})
        assert np.array_equal(batch.cells[2], other.cells[1])
    before = batch.cells
    batch.reset_envs([2], [12])
    assert np.array_equal(np.delete(batch.cells, 2, 0), np.delete(before, 2, 0))


def test_starts_are_uniform_and_neighbouring_seeds_unrelated():
    batch = GemsBatch(45_000)
    batch.reset_envs(range(45_000), range(45_000))
    cells = batch.cells
    assert (np.sort(cells, axis=1)[:, 1:] != np.sort(cells, axis=1)[:, :-1]).all()
    for thing in range(11):
        counts = np.bincount(cells[:, thing], minlength=225)
        assert ((counts - 200) ** 2 / 200).sum() < 224 + 5 * np.sqrt(2 * 224)
    assert abs(np.corrcoef(cells[1:, 0], cells[:-1, 0])[0, 1]) < 0.02
    assert abs(np.corrcoef(cells[:, 0], cells[:, 1])[0, 1]) < 0.03


def test_a_taken_gem_reappears_in_any_free_cell_alike():
    n = 45_000
    batch = GemsBatch(n)
    batch.reset(0)
    # Agent 0 is beside its first gem; the eleven things stand in cells 0 to 10.
    batch._cells[:] = [1, 10, 0, *range(2, 10)]
    batch.step({"agent_0": np.full(n, 2), "agent_1": np.full(n, 4)})
    assert (batch.cells[:, 0] == 0).all()
    counts = np.bincount(batch.cells[:, 2], minlength=225)
    assert counts[[0, *range(2, 11)]].max() == 0
    free = counts[[1, *range(11, 225)]]
    assert ((free - n / 215) ** 2 / (n / 215)).sum() < 214 + 5 * np.sqrt(2 * 214)


def test_by_the_published_rules_starts_are_anywhere_and_gems_reappear_off_the_first_row_and_column():
    n = 45_000
    batch = GemsBatch(n, rules="published")
    batch.reset_envs(range(n), range(n))
    for thing in range(11):
        counts = np.bincount(batch.cells[:, thing], minlength=225)
        assert ((counts - 200) ** 2 / 200).sum() < 224 + 5 * np.sqrt(2 * 224)
    # Cells may coincide, of anything with anything.
    assert abs((batch.cells[:, 0] == batch.cells[:, 8]).mean() - 1 / 225) < 5 * np.sqrt(1 / 225 / n)
    batch._cells[:] = [1, 10, 0, *range(2, 10)]
    batch.step({"agent_0": np.full(n, 2), "agent_1": np.full(n, 4)})
    grid = np.bincount(batch.cells[:, 2], minlength=225).reshape(15, 15)
    assert grid[0].max() == grid[:, 0].max() == 0
    assert ((grid[1:, 1:] - n / 196) ** 2 / (n / 196)).sum() < 195 + 5 * np.sqrt(2 * 195)


def test_by_the_published_rules_agents_move_and_are_paid_in_order():
    # Both are beside a gem of their own; what agent 0 takes is drawn anew before agent 1 has moved.
    batches = [GemsBatch(50, rules="published") for _ in range(3)]
    stay, left = np.full(50, 4), np.full(50, 2)
    moves = ((left, left), (left, stay), (stay, left))
    for batch, (first, second) in zip(batches, moves, strict=True):
        batch.reset(0)
        batch._cells[:] = [101, 131, 100, 40, 41, 130, 42, 43, 200, 201, 202]
        batch.step({"agent_0": first, "agent_1": second})
    both, only_0, only_1 = (batch.cells for batch in batches)
    assert np.array_equal(both[:, 2], only_0[:, 2])
    assert np.array_equal(only_1[:, 5], only_0[:, 2]) and not np.array_equal(both[:, 5], only_1[:, 5])


def test_nothing_restarts_by_itself():
    batch = GemsBatch(3, horizon=2, observation="vector")
    batch.reset(0)
    start = batch.cells
    for _ in range(2):
        _, terminated, truncated, _ = batch.step({agent: np.full(3, 4) for agent in AGENTS})
    assert truncated["agent_1"].all() and not terminated["agent_1"].any()
    assert np.array_equal(batch.cells, start)
    batch.reset_envs([0, 2], [5, 6])
    with pytest.raises(RuntimeError, match=r"environments \[1\]"):
        batch.step({agent: np.full(3, 4) for agent in AGENTS})


def test_what_was_returned_stays_as_it_was():
    batch = GemsBatch(8, observation="entities", horizon=1)
    batch.reset(3)
    before = batch.observations()
    kept = {agent: table.copy() for agent, table in before.items()}
    actions = random_actions(np.random.default_rng(0), 8)
    *_, terminated, truncated, _ = batch.step(actions)
    batch.reset_envs(range(8), range(8))
    assert all(np.array_equal(before[agent], kept[agent]) for agent in AGENTS)
    assert truncated["agent_0"].all() and not terminated["agent_0"].any()


def test_spaces_describe_one_environment():
    for observation in OBSERVATIONS:
        batch, env = GemsBatch(5, observation=observation), parallel_env(observation=observation)
        batch.reset(0)
        for agent, seen in batch.observations().items():
            space = batch.observation_spaces[agent]
            assert space == env.observation_space(agent)
            assert seen.shape == (5, *space.shape) and seen.dtype == space.dtype


def test_wrong_use_is_named():
    with pytest.raises(ValueError, match="num_envs=0"):
        GemsBatch(0)
    batch = GemsBatch(2)
    with pytest.raises(RuntimeError, match="reset_envs"):
        batch.step(random_actions(np.random.default_rng(0), 2))
    batch.reset(0)
    with pytest.raises(ValueError, match="seed"):
        batch.reset_envs([0, 1], [3])
    with pytest.raises(ValueError, match="seed"):
        batch.reset_envs([0], [-1])
    stay = np.full(2, 4)
    before = batch.cells
    for wrong in (np.array([0, 5]), np.array([-1, 0]), np.array([0.0, 1.0]), np.array([1])):
        with pytest.raises(ValueError, match="agent_1"):
            batch.step({"agent_0": np.zeros(2, int), "agent_1": wrong})
    with pytest.raises(ValueError, match="agent_1"):
        batch.step({"agent_0": stay})
    assert np.array_equal(batch.cells, before)
