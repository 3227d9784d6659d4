"""Policies of one's own as experts to record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rllib_mamql.columns import ACTIONS, column
from rllib_mamql.data.reading import read_dataset
from rllib_mamql.errors import ConfigError
from rllib_mamql.evaluation.record import record_dataset
from rllib_mamql.play.function_expert import FunctionExpert, load_expert
from tests.support.command_line import Rllib
from tests.support.toy_data import TOY
from tests.toy_env import ToyEnv

POLICY = """
def always_right(observations):
    assert set(observations) == {"agent_0", "agent_1"}
    return {agent: 2 for agent in observations}


def by_the_clock(observations, t, rng):
    return {"agent_0": t % 3, "agent_1": int(rng.integers(3))}


class Meets:
    def reset(self, env, seed):
        self.seed = seed

    def act(self, env, observations):
        return {agent: int(env.positions[0] != env.positions[1]) for agent in observations}


def lazy(observations):
    return {"agent_0": 1}


number = 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my_policy.py").write_text(POLICY)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("rllib_mamql.evaluation.record.RANDOM_EPISODES", 1)
    return tmp_path


def recorded(folder: Path, expert: str, seed: int = 0) -> Any:
    out = folder / f"{expert.partition(':')[2]}-{seed}"
    record_dataset(TOY, {}, expert, 20, seed, out)
    return read_dataset(str(out))


def test_a_function_plays(folder: Path) -> None:
    dataset = recorded(folder, "my_policy:always_right")
    assert set(dataset.columns["actions.agent_1"]) == {2}
    assert dataset.metadata.expert == "my_policy:always_right" and dataset.metadata.licence is None


def test_a_function_is_given_what_its_parameters_name(folder: Path) -> None:
    plays = (("first", 0), ("again", 0), ("other", 1))
    first, again, other = (recorded(folder / name, "my_policy:by_the_clock", seed) for name, seed in plays)
    assert first.columns["actions.agent_0"].tolist() == [t % 3 for t in range(10)] * 2
    np.testing.assert_array_equal(first.columns["actions.agent_1"], again.columns["actions.agent_1"])
    assert (first.columns["actions.agent_1"] != other.columns["actions.agent_1"]).any()


def test_a_class_plays(folder: Path) -> None:
    # Both move to the left, for ever two cells apart.
    assert set(recorded(folder, "my_policy:Meets").columns["actions.agent_0"]) == {1}


def test_the_command_imports_what_is_named(folder: Path, rllib: Rllib, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    words = ("record", "--env", TOY, "--steps", 10, "--out", folder / "data")
    done = rllib(*words, "--expert", "my_policy:always_right")
    assert done.status == 0 and "10 joint steps" in done.out, done.err
    for expert, message in (
        ("my_policy:alwys_right", "has no function 'alwys_right'; did you mean 'always_right'?"),
        ("my_policy:number", "has no function 'number'"),
        ("no_such_module:f", "cannot import 'no_such_module'"),
        ("my_policy:lazy", "gave no action of 'agent_1': give one for every agent it sees"),
    ):
        done = rllib(*words[:-1], folder / "other", "--expert", expert)
        assert done.status == 2 and message in done.err and done.err.count("\n") == 1, done.err
        assert not (folder / "other").exists()


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (3, r"gave a int, expected \{agent: action\}"),
        ({"agent_0": 0, "agent_1": 3}, r"gave 3 as the action of 'agent_1', expected one in Discrete\(3\)"),
        ({"agent_0": 0.5, "agent_1": 0}, "gave 0.5 as the action of 'agent_0'"),
        ({"agent_0": [0, 1], "agent_1": 0}, r"gave \[0, 1\] as the action"),
    ],
)
def test_actions_that_are_none(chosen: Any, message: str) -> None:
    def function(observations: Mapping[str, Any], **offered: Any) -> Any:
        assert set(offered) == {"env", "rng", "t"}
        return chosen

    env = ToyEnv()
    expert = FunctionExpert(function, "mine:function")
    observations, _ = env.reset()
    expert.reset(env, 0)
    with pytest.raises(ConfigError, match=message):
        expert.act(env, observations)


def test_actions_are_the_environments_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rllib: Rllib) -> None:
    """Where they start, and of how many parts they are; from the folder that the command is started in."""
    policy = "def own(observations):\n    return {agent: %s for agent in observations}\n"
    for kind, action in (("from_one", "1"), ("several", "[1, 0]")):
        (tmp_path / f"own_{kind}.py").write_text(policy % action)
        monkeypatch.chdir(tmp_path)
        words = ("--env", "pettingzoo:tests.support.awkward_env", "--env-config", f"actions={kind}", "--steps", 6)
        done = rllib("record", *words, "--expert", f"own_{kind}:own", "--out", tmp_path / kind)
        assert done.status == 0, done.err
        found = read_dataset(str(tmp_path / kind))
        assert all(len(set(found.columns[column(ACTIONS, agent)])) == 1 for agent in found.metadata.agents)


def test_numbers_of_numpy_are_actions() -> None:
    env = ToyEnv()
    expert = FunctionExpert(lambda observations: {agent: np.int64(2) for agent in observations}, "mine:function")
    assert expert.act(env, env.reset()[0]) == {"agent_0": 2, "agent_1": 2}


def test_a_class_needs_both_methods(folder: Path) -> None:
    (folder / "half.py").write_text("class Half:\n    def act(self, env, observations):\n        return {}\n")
    with pytest.raises(ConfigError, match=r"needs reset\(env, seed\) and act\(env, observations\)"):
        load_expert("half:Half")
