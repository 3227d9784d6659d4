"""A parallel environment of any number of agents and entities that costs next to nothing to step."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

ACTIONS = 5


class ManyAgents(ParallelEnv[str, Any, int]):
    """Observations are noise and rewards zero: it gives the shapes that a learner's cost depends on.

    Args:
        agents: How many agents.
        shape: Shape of an observation: one axis, or (entities, features).
        steps: Length of an episode.
    """

    metadata = {"name": "many_agents"}  # noqa: RUF012

    def __init__(self, agents: int = 2, shape: tuple[int, ...] = (32,), steps: int = 50) -> None:
        self.possible_agents = [f"agent_{index}" for index in range(agents)]
        self.agents: list[str] = []
        self.shape, self.steps = tuple(shape), steps

    def observation_space(self, agent: str) -> spaces.Box:
        return spaces.Box(0.0, 1.0, self.shape, np.float32)

    def action_space(self, agent: str) -> spaces.Discrete[Any]:
        return spaces.Discrete(ACTIONS)

    def _observe(self) -> dict[str, Any]:
        return {agent: self._rng.random(self.shape, dtype=np.float32) for agent in self.possible_agents}

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        self.agents, self._t = list(self.possible_agents), 0
        self._rng = np.random.default_rng(seed)
        return self._observe(), {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, int]) -> tuple[dict[str, Any], ...]:
        self._t += 1
        agents, over = self.agents, self._t >= self.steps
        if over:
            self.agents = []
        return (
            self._observe(),
            dict.fromkeys(agents, 0.0),
            dict.fromkeys(agents, False),
            dict.fromkeys(agents, over),
            {agent: {} for agent in agents},
        )


def parallel_env(**config: Any) -> ManyAgents:
    return ManyAgents(**config)
