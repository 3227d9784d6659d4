"""Soft (logit) equilibria of tabular Markov games, with the others' actions marginalised by enumeration.

A soft equilibrium is a set of policies, each a Boltzmann best response to the others (arXiv 2503.04679)::

    Qbar_i(s, a_i) = E_{a_-i ~ pi_-i}[ R_i(s, a) + gamma E_{s'}[Vbar_i(s')] ]
    Vbar_i(s)      = (1 / lambda) log sum_{a_i} exp(lambda Qbar_i(s, a_i))
    pi_i(a_i | s)  = exp(lambda (Qbar_i(s, a_i) - Vbar_i(s)))

A game may have several; the one that is found is reached from ``Qbar = 0``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rllib_mamql.errors import UserError
from rllib_mamql.solvable.game import Array, Game, marginalise

DAMPINGS = (0.5, 0.1, 0.02)
"""Step sizes of the fixed-point iteration, tried in turn."""


class ConvergenceError(UserError):
    """No soft equilibrium was found."""


@dataclass(frozen=True)
class Equilibrium:
    """A soft equilibrium.

    Attributes:
        policies: For each agent ``pi_i``, ``(S, A_i)``.
        q: For each agent the marginal action values ``Qbar_i``, ``(S, A_i)``.
        values: For each agent the soft values ``Vbar_i``, ``(S,)``.
        residual: Largest violation of the soft Bellman equations over agents, states and actions.
        iterations: How many backups it took.
    """

    policies: tuple[Array, ...]
    q: tuple[Array, ...]
    values: tuple[Array, ...]
    residual: float
    iterations: int


def boltzmann(q: Array, rationality: float) -> Array:
    """Policy ``(S, A)`` of action values ``(S, A)``."""
    weight = np.exp(rationality * (q - q.max(axis=-1, keepdims=True)))
    return np.asarray(weight / weight.sum(axis=-1, keepdims=True))


def soft_values(q: Array, rationality: float) -> Array:
    """Soft values ``(S,)`` of action values ``(S, A)``."""
    top = q.max(axis=-1)
    return np.asarray(top + np.log(np.exp(rationality * (q - top[..., None])).sum(axis=-1)) / rationality)


def backup(game: Game, q: Sequence[Array]) -> list[Array]:
    """Right-hand side of the soft Bellman equations of all agents, ``[(S, A_i), ...]``."""
    policies = [boltzmann(own, game.rationality) for own in q]
    result = []
    for agent, own in enumerate(q):
        # Contracting over s' first leaves a table without that axis to marginalise.
        following = game.transitions @ soft_values(own, game.rationality)
        result.append(marginalise(game.rewards[agent] + game.discount * following, policies, agent))
    return result


def _accelerated(
    backup_flat: Callable[[Array], Array], start: Array, damping: float, memory: int, iterations: int, tolerance: float
) -> tuple[Array, float, int]:
    """Anderson acceleration of ``x <- (1 - d) x + d g(x)`` (Walker, Ni 2011): best point, its residual, backups."""
    x, best, lowest = start, start, np.inf
    points: list[Array] = []
    gaps: list[Array] = []
    for used in range(1, iterations + 1):
        gap = backup_flat(x) - x
        residual = float(np.abs(gap).max())
        if residual < lowest:
            best, lowest = x, residual
        if residual < tolerance:
            return best, lowest, used
        points, gaps = [*points, x][-memory - 1 :], [*gaps, gap][-memory - 1 :]
        step = damping * gap
        if len(gaps) > 1:
            moved, closed = np.diff(np.stack(points), axis=0).T, np.diff(np.stack(gaps), axis=0).T
            mix, *_ = np.linalg.lstsq(closed, gap, rcond=1e-12)
            step = step - (moved + damping * closed) @ mix
        x = x + step
    return best, lowest, iterations


def fixed_point(
    backup_flat: Callable[[Array], Array],
    start: Array,
    *,
    tolerance: float,
    iterations: int,
    dampings: Sequence[float] = DAMPINGS,
    remedy: str = "lower the rationality or the discount",
) -> tuple[Array, float, int]:
    """Fixed point of a backup of flat critics, by accelerated iteration with one damping after the other.

    Args:
        backup_flat: Maps a flat critic to its backup.
        start: Where to begin.
        tolerance: Largest residual accepted.
        iterations: Backups with each damping.
        dampings: Step sizes in (0, 1], tried in turn.
        remedy: What the error advises.

    Returns:
        The point, its residual, and how many backups it took.

    Raises:
        ConvergenceError: If the residual is above ``tolerance`` with every damping.
    """
    best, used = np.inf, 0
    for damping in dampings:
        flat, residual, backups = _accelerated(backup_flat, start, damping, 8, iterations, tolerance)
        used, best = used + backups, min(best, residual)
        if residual < tolerance:
            return flat, residual, used
    raise ConvergenceError(
        f"no soft equilibrium: the residual stays at {best:.3g}, above {tolerance:.3g}, after {used} backups with "
        f"dampings {tuple(dampings)}; {remedy}, or allow more iterations"
    )


def as_equilibrium(q: Sequence[Array], rationality: float, residual: float, iterations: int) -> Equilibrium:
    """The equilibrium of marginal critics ``[(S, A_i), ...]`` that solve the soft Bellman equations."""
    return Equilibrium(
        policies=tuple(boltzmann(own, rationality) for own in q),
        q=tuple(q),
        values=tuple(soft_values(own, rationality) for own in q),
        residual=residual,
        iterations=iterations,
    )


def soft_equilibrium(
    game: Game,
    *,
    tolerance: float = 1e-10,
    iterations: int = 500,
    dampings: Sequence[float] = DAMPINGS,
) -> Equilibrium:
    """Soft equilibrium by accelerated, damped fixed-point iteration of the backup from ``Qbar = 0``.

    With a fixed policy of the others the backup contracts by gamma. In games it need not contract: where it circles,
    the next smaller damping is tried. Which equilibrium of several is found is a matter of the start; that it is one
    is what the residual shows.

    Args:
        game: The game.
        tolerance: Largest residual accepted.
        iterations: Backups with each damping.
        dampings: Step sizes in (0, 1], tried in turn.

    Returns:
        Policies, values and the residual.

    Raises:
        ConvergenceError: If the residual is above ``tolerance`` with every damping.
    """
    edges = np.cumsum([game.states * count for count in game.actions])[:-1]

    def unpack(flat: Array) -> list[Array]:
        return [part.reshape(game.states, -1) for part in np.split(flat, edges)]

    def flat_backup(flat: Array) -> Array:
        return np.concatenate([part.ravel() for part in backup(game, unpack(flat))])

    flat, residual, used = fixed_point(
        flat_backup,
        np.zeros(game.states * sum(game.actions)),
        tolerance=tolerance,
        iterations=iterations,
        dampings=dampings,
        remedy=f"lower the rationality ({game.rationality}) or the discount ({game.discount})",
    )
    return as_equilibrium(unpack(flat), game.rationality, residual, used)


def best_response(
    game: Game, others: Sequence[Array], agent: int, *, tolerance: float = 1e-12, iterations: int = 100_000
) -> Array:
    """Policy ``(S, A_i)`` of a soft best response to the others' policies, by soft value iteration.

    Args:
        game: The game.
        others: Policies of all agents ``[(S, A_j), ...]``; the agent's own is not used but for its shape.
        agent: i.
        tolerance: Largest change of a value at which to stop.
        iterations: At most so many backups.

    Raises:
        ConvergenceError: If the values still change after ``iterations``.
    """
    reward, transition = marginals(game, others, agent)
    values = np.zeros(game.states)
    for _ in range(iterations):
        q = reward + game.discount * transition @ values
        following = soft_values(q, game.rationality)
        change, values = float(np.abs(following - values).max()), following
        if change < tolerance * max(1.0, float(np.abs(values).max())):
            return boltzmann(q, game.rationality)
    raise ConvergenceError(f"values still change by {change:.3g} after {iterations} backups: lower the discount")


def marginals(game: Game, policies: Sequence[Array], agent: int) -> tuple[Array, Array]:
    """Reward ``(S, A_i)`` and transitions ``(S, A_i, S)`` that an agent faces when the others play their policies."""
    return marginalise(game.rewards[agent], policies, agent), marginalise(game.transitions, policies, agent)


def joint_values(game: Game, values: Array, agent: int) -> Array:
    """Joint action values ``Q_i(s, a) = R_i(s, a) + gamma E[Vbar_i(s')]``, ``(S, A_0, ..., A_n-1)``."""
    return np.asarray(game.rewards[agent] + game.discount * (game.transitions @ values))


def occupancy(game: Game, policies: Sequence[Array]) -> Array:
    """Normalised discounted state occupancy ``(S,)``, ``(1 - gamma) sum_t gamma^t P(s_t = s)``."""
    chain = np.einsum("sa,sat->st", policies[0], marginalise(game.transitions, policies, 0))
    identity = np.eye(game.states)
    return np.asarray((1 - game.discount) * np.linalg.solve((identity - game.discount * chain).T, game.start))
