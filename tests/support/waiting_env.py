"""RLlib's kind of environment in which agents wait: they act when they have been given an observation."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from ray.rllib.env.multi_agent_env import MultiAgentEnv

STONES = 7


class Nim(MultiAgentEnv):
    """Players take one or two of seven stones in turns; the last one to take is paid 1, the others lose 1 as they wait.

    ``a`` is paid 0.25 for each move of ``b``'s. With ``masked`` the observation says what is left to take.
    """

    def __init__(self, config: Any = None) -> None:
        super().__init__()
        self.masked = bool((config or {}).get("masked", True))
        self.possible_agents = self.agents = ["a", "b"]
        seen: spaces.Space[Any] = spaces.Box(0.0, STONES, (1,), np.float32)
        if self.masked:
            seen = spaces.Dict({"observations": seen, "action_mask": spaces.Box(0, 1, (2,), np.int8)})
        self.observation_spaces = dict.fromkeys(self.agents, seen)
        self.action_spaces = dict.fromkeys(self.agents, spaces.Discrete(2, start=1))

    def _seen(self) -> dict[str, Any]:
        seen: Any = np.array([self.stones], np.float32)
        if self.masked:
            seen = {"observations": seen, "action_mask": np.array([1, self.stones > 1], np.int8)}
        return {self.mover: seen}

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.stones, self.mover = STONES, "a"
        return self._seen(), {}

    def step(self, action_dict: dict[str, Any]) -> Any:
        assert list(action_dict) == [self.mover]
        taken = int(action_dict[self.mover])
        if self.masked:
            assert 1 <= taken <= min(2, self.stones)
        self.stones = max(0, self.stones - taken)
        other = "b" if self.mover == "a" else "a"
        rewards = {"a": 0.25} if self.mover == "b" else {}
        if self.stones == 0:
            rewards = {self.mover: 1.0, other: -1.0}
        self.mover = other
        return (self._seen() if self.stones else {}), rewards, {"__all__": self.stones == 0}, {"__all__": False}, {}


class Pace(MultiAgentEnv):
    """``quick`` acts in every step, for five of them, ``slow`` in every third; who acts sees the clock.

    Args:
        config: ``first`` is the step until which both act.
    """

    def __init__(self, config: Any = None) -> None:
        super().__init__()
        self.first = int((config or {}).get("first", 0))
        self.possible_agents = self.agents = ["quick", "slow"]
        self.observation_spaces = dict.fromkeys(self.agents, spaces.Box(0.0, 99.0, (1,), np.float32))
        self.action_spaces = dict.fromkeys(self.agents, spaces.Discrete(2))

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.t = 0
        return self._seen(), {}

    def _seen(self) -> dict[str, Any]:
        acting = [*(["quick"] if self.t < 5 + self.first else []), *(["slow"] if self._slow() else [])]
        return {agent: np.array([self.t], np.float32) for agent in acting}

    def _slow(self) -> bool:
        return self.t < self.first or (self.t - self.first) % 3 == 0

    def step(self, action_dict: dict[str, Any]) -> Any:
        assert set(action_dict) == set(self._seen())
        self.t += 1
        over = self.t >= 9 + self.first
        ends = {"quick": self.t == 5 + self.first, "__all__": False}
        return self._seen(), {"slow": 1.0}, ends, {"__all__": over}, {}


class Party(MultiAgentEnv):
    """``guest`` comes in step 2 and leaves in step 4, with a last observation, as RLlib has it; nobody waits."""

    def __init__(self, config: Any = None) -> None:
        super().__init__()
        self.possible_agents = ["host", "guest"]
        self.agents: list[str] = []
        self.observation_spaces = dict.fromkeys(self.possible_agents, spaces.Box(0.0, 9.0, (1,), np.float32))
        self.action_spaces = dict.fromkeys(self.possible_agents, spaces.Discrete(3))

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.t, self.agents = 0, ["host"]
        return self._seen(), {}

    def _seen(self) -> dict[str, Any]:
        return {agent: np.array([self.t], np.float32) for agent in self.agents}

    def step(self, action_dict: dict[str, Any]) -> Any:
        assert list(action_dict) == self.agents
        self.t += 1
        self.agents = ["host", "guest"] if 2 <= self.t <= 4 else ["host"]
        seen, over = self._seen(), self.t >= 8
        if self.t == 4:
            self.agents = ["host"]
        ends = {"guest": self.t == 4, "__all__": False}
        return seen, dict.fromkeys(action_dict, 1.0), ends, {"__all__": over}, {}
