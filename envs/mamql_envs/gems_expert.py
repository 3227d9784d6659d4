"""A scripted expert for Gems: a pair that weighs its own gems against the shared ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamql_envs.gems_batch import ACTIONS, AGENTS, OWN, SHARED, XY

# At 2 steps the pair is noisy enough to leave a learner something to improve: 13.3 each an episode, where the same
# policy raised to the fourth power and normalised earns 15.3. The bonus then balances own and shared gems.
TEMPERATURE = 2.0
SHARED_BONUS = 1.5


def action_probabilities(
    cells: NDArray[np.int64], temperature: float = TEMPERATURE, shared_bonus: float = SHARED_BONUS
) -> NDArray[np.float64]:
    """How likely each agent is to choose each action.

    The pair has 18 plans: each agent goes for one of its own gems (9 plans, whose cost is the mean number of
    steps of the two), or each goes for a shared gem, the same or another (9 plans, whose cost is the greater number
    of steps, less a bonus). A plan's probability is the softmax of -cost / temperature. Each agent draws a plan
    by itself and makes one of the moves, all equally likely, that bring it nearer to its target; it stays on it.

    Args:
        cells: States `(B, 11)` as `GemsBatch.cells` gives them.
        temperature: In steps, above 0.
        shared_bonus: In steps: how much nearer shared gems seem than they are.

    Returns:
        Probabilities `(B, 2, 5)`. The agents' choices are independent of each other given the state.
    """
    xy = XY[cells]
    batch = len(cells)
    away = [xy[:, things] - xy[:, None, i] for i in range(2) for things in (OWN[i], SHARED)]
    own_0, shared_0, own_1, shared_1 = (np.abs(offset).sum(axis=-1) for offset in away)
    cost = np.stack(
        [
            (own_0[:, :, None] + own_1[:, None, :]) / 2,
            np.maximum(shared_0[:, :, None], shared_1[:, None, :]) - shared_bonus,
        ],
        axis=1,
    )
    weights = np.exp((cost.min(axis=(1, 2, 3), keepdims=True) - cost) / temperature)
    weights /= weights.sum(axis=(1, 2, 3), keepdims=True)
    chosen = np.empty((batch, 2, len(ACTIONS)))
    for i in range(2):
        targets = weights.sum(axis=3 - i).reshape(batch, 6)
        moves = _moves_towards(np.concatenate(away[2 * i : 2 * i + 2], axis=1))
        chosen[:, i] = np.einsum("bt,bta->ba", targets, moves)
    return chosen


def _moves_towards(offset: NDArray[np.int64]) -> NDArray[np.float64]:
    dx, dy = offset[..., 0], offset[..., 1]
    nearer = np.stack([dy < 0, dy > 0, dx < 0, dx > 0, (dx == 0) & (dy == 0)], axis=-1)
    return nearer / nearer.sum(axis=-1, keepdims=True)


class ScriptedExpert:
    """Plays both agents by `action_probabilities`: without memory, and without a word between the two."""

    def __init__(self) -> None:
        self._random: np.random.Generator | None = None

    def reset(self, env: Any, seed: int) -> None:
        """Prepares for an episode.

        Args:
            env: A `gems_v0` environment, wrapped or not.
            seed: A non-negative integer.
        """
        self._random = np.random.default_rng(seed)

    def act(self, env: Any, observations: Mapping[str, Any]) -> dict[str, int]:
        """Chooses an action for each agent.

        Args:
            env: The environment that `reset` was given.
            observations: Not used: the pair sees the whole state.
        """
        if self._random is None:
            raise RuntimeError("the expert is not prepared: call reset(env, seed) before act()")
        probabilities = action_probabilities(env.unwrapped.cells[None])[0]
        actions = draw(probabilities, self._random)
        return {agent: int(action) for agent, action in zip(AGENTS, actions, strict=True)}


def draw(probabilities: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.int64]:
    """Draws actions `(...)` from probabilities `(..., A)`, each independently."""
    cumulative = probabilities.cumsum(axis=-1)
    # Scaling by the last sum, which rounding may leave below 1, keeps the drawn index in range.
    threshold = random.random(probabilities.shape[:-1]) * cumulative[..., -1]
    return (cumulative <= threshold[..., None]).sum(axis=-1)
