import os
import subprocess
import sys
from pathlib import Path

import pytest
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode

from rllib_mamql.environments.adapter import PettingZooAdapter
from rllib_mamql.environments.registry import ENVIRONMENTS, make_env, register_with_rllib
from rllib_mamql.errors import ConfigError, UnknownEnvironmentError
from tests.toy_env import ToyEnv

ROOT = Path(__file__).parents[2]
STAY = {"agent_0": 0, "agent_1": 0}


def play(env: PettingZooAdapter) -> list[tuple[dict[str, bool], dict[str, bool]]]:
    env.reset(seed=0)
    flags = []
    for _ in range(50):
        _, _, terminateds, truncateds, _ = env.step({agent: STAY[agent] for agent in env.agents})
        flags.append((terminateds, truncateds))
        if terminateds["__all__"] or truncateds["__all__"]:
            return flags
    raise AssertionError("the episode never ends")


def test_truncated_episode_is_truncated_for_all() -> None:
    flags = play(PettingZooAdapter(ToyEnv(steps=3)))
    assert len(flags) == 3
    assert flags[0] == (
        {"agent_0": False, "agent_1": False, "__all__": False},
        {"agent_0": False, "agent_1": False, "__all__": False},
    )
    assert flags[-1] == (
        {"agent_0": False, "agent_1": False, "__all__": False},
        {"agent_0": False, "agent_1": False, "__all__": True},
    )


def test_episode_ends_where_one_terminates_and_the_other_is_truncated() -> None:
    env = PettingZooAdapter(ToyEnv(steps=3, mixed_end=True))
    terminateds, truncateds = play(env)[-1]
    assert terminateds == {"agent_0": True, "agent_1": False, "__all__": False}
    assert truncateds == {"agent_0": False, "agent_1": False, "__all__": True}
    assert env.agents == []
    env.reset()
    assert env.agents == ["agent_0", "agent_1"]


@pytest.mark.parametrize("mixed_end", [False, True])
def test_rllib_bootstraps_through_a_time_limit(mixed_end: bool) -> None:
    env = PettingZooAdapter(ToyEnv(steps=3, mixed_end=mixed_end))
    observations, _ = env.reset(seed=0)
    episode = MultiAgentEpisode(observations=[observations])
    while not episode.is_done:
        acting = {agent: STAY[agent] for agent in env.agents}
        observations, rewards, terminateds, truncateds, infos = env.step(acting)
        episode.add_env_step(observations, acting, rewards, infos, terminateds=terminateds, truncateds=truncateds)
    ends = {agent: (one.is_terminated, one.is_truncated) for agent, one in episode.agent_episodes.items()}
    assert len(episode) == 3
    assert ends["agent_0"][0] == mixed_end
    assert ends["agent_1"] == (False, True)


def test_agents_keep_their_order_under_any_hash_seed() -> None:
    code = (
        "from tests.toy_env import ToyEnv\n"
        "from rllib_mamql.environments.adapter import PettingZooAdapter\n"
        "env = ToyEnv(); env.possible_agents = [f'a{i}' for i in range(6)]\n"
        "adapter = PettingZooAdapter(env)\n"
        "print(adapter.possible_agents, list(adapter.observation_spaces), list(adapter.action_spaces))\n"
    )
    environ = {**os.environ, "PYTHONHASHSEED": "3", "PYTHONWARNINGS": "ignore"}
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environ, capture_output=True, text=True, check=True
    ).stdout
    names = str([f"a{i}" for i in range(6)])
    assert out.strip() == f"{names} {names} {names}"


def test_spaces_are_those_of_the_environment() -> None:
    adapter = PettingZooAdapter(ToyEnv())
    assert adapter.get_observation_space("agent_1").shape == (8,)
    assert adapter.get_action_space("agent_0").n == 3


def test_third_party_module_by_name() -> None:
    env = make_env("pettingzoo:tests.toy_env", {"steps": 4}, render_mode="rgb_array")
    assert (env.steps, env.render_mode) == (4, "rgb_array")


@pytest.mark.parametrize(
    ("name", "config", "error", "says"),
    [
        ("overcoked", {}, UnknownEnvironmentError, "did you mean 'overcooked'?"),
        ("pettingzoo:no.such_module", {}, UnknownEnvironmentError, "cannot import 'no.such_module'"),
        ("pettingzoo:json", {}, UnknownEnvironmentError, "no function 'parallel_env'"),
        ("pettingzoo:tests.toy_env", {"stepz": 3}, ConfigError, "stepz"),
        ("pettingzoo:tests.toy_env", {"steps": 0}, ConfigError, "give at least 1"),
    ],
)
def test_wrong_environment_is_one_clear_line(name: str, config: dict, error: type, says: str) -> None:
    with pytest.raises(error) as caught:
        make_env(name, config)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_registered_environments_are_known_to_rllib() -> None:
    from ray.tune.registry import ENV_CREATOR, _global_registry

    register_with_rllib("pettingzoo:tests.toy_env")
    create = _global_registry.get(ENV_CREATOR, "pettingzoo:tests.toy_env")
    assert isinstance(create({"steps": 2}), PettingZooAdapter)
    assert "overcooked" in ENVIRONMENTS
