"""RLlib's own policies as experts for recording."""

from __future__ import annotations

import pathlib

import gymnasium as gym
import numpy as np
import pytest
from ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module import DefaultPPOTorchRLModule
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from rllib_mamql.errors import ConfigError
from rllib_mamql.play.actors import rllib_actor

SIZES = {"speaker": (3, 3), "listener": (11, 5)}


def save(folder: pathlib.Path, sizes: dict[str, tuple[int, int]]) -> pathlib.Path:
    specs = {
        name: RLModuleSpec(
            module_class=DefaultPPOTorchRLModule,
            observation_space=gym.spaces.Box(-np.inf, np.inf, (features,), np.float32),
            action_space=gym.spaces.Discrete(actions),
            model_config=DefaultModelConfig(fcnet_hiddens=[8]),
        )
        for name, (features, actions) in sizes.items()
    }
    modules = MultiRLModuleSpec(rl_module_specs=specs).build()
    modules.save_to_path(folder / "learner_group" / "learner" / "rl_module")
    return folder


def test_relative_path_and_agents_with_different_spaces(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "expert", SIZES)
    monkeypatch.chdir(tmp_path)
    act = rllib_actor(pathlib.Path("expert"), list(SIZES), seed=0)
    observations = {agent: np.zeros((200, features), np.float32) for agent, (features, _) in SIZES.items()}
    actions = act(observations, {agent: np.ones(200, bool) for agent in SIZES})
    assert {agent: set(chosen.tolist()) for agent, chosen in actions.items()} == {
        agent: set(range(count)) for agent, (_, count) in SIZES.items()
    }


def test_one_module_plays_for_all_agents(tmp_path: pathlib.Path) -> None:
    act = rllib_actor(save(tmp_path, {"shared": (4, 2)}), ["a", "b"], seed=0)
    actions = act({agent: np.zeros((5, 4), np.float32) for agent in "ab"}, {agent: np.ones(5, bool) for agent in "ab"})
    assert {agent: chosen.shape for agent, chosen in actions.items()} == {"a": (5,), "b": (5,)}


def test_agent_without_a_module_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ConfigError, match="none for 'driver'"):
        rllib_actor(save(tmp_path, SIZES), ["speaker", "driver"], seed=0)
