"""Agents that have opponents: who is on which side, and returns by side."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rllib_mamql.cli import tables
from rllib_mamql.cli.report import plain, with_teams
from rllib_mamql.cli.results import OPPOSED, latest_return, without_returns
from rllib_mamql.data.schema import ReturnSummary
from rllib_mamql.environments.registry import ENVIRONMENTS, KNOWN_TEAMS, make_env, make_expert, opposed_teams
from rllib_mamql.environments.teams import check_teams, split
from rllib_mamql.errors import ConfigError
from rllib_mamql.evaluation.evaluate import evaluate_checkpoint
from rllib_mamql.learning.metrics import RETURN_MEAN
from rllib_mamql.play.returns import team_returns
from rllib_mamql.play.rollout import Episode
from tests.support.toy_data import TOY
from tests.unit.test_env_runner import make_runner

TAG = "pettingzoo:mpe2.simple_tag_v3"
ADVERSARY = "pettingzoo:mpe2.simple_adversary_v3"


@pytest.mark.parametrize(
    ("env", "config", "teams"),
    [
        (TAG, {}, {"chasers": ("adversary_0", "adversary_1", "adversary_2"), "prey": ("agent_0",)}),
        (TAG, {"num_good": 2, "num_adversaries": 1}, {"chasers": ("adversary_0",), "prey": ("agent_0", "agent_1")}),
        (ADVERSARY, {}, {"adversary": ("adversary_0",), "team": ("agent_0", "agent_1")}),
        ("pettingzoo:mpe2.simple_speaker_listener_v4", {}, {}),
        ("gems", {}, {}),
    ],
)
def test_sides_are_known_whatever_the_number_of_agents(env: str, config: dict[str, Any], teams: dict[str, Any]) -> None:
    made = make_env(env, config)
    assert opposed_teams(env, made.possible_agents) == teams
    made.close()


def test_declared_teams_hold_every_agent_once() -> None:
    assert split("duel", {"red": ["red"], "blue": ["blue_0"]}, ["red_0", "red_1", "blue_0"]) == {
        "red": ("red_0", "red_1"),
        "blue": ("blue_0",),
    }
    assert split("duel", {"red": ["red"], "blue": ["blue"]}, ["red_0", "red_1"]) == {}, "nobody is opposed"
    with pytest.raises(ConfigError, match="'blue_0' is in 0 teams"):
        split("duel", {"red": ["red"]}, ["red_0", "blue_0"])
    with pytest.raises(ConfigError, match="'red_0' is in 2 teams"):
        split("duel", {"red": ["red"], "also": ["red_0"]}, ["red_0"])
    with pytest.raises(ConfigError, match="teams is \\['red'\\]"):
        check_teams("duel", ["red"])
    with pytest.raises(ConfigError, match="teams is"):
        check_teams("duel", {"red": "red_0"})


def test_returns_and_scores_are_each_sides_own() -> None:
    def summary(chaser: float, prey: float) -> ReturnSummary:
        per_agent = {"a_0": chaser, "a_1": chaser, "b": prey}
        values = {agent: {"mean": value, "ci95": [value, value]} for agent, value in per_agent.items()}
        return ReturnSummary(mean=0.0, ci95=(0.0, 0.0), per_agent=values, episodes=1)

    episodes = [
        Episode("", 3, {"a_0": 4.0, "a_1": 8.0, "b": -6.0}, {}, {}),
        Episode("", 3, {"a_0": 0.0, "a_1": 0.0, "b": -2.0}, {}, {}),
    ]
    teams = {"a": ("a_0", "a_1"), "b": ("b",)}
    found = team_returns(episodes, "mean", teams, summary(5.0, -5.0), summary(1.0, -1.0))
    assert (found["a"].mean, found["b"].mean) == (3.0, -4.0)
    assert found["a"].score == pytest.approx(0.5)
    assert found["b"].score is None, "its experts lose more than random play does"
    assert team_returns(episodes, "sum", teams)["a"].mean == 6.0
    assert team_returns(episodes, "mean", teams)["a"].expert is None
    runners = {"return_mean": 1.0, "agent_episode_returns_mean": {"b": 1.0}, "steps": 3}
    result = {"return_mean": 1.0, "env_runners": runners}
    assert latest_return(result, OPPOSED) is None
    assert latest_return(without_returns(result)) is None and without_returns(result)["env_runners"] == {"steps": 3}


def test_the_evaluation_has_no_mean_over_opponents(
    toy_checkpoint_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = evaluate_checkpoint(toy_checkpoint_folder, episodes=2, rewards=False)
    assert before.return_mean is not None and not before.teams
    monkeypatch.setitem(KNOWN_TEAMS, "tests.toy_env", {"first": ("agent_0",), "second": ("agent_1",)})
    result = evaluate_checkpoint(toy_checkpoint_folder, episodes=2, rewards=False)
    assert result.return_mean is None and result.normalised_score is None and list(result.teams) == ["first", "second"]
    assert result.teams["first"].mean == before.per_agent["agent_0"]["mean"]
    tables.print_evaluation(result)
    shown = capsys.readouterr().out
    assert "Returns by team" in shown and "first" in shown and "no mean over opponents" in shown
    assert "all " not in shown
    assert plain(vars(result))["teams"]["second"]["agents"] == ["agent_1"]
    summary: dict[str, Any] = {
        "agents": ["agent_0", "agent_1"],
        "return_mean": 1.5,
        "return_per_agent": {"agent_0": 1, "agent_1": 2},
    }
    with_teams(summary, TOY)
    assert summary["return_mean"] is None and summary["return_per_team"] == {"first": 1, "second": 2}


@pytest.mark.parametrize(
    ("env", "side"), [(TAG, "adversary"), (TAG, "agent"), (ADVERSARY, "adversary"), (ADVERSARY, "agent")]
)
def test_scripted_experts_beat_random_play_on_either_side(env: str, side: str) -> None:
    """Against scripted opponents."""
    rng = np.random.default_rng(0)
    totals = []
    for scripted in (True, False):
        made, expert, total = make_env(env), make_expert(env), 0.0
        for seed in range(5):
            seen, _ = made.reset(seed=seed)
            expert.reset(made, seed)
            while made.agents:
                act = expert.act(made, seen)
                mine = [agent for agent in made.agents if agent.startswith(side)]
                act |= {} if scripted else {agent: int(rng.integers(5)) for agent in mine}
                seen, rewards, *_ = made.step(act)
                total += rewards[f"{side}_0"]
        totals.append(total / 5)
        made.close()
    assert totals[0] > totals[1] + 1.0, totals


@pytest.mark.parametrize("opposed", [False, True])
def test_a_runner_reports_no_mean_over_opponents(opposed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if opposed:
        entry = replace(ENVIRONMENTS["overcooked"], teams={"first": ["agent_0"], "second": ["agent_1"]})
        monkeypatch.setitem(ENVIRONMENTS, "overcooked", entry)
    made = make_runner()
    made.sample(num_episodes=1)
    found = made.get_metrics()
    assert (RETURN_MEAN in found) != opposed
    assert set(found["agent_episode_returns_mean"]) == {"agent_0", "agent_1"}
    made.stop()
