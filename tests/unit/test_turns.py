"""Environments with agents in turns, stepped in parallel; and the scripted expert of one of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium.spaces import Box

from mamql_envs.connect_four_expert import HEIGHT, ScriptedExpert, best_columns, bits, has_four, threats
from rllib_mamql.columns import ACTIONS, ALIVE, NEXT_OBS, OBS, REWARDS, TERMINATEDS, TRUNCATEDS, column
from rllib_mamql.data.masks import MaskedBox
from rllib_mamql.environments.registry import make_env, make_expert
from rllib_mamql.environments.turns import TurnsParallel
from rllib_mamql.errors import ConfigError, EnvironmentFault
from rllib_mamql.play.actors import ScriptedActor, random_actor
from rllib_mamql.play.rollout import ColumnarRollout
from tests.support.masked_env import Nim
from tests.support.waiting_env import Pace

NIM = "tests.support.masked_env:nim"
CONNECT_FOUR = "pettingzoo:pettingzoo.classic.connect_four_v3"
TICTACTOE = "pettingzoo:pettingzoo.classic.tictactoe_v3"


def rollout_of(name: str, **config: Any) -> tuple[ColumnarRollout, dict[str, MaskedBox]]:
    rollout = ColumnarRollout(lambda: make_env(name, config), 1, 0)
    spaces = {agent: space for agent, space in rollout.observation_spaces.items() if isinstance(space, MaskedBox)}
    assert list(spaces) == rollout.agents
    return rollout, spaces


@pytest.mark.parametrize(
    ("name", "count"), [(NIM, 3), (TICTACTOE, 10), (CONNECT_FOUR, 8)], ids=["nim", "tictactoe", "connect_four"]
)
def test_who_waits_can_only_wait_and_who_moves_cannot(name: str, count: int) -> None:
    rollout, spaces = rollout_of(name)
    actor = random_actor(dict.fromkeys(spaces, count), np.random.default_rng(0), spaces)
    columns, episodes = rollout.run(actor, num_episodes=12)
    assert len(episodes) == 12
    alive = np.stack([columns[column(ALIVE, agent)] for agent in spaces])
    legal = np.stack([space.legal(columns[column(OBS, agent)]) for agent, space in spaces.items()])
    waits = legal[..., -1]
    assert legal.shape[-1] == count
    assert ((alive & ~waits).sum(0) == 1).all(), "one agent moves in each row"
    assert (legal.sum(-1)[alive & waits] == 1).all()
    for index, agent in enumerate(spaces):
        actions = columns[column(ACTIONS, agent)]
        assert (actions[alive[index] & waits[index]] == count - 1).all()
        # Each row's successor is what the agent sees in its next row.
        goes_on = alive[index][:-1] & ~columns[column(TERMINATEDS, agent)][:-1]
        follows = columns[column(NEXT_OBS, agent)][:-1][goes_on]
        np.testing.assert_array_equal(follows, columns[column(OBS, agent)][1:][goes_on])


def test_what_is_paid_while_waiting_is_paid_and_each_agent_ends_alone() -> None:
    rollout, spaces = rollout_of(NIM, start=4)
    rng = np.random.default_rng(0)
    columns, episodes = rollout.run(random_actor(dict.fromkeys(spaces, 3), rng, spaces), num_episodes=20)
    at = 0
    for episode in episodes:
        game = Nim(start=4)
        game.reset()
        total = dict.fromkeys(game.possible_agents, 0.0)
        ended = {}
        for row in range(at, at + len(episode)):
            mover = game.agent_selection
            game.step(int(columns[column(ACTIONS, mover)][row]) + 4)
            for agent in game.agents:
                total[agent] += game.rewards[agent]
                if game.terminations[agent]:
                    ended.setdefault(agent, row)
            while game.agents and game.terminations[game.agent_selection]:
                game.step(None)
        at += len(episode)
        assert not game.agents
        assert episode.returns == pytest.approx(total)
        for agent, row in ended.items():
            assert columns[column(TERMINATEDS, agent)][row]
        assert len(set(ended.values())) == 2, "one player is out before the others"
    assert columns[column(REWARDS, "a")].sum() == pytest.approx(sum(e.returns["a"] for e in episodes))


def test_experts_are_asked_for_the_move_of_whose_turn_it_is() -> None:
    scripted = ScriptedActor(make_expert(CONNECT_FOUR))
    rollout = ColumnarRollout(lambda: make_env(CONNECT_FOUR), 1, 0, on_reset=scripted.on_reset)
    columns, (episode,) = rollout.run(scripted, num_episodes=1)
    moves = [columns[column(ACTIONS, f"player_{row % 2}")][row] for row in range(len(episode))]
    waits = [columns[column(ACTIONS, f"player_{1 - row % 2}")][row] for row in range(len(episode))]
    assert max(moves) < 7 and set(waits) == {7}


def test_faults_are_one_line() -> None:
    env = make_env(NIM)
    env.reset(seed=0)
    with pytest.raises(EnvironmentFault, match=r"agent 'a' waits, though it is its turn: choose a move"):
        env.step({"a": 2, "b": 2, "c": 2})
    game = Nim()
    game.action_space = lambda agent: Box(0, 1, (2,))  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match="agents that act in turns, and actions of 'a' are Box"):
        TurnsParallel(game, "nim")


# -- RLlib's environments ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("masked", [True, False])
def test_rllibs_agents_act_when_they_are_given_an_observation(masked: bool) -> None:
    rollout, spaces = rollout_of("tests.support.waiting_env:Nim", masked=masked)
    rng = np.random.default_rng(0)
    columns, _ = rollout.run(random_actor(dict.fromkeys(spaces, 3), rng, spaces), num_episodes=12)
    waits = {agent: space.legal(columns[column(OBS, agent)])[:, -1] for agent, space in spaces.items()}
    first = columns["t"] == 0
    # The second player enters with its first observation.
    assert (columns[column(ALIVE, "b")] == ~first).all() and columns[column(ALIVE, "a")].all()
    assert ((columns["t"] % 2 == 1) == waits["a"]).all() and (waits["b"][~first] != waits["a"][~first]).all()
    # What is paid to who waits is paid in that row, at the end too.
    moves_of_b = waits["a"] & ~columns[column(TERMINATEDS, "a")]
    assert (columns[column(REWARDS, "a")][moves_of_b] == 0.25).all()
    last = columns[column(TERMINATEDS, "a")]
    assert last.sum() == 12 and np.isin(columns[column(REWARDS, "a")][last], (1.0, -1.0)).all()
    assert (columns[column(REWARDS, "a")][last] == -columns[column(REWARDS, "b")][last]).all()
    # Who waits sees what it saw.
    goes_on = waits["a"][1:]
    seen = columns[column(OBS, "a")][:, 0]
    np.testing.assert_array_equal(seen[1:][goes_on], seen[:-1][goes_on])


def test_rllibs_agents_may_act_at_another_pace_and_end_while_they_wait() -> None:
    rollout, spaces = rollout_of("tests.support.waiting_env:Pace")
    columns, (episode,) = rollout.run(
        random_actor(dict.fromkeys(spaces, 3), np.random.default_rng(0), spaces), num_episodes=1
    )
    waits = {agent: space.legal(columns[column(OBS, agent)])[:, -1].tolist() for agent, space in spaces.items()}
    assert waits["slow"] == [False, True, True] * 3
    assert episode.lengths == {"quick": 5, "slow": 9} and episode.returns == {"quick": 0.0, "slow": 9.0}
    assert columns[column(TRUNCATEDS, "slow")].tolist() == [False] * 8 + [True]
    assert columns[column(TERMINATEDS, "quick")][:5].tolist() == [False] * 4 + [True]


def test_waiting_that_does_not_show_at_once_can_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    name, actor = (
        "tests.support.waiting_env:Pace",
        random_actor(dict.fromkeys(("quick", "slow"), 2), np.random.default_rng(0)),
    )
    with pytest.raises(EnvironmentFault, match=r"agent 'slow' is given no observation.*metadata = \{'agents_wait'"):
        ColumnarRollout(lambda: make_env(name, {"first": 20}), 1, 0).run(actor, num_episodes=1)
    monkeypatch.setattr(Pace, "metadata", {"agents_wait": True})
    rollout, spaces = rollout_of(name, first=21)
    _, (episode,) = rollout.run(
        random_actor(dict.fromkeys(spaces, 3), np.random.default_rng(0), spaces), num_episodes=1
    )
    assert episode.lengths == {"quick": 26, "slow": 30}


# -- the expert --------------------------------------------------------------------------------------------------


def board(*rows: str) -> list[int]:
    """PettingZoo's board from its lowest rows, written from the top; ``x`` is the first player, ``o`` the second."""
    text = ("." * 7) * (6 - len(rows)) + "".join(rows)
    return [".xo".index(cell) for cell in text]


@pytest.mark.parametrize(
    ("rows", "player", "expected"),
    [
        (("xxx....",), 1, [3]),  # Wins.
        (("ooo....",), 1, [3]),  # Keeps the other from winning.
        (("x......", "x......", "x.o.o.o"), 1, [0]),
        (("..oo...",), 1, [1, 4]),  # Three with both ends free cannot be kept from becoming four.
        (("..xx...",), 1, [1, 4]),
        (("x.o....", "ox.o...", "xox.o..", "oxox.o."), 2, None),
    ],
)
def test_the_expert_sees_what_is_four_plies_ahead(rows: tuple[str, ...], player: int, expected: Any) -> None:
    cells = board(*rows)
    every, own = bits(cells, (1, 2)), bits(cells, (player,))
    found = best_columns(own, every)
    if expected is None:
        assert found, "there is always a move"
    else:
        assert set(found) <= set(expected) and found


def test_lines_of_four_are_found_wherever_they_are() -> None:
    rng = np.random.default_rng(0)
    lines = [
        [(row + k * down, place + k * right) for k in range(4)]
        for row in range(6)
        for place in range(7)
        for down, right in ((0, 1), (1, 0), (1, 1), (1, -1))
        if row + 3 * down < 6 and 0 <= place + 3 * right < 7
    ]
    for _ in range(100):
        cells = np.zeros((6, 7), np.int64)
        for place, height in enumerate(rng.integers(0, 7, 7)):
            cells[6 - height :, place] = rng.integers(1, 3, height)
        own, every = bits(cells.ravel(), (1,)), bits(cells.ravel(), (1, 2))  # type: ignore[arg-type]
        mine = cells == 1
        won = any(all(mine[cell] for cell in line) for line in lines)
        assert has_four(own) == won
        expected = {
            cell for line in lines for cell in line
            if cells[cell] == 0 and all(mine[other] for other in line if other != cell)
        }  # fmt: skip
        found = threats(own, every)
        assert expected == {
            (row, place) for row in range(6) for place in range(7) if found >> (HEIGHT * place + 5 - row) & 1
        }


def test_the_expert_repeats_itself_by_its_seed() -> None:
    env = make_env(CONNECT_FOUR)
    games = []
    for _ in range(2):
        expert = ScriptedExpert()
        env.reset(seed=0)
        expert.reset(env.env, 3)
        games.append([expert.act(env.env, {}) for _ in range(5)])
    assert games[0] == games[1]


def test_who_has_left_with_a_last_observation_does_not_wait() -> None:
    rollout = ColumnarRollout(lambda: make_env("tests.support.waiting_env:Party"), 1, 0)
    assert {agent: int(space.n) for agent, space in rollout.action_spaces.items()} == {"host": 3, "guest": 3}
    columns, _ = rollout.run(lambda seen, alive: {agent: np.zeros(1, int) for agent in alive}, num_episodes=1)
    assert columns[column(ALIVE, "guest")].tolist() == [False, False, True, True, False, False, False, False]
    assert columns[column(TERMINATEDS, "guest")].tolist() == [False] * 3 + [True] + [False] * 4


def test_a_turn_of_who_has_left_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    step = Nim.step

    def wrong(game: Nim, action: Any) -> None:
        step(game, action)
        if len(game.agents) == 2:
            game.agent_selection = next(agent for agent in game.possible_agents if agent not in game.agents)

    monkeypatch.setattr(Nim, "step", wrong)
    rollout, spaces = rollout_of(NIM)
    with pytest.raises(EnvironmentFault, match=r"agent_selection is '.', whose part is over, while \['.', '.'\] are"):
        rollout.run(random_actor(dict.fromkeys(spaces, 3), np.random.default_rng(0), spaces), num_episodes=9)
