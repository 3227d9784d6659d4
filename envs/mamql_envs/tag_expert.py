"""A scripted expert for mpe2's ``simple_tag_v3``: chasers run at the nearest prey, prey runs from the nearest chaser.

It reads observations alone: own velocity (2), own position (2), landmarks relative (2 each), the others relative (2
each, chasers first), then velocities of prey. Actions: stay, left, right, down, up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

LAPSES = 0.1
"""Share of actions that are random."""
WALL = 0.9
"""Prey turns back to the middle beyond it: further out it is punished."""
ACTIONS = 5


def towards(direction: np.ndarray) -> int:
    """The action along the larger part of a direction ``(2,)``."""
    axis = int(np.abs(direction).argmax())
    return 1 + 2 * axis + int(direction[axis] > 0)


class ScriptedExpert:
    """Chasers aim at the prey nearest to them; prey flees, and keeps off the rim."""

    def reset(self, env: Any, seed: int) -> None:
        """Draws anew from the episode's seed."""
        self._rng = np.random.default_rng(seed)

    def act(self, env: Any, observations: Mapping[str, np.ndarray]) -> dict[str, int]:
        """Actions of the agents in ``env.agents``."""
        agents = list(env.possible_agents)
        chasers = [agent for agent in agents if agent.startswith("adversary")]
        prey = len(agents) - len(chasers)
        landmarks = (len(observations[agents[-1]]) - 4 - 2 * (len(agents) - 1) - 2 * (prey - 1)) // 2
        actions = {}
        for agent in env.agents:
            seen = np.asarray(observations[agent], dtype=np.float64)
            place = seen[2:4]
            start = 4 + 2 * landmarks
            others = seen[start : start + 2 * (len(agents) - 1)].reshape(-1, 2)
            if agent in chasers:
                aims = others[len(chasers) - 1 :]
                direction = aims[np.linalg.norm(aims, axis=1).argmin()]
            else:
                threats = others[: len(chasers)]
                near = threats[np.linalg.norm(threats, axis=1).argmin()]
                direction = np.where(np.abs(place) > WALL, -2.0 * place, -near)
            lapse = self._rng.random() < LAPSES
            actions[agent] = int(self._rng.integers(ACTIONS)) if lapse else towards(direction)
        return actions
