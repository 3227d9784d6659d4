"""What the agents of an environment see and can do."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from rllib_mamql.data.bounds import Bounds
from rllib_mamql.data.history import spaces_remembering
from rllib_mamql.data.masks import draw_actions
from rllib_mamql.data.metadata import DatasetMetadata
from rllib_mamql.data.validation import check_environment
from rllib_mamql.environments import registry
from rllib_mamql.environments.standard import StandardEnv
from rllib_mamql.errors import EnvironmentFault

Spaces = dict[str, tuple[gym.spaces.Box, gym.spaces.Discrete[Any]]]
"""``{agent: (observation space, action space)}``, agents in the environment's order."""


def environment_spaces(env: str, env_config: Mapping[str, Any], history: int = 0) -> Spaces:
    """What policies of an environment see and choose among. The first time, one reset and one step are tried.

    Args:
        env: Name of the environment.
        env_config: Its keywords.
        history: How many steps back policies see.

    Raises:
        UnknownEnvironmentError: If there is no such environment.
        ConfigError: If it refuses its keywords, or nothing can be made of its spaces.
        EnvironmentFault: If it breaks PettingZoo's contract at once.
    """
    spaces = _environment_spaces(env, json.dumps(dict(env_config), sort_keys=True, default=repr))
    return spaces_remembering(spaces, history)


def data_spaces(metadata: DatasetMetadata, history: int = 0) -> Spaces:
    """The same of demonstrations, where there is no environment to ask."""
    spaces = {agent: (metadata.spaces[agent].observation, metadata.spaces[agent].action) for agent in metadata.agents}
    return spaces_remembering(spaces, history)


def check_dataset(metadata: DatasetMetadata, env: str, env_config: Mapping[str, Any]) -> None:
    """Checks that demonstrations fit a registered environment.

    Args:
        metadata: What the dataset says about itself.
        env: Name of the environment.
        env_config: Its keywords; where it is silent, the environment's own defaults are compared.

    Raises:
        DatasetError: If agents, shapes, dtypes, actions, environment or keywords differ.
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
def _environment_spaces(env: str, env_config: str) -> Spaces:
    built = registry.make_env(env, json.loads(env_config))
    try:
        try_out(built)
        return {agent: (built.observation_space(agent), built.action_space(agent)) for agent in built.possible_agents}
    finally:
        built.close()


def try_out(env: StandardEnv) -> None:
    """Resets an environment and steps it once, with random legal actions.

    Raises:
        EnvironmentFault: If it breaks PettingZoo's contract, or gives observations outside its bounds.
    """
    rng = np.random.default_rng(0)
    observations, _ = env.reset(seed=0)
    _check_bounds(env, observations, "reset")
    actions = {}
    for agent in env.agents:
        space, count = env.observation_space(agent), int(env.action_space(agent).n)
        actions[agent] = int(draw_actions(space, observations[agent][None], count, rng)[0])
    observations, *_ = env.step(actions)
    _check_bounds(env, observations, "step 1 of an episode")


def _check_bounds(env: StandardEnv, observations: Mapping[str, Any], when: str) -> None:
    for agent, observation in observations.items():
        bounds = Bounds(env.observation_space(agent))
        if not bounds.hold(observation):
            raise unsound(env.called, when, agent, bounds.describe(observation))


def unsound(env: str, when: str, agent: str, what: str) -> EnvironmentFault:
    """The error of an observation that is not finite, or outside its bounds."""
    return EnvironmentFault(
        f"environment {env!r}, {when}: the observation of agent {agent!r} holds {what}: correct it, or its space; "
        "or wrap the environment (docs/your_environment.md#wrappers)"
    )
