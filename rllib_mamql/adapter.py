"""A PettingZoo parallel environment as an RLlib multi-agent environment."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from pettingzoo import ParallelEnv
from ray.rllib.env.multi_agent_env import MultiAgentEnv


class PettingZooAdapter(MultiAgentEnv):
    """Runs any ``ParallelEnv`` in RLlib.

    RLlib's own ``ParallelPettingZooEnv`` orders agents by a set, hence by the hash seed of the process, and
    its episodes go on for ever where some agents terminate and the others are truncated. Here agents keep
    the order of ``possible_agents``, and ``__all__`` is set as soon as no agent is left.

    Args:
        env: The parallel environment; it is closed with the adapter.
    """

    def __init__(self, env: ParallelEnv[str, Any, Any]) -> None:
        self.par_env = env
        self.possible_agents = list(env.possible_agents)
        self.agents = list(self.possible_agents)
        super().__init__()
        self.observation_spaces = {agent: env.observation_space(agent) for agent in self.possible_agents}
        self.action_spaces = {agent: env.action_space(agent) for agent in self.possible_agents}
        self.observation_space = _common(self.observation_spaces)
        self.action_space = _common(self.action_spaces)
        self.metadata = dict(getattr(env, "metadata", {}))
        self.render_mode = getattr(env, "render_mode", None)
        self._any_terminated = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Starts an episode; see ``MultiAgentEnv.reset``."""
        observations, infos = self.par_env.reset(seed=seed, options=options)
        self.agents = list(self.par_env.agents)
        self._any_terminated = False
        return dict(observations), dict(infos or {})

    def step(
        self, action_dict: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], dict[str, Any]]:
        """Moves all agents; see ``MultiAgentEnv.step``.

        ``__all__`` is terminated where at least one agent met a terminal state during the episode, else
        truncated; each agent's own flag, which decides about its bootstrap value, is the environment's.
        """
        results = self.par_env.step(action_dict)
        observations, rewards, terminateds, truncateds, infos = (dict(result) for result in results)
        self._any_terminated |= any(terminateds.values())
        self.agents = list(self.par_env.agents)
        over = not self.agents
        terminateds["__all__"] = over and self._any_terminated
        truncateds["__all__"] = over and not self._any_terminated
        return observations, rewards, terminateds, truncateds, infos

    def render(self) -> Any:
        """A picture of the present state, as the environment's ``render`` gives it."""
        return self.par_env.render()

    def close(self) -> None:
        """Closes the environment."""
        self.par_env.close()


def _common(spaces: dict[str, gym.Space[Any]]) -> gym.Space[Any]:
    """The agents' space where they have the same, which is how RLlib builds one policy for all of them."""
    first, *rest = spaces.values()
    return first if all(space == first for space in rest) else gym.spaces.Dict(spaces)
