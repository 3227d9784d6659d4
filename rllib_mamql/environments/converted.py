"""Environments of RLlib and Gymnasium, and PettingZoo's with agents in turns, as parallel environments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
from pettingzoo import AECEnv, ParallelEnv
from pettingzoo.utils.conversions import aec_to_parallel

from rllib_mamql.columns import ALL_AGENTS, ONLY_AGENT
from rllib_mamql.environments.rllib_turns import LOOKED_AT, WAIT_KEY, RLlibTurns, agents_wait
from rllib_mamql.environments.turns import TurnsParallel
from rllib_mamql.errors import ConfigError, EnvironmentFault


def is_multi_agent_class(kind: type[Any]) -> bool:
    """Whether a class is one of RLlib's ``MultiAgentEnv``; told without importing RLlib."""
    return any(
        base.__name__ == "MultiAgentEnv" and base.__module__.startswith("ray.rllib.env.") for base in kind.__mro__
    )


def as_parallel(env: Any, name: str, remember: Callable[[Callable[[], bool]], bool]) -> Any:
    """What a factory built, as a parallel environment.

    Args:
        env: A parallel environment, one of PettingZoo's with agents in turns, RLlib's ``MultiAgentEnv``, or Gymnasium's
            ``Env``.
        name: What users call it, for messages.
        remember: Gives what a function finds out of the environment, which need be called once only.

    Raises:
        ConfigError: If it is none of these.
    """
    if isinstance(env, AECEnv):
        if not (getattr(env, "metadata", None) or {}).get("is_parallelizable", False):
            return TurnsParallel(env, name)
        return aec_to_parallel(env)
    if is_multi_agent_class(type(env)):
        spaces = _spaces_of(env)
        if remember(lambda: agents_wait(env, spaces, name)):
            return RLlibTurns(env, spaces, name)
        return RLlibParallel(env, spaces)
    if isinstance(env, gym.Env):
        return GymnasiumParallel(env)
    if isinstance(env, ParallelEnv) or (hasattr(env, "possible_agents") and callable(getattr(env, "step", None))):
        return env
    raise ConfigError(
        f"environment {name!r} is a {type(env).__name__}: give a PettingZoo ParallelEnv, an RLlib MultiAgentEnv, or a "
        "Gymnasium Env"
    )


class RLlibParallel(ParallelEnv[Any, Any, Any]):
    """RLlib's ``MultiAgentEnv`` as a parallel environment: who is given an observation acts next.

    Args:
        env: All of its agents act in every step until they end.
        spaces: ``{agent: (observations, actions)}``, agents in order.
    """

    def __init__(self, env: Any, spaces: Mapping[Any, tuple[gym.Space[Any], gym.Space[Any]]]) -> None:
        self.rllib_env = env
        self._spaces = spaces
        self.possible_agents = list(spaces)
        self.agents: list[Any] = []
        self.metadata = dict(getattr(env, "metadata", None) or {})
        self.render_mode = getattr(env, "render_mode", None)

    @property
    def unwrapped(self) -> Any:
        """RLlib's environment."""
        return self.rllib_env

    def observation_space(self, agent: Any) -> gym.Space[Any]:
        """As RLlib's environment says, for the agent or for all."""
        return self._spaces[agent][0]

    def action_space(self, agent: Any) -> gym.Space[Any]:
        """As RLlib's environment says, for the agent or for all."""
        return self._spaces[agent][1]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        """As RLlib's environment's."""
        observations, infos = self.rllib_env.reset(seed=seed, options=options)
        self.agents = [agent for agent in self.possible_agents if agent in observations]
        return observations, infos

    def step(self, actions: dict[Any, Any]) -> tuple[Any, Any, Any, Any, Any]:
        """As RLlib's environment's; ``__all__`` ends everyone.

        Raises:
            EnvironmentFault: If an agent is to wait while others act, which did not show before.
        """
        observations, rewards, terminateds, truncateds, infos = self.rllib_env.step(actions)
        over, cut = bool(terminateds.get(ALL_AGENTS, False)), bool(truncateds.get(ALL_AGENTS, False))
        acted = list(actions)
        terminated = {agent: bool(terminateds.get(agent, False)) or over for agent in acted}
        truncated = {agent: (bool(truncateds.get(agent, False)) or cut) and not terminated[agent] for agent in acted}
        going_on = [agent for agent in acted if not (terminated[agent] or truncated[agent])]
        waiting = [agent for agent in going_on if agent not in observations]
        if waiting:
            raise EnvironmentFault(
                f"agent {waiting[0]!r} is given no observation, but has not ended: if agents wait for their turn and "
                f"none did in the first {LOOKED_AT} steps, set metadata = {{{WAIT_KEY!r}: True}} in the environment"
            )
        entering = [agent for agent in self.possible_agents if agent in observations and agent not in acted]
        self.agents = [] if over or cut else [*going_on, *entering]
        # RLlib pays agents that are not named nothing.
        paid = {agent: rewards.get(agent, 0.0) for agent in acted}
        known = {agent: value for agent, value in observations.items() if agent != ALL_AGENTS}
        return known, paid, terminated, truncated, infos

    def render(self) -> Any:
        """As RLlib's environment's."""
        return self.rllib_env.render()

    def close(self) -> None:
        """Closes RLlib's environment."""
        self.rllib_env.close()


def _spaces_of(env: Any) -> dict[Any, tuple[gym.Space[Any], gym.Space[Any]]]:
    """``{agent: (observations, actions)}`` of RLlib's environment."""
    agents = list(env.possible_agents or env.agents or ())
    return {agent: (_space_of(env, "observation", agent), _space_of(env, "action", agent)) for agent in agents}


def _space_of(env: Any, kind: str, agent: Any) -> gym.Space[Any]:
    by_agent = getattr(env, f"{kind}_spaces", None)
    common = getattr(env, f"{kind}_space", None)
    if isinstance(by_agent, Mapping) and agent in by_agent:
        return by_agent[agent]
    if isinstance(common, gym.spaces.Dict) and agent in common.spaces:
        return common.spaces[agent]
    if common is not None:
        return common
    found: gym.Space[Any] = getattr(env, f"get_{kind}_space")(agent)
    return found


class GymnasiumParallel(ParallelEnv[str, Any, Any]):
    """A Gymnasium environment as a parallel one with one agent, ``agent_0``.

    Args:
        env: The environment.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        self.gym_env = env
        self.possible_agents = [ONLY_AGENT]
        self.agents: list[str] = []
        self.metadata = dict(getattr(env, "metadata", None) or {})
        self.render_mode = env.render_mode

    @property
    def unwrapped(self) -> Any:
        """Gymnasium's environment without its wrappers."""
        return self.gym_env.unwrapped

    def observation_space(self, agent: str) -> gym.Space[Any]:
        """The environment's."""
        return self.gym_env.observation_space

    def action_space(self, agent: str) -> gym.Space[Any]:
        """The environment's."""
        return self.gym_env.action_space

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        """As the environment's."""
        observation, info = self.gym_env.reset(seed=seed, options=options)
        self.agents = list(self.possible_agents)
        return {ONLY_AGENT: observation}, {ONLY_AGENT: info}

    def step(self, actions: dict[str, Any]) -> tuple[Any, Any, Any, Any, Any]:
        """As the environment's."""
        observation, reward, terminated, truncated, info = self.gym_env.step(actions[ONLY_AGENT])
        if terminated or truncated:
            self.agents = []
        return (
            {ONLY_AGENT: observation},
            {ONLY_AGENT: reward},
            {ONLY_AGENT: terminated},
            {ONLY_AGENT: truncated},
            {ONLY_AGENT: info},
        )

    def render(self) -> Any:
        """As the environment's."""
        return self.gym_env.render()

    def close(self) -> None:
        """Closes the environment."""
        self.gym_env.close()  # type: ignore[no-untyped-call]
