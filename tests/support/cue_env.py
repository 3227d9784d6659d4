"""A task that cannot be done without memory: a cue is shown once, and asked for later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete
from pettingzoo import ParallelEnv

CUES = 4


class Cue(ParallelEnv[str, Any, Any]):
    """Two agents are shown a cue each in the first step, one of four, and are paid 1 for naming it in the last.

    After the first step agents see the clock alone, whatever the cues were and whatever they did. A policy that looks
    at the present observation only therefore names each cue, in the last step, with a probability that does not
    depend on the cue: as cues are equally likely, it is right with probability 1/4, and so is its return at best.
    Actions before the last step change nothing.

    Args:
        delay: Steps between the first and the last, >= 1.
    """

    metadata = {"name": "cue"}  # noqa: RUF012

    def __init__(self, delay: int = 3) -> None:
        self.delay, self.possible_agents = delay, ["left", "right"]
        self.agents: list[str] = []
        self.random = np.random.default_rng()

    def observation_space(self, agent: str) -> Box:
        return Box(0.0, 1.0, (CUES + 1,), np.float32)

    def action_space(self, agent: str) -> Discrete[Any]:
        return Discrete(CUES)

    def _observe(self) -> dict[str, np.ndarray]:
        seen = {}
        for agent, cue in self.cues.items():
            seen[agent] = np.zeros(CUES + 1, np.float32)
            seen[agent][CUES] = self.t / (self.delay + 1)
            if self.t == 0:
                seen[agent][cue] = 1.0
        return seen

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[Any, Any]:
        if seed is not None:
            self.random = np.random.default_rng(seed)
        self.agents, self.t = list(self.possible_agents), 0
        self.cues = {agent: int(self.random.integers(CUES)) for agent in self.agents}
        return self._observe(), {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, Any]) -> tuple[Any, Any, Any, Any, Any]:
        agents, over = self.agents, self.t == self.delay
        paid = {agent: float(over and int(actions[agent]) == self.cues[agent]) for agent in agents}
        self.t += 1
        self.agents = [] if over else agents
        return self._observe(), paid, dict.fromkeys(agents, over), dict.fromkeys(agents, False), {}

    def render(self) -> None:
        return None

    def close(self) -> None:
        pass


def parallel_env(**keywords: Any) -> Cue:
    return Cue(**keywords)


class Remembers:
    """Does what it was shown, last of all when it is asked; before it plays at random, as if it thought."""

    def reset(self, env: Any, seed: int) -> None:
        self.random = np.random.default_rng(seed)

    def act(self, env: Any, observations: Mapping[str, Any]) -> dict[str, int]:
        inner = env.unwrapped
        last = inner.t == inner.delay
        return {a: inner.cues[a] if last else int(self.random.integers(CUES)) for a in env.agents}
