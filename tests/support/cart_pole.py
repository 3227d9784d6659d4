"""CartPole as a game of one agent, and a controller that keeps the pole up: n = 1, where rivals have known results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

AGENT = "agent_0"
NAME = "cart_pole"
"""The name under which :func:`register` makes it known."""


class CartPole(ParallelEnv):
    """Gymnasium's CartPole-v1: 500 steps at most, 1 a step; two actions, push left or right."""

    metadata = {"name": NAME, "render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(self, render_mode: str | None = None) -> None:
        self.env = gym.make("CartPole-v1", render_mode=render_mode)
        self.possible_agents, self.agents = [AGENT], []
        self.render_mode = render_mode

    def observation_space(self, agent: str) -> spaces.Box:
        return spaces.Box(-np.inf, np.inf, (4,), np.float32)

    def action_space(self, agent: str) -> spaces.Discrete:
        return spaces.Discrete(2)

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        self.agents = [AGENT]
        seen, _ = self.env.reset(seed=seed)
        return {AGENT: seen}, {AGENT: {}}

    def step(self, actions: Mapping[str, int]) -> tuple[dict[str, Any], ...]:
        seen, reward, terminated, truncated, _ = self.env.step(int(actions[AGENT]))
        if terminated or truncated:
            self.agents = []
        return (
            {AGENT: seen}, {AGENT: float(reward)}, {AGENT: bool(terminated)}, {AGENT: bool(truncated)}, {AGENT: {}}
        )  # fmt: skip

    def render(self) -> Any:
        return self.env.render()

    def close(self) -> None:
        self.env.close()


class Controller:
    """Pushes to where the pole falls, a little earlier where the cart drifts that way."""

    def reset(self, env: ParallelEnv, seed: int) -> None:
        pass

    def act(self, env: ParallelEnv, observations: Mapping[str, np.ndarray]) -> dict[str, int]:
        place, speed, angle, turning = observations[AGENT]
        return {AGENT: int(angle + 0.25 * turning + 0.02 * place + 0.05 * speed > 0)}


def parallel_env(**config: Any) -> CartPole:
    return CartPole(**config)


def register() -> None:
    from rllib_mamql import register_environment

    register_environment(NAME, "tests.support.cart_pole:parallel_env", expert="tests.support.cart_pole:Controller")
