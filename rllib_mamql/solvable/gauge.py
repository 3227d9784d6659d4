"""Which of the many rewards that explain a policy is meant: the gauge.

Every reward ``rbar + gamma E[Phi(s')] - Phi(s)`` explains an agent's policy as well as ``rbar`` does (Ng, Harada,
Russell 1999; no others do: Cao, Cohen, Szpruch, *Identifiability in Inverse Reinforcement Learning*, arXiv
2106.03498, theorem 1). A gauge chooses the potential ``Phi`` by what is thought of the true reward:

- :func:`sparsest`: it is zero at most state-action pairs. Least sum of absolute values, a linear program.
- :func:`state_only`: it does not depend on the action. Least squares; ``undetermined`` is 1 (a constant) where the
  dynamics tell potentials apart by the agent's actions (arXiv 2106.03498, corollary on action-independent rewards).

All arrays are of one agent; ``transition`` is what it faces, the others' actions marginalised.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog

from rllib_mamql.errors import UserError
from rllib_mamql.solvable.equilibrium import soft_values
from rllib_mamql.solvable.game import Array

RANK_TOLERANCE = 1e-8
"""Singular values below this share of the shaping basis's norm count as 0."""


@dataclass(frozen=True)
class Gauged:
    """A reward in a gauge.

    Attributes:
        reward: ``(S, A)``.
        potential: ``(S,)``, what was added to the reward that went in.
        undetermined: Dimension of the rewards that satisfy the gauge equally well: 0 if there is no other, 1 if a
            constant may be added, more where the gauge does not decide. The sparsest reward's is 0 or None (more than
            one is sparsest).
    """

    reward: Array
    potential: Array
    undetermined: int | None


def shaping_basis(transition: Array, discount: float) -> Array:
    """Linear map from potentials ``(S,)`` to shaping terms ``gamma E[Phi(s')] - Phi(s)``: ``(S * A, S)``."""
    states, actions = transition.shape[:2]
    return np.asarray((discount * transition - np.eye(states)[:, None, :]).reshape(states * actions, states))


def shape(reward: Array, potential: Array, transition: Array, discount: float) -> Array:
    """``R + gamma E[Phi(s')] - Phi(s)``, ``(S, A)``."""
    return np.asarray(reward + (shaping_basis(transition, discount) @ potential).reshape(reward.shape))


def implied_reward(q: Array, transition: Array, discount: float, rationality: float) -> Array:
    """``Qbar(s, a) - gamma E[Vbar(s')]``, ``(S, A)``: the reward that a critic implies, in the critic's own gauge."""
    return np.asarray(q - discount * transition @ soft_values(q, rationality))


def remove_shaping(reward: Array, transition: Array, discount: float, weight: Array) -> Array:
    """What is left of a reward ``(S, A)`` after the best potential is taken out (weighted least squares).

    Two rewards agree up to shaping exactly if these remainders agree. Unlike the canonical form of EPIC this knows
    the dynamics, so that it is blind to the expectation of a potential over the next state.

    Args:
        reward: ``(S, A)``.
        transition: ``(S, A, S)``.
        discount: gamma in [0, 1).
        weight: ``(S, A)``, > 0.

    Returns:
        ``(S, A)``.
    """
    basis = shaping_basis(transition, discount)
    root = np.sqrt(weight).reshape(-1)
    potential, *_ = np.linalg.lstsq(basis * root[:, None], reward.reshape(-1) * root, rcond=None)
    return np.asarray((reward.reshape(-1) - basis @ potential).reshape(reward.shape))


def state_only(reward: Array, transition: Array, discount: float, weight: Array | None = None) -> Gauged:
    """The equivalent reward that depends least on the action: least ``sum w (r(s, a) - mean_a r(s, .))^2``.

    Args:
        reward: ``(S, A)``, any that explains the policy.
        transition: ``(S, A, S)``.
        discount: gamma in [0, 1).
        weight: ``(S, A)``, >= 0; None weighs all pairs alike. The mean over actions is weighted in the same way.

    Returns:
        The reward, of least potential where several do.
    """
    states, actions = reward.shape
    weight = np.ones_like(reward) if weight is None else weight
    share = weight / weight.sum(-1, keepdims=True)
    root = np.sqrt(weight)
    basis = shaping_basis(transition, discount).reshape(states, actions, states)
    centred = (basis - np.einsum("sa,sat->st", share, basis)[:, None]) * root[..., None]
    target = (reward - (share * reward).sum(-1, keepdims=True)) * root
    left, singular, right = np.linalg.svd(centred.reshape(-1, states), full_matrices=False)
    # Against the size of the basis, not of what is left of it: that may be rounding alone.
    kept = singular > RANK_TOLERANCE * float(np.linalg.norm(basis * root[..., None]))
    potential = -right[kept].T @ ((left[:, kept].T @ target.ravel()) / singular[kept])
    return Gauged(shape(reward, potential, transition, discount), potential, states - int(kept.sum()))


def sparsest(reward: Array, transition: Array, discount: float, weight: Array | None = None) -> Gauged:
    """The equivalent reward of least ``sum w |r(s, a)|``, over all actions and not only those that are played.

    Args:
        reward: ``(S, A)``, any that explains the policy.
        transition: ``(S, A, S)``.
        discount: gamma in [0, 1).
        weight: ``(S, A)``, > 0; None weighs all pairs alike.

    Returns:
        The reward; ``undetermined`` is 0 if no other is as sparse, else None.
    """
    weight = np.ones_like(reward) if weight is None else weight
    potential, _ = _least_absolute(reward.ravel(), shaping_basis(transition, discount), weight.ravel())
    result = shape(reward, potential, transition, discount)
    unique = sparsest_is_unique(result, transition, discount, weight)
    return Gauged(result, potential, 0 if unique else None)


def sparsest_is_unique(reward: Array, transition: Array, discount: float, weight: Array | None = None) -> bool:
    """Whether a reward is sparser than all equivalent ones, so that :func:`sparsest` finds it.

    It is if the sum of absolute values rises along every shaping direction ``d``, that is if
    ``sum_{r = 0} w |d| + sum_{r != 0} w sign(r) d > 0``. The left side is convex and scales with ``d``: its least value
    is sought by linear programs over potentials of which one entry is 1 or -1.
    """
    weight = np.ones_like(reward) if weight is None else weight
    basis = shaping_basis(transition, discount)
    flat = reward.ravel()
    zero = np.abs(flat) <= 1e-7 * max(1.0, float(np.abs(flat).max()))
    slope = (weight.ravel() * np.where(zero, 0.0, np.sign(flat))) @ basis
    for state in range(reward.shape[0]):
        for sign in (1.0, -1.0):
            start = np.zeros(reward.shape[0])
            start[state] = sign
            free = np.delete(np.arange(reward.shape[0]), state)
            _, rise = _least_absolute(
                basis[zero] @ start, basis[zero][:, free], weight.ravel()[zero], linear=slope[free], bound=1.0
            )
            if rise + slope @ start < 1e-7:
                return False
    return True


def _least_absolute(
    target: Array, basis: Array, weight: Array, *, linear: Array | None = None, bound: float | None = None
) -> tuple[Array, float]:
    """``x`` of least ``sum w |target + basis x| + linear x`` with ``|x| <= bound``, and the least value."""
    rows, columns = basis.shape
    cost = np.concatenate([np.zeros(columns) if linear is None else linear, weight])
    slack = np.eye(rows)
    limits = [(None if bound is None else -bound, bound)] * columns + [(0.0, None)] * rows
    result = linprog(
        cost,
        A_ub=np.block([[basis, -slack], [-basis, -slack]]),
        b_ub=np.concatenate([-target, target]),
        bounds=limits,
        method="highs",
    )
    if not result.success:
        raise UserError(f"the linear program of the sparsest reward failed: {result.message}")
    return np.asarray(result.x[:columns]), float(result.fun)
