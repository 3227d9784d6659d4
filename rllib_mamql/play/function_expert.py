"""A policy of one's own, named ``module:function``, as an expert to record."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from pettingzoo import ParallelEnv

from rllib_mamql.environments.names import import_named
from rllib_mamql.environments.registry import Expert
from rllib_mamql.errors import ConfigError, nearest

OFFERED = ("env", "rng", "t")
"""What a function is given beside observations, where its parameters name it."""


def load_expert(path: str) -> Expert:
    """Imports the expert that a user named.

    Args:
        path: ``module:function`` or ``module:Class``. A function is called as ``function(observations)`` at each step,
            with ``{agent: array}`` of the agents that act, and gives ``{agent: action}`` for each of them. Where its
            parameters name them, it is also given ``env`` (the environment, with its full state), ``rng`` (a
            ``numpy.random.Generator`` that follows from the seed) and ``t`` (the step in the episode, 0 where one
            begins). A class is built without arguments and has ``reset(env, seed)`` and ``act(env, observations)``.

    Raises:
        ConfigError: If the module cannot be imported, or has no such function or class.
    """
    module_path, _, name = path.partition(":")
    try:
        module = import_named(module_path)
    except (ImportError, ValueError) as error:
        raise ConfigError(
            f"--expert {path!r}: cannot import {module_path!r} ({error}); start rllib in its folder, or install it"
        ) from error
    found = getattr(module, name, None)
    if not callable(found):
        known = [known for known, value in vars(module).items() if callable(value) and not known.startswith("_")]
        raise ConfigError(f"--expert {path!r}: module {module_path!r} has no function {name!r}; {nearest(name, known)}")
    if inspect.isclass(found):
        expert: Any = found()
        if not (callable(getattr(expert, "reset", None)) and callable(getattr(expert, "act", None))):
            raise ConfigError(f"--expert {path!r}: the class needs reset(env, seed) and act(env, observations)")
        return expert
    return FunctionExpert(found, path)


class FunctionExpert:
    """An expert that is a function; see :func:`load_expert`.

    Args:
        function: It.
        name: For messages.
    """

    def __init__(self, function: Callable[..., Mapping[str, Any]], name: str) -> None:
        self._function, self._name = function, name
        parameters = inspect.signature(function).parameters
        any_name = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
        self._asks = [name for name in OFFERED if any_name or name in parameters]
        self._t = 0
        self._rng = np.random.default_rng()

    def reset(self, env: ParallelEnv, seed: int) -> None:
        """Begins an episode."""
        self._t, self._rng = 0, np.random.default_rng(seed)

    def act(self, env: ParallelEnv, observations: Mapping[Any, Any]) -> dict[Any, Any]:
        """The function's actions, in the environment's own form.

        Raises:
            ConfigError: If they are not an action for each agent.
        """
        offered = {"env": env, "rng": self._rng, "t": self._t}
        chosen = self._function(dict(observations), **{name: offered[name] for name in self._asks})
        self._t += 1
        if not isinstance(chosen, Mapping):
            raise ConfigError(f"--expert {self._name!r} gave a {type(chosen).__name__}, expected {{agent: action}}")
        actions = {}
        for agent in observations:
            if agent not in chosen:
                raise ConfigError(
                    f"--expert {self._name!r} gave no action of {agent!r}: give one for every agent it sees"
                )
            actions[agent] = self._checked(agent, chosen[agent], env.action_space(agent))
        return actions

    def _checked(self, agent: Any, action: Any, space: gym.Space[Any]) -> Any:
        number = np.asarray(action)
        if isinstance(space, gym.spaces.Discrete) and number.size == 1 and number.dtype.kind in "iu":
            action = int(number.item())
        if not space.contains(action):
            raise ConfigError(
                f"--expert {self._name!r} gave {action!r} as the action of {agent!r}, expected one in {space}"
            )
        return action
