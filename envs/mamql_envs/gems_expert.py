"""A scripted expert for Gems: a pair that goes for what is near, waits at shared gems, and lapses now and then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamql_envs.gems_batch import ACTIONS, AGENTS, OWN, SHARED, XY

# The lapses leave a learner something to improve: the pair earns 13.3 each an episode, and without them 14.8.
TEMPERATURE = 0.5
LAPSES = 0.28
CALL = 2.0
# By the published rules it is 13.2, and 14.8 without lapses.
LAPSES_PUBLISHED = 0.3


def action_probabilities(
    cells: NDArray[np.int64],
    temperature: float = TEMPERATURE,
    lapses: float | None = None,
    call: float = CALL,
    rules: str = "standard",
) -> NDArray[np.float64]:
    """How likely each agent is to choose each action.

    An agent draws one of its own gems or of the shared ones, with probability softmax(-cost / temperature), and
    makes one of the moves, all equally likely, that bring it nearer; on a shared gem it stays and waits. The cost is
    the number of steps to the gem; to a shared gem it is less by `call` while the other agent waits on one.
    In some steps it lapses, and any of the five actions is equally likely.

    By the published rules it never stays. It waits by stepping off a shared gem, which counts in that step, and back
    on; that it stands beside one calls the other as well. Its lapses are moves.

    Args:
        cells: States `(B, 11)` as `GemsBatch.cells` gives them.
        temperature: In steps, above 0.
        lapses: The fraction of steps in which an agent lapses, in [0, 1]; None takes that of the rules' expert.
        call: In steps, at least 0.
        rules: "standard" or "published".

    Returns:
        Probabilities `(B, 2, 5)`. The agents' choices are independent of each other given the state.
    """
    stays = rules != "published"
    if lapses is None:
        lapses = LAPSES if stays else LAPSES_PUBLISHED
    xy = XY[cells]
    chosen = np.empty((len(cells), 2, len(ACTIONS)))
    for i in range(2):
        offset = np.concatenate([xy[:, OWN[i]], xy[:, SHARED]], axis=1) - xy[:, None, i]
        cost = np.abs(offset).sum(axis=-1).astype(float)
        others = np.abs(xy[:, SHARED] - xy[:, None, 1 - i]).sum(axis=-1).min(axis=1)
        cost[:, 3:] -= call * (others <= (0 if stays else 1))[:, None]
        weights = np.exp((cost.min(axis=1, keepdims=True) - cost) / temperature)
        weights /= weights.sum(axis=1, keepdims=True)
        chosen[:, i] = np.einsum("bt,bta->ba", weights, _moves_towards(offset, stays))
    any_action = np.full(len(ACTIONS), 1 / len(ACTIONS)) if stays else _ANY_MOVE
    return (1 - lapses) * chosen + lapses * any_action


_ANY_MOVE = np.array([0.25, 0.25, 0.25, 0.25, 0.0])


def _moves_towards(offset: NDArray[np.int64], stays: bool) -> NDArray[np.float64]:
    dx, dy = offset[..., 0], offset[..., 1]
    nearer = np.stack([dy < 0, dy > 0, dx < 0, dx > 0, (dx == 0) & (dy == 0)], axis=-1).astype(float)
    if not stays:
        nearer = np.where(nearer[..., -1:] > 0, _ANY_MOVE, nearer)
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
        probabilities = action_probabilities(env.unwrapped.cells[None], rules=env.unwrapped.rules)[0]
        actions = draw(probabilities, self._random)
        return {agent: int(action) for agent, action in zip(AGENTS, actions, strict=True)}


def draw(probabilities: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.int64]:
    """Draws actions `(...)` from probabilities `(..., A)`, each independently."""
    cumulative = probabilities.cumsum(axis=-1)
    # Scaling by the last sum, which rounding may leave below 1, keeps the drawn index in range.
    threshold = random.random(probabilities.shape[:-1]) * cumulative[..., -1]
    return (cumulative <= threshold[..., None]).sum(axis=-1)
