"""PettingZoo wrappers: dynamics that differ from those of the demonstrations."""

from __future__ import annotations

from typing import Any

import numpy as np
from pettingzoo import ParallelEnv
from pettingzoo.utils.wrappers import BaseParallelWrapper

from rllib_mamql.data.masks import is_masked
from rllib_mamql.errors import ConfigError, check_number


class StickyActionsEnv(BaseParallelWrapper):
    """With a probability, an agent's last action is repeated in place of the one chosen (Machado et al., JAIR 2018).

    Args:
        env: The environment.
        probability: In [0, 1).
    """

    def __init__(self, env: ParallelEnv[str, Any, Any], probability: float) -> None:
        check_number("sticky_actions", probability, low=0.0, high=1.0, open_high=True)
        if any(is_masked(env.observation_space(agent)) for agent in env.possible_agents):
            raise ConfigError("sticky_actions would repeat actions that are illegal by then: leave it out")
        super().__init__(env)
        self.probability = probability
        self._rng = np.random.default_rng()
        self._last: dict[str, Any] = {}

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        """As the environment's; the seed also seeds what sticks."""
        if seed is not None:
            self._rng = np.random.default_rng([seed, 1])
        self._last = {}
        return self.env.reset(seed=seed, options=options)

    def step(self, actions: dict[str, Any]) -> tuple[Any, Any, Any, Any, Any]:
        """As the environment's, with the actions that stuck."""
        played = {}
        for agent, action in actions.items():
            sticks = self._rng.random() < self.probability and agent in self._last
            played[agent] = self._last[agent] if sticks else action
        self._last = played
        return self.env.step(played)
