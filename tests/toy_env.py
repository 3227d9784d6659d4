"""A tiny deterministic parallel environment: two agents walk on a ring and are paid for meeting."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv


class ToyEnv(ParallelEnv):
    """Two agents on a ring of four states: stay, left or right; +1 to both where they meet.

    ``leave_at`` is the step at which agent_0 leaves for good, without a last observation. ``mixed_end`` lets agent_0
    terminate where agent_1 is truncated, ``slow`` is a delay a step in seconds, ``form`` the number format of
    observations, or ``picture`` for 12 x 12 pixels in bytes.
    """

    metadata = {"name": "toy", "render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(
        self,
        steps: int = 10,
        states: int = 4,
        mixed_end: bool = False,
        fail_at: int | None = None,
        leave_at: int | None = None,
        slow: float = 0.0,
        form: str = "float32",
        render_mode: str | None = None,
    ) -> None:
        if steps < 1:
            raise ValueError(f"steps is {steps}: give at least 1")
        self.possible_agents = ["agent_0", "agent_1"]
        self.agents: list[str] = []
        self.states = states
        self.steps, self.mixed_end, self.fail_at, self.slow = steps, mixed_end, fail_at, slow
        self.form, self.leave_at = form, leave_at
        self.render_mode = render_mode
        self._total = 0

    def observation_space(self, agent: str) -> spaces.Box:
        if self.form == "picture":
            return spaces.Box(0, 255, (12, 12, 3), np.uint8)
        return spaces.Box(0, 1, (2 * self.states,), np.dtype(self.form).type)

    def action_space(self, agent: str) -> spaces.Discrete:
        return spaces.Discrete(3)

    def _observe(self) -> dict[str, np.ndarray]:
        eye = np.eye(self.states, dtype=np.float32)
        first, second = eye[self.positions[0]], eye[self.positions[1]]
        seen = {"agent_0": np.concatenate([first, second]), "agent_1": np.concatenate([second, first])}
        return {agent: self._in_form(values) for agent, values in seen.items()}

    def _in_form(self, values: np.ndarray) -> np.ndarray:
        if self.form != "picture":
            return values.astype(self.form)
        picture = np.zeros((12, 12, 3), np.uint8)
        for place in np.flatnonzero(values):
            row, column = divmod(int(place), self.states)
            picture[6 * row : 6 * row + 6, 3 * column : 3 * column + 3, row] = 255
        return picture

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        self.agents = list(self.possible_agents)
        self.t = 0
        self.positions = [0, self.states // 2]
        return self._observe(), {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, int]) -> tuple[dict[str, Any], ...]:
        self.t += 1
        self._total += 1
        if self.slow:
            time.sleep(self.slow)
        if self.fail_at is not None and self._total >= self.fail_at:
            raise RuntimeError("the toy broke, as it was told to")
        for index, agent in enumerate(self.possible_agents):
            if agent in self.agents:
                self.positions[index] = (self.positions[index] + (0, -1, 1)[int(actions[agent])]) % self.states
        reward = float(self.positions[0] == self.positions[1])
        over = self.t >= self.steps
        agents = self.agents
        leaves = {agent: agent == "agent_0" and self.t == self.leave_at for agent in agents}
        terminateds = {agent: leaves[agent] or (over and self.mixed_end and agent == "agent_0") for agent in agents}
        truncateds = {agent: over and not terminateds[agent] for agent in agents}
        self.agents = [] if over else [agent for agent in agents if not leaves[agent]]
        return (
            {agent: values for agent, values in self._observe().items() if agent in agents and not leaves[agent]},
            {agent: reward for agent in agents},
            terminateds,
            truncateds,
            {agent: {} for agent in agents},
        )

    def render(self) -> np.ndarray:
        frame = np.zeros((16, 16 * self.states, 3), np.uint8)
        for index, position in enumerate(self.positions):
            frame[8 * index : 8 * index + 8, 16 * position : 16 * position + 16, index] = 255
        return frame


def parallel_env(**config: Any) -> ToyEnv:
    return ToyEnv(**config)
