"""Congestion games of many agents: random by seed, three actions and three states, tastes by kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from rllib_mamql.solvable.anonymous import AnonymousGame, compositions
from rllib_mamql.solvable.game import Array

ACTIONS = 3
TASTE = 0.3
"""Standard deviation of what a kind likes about an action."""
SLIP = 0.1
"""Chance that any state follows."""


def _split(agents: int) -> tuple[int, ...]:
    """Three kinds, as equal as can be; one kind where there are fewer than three agents."""
    if agents < 3:
        return (agents,)
    return tuple(agents // 3 + (kind < agents % 3) for kind in range(3))


def _after_the_crowd(agents: int) -> Array:
    """Transitions ``(S, M, S)``: the state after the action most taken follows, or, by ``SLIP``, any."""
    follows = (compositions(agents, ACTIONS).argmax(-1) + 1) % ACTIONS
    moves = SLIP / ACTIONS + (1.0 - SLIP) * np.eye(ACTIONS)[follows]
    return np.repeat(moves[None], ACTIONS, axis=0)


def _worth(kinds: int, seed: int) -> Array:
    """What an action is worth to a kind, ``(T, S, A, 1)``: 1, 1 more in the state of its name, and tastes."""
    tastes = np.random.default_rng(seed).normal(scale=TASTE, size=(kinds, ACTIONS, ACTIONS))
    return np.asarray((1.0 + np.eye(ACTIONS) + tastes)[..., None])


def sharing(agents: int, seed: int, rationality: float = 3.0) -> AnonymousGame:
    """Smooth: an action's worth falls with the share of the others that take it, to half where all thirds are equal."""
    kinds = _split(agents)
    load = compositions(agents - 1, ACTIONS).T / (agents - 1)  # (A, M')
    rewards = _worth(len(kinds), seed) / (1.0 + ACTIONS * load)
    return AnonymousGame(kinds, _after_the_crowd(agents), rewards, rationality=rationality)


def capacity(agents: int, seed: int, rationality: float = 3.0) -> AnonymousGame:
    """Sharp: an action pays its worth while no more than a third of all take it, rounded up, and nothing beyond."""
    kinds = _split(agents)
    free = compositions(agents - 1, ACTIONS).T + 1 <= -(-agents // ACTIONS)
    return AnonymousGame(kinds, _after_the_crowd(agents), _worth(len(kinds), seed) * free, rationality=rationality)


def channels(agents: int, seed: int, rationality: float = 3.0) -> AnonymousGame:
    """Single others matter: action 0 waits for 1; a channel pays 2 to who is alone on it and -1 to all who collide.

    Tastes are added. Few agents dare, so that the number on a channel stays near 1 however many agents there are.
    """
    kinds = _split(agents)
    tastes = _worth(len(kinds), seed) - (1.0 + np.eye(ACTIONS))[..., None]
    pays = np.where(compositions(agents - 1, ACTIONS).T == 0, 2.0, -1.0)
    pays[0] = 1.0
    return AnonymousGame(kinds, _after_the_crowd(agents), tastes + pays, rationality=rationality)


CROWDS: Mapping[str, Callable[..., AnonymousGame]] = {"sharing": sharing, "capacity": capacity, "channels": channels}
"""Congestion games by name; each takes ``agents``, ``seed`` and ``rationality``."""
