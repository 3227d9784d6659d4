"""Which rewards explain what was seen of an agent, and how many dimensions of them are left.

One soft equilibrium leaves the values free: for every ``V`` the reward (arXiv 2106.03498, theorem 1)::

    rbar(s, a) = (1 / lambda) log pi(a | s) + V(s) - gamma E[V(s')]

explains the policy. Another discount or transition law under the same reward gives a second set of equations with
values of its own. Unknowns are the reward's numbers and one ``V`` an environment, the equations are linear, and the
reward is known up to a constant exactly if the null space has dimension 1. For two environments and a reward of the
own action this is the rank condition of Cao, Cohen, Szpruch (arXiv 2106.03498, theorem 2)::

    rank [ I - gamma_1 P_1(a) , -(I - gamma_2 P_2(a)) ]_a = 2 S - 1

What games add: the reward an agent acts on is marginalised over the others' policies, and those change with the
environment. So the same ``R_i(s, a_i, a_-i)`` gives another ``rbar`` in each equilibrium, and what may be assumed is a
choice, the ``family``:

- ``own``: R_i(s, a_i). Nothing depends on the others' actions, or they play the same policies in all environments.
- ``state``: R_i(s).
- ``joint``: R_i(s, a_i, a_-i). ``E`` environments give ``E S A_i`` equations for ``S prod(A) + E S`` unknowns: at least
  ``E >= prod(A) / (A_i - 1)`` are needed, with policies of the others that differ enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rllib_mamql.errors import ConfigError, nearest
from rllib_mamql.solvable.equilibrium import marginals
from rllib_mamql.solvable.game import Array, Game
from rllib_mamql.solvable.sampling import Steps, estimate

FAMILIES = ("own", "state", "joint")
"""What the reward may depend on besides the state: the own action; nothing; everybody's actions."""


@dataclass(frozen=True)
class Evidence:
    """An agent's behaviour in one environment.

    Attributes:
        policy: ``(S, A_i)``, > 0.
        others: Probabilities of the others' joint actions ``(S, M)``, ``M = prod_{j != i} A_j``, agents in order.
        transition: ``(S, A_i, S)``, marginalised over the others' actions.
        discount: gamma in [0, 1).
        rationality: lambda > 0.
    """

    policy: Array
    others: Array
    transition: Array
    discount: float
    rationality: float


@dataclass(frozen=True)
class Identified:
    """The rewards that explain the evidence.

    Attributes:
        reward: Marginal reward in the first environment ``(S, A_i)``: of those that fit, the smallest.
        table: The reward of the family: ``(S, A_i)`` own, ``(S,)`` state, ``(S, A_i, M)`` joint; the smallest.
        undetermined: Dimension of the marginal rewards ``(S, A_i)`` in the first environment that fit equally well; at
            least 1, for a constant may always be added.
        directions: Orthonormal basis of these ``(undetermined, S, A_i)``.
        residual: Root mean squared misfit of ``(1 / lambda) log pi`` in reward units. Clearly above 0 on exact
            evidence: no reward of the family explains it.
        conditioning: Smallest singular value that counts over the largest: errors of the evidence may grow by its
            inverse.
    """

    reward: Array
    table: Array
    undetermined: int
    directions: Array
    residual: float
    conditioning: float

    @property
    def up_to_constant(self) -> bool:
        """Whether nothing but a constant is left open."""
        return self.undetermined == 1

    def distance(self, reward: Array) -> float:
        """Root mean squared distance of a marginal reward ``(S, A_i)`` from the nearest one that fits."""
        gap = (reward - self.reward).ravel()
        basis = self.directions.reshape(len(self.directions), -1)
        return float(np.sqrt(np.mean((gap - basis.T @ (basis @ gap)) ** 2)))


def evidence(game: Game, policies: Sequence[Array], agent: int) -> Evidence:
    """What an agent's play in a game shows with all policies and the dynamics known exactly."""
    _, transition = marginals(game, policies, agent)
    others = _joint_policy(policies, agent)
    return Evidence(policies[agent], others, transition, game.discount, game.rationality)


def estimated_evidence(game: Game, steps: Steps, agent: int) -> Evidence:
    """The same counted from steps; of the game only sizes, discount and rationality are used."""
    policies, transition, _ = estimate(game, steps, agent)
    others = _joint_policy(policies, agent)
    return Evidence(policies[agent], others, transition, game.discount, game.rationality)


def identify(seen: Sequence[Evidence], family: str = "own", *, tolerance: float = 1e-8) -> Identified:
    """All rewards of a family that explain an agent's behaviour in every environment, by linear least squares.

    Args:
        seen: One entry an environment, of the same agent with the same reward.
        family: One of :data:`FAMILIES`.
        tolerance: Singular values below this share of the largest count as 0. Estimated evidence hides a rank that
            fails behind its noise: look at ``conditioning``, or raise this to the size of the noise.

    Returns:
        The smallest reward that fits, and the dimension and directions of what is left undetermined.

    Raises:
        ConfigError: If the family is unknown, there is no evidence, or its shapes differ.
    """
    if family not in FAMILIES:
        raise ConfigError(f"family is {family!r}: {nearest(family, FAMILIES)}")
    if not seen or len({(one.policy.shape, one.others.shape) for one in seen}) > 1:
        shapes = [one.policy.shape for one in seen]
        raise ConfigError(f"evidence has policies of shapes {shapes}: give one game's, at least one")
    designs = [_design(one, family) for one in seen]
    size, states, rows = designs[0].shape[1], seen[0].policy.shape[0], seen[0].policy.size
    system = np.zeros((len(seen) * rows, size + len(seen) * states))
    target = np.concatenate([np.log(one.policy).ravel() / one.rationality for one in seen])
    for index, (one, design) in enumerate(zip(seen, designs, strict=True)):
        block = slice(index * rows, (index + 1) * rows)
        system[block, :size] = design
        system[block, size + index * states : size + (index + 1) * states] = -_advantage_map(one)
    left, singular, right = np.linalg.svd(system, full_matrices=True)
    rank = int((singular > tolerance * singular[0]).sum())
    solution = right[:rank].T @ ((left[:, :rank].T @ target) / singular[:rank])
    directions = _span(designs[0] @ right[rank:, :size].T)
    reward = designs[0] @ solution[:size]
    reward = reward - directions @ (directions.T @ reward)
    return Identified(
        reward=reward.reshape(seen[0].policy.shape),
        table=solution[:size].reshape(_table_shape(seen[0], family)),
        undetermined=directions.shape[1],
        directions=directions.T.reshape(-1, *seen[0].policy.shape),
        residual=float(np.sqrt(np.mean((system @ solution - target) ** 2))),
        conditioning=float(singular[rank - 1] / singular[0]),
    )


def _joint_policy(policies: Sequence[Array], agent: int) -> Array:
    """Probabilities ``(S, M)`` of the other agents' joint actions."""
    joint = np.ones((len(policies[0]), 1))
    for other, policy in enumerate(policies):
        if other != agent:
            joint = (joint[:, :, None] * policy[:, None, :]).reshape(len(policy), -1)
    return joint


def _advantage_map(one: Evidence) -> Array:
    """``V -> V(s) - gamma E[V(s')]``, ``(S * A_i, S)``."""
    states, actions = one.policy.shape
    return np.asarray((np.eye(states)[:, None, :] - one.discount * one.transition).reshape(states * actions, states))


def _table_shape(one: Evidence, family: str) -> tuple[int, ...]:
    states, actions = one.policy.shape
    return {"own": (states, actions), "state": (states,), "joint": (states, actions, one.others.shape[1])}[family]


def _design(one: Evidence, family: str) -> Array:
    """Linear map from the family's numbers to the marginal reward ``(S * A_i)``."""
    states, actions = one.policy.shape
    if family == "own":
        return np.eye(states * actions)
    if family == "state":
        return np.repeat(np.eye(states), actions, axis=0)
    design = np.zeros((states, actions, states, actions, one.others.shape[1]))
    for state in range(states):
        for action in range(actions):
            design[state, action, state, action] = one.others[state]
    return design.reshape(states * actions, -1)


def _span(columns: Array) -> Array:
    """Orthonormal basis of the span of columns of a map of norm 1 or less."""
    left, singular, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(left[:, singular > 1e-8])
