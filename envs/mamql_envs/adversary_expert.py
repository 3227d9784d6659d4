"""A scripted expert for mpe2's ``simple_adversary_v3``: good agents share out the landmarks, one covering the goal.

The adversary does not know which landmark is the goal: it goes to the one that some good agent is nearest to.
Observations of a good agent: goal relative (2), landmarks relative (2 each), the others relative (2 each); of the
adversary without the goal. Actions: stay, left, right, down, up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mamql_envs.tag_expert import ACTIONS, LAPSES, towards

CLOSE = 0.05
"""Who is as near as this stays."""


class ScriptedExpert:
    """Good agents go to different landmarks, the first to the goal; the adversary to the landmark that is covered."""

    def reset(self, env: Any, seed: int) -> None:
        """Draws anew from the episode's seed."""
        self._rng = np.random.default_rng(seed)

    def act(self, env: Any, observations: Mapping[str, np.ndarray]) -> dict[str, int]:
        """Actions of the agents in ``env.agents``."""
        good = [agent for agent in env.possible_agents if not agent.startswith("adversary")]
        landmarks = len(good)
        actions = {}
        for agent in env.agents:
            seen = np.asarray(observations[agent], dtype=np.float64)
            if agent in good:
                goal, places = seen[:2], seen[2 : 2 + 2 * landmarks].reshape(-1, 2)
                # Others in the order of their distance to the goal, so that every landmark has its own agent.
                order = np.linalg.norm(places - goal, axis=1).argsort()
                direction = places[order[good.index(agent) % landmarks]]
            else:
                places = seen[: 2 * landmarks].reshape(-1, 2)
                others = seen[2 * landmarks : 4 * landmarks].reshape(-1, 2)
                gaps = np.linalg.norm(places[:, None] - others[None], axis=-1)
                direction = places[gaps.min(1).argmin()]
            lapse = self._rng.random() < LAPSES
            stay = float(np.abs(direction).max()) < CLOSE
            actions[agent] = int(self._rng.integers(ACTIONS)) if lapse else 0 if stay else towards(direction)
        return actions
