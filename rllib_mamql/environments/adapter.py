"""A PettingZoo parallel environment as an RLlib multi-agent environment."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from pettingzoo import ParallelEnv
from ray.rllib.env.multi_agent_env import MultiAgentEnv

from rllib_mamql.columns import ALL_AGENTS


class PettingZooAdapter(MultiAgentEnv):
    """Runs any ``ParallelEnv`` in RLlib.

    RLlib's own ``ParallelPettingZooEnv`` orders agents by a set, hence by the hash seed of the process, and
    its episodes go on for ever where some agents terminate and the others are truncated. Here agents keep
    the order of ``possible_agents``, and ``__all__`` is set as soon as no agent is left.

    RLlib's ``MultiAgentEpisode`` calls an episode terminated, for every agent, as soon as each agent carries a flag of
    its own, be it truncation: values would no longer be bootstrapped at a time limit. Agents that are truncated in
    the last step are therefore flagged by ``truncateds["__all__"]`` alone.

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

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Starts an episode; see ``MultiAgentEnv.reset``."""
        observations, infos = self.par_env.reset(seed=seed, options=options)
        self.agents = list(self.par_env.agents)
        return dict(observations), dict(infos or {})

    def step(
        self, action_dict: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], dict[str, Any]]:
        """Moves all agents; see ``MultiAgentEnv.step``.

        In the last step ``__all__`` is truncated where an agent was truncated in it, else terminated. An agent that
        met a terminal state is terminated even if time ran out in the same step.
        """
        results = self.par_env.step(action_dict)
        observations, rewards, terminateds, truncateds, infos = (dict(result) for result in results)
        self.agents = list(self.par_env.agents)
        truncateds = {agent: bool(flag) and not terminateds.get(agent, False) for agent, flag in truncateds.items()}
        over = not self.agents
        cut = over and any(truncateds.values())
        if cut:
            truncateds = {agent: False for agent in truncateds}
        terminateds[ALL_AGENTS] = over and not cut
        truncateds[ALL_AGENTS] = cut
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
