"""What ``env`` may name: modules, classes, Gymnasium's ids, and what RLlib's users registered with it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from pettingzoo import AECEnv
from ray import tune
from ray.rllib.env.multi_agent_env import MultiAgentEnv

from rllib_mamql import MAMQLConfig
from rllib_mamql.environments import registry
from rllib_mamql.environments.registry import ENVIRONMENTS, make_env, resolve_env_config
from rllib_mamql.environments.spaces import environment_spaces
from rllib_mamql.errors import ConfigError, UnknownEnvironmentError
from rllib_mamql.ray_internals import FOLDER

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def known() -> Iterator[None]:
    before = dict(ENVIRONMENTS)
    yield
    ENVIRONMENTS.clear()
    ENVIRONMENTS.update(before)


class Relay(MultiAgentEnv):
    """RLlib's kind: two runners until one of them has had enough."""

    def __init__(self, config: Any = None) -> None:
        super().__init__()
        self.length = int((config or {}).get("length", 3))
        self.possible_agents = self.agents = [0, 1]
        self.observation_spaces = dict.fromkeys(self.agents, gym.spaces.Discrete(9))
        self.action_spaces = dict.fromkeys(self.agents, gym.spaces.Discrete(2))

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.t = 0
        return {0: 0, 1: 0}, {}

    def step(self, actions: dict[Any, Any]) -> Any:
        self.t += 1
        seen = {agent: self.t for agent in actions}
        over = self.t >= self.length
        return seen, {0: 1.0}, {1: self.t == 1, "__all__": False}, {"__all__": over}, {}


class Turns(AECEnv[Any, Any, Any]):
    """PettingZoo's kind with agents in turns, whose actions are no Discrete."""

    metadata = {"is_parallelizable": False}  # noqa: RUF012
    possible_agents = ["white", "black"]  # noqa: RUF012

    def action_space(self, agent: Any) -> gym.spaces.Space[Any]:
        return gym.spaces.Box(0.0, 1.0, (2,))


def env(**keywords: Any) -> Turns:
    return Turns()


def test_a_class_of_rllibs_by_its_path() -> None:
    for name in (f"{__name__}:Relay", f"{__name__}.Relay"):
        built = make_env(name, {"length": 2})
        assert built.possible_agents == ["0", "1"] and built.unwrapped.length == 2
        built.reset(seed=0)
        _, rewards, terminated, truncated, _ = built.step({"0": 0, "1": 1})
        assert (rewards, terminated) == ({"0": 1.0, "1": 0.0}, {"0": False, "1": True})
        assert built.agents == ["0"]
        _, _, _, truncated, _ = built.step({"0": 0})
        assert truncated == {"0": True} and built.agents == []
    assert resolve_env_config(f"{__name__}:Relay", {"length": 2}) == {"length": 2}


def test_turns_with_actions_that_are_no_discrete_are_refused() -> None:
    with pytest.raises(ConfigError, match="agents that act in turns, and actions of 'white' are Box"):
        make_env(f"pettingzoo:{__name__}")


def test_what_rllib_knows_by_register_env() -> None:
    tune.register_env("relay", lambda context: Relay({"length": context.get("length", 4)}))
    config = MAMQLConfig().environment("relay", env_config={"length": 5}).offline_data(input_="somewhere")
    config.validate()
    assert list(config.policies) == ["0", "1"]
    # Registering it for trials keeps what the user gave.
    registry.register_with_rllib("relay")
    assert make_env("relay", {"length": 6}).unwrapped.length == 6


def test_a_class_itself() -> None:
    config = MAMQLConfig().environment(Relay).offline_data(input_="somewhere")
    config.validate()
    assert list(config.policies) == ["0", "1"] and config.env == f"{__name__}:Relay"


def test_an_id_of_gymnasiums_has_one_agent() -> None:
    spaces = environment_spaces("CartPole-v1", {})
    assert {agent: (seen.shape, int(acts.n)) for agent, (seen, acts) in spaces.items()} == {"agent_0": ((4,), 2)}
    built = make_env("CartPole-v1", {}, render_mode="rgb_array")
    built.reset(seed=0)
    while built.agents:
        last = built.step({"agent_0": 1})
    assert last[2] == {"agent_0": True} and isinstance(built.render(), np.ndarray)
    with pytest.raises(ConfigError, match="actions are continuous"):
        make_env("Pendulum-v1")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("overcoked", "did you mean 'overcooked'"),
        ("no_such_module:Env", "cannot import 'no_such_module'"),
        ("no.such.Env", "cannot import 'no.such'"),
        (f"{__name__}:Nothing", "has no function 'Nothing'"),
        ("CartPol-v1", "unknown environment"),
    ],
)
def test_names_that_lead_nowhere(name: str, says: str) -> None:
    with pytest.raises(UnknownEnvironmentError, match=says):
        make_env(name)


def test_a_module_that_fails_and_a_thing_that_is_no_environment(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "falling_env.py").write_text("1 / 0")
    (tmp_path / "no_env.py").write_text("def parallel_env(): return 3\n")
    (tmp_path / "numpy.py").write_text("raise SystemExit('imported in place of the library')")
    monkeypatch.setenv(FOLDER, str(tmp_path))
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(UnknownEnvironmentError, match=r"fails while it is imported.*division by zero"):
        make_env("pettingzoo:falling_env")
    with pytest.raises(ConfigError, match="is a int: give a PettingZoo ParallelEnv"):
        make_env("pettingzoo:no_env")
    assert sys.path[-1] == str(tmp_path)


def test_the_current_folder_shadows_nothing_and_is_searched_for_environments_only(tmp_path: Path) -> None:
    for module in ("click", "pyarrow", "gymnasium"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit('a file of the current folder was imported')")
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "envs")])}
    words = [sys.executable, "-m", "rllib_mamql", "inspect", "nowhere"]
    done = subprocess.run(words, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "was imported" not in done.stderr and "nowhere" in done.stdout


def test_the_wrapper_of_the_guide_makes_continuous_actions_a_choice(tmp_path: Path, monkeypatch: Any) -> None:
    page = (ROOT / "docs" / "your_environment.md").read_text()
    block = next(part for part in page.split("```python\n")[1:] if "OFFERED" in part).split("```")[0]
    (tmp_path / "wrapped_spread.py").write_text(block)
    monkeypatch.setenv(FOLDER, str(tmp_path))
    monkeypatch.setattr(sys, "path", [*sys.path])
    spaces = environment_spaces("pettingzoo:wrapped_spread", {})
    assert {(seen.shape, float(seen.high[0]), int(acts.n)) for seen, acts in spaces.values()} == {((18,), 5.0, 5)}
