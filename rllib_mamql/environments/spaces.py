"""What the agents of an environment see and can do."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Mapping
from typing import Any

import gymnasium as gym

from rllib_mamql.data.metadata import DatasetMetadata
from rllib_mamql.data.validation import check_environment
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


def check_dataset(metadata: DatasetMetadata, env: str, env_config: Mapping[str, Any]) -> None:
    """Checks that demonstrations fit a registered environment.

    Args:
        metadata: What the dataset says about itself.
        env: Name of the environment.
        env_config: Its keywords; where it is silent, the environment's own defaults are compared.

    Raises:
        DatasetError: If agents, shapes, dtypes, actions, environment or keywords differ.
        ConfigError: If an action space is not Discrete.
    """
    spaces = environment_spaces(env, env_config)
    check_environment(
        metadata,
        list(spaces),
        {agent: observation for agent, (observation, _) in spaces.items()},
        {agent: action for agent, (_, action) in spaces.items()},
        env=env,
        env_config=registry.resolve_env_config(env, env_config),
        ignored=registry.ignored_in_data(env),
    )


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
                f"environment {env!r}: the action space of {agent} is {action}; actions must be Discrete from 0"
            )
    return spaces
