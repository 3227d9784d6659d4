"""Expert steps of a solved game: all of them with their probabilities, or a sample of any size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rllib_mamql.solvable.equilibrium import occupancy
from rllib_mamql.solvable.game import Array, Game

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Steps:
    """Joint steps, in columns.

    Attributes:
        states: ``(N,)``.
        actions: ``(n, N)``.
        next_states: ``(N,)``.
        weights: ``(N,)``, summing to 1.
    """

    states: Integers
    actions: Integers
    next_states: Integers
    weights: Array


def all_rows(game: Game, policies: Sequence[Array]) -> Steps:
    """Every (s, a, s') with its probability under the policies' occupancy: a dataset without sampling error."""
    axes = np.meshgrid(*(np.arange(count) for count in game.transitions.shape), indexing="ij")
    states, *actions, next_states = (axis.ravel() for axis in axes)
    weights = occupancy(game, policies)[states] * game.transitions.reshape(-1)
    for policy, action in zip(policies, actions, strict=True):
        weights = weights * policy[states, action]
    return Steps(states, np.stack(actions), next_states, weights)


def _draw(probabilities: Array, rng: np.random.Generator) -> Integers:
    """One index a row of ``(N, K)``."""
    edges = probabilities.cumsum(axis=-1)
    return np.asarray((rng.random((len(edges), 1)) * edges[:, -1:] >= edges).sum(-1))


def sample_steps(game: Game, policies: Sequence[Array], steps: int, seed: int, *, chains: int = 250) -> Steps:
    """Joint steps of play that begins at the start distribution again and again.

    It begins anew with probability ``1 - gamma`` after each step (a truncation: s' is the state that would have
    followed), so that states are visited as often as the discounted occupancy says.

    Args:
        game: The game.
        policies: Of all agents.
        steps: N.
        seed: Of the draw.
        chains: Games played side by side, the last ones cut short.

    Returns:
        Steps of equal weight.
    """
    rng = np.random.default_rng(seed)
    chains = min(chains, steps)
    # As if each chain had run for long: every step is then distributed as the occupancy says, the first ones too.
    state = _draw(np.repeat(occupancy(game, policies)[None], chains, axis=0), rng)
    columns: list[tuple[Integers, Integers, Integers]] = []
    for _ in range(-(-steps // chains)):
        actions = np.stack([_draw(policy[state], rng) for policy in policies])
        rows = (state, *actions)
        following = _draw(game.transitions[rows], rng)
        columns.append((state, actions, following))
        anew = _draw(np.repeat(game.start[None], chains, axis=0), rng)
        state = np.where(rng.random(chains) < game.discount, following, anew)
    states, actions, next_states = (np.concatenate(parts, axis=-1)[..., :steps] for parts in zip(*columns, strict=True))
    return Steps(states, actions, next_states, np.full(steps, 1.0 / steps))


def estimate(game: Game, steps: Steps, agent: int, *, smoothing: float = 0.5) -> tuple[list[Array], Array, Array]:
    """Policies and the agent's transitions, counted from a sample.

    Args:
        game: For its sizes only.
        steps: The sample.
        agent: i.
        smoothing: Added to every count of an action, > 0: log-probabilities of actions never seen stay finite.

    Returns:
        Policies of all agents ``[(S, A_j), ...]``; transitions ``(S, A_i, S)`` that agent i faced (uniform where a
        state-action pair never occurred); counts ``(S, A_i)``.
    """
    size = len(steps.states)
    policies = []
    for other, count in enumerate(game.actions):
        seen = np.zeros((game.states, count))
        np.add.at(seen, (steps.states, steps.actions[other]), steps.weights * size)
        policies.append((seen + smoothing) / (seen + smoothing).sum(-1, keepdims=True))
    moves = np.zeros((game.states, game.actions[agent], game.states))
    np.add.at(moves, (steps.states, steps.actions[agent], steps.next_states), steps.weights * size)
    counts = moves.sum(-1)
    uniform = np.full_like(moves, 1.0 / game.states)
    transitions = np.divide(moves, counts[..., None], out=uniform, where=counts[..., None] > 0)
    return policies, transitions, counts
