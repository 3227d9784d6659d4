"""Canonical shaping: what is left of a reward when every potential is taken out.

From Gleave et al., *Quantifying Differences in Reward Functions*, arXiv 2006.13900 (EPIC)::

    C(R)(s, a, s') = R(s, a, s') + E[gamma R(s', A, S') - R(s, A, S') - gamma R(S, A, S')]

with S, S' drawn from a coverage distribution over states and A from one over actions, independently. For every
potential, ``C(R + gamma Phi(s') - Phi(s)) = C(R)``. The last term is a constant, which no correlation sees: the
sampled forms leave it out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[np.float64]
RewardFunction = Callable[[Any, Any, Any], Any]
"""``(states (N, ...), actions (N, ...), next_states (N, ...)) -> (N,)``, arrays or tensors as they were given."""

_ROWS_AT_ONCE = 200_000


def canonical_tabular(reward: Any, discount: float, state_coverage: Any = None, action_coverage: Any = None) -> Array:
    """Canonically shaped reward ``C(R)`` of a table, exactly (arXiv 2006.13900).

    Args:
        reward: ``(S, A, S)``, or ``(S, A)`` where it does not depend on s'.
        discount: gamma in [0, 1].
        state_coverage: Probabilities ``(S,)`` of S and S'; None: uniform.
        action_coverage: Probabilities ``(A,)``; None: uniform.

    Returns:
        ``(S, A, S)``.
    """
    table = as_table(reward)
    states, actions = table.shape[:2]
    over_states = as_distribution(state_coverage, states)
    over_actions = as_distribution(action_coverage, actions)
    mean = np.einsum("sat,a,t->s", table, over_actions, over_states)  # E[R(s, A, S')]
    return np.asarray(table + discount * mean - mean[:, None, None] - discount * float(over_states @ mean))


def canonical_sampled(
    reward: RewardFunction,
    states: Any,
    actions: Any,
    next_states: Any,
    *,
    coverage_actions: Any,
    coverage_states: Any,
    discount: float,
) -> Array:
    """Canonically shaped rewards of sampled transitions, up to a constant.

    The expectations are means over M pairs (A, S'), the same for every row, so that shaping cancels exactly whatever
    the pairs are. The reward is asked for ``2 N M`` transitions, most of which the dynamics would never make: use
    :func:`canonical_additive` for rewards that have the form ``f(s, a) + g(s')``, and where episodes end.

    Args:
        reward: The reward function.
        states: ``(N, ...)``, array or tensor.
        actions: ``(N, ...)``.
        next_states: ``(N, ...)``.
        coverage_actions: A of the pairs ``(M, ...)``.
        coverage_states: S' of the pairs ``(M, ...)``.
        discount: gamma in [0, 1].

    Returns:
        ``(N,)``; the constant ``-gamma E[R(S, A, S')]`` is left out.
    """
    pairs = len(coverage_actions)

    def mean_from(origins: Any) -> Array:
        means = []
        step = max(1, _ROWS_AT_ONCE // pairs)
        for start in range(0, len(origins), step):
            chunk = origins[start : start + step]
            rows = np.repeat(np.arange(len(chunk)), pairs)
            columns = np.tile(np.arange(pairs), len(chunk))
            values = as_floats(reward(chunk[rows], coverage_actions[columns], coverage_states[columns]))
            means.append(values.reshape(len(chunk), pairs).mean(axis=1))
        return np.concatenate(means)

    here, there = mean_from(states), mean_from(next_states)
    return np.asarray(as_floats(reward(states, actions, next_states)) + discount * there - here)


def canonical_additive(
    taken: Any,
    action_values: Any,
    next_action_values: Any,
    discount: float,
    *,
    next_term: Any = None,
    terminated: Any = None,
    action_coverage: Any = None,
) -> Array:
    """Canonically shaped values of a reward of the form ``f(s, a) + g(s')`` on sampled transitions, up to a constant.

    Then the draw of S' is a constant, and no coverage batch is needed::

        C(R)(s, a, s') = f(s, a) + g(s') + gamma E_A[f(s', A)] - E_A[f(s, A)] + const

    State-action rewards have ``g = 0``; the implied reward of a critic has ``f = Qbar`` and ``g = -gamma Vbar``; a
    shaped one ``f = R - Phi`` and ``g = gamma Phi``. After a terminal state nothing is earned: f and g are 0 there.

    Args:
        taken: ``f`` of the actions taken ``(N,)``.
        action_values: ``f(s, .)`` ``(N, A)``.
        next_action_values: ``f(s', .)`` ``(N, A)``.
        discount: gamma in [0, 1].
        next_term: ``g(s')`` ``(N,)``; None: 0.
        terminated: True where s' is terminal ``(N,)``; None: nowhere.
        action_coverage: Probabilities ``(A,)``; None: uniform.

    Returns:
        ``(N,)``.
    """
    here, there = as_floats(action_values), as_floats(next_action_values)
    over_actions = as_distribution(action_coverage, here.shape[1])
    after = discount * (there @ over_actions)
    if next_term is not None:
        after = after + as_floats(next_term)
    if terminated is not None:
        after = np.where(as_array(terminated).astype(bool), 0.0, after)
    return np.asarray(as_floats(taken) - here @ over_actions + after)


def as_array(values: Any) -> NDArray[Any]:
    """A numpy array of an array, a sequence or a tensor on any device."""
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)


def as_floats(values: Any) -> Array:
    """The same in float64."""
    return as_array(values).astype(np.float64)


def as_table(reward: Any) -> Array:
    """A reward table ``(S, A)`` or ``(S, A, S)`` as ``(S, A, S)``."""
    table = as_floats(reward)
    if table.ndim == 2:
        return np.repeat(table[:, :, None], table.shape[0], axis=2)
    if table.ndim != 3 or table.shape[0] != table.shape[2]:
        raise ValueError(f"reward table has shape {table.shape}: give (S, A) or (S, A, S)")
    return table


def as_distribution(probabilities: Any, size: int) -> Array:
    """Probabilities ``(size,)``, uniform if None; checked."""
    if probabilities is None:
        return np.full(size, 1.0 / size)
    values = as_floats(probabilities)
    if values.shape != (size,) or (values < 0).any() or abs(values.sum() - 1.0) > 1e-6:
        raise ValueError(f"coverage has shape {values.shape} and sum {values.sum()}: give ({size},) summing to 1")
    return values
