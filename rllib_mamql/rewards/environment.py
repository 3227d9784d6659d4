"""An environment that pays recovered rewards in place of its own."""

from __future__ import annotations

from typing import Any

from pettingzoo import ParallelEnv
from pettingzoo.utils.wrappers import BaseParallelWrapper

from rllib_mamql.rewards.sources import JointStep, RewardSource

TRUE_REWARD = "true_reward"
"""Key of an agent's info that holds the reward that was replaced."""


class RecoveredRewardEnv(BaseParallelWrapper):
    """An environment that pays the rewards of a source in place of its own.

    ``infos[agent]["true_reward"]`` is what the environment paid.

    Args:
        env: The environment, with the agents and observations that the source was trained on.
        source: Rewards; see :func:`~rllib_mamql.rewards.sources.reward_source`.
    """

    def __init__(self, env: ParallelEnv[str, Any, Any], source: RewardSource) -> None:
        super().__init__(env)
        self.source = source
        self._obs: dict[str, Any] = {}

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        """As the environment's."""
        observations, infos = self.env.reset(seed=seed, options=options)
        self._obs = dict(observations)
        return observations, infos

    def step(self, actions: dict[str, Any]) -> tuple[Any, Any, Any, Any, Any]:
        """As the environment's, with the source's rewards."""
        acting = {agent: int(actions[agent]) for agent in self.env.agents}
        observations, rewards, terminateds, truncateds, infos = self.env.step(actions)
        infos = {agent: {**infos.get(agent, {}), TRUE_REWARD: float(rewards[agent])} for agent in rewards}
        if self.source.kind != "true":
            # An agent that leaves may leave no observation: its last one is what it saw.
            seen = {**self._obs, **observations}
            step = JointStep(self._obs, acting, seen, {agent: bool(terminateds.get(agent)) for agent in acting})
            rewards = self.source.rewards(step)
        self._obs = dict(observations)
        return observations, rewards, terminateds, truncateds, infos
