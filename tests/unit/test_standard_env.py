"""Environments as they are stepped: agents that come and go, and every breach of PettingZoo's contract in one line."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from rllib_mamql.columns import ACTIONS, ALIVE, NEXT_OBS, OBS, TERMINATEDS, column
from rllib_mamql.data.reading import read_dataset
from rllib_mamql.environments.registry import make_env
from rllib_mamql.environments.spaces import environment_spaces
from rllib_mamql.errors import ConfigError, EnvironmentFault
from rllib_mamql.evaluation import record
from rllib_mamql.evaluation.evaluate import NoEnd, random_returns
from rllib_mamql.evaluation.record import record_dataset
from rllib_mamql.play.actors import random_actor
from rllib_mamql.play.rollout import ColumnarRollout, Episode

AWKWARD = "pettingzoo:tests.support.awkward_env"


def played(rows: int = 10, **config: Any) -> tuple[Any, Any]:
    """Random play of one environment, in columns."""
    rollout = ColumnarRollout(lambda: make_env(AWKWARD, config), 1, seed=0)
    sizes = {agent: int(space.n) for agent, space in rollout.action_spaces.items()}
    return rollout.run(random_actor(sizes, np.random.default_rng(0)), num_steps=rows)


@pytest.mark.parametrize(
    ("habit", "says"),
    [
        ("vanishes", "nothing of agent 'bot1' in terminations"),
        ("unseen", "no observation of agent 'bot1', though it acts next"),
        ("unpaid", "no reward of agent 'bot1'"),
        ("paid_in_words", "the reward of agent 'bot1' is 'a lot'"),
        ("paid_nan", "the reward of agent 'bot1' is nan"),
        ("stranger", "agent 'ghost' is in env.agents, but not in possible_agents"),
        ("step_raises", r"raised RuntimeError: out of fuel \(.*awkward_env\.py"),
        ("cut_unseen", "no observation of agent 'bot1', though values go on beyond a truncation"),
        ("late_unseen", "no observation of agent 'bot1', though it acts next"),
        ("returns", "agent 'bot1' enters again after its end"),
        ("none_step", "gives a NoneType, expected five dicts"),
        ("nothing", "nothing of agent 'bot0' in terminations"),
        ("wrong_shape", r"observation of agent 'bot0' has shape \(2,\), its space says \(3,\)"),
        ("words", "observation of agent 'bot0' holds <U1, no numbers"),
        ("nan", "agent 'bot0' holds nan at index 1, expected finite numbers"),
        ("infinite", "agent 'bot0' holds inf at index 1"),
        ("huge", r"agent 'bot0' holds 1\.\S*e\+30 at index 1, outside its space's -1 to 1"),
        ("outside", r"agent 'bot0' holds 3\.0 at index 1, outside its space's -1 to 1"),
    ],
)
def test_a_breach_of_contract_is_one_line_that_says_the_step(habit: str, says: str) -> None:
    with pytest.raises(EnvironmentFault, match=says) as caught:
        played(habit=habit)
    assert "step 2 of" in str(caught.value) or "step 3 of" in str(caught.value)
    assert AWKWARD in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("habit", "says"),
    [
        ("reset_raises", "reset: raised RuntimeError: no power"),
        ("old_reset", "reset: gives a dict, expected a pair"),
        ("no_agents", "leaves no agents in env.agents"),
        ("four_values", "step 1 of an episode: gives 4 values"),
        ("no_space", "observation_space.* fails"),
        ("slash", "agent 'team/a'.*leave out"),
        ("same_name", "give each a name of its own"),
        ("no_possible_agents", "has no possible_agents"),
    ],
)
def test_what_is_wrong_at_once_is_found_before_anything_starts(habit: str, says: str) -> None:
    with pytest.raises((EnvironmentFault, ConfigError), match=says):
        environment_spaces(AWKWARD, {"habit": habit})
    with pytest.raises((EnvironmentFault, ConfigError), match=says):
        record_dataset(AWKWARD, {"habit": habit}, "random", 10, 0, "nowhere")


def test_numbers_too_large_for_networks_are_refused_where_bounds_are_infinite() -> None:
    with pytest.raises(EnvironmentFault, match=r"1e\+30 at index 1, expected at most 1e\+15"):
        played(habit="huge", observations="float64")


def test_an_agent_that_enters_late_acts_from_then_on() -> None:
    columns, episodes = played(habit="late", at=2, steps=5)
    assert columns[column(ALIVE, "bot1")].tolist() == [False, False, True, True, True] * 2
    assert columns[column(ALIVE, "bot0")].all()
    assert episodes[0].lengths == {"bot0": 5, "bot1": 3}
    first = columns[column(OBS, "bot1")][2]
    assert first.any() and not columns[column(NEXT_OBS, "bot1")][1].any()


def test_an_agent_that_leaves_is_let_go() -> None:
    columns, episodes = played(habit="leaves", at=2, steps=5)
    assert columns[column(TERMINATEDS, "bot1")].tolist() == [False, True, False, False, False] * 2
    assert episodes[0].lengths == {"bot0": 5, "bot1": 2}


def test_agents_that_enter_late_go_into_datasets_and_back(tmp_path: Any) -> None:
    record_dataset(AWKWARD, {"habit": "late"}, "random", 12, 0, tmp_path / "data")
    columns = read_dataset(str(tmp_path / "data")).columns
    assert columns[column(ALIVE, "bot1")].tolist() == ([False, False, True, True, True] * 3)[:12]


def test_integer_ids_become_names() -> None:
    columns, _ = played(habit="integer_ids")
    assert columns[column(ALIVE, "0")].all() and columns[column(ALIVE, "1")].all()


def test_a_recording_of_episodes_without_end_ends(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rllib_mamql.evaluation.record.PATIENCE", 60)
    monkeypatch.setattr("rllib_mamql.evaluation.evaluate.PATIENCE", 20)
    metadata = record_dataset(AWKWARD, {"habit": "endless"}, "random", 50, 0, tmp_path / "data")
    assert metadata.expert_return is None and metadata.random_return is None
    dataset = read_dataset(str(tmp_path / "data"))
    assert len(dataset.columns["t"]) == 50
    assert dataset.metadata.expert_return is not None


def test_returns_of_episodes_without_end_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rllib_mamql.evaluation.evaluate.PATIENCE", 20)
    with pytest.raises(NoEnd, match="of 2 episodes 0 have ended after 40 steps"):
        random_returns(AWKWARD, {"habit": "endless"}, episodes=2)


@pytest.mark.parametrize(("length", "steps", "count"), [(5, 50, 100), (40, 60, 50), (400, 20, 10), (400, 2000, 100)])
def test_random_play_beside_a_recording_is_no_longer_than_it_need_be(length: int, steps: int, count: int) -> None:
    episode = Episode("e", length, {}, {}, {})
    played: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record, "random_returns", lambda *args, episodes, **rest: played.append(episodes))
        record._random_return(AWKWARD, {}, [episode, episode], 0, steps, None)
    assert played == [count]


@pytest.mark.parametrize(("kind", "first"), [("from_one", 1), ("several", None), ("switches", None)])
def test_actions_of_other_kinds_are_played_and_recorded(kind: str, first: int | None, tmp_path: Any) -> None:
    metadata = record_dataset(AWKWARD, {"actions": kind}, "random", 20, 0, tmp_path / "data")
    action = metadata.spaces["bot0"].action
    dataset = read_dataset(str(tmp_path / "data"))
    taken = dataset.columns[column(ACTIONS, "bot0")]
    assert action.start == (first or 0)
    assert (int(taken.min()), int(taken.max())) == (0, int(action.n) - 1)
    assert dataset.metadata.spaces["bot0"].action.start == 0


def test_a_copy_goes_on_by_itself() -> None:
    env = make_env(AWKWARD, {"habit": "leaves"})
    env.reset(seed=0)
    env.step({"bot0": 0, "bot1": 0})
    twin = copy.deepcopy(env)
    env.step({"bot0": 0, "bot1": 0})
    assert (env.agents, twin.agents) == (["bot0"], ["bot0", "bot1"])


def test_a_scripted_expert_sees_and_plays_what_the_environment_itself_knows() -> None:
    env = make_env(AWKWARD, {"observations": "one_of", "actions": "from_one", "habit": "integer_ids"})
    env.reset(seed=0)
    assert set(env.seen()) == {0, 1} and all(np.ndim(seen) == 0 for seen in env.seen().values())
    assert env.numbers({0: 3, 1: 1}) == {"0": 2, "1": 0}
