"""Games of many agents in which only counts matter: how many of the others take each action, not who does.

Enumeration grows as ``A ** (n - 1)``, the vectors of counts only as ``n ** (A - 1)``: with 64 agents of three actions
there are 2,080 of them, so that expectations over the others are still exact. Agents come in kinds, whose tastes
differ; agents of one kind play one policy. :mod:`rllib_mamql.solvable.crowds` holds examples.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rllib_mamql.errors import ConfigError
from rllib_mamql.solvable.equilibrium import Equilibrium, as_equilibrium, boltzmann, fixed_point, soft_values
from rllib_mamql.solvable.game import Array, Game

Integers = NDArray[np.int64]


@functools.cache
def compositions(total: int, parts: int) -> Integers:
    """All vectors of ``parts`` counts >= 0 that sum to ``total``, ``(M, parts)``, in lexicographic order."""
    bars = np.array(list(itertools.combinations(range(total + parts - 1), parts - 1)), dtype=np.int64)
    edges = np.concatenate(
        [np.full((len(bars), 1), -1), bars.reshape(len(bars), parts - 1), np.full((len(bars), 1), total + parts - 1)],
        axis=1,
    )
    counts = np.diff(edges, axis=1) - 1
    counts.flags.writeable = False
    return counts


def positions(counts: Integers) -> Integers:
    """Where vectors of counts ``(..., parts)`` stand among :func:`compositions` of their sum, ``(...)``.

    Before a vector come those that agree with it up to some entry and are smaller there.
    """
    parts, left = counts.shape[-1], counts.sum(-1)
    place = np.zeros(counts.shape[:-1], dtype=np.int64)
    most = int(left.max()) + parts
    for index in range(parts - 1):
        after = parts - 1 - index
        # sum_{c < count} C(left - c + after - 1, after - 1), by the hockey-stick identity
        choose = np.array([math.comb(top, after) for top in range(most)], dtype=np.int64)
        place += choose[left + after] - choose[left - counts[..., index] + after]
        left = left - counts[..., index]
    return place


def count_probabilities(policies: Array) -> Array:
    """How the counts of independent agents are distributed, exactly, agent by agent.

    Args:
        policies: ``(m, S, A)``, of m agents.

    Returns:
        ``(S, M)``, M the number of compositions of m into A parts.
    """
    agents, states, actions = policies.shape
    grid = np.zeros((states, *(agents + 1,) * (actions - 1)))
    grid[(slice(None),) + (0,) * (actions - 1)] = 1.0
    for policy in policies:
        share = policy.reshape(states, *(1,) * (actions - 1), actions)
        added = share[..., -1] * grid
        for action in range(actions - 1):
            source, target = [slice(None)] * actions, [slice(None)] * actions
            source[1 + action], target[1 + action] = slice(None, -1), slice(1, None)
            added[tuple(target)] += (share[..., action] * grid)[tuple(source)]
        grid = added
    counts = compositions(agents, actions)
    places = (slice(None), *counts[:, :-1].T)
    return np.asarray(grid[places])


@functools.cache
def with_own(others: int, actions: int) -> Integers:
    """Where everybody's counts stand, by own action and the position of the others' counts, ``(A, M')``."""
    own = np.eye(actions, dtype=np.int64)[:, None]
    return positions(compositions(others, actions)[None] + own)


@dataclass(frozen=True)
class AnonymousGame:
    """A Markov game of n agents in T kinds, all with A actions, over S states; it has no terminal states.

    Attributes:
        kinds: How many agents of each kind there are, each >= 1; agents of the first kind come first.
        transitions: ``(S, M, S)``, probabilities of the next state given how many agents take each action; M is the
            number of compositions of n into A parts, in the order of :func:`compositions`.
        rewards: ``(T, S, A, M')`` of an agent of a kind given how many of the n - 1 others take each action.
        discount: gamma in [0, 1).
        rationality: lambda > 0, of all agents.

    Raises:
        ConfigError: If shapes do not fit or a number is out of range.
    """

    kinds: tuple[int, ...]
    transitions: Array
    rewards: Array
    discount: float = 0.9
    rationality: float = 3.0

    def __post_init__(self) -> None:
        if not self.kinds or min(self.kinds) < 1 or self.agents < 2:
            raise ConfigError(f"kinds are {self.kinds}: give one number of agents >= 1 a kind, two agents in all")
        states, actions = self.transitions.shape[0], self.rewards.shape[2]
        everyone, others = (math.comb(n + actions - 1, actions - 1) for n in (self.agents, self.agents - 1))
        wanted = ((states, everyone, states), (len(self.kinds), states, actions, others))
        if (self.transitions.shape, self.rewards.shape) != wanted:
            raise ConfigError(
                f"transitions have shape {self.transitions.shape}, rewards {self.rewards.shape}: {self.agents} agents "
                f"of {actions} actions in {len(self.kinds)} kinds need {wanted[0]} and {wanted[1]}"
            )
        error = float(np.abs(self.transitions.sum(-1) - 1.0).max())
        if error > 1e-9 or float(self.transitions.min()) < 0.0:
            raise ConfigError(f"transitions are off 1 by {error:.3g}: give probabilities")
        if not 0.0 <= self.discount < 1.0:
            raise ConfigError(f"discount is {self.discount}: it must be in [0, 1)")
        if not 0.0 < self.rationality < np.inf:
            raise ConfigError(f"rationality is {self.rationality}: it must be a number above 0")

    @property
    def agents(self) -> int:
        """How many agents there are, n."""
        return sum(self.kinds)

    @property
    def states(self) -> int:
        """S."""
        return self.transitions.shape[0]

    @property
    def actions(self) -> int:
        """A."""
        return self.rewards.shape[2]

    def followed_by(self, values: Array) -> Array:
        """``E[V(s')]`` by state, own action and the others' counts, ``(S, A, M')``."""
        return np.asarray((self.transitions @ values)[:, with_own(self.agents - 1, self.actions)])

    def others_of(self, kind: int, policies: Sequence[Array]) -> Array:
        """Probabilities ``(S, M')`` of the counts that an agent of a kind faces; policies ``(S, A)`` by kind."""
        numbers = [number - (other == kind) for other, number in enumerate(self.kinds)]
        return count_probabilities(np.repeat(np.stack(list(policies)), numbers, axis=0))


def joint_critic(game: AnonymousGame, kind: int, values: Array) -> Array:
    """``Q(s, a, c) = R(s, a, c) + gamma E[V(s')]`` of a kind, ``(S, A, M')``, c the others' counts."""
    return np.asarray(game.rewards[kind] + game.discount * game.followed_by(values))


def marginal(joint: Array, others: Array) -> Array:
    """``E_c[Q(s, a, c)]`` ``(S, A)`` of a joint critic ``(S, A, M')`` and probabilities ``(S, M')``."""
    return np.asarray(np.einsum("sam,sm->sa", joint, others))


def faced(game: AnonymousGame, kind: int, policies: Sequence[Array]) -> tuple[Array, Array]:
    """Reward ``(S, A)`` and transitions ``(S, A, S)`` that an agent of a kind faces; policies ``(S, A)`` by kind."""
    others = game.others_of(kind, policies)
    moves = game.transitions[:, with_own(game.agents - 1, game.actions)]  # (S, A, M', S)
    return marginal(game.rewards[kind], others), np.einsum("samt,sm->sat", moves, others)


def visited(game: AnonymousGame, policies: Sequence[Array]) -> Array:
    """Normalised discounted state occupancy ``(S,)`` from a uniform start; policies ``(S, A)`` by kind."""
    chain = np.einsum("sa,sat->st", policies[0], faced(game, 0, policies)[1])
    start = np.full(game.states, (1.0 - game.discount) / game.states)
    return np.asarray(np.linalg.solve((np.eye(game.states) - game.discount * chain).T, start))


def anonymous_equilibrium(game: AnonymousGame, *, tolerance: float = 1e-10, iterations: int = 500) -> Equilibrium:
    """Soft equilibrium in which agents of a kind play alike; policies, values and critics by kind.

    Args:
        game: The game.
        tolerance: Largest residual accepted.
        iterations: Backups with each damping.

    Raises:
        ConvergenceError: If the residual stays above ``tolerance``.
    """
    shape = (len(game.kinds), game.states, game.actions)

    def backup(flat: Array) -> Array:
        q = flat.reshape(shape)
        policies = [boltzmann(own, game.rationality) for own in q]
        following = []
        for kind, own in enumerate(q):
            joint = joint_critic(game, kind, soft_values(own, game.rationality))
            following.append(marginal(joint, game.others_of(kind, policies)))
        return np.stack(following).ravel()

    flat, residual, used = fixed_point(backup, np.zeros(math.prod(shape)), tolerance=tolerance, iterations=iterations)
    return as_equilibrium(list(flat.reshape(shape)), game.rationality, residual, used)


def at_mean_counts(joint: Array, means: Array) -> Array:
    """The mean-field estimate ``Q(s, a, E[c])``: the joint critic at the counts that are expected.

    These lie between vectors of whole counts. The critic is interpolated over the triangle (simplex) around them, in
    cumulative counts, whose order the triangulation of Freudenthal respects.

    Args:
        joint: ``(S, A, M')``.
        means: Expected counts ``(S, A)``, >= 0, summing to the number of the others.

    Returns:
        ``(S, A)``.
    """
    total = round(float(means[0].sum()))
    ends = means.cumsum(-1)[:, :-1].clip(0.0, total)
    result = np.zeros(joint.shape[:2])
    for state, end in enumerate(ends):
        corner = np.floor(end + 1e-9).astype(np.int64)
        rest = (end - corner).clip(0.0)
        # Among equal remainders the last goes first: cumulative counts may never fall from one action to the next.
        order = sorted(range(len(end)), key=lambda place: (-rest[place], -place))
        weights = -np.diff(np.concatenate([[1.0], rest[order], [0.0]]))
        for place, weight in zip([None, *order], weights, strict=True):
            if place is not None:
                corner[place] += 1
            if weight > 0.0:
                counts = np.diff(np.concatenate([[0], corner, [total]]))
                result[state] += weight * joint[state, :, int(positions(counts))]
    return result


def as_game(game: AnonymousGame) -> Game:
    """The same game with a table of joint actions, for few agents: ``A ** n`` entries a state."""
    joint = np.stack(np.meshgrid(*(np.arange(game.actions),) * game.agents, indexing="ij"), axis=-1)
    one_hot = np.eye(game.actions, dtype=np.int64)[joint]
    everyone = one_hot.sum(-2)
    transitions = game.transitions[:, positions(everyone)]
    kind_of = np.repeat(np.arange(len(game.kinds)), game.kinds)
    rewards = [
        game.rewards[kind_of[agent]][:, joint[..., agent], positions(everyone - one_hot[..., agent, :])]
        for agent in range(game.agents)
    ]
    return Game(transitions, np.stack(rewards), game.discount, game.rationality)
