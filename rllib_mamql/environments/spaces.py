"""What the agents of an environment see and can do."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Mapping
from typing import Any

import gymnasium as gym

from rllib_mamql.environments import registry
from rllib_mamql.errors import ConfigError


def environment_spaces(
    env: str, env_config: Mapping[str, Any]
) -> dict[str, tuple[gym.spaces.Box, gym.spaces.Discrete[Any]]]:
    """``{agent: (observation space, action space)}`` of an environment, agents in its own order.

    Raises:
        ConfigError: If an action space is not Discrete.
    """
    return copy.copy(_environment_spaces(env, json.dumps(dict(env_config), sort_keys=True, default=repr)))


@functools.lru_cache(maxsize=64)
def _environment_spaces(env: str, env_config: str) -> dict[str, tuple[gym.spaces.Box, gym.spaces.Discrete[Any]]]:
    built = registry.make_env(env, json.loads(env_config))
    try:
        spaces = {agent: (built.observation_space(agent), built.action_space(agent)) for agent in built.possible_agents}
    finally:
        built.close()
    for agent, (observation, action) in spaces.items():
        if not isinstance(observation, gym.spaces.Box):
            raise ConfigError(
                f"environment {env!r}: the observation space of {agent} is {observation}; flatten it to a Box"
            )
        if not isinstance(action, gym.spaces.Discrete) or action.start != 0:
            raise ConfigError(
                f"environment {env!r}: the action space of {agent} is {action}; MAMQL needs Discrete actions from 0"
            )
    return spaces
