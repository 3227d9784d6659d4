"""Untrained checkpoints of any spaces, made without an environment or training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from rllib_mamql.algorithms.mamql.module import MAMQLModule
from rllib_mamql.data.schema import AgentSpaces, DatasetMetadata
from rllib_mamql.learning.checkpoint import DOCUMENT, NETWORKS
from rllib_mamql.networks.module import OTHER_ACTIONS
from rllib_mamql.networks.rewards import REWARD_HIDDENS, build_reward
from rllib_mamql.rewards.settings import RecoverySettings
from rllib_mamql.rewards.store import Recovered, write_rewards

# Two agents that share a module and a third of other spaces.
MODULE_OF = {"one": "walkers", "two": "walkers", "it/self": "it/self"}
SPACES = {
    "one": AgentSpaces(Box(0.0, 1.0, (4, 5), np.float32), Discrete(3)),
    "two": AgentSpaces(Box(0.0, 1.0, (4, 5), np.float32), Discrete(3)),
    "it/self": AgentSpaces(Box(-np.inf, np.inf, (6,), np.float32), Discrete(2)),
}


def write_checkpoint(
    path: Path, module_of: Mapping[str, str] = MODULE_OF, spaces: Mapping[str, AgentSpaces] = SPACES, **config: Any
) -> Path:
    """A checkpoint of random weights; heads are not small, so that values tell apart what is computed how."""
    path.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    agents = list(module_of)
    configs: dict[str, dict[str, Any]] = {}
    arrays: dict[str, Any] = {}
    for agent, module_id in module_of.items():
        if module_id in configs:
            continue
        others = [int(spaces[other].action.n) for other in agents if other != agent]
        configs[module_id] = {
            "fcnet_hiddens": [8], "fcnet_activation": "tanh", "rationality": 2.0, "evaluation_rationality": 5.0,
            "critic": "marginal", "reward_hiddens": [8], "other_actions": others, **config,
        }  # fmt: skip
        module = RLModuleSpec(
            module_class=MAMQLModule,
            observation_space=spaces[agent].observation,
            action_space=spaces[agent].action,
            model_config=configs[module_id],
        ).build()
        scramble(module)
        arrays |= {f"{module_id}/{name}": value for name, value in module.get_state().items()}
    document = {
        "format_version": 1,
        "env": "toy",
        "env_config": {"steps": 10},
        "module_of": dict(module_of),
        "model_configs": configs,
        "spaces": {agent: spaces[agent].to_json() for agent in agents},
        "dataset": json.loads(DatasetMetadata(tuple(agents), dict(spaces)).to_json()),
        "settings": {"mode": "online", "gamma": 0.9, "rationality": 2.0, "critic": "marginal"},
    }
    (path / DOCUMENT).write_text(json.dumps(document))
    np.savez(path / NETWORKS, **arrays)
    return path


def add_rewards(path: Path, stored: Any, **settings: Any) -> None:
    """Random recovered rewards beside a checkpoint."""
    chosen = RecoverySettings(**settings)
    rewards = {}
    for module_id, module in stored.modules.items():
        config = dict(module.model_config)
        rewards[module_id] = build_reward(
            module.observation_space,
            module.action_space,
            {**config, "fcnet_hiddens": config[REWARD_HIDDENS]},
            tuple(config[OTHER_ACTIONS]),
            network=chosen.network,
            inputs=chosen.inputs,
        )
        scramble(rewards[module_id])
    write_rewards(path, Recovered(rewards, dict.fromkeys(rewards, float("nan"))), chosen)


def scramble(network: torch.nn.Module) -> None:
    """Weights at which values are neither tiny nor large."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape) / max((1, *parameter.shape[1:])) ** 0.5)


def observations(agents: Mapping[str, AgentSpaces], rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Random observations of every agent, ``(rows, *shape)``."""
    rng = np.random.default_rng(seed)
    return {agent: rng.random((rows, *spaces.observation.shape), np.float32) for agent, spaces in agents.items()}
