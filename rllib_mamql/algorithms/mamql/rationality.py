"""Fits the rationality at which a critic's Boltzmann policy explains given actions best."""

from __future__ import annotations

import math

from torch import Tensor

from rllib_mamql.algorithms.mamql import objective

RANGE = 8.0
"""The fit looks from one such part of the training rationality to so many times it."""


MULTIPLES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Multiples of a rationality at which a profile gives the likelihood."""


def likelihood_profile(q: Tensor, actions: Tensor, rationality: float) -> dict[float, float]:
    """Mean log-likelihood of actions as a function of the rationality.

    Args:
        q: Action values ``(N, A)``.
        actions: Actions taken, ``(N,)``, in ``[0, A)``.
        rationality: What multiples are taken of, > 0.

    Returns:
        ``{multiple: nats}`` for ``MULTIPLES``.
    """
    values, taken = q.detach().double().cpu(), actions.cpu()
    return {
        multiple: float(objective.take_actions(objective.log_policy(values, multiple * rationality), taken).mean())
        for multiple in MULTIPLES
    }


def fit_rationality(q: Tensor, actions: Tensor, rationality: float) -> tuple[float, float]:
    """The inverse temperature that makes observed actions most likely.

    ``mean log pi_lambda(a | s)`` is concave in lambda, so there is one maximum, found within a factor of ``RANGE``
    of the training rationality. What it finds is the expert's own noise, as the critic sees it: play at this
    rationality is as decided as the expert's, not more.

    Args:
        q: Action values ``(N, A)`` at states that the critic was not trained on.
        actions: The expert's actions there, ``(N,)``, in ``[0, A)``.
        rationality: The training rationality > 0.

    Returns:
        The rationality, and the mean log-likelihood of the actions at it.
    """
    values, taken = q.detach().double().cpu(), actions.cpu()

    def loss(log_rationality: float) -> float:
        log_policy = objective.log_policy(values, math.exp(log_rationality))
        return -float(objective.take_actions(log_policy, taken).mean())

    middle, width = math.log(rationality), math.log(RANGE)
    from scipy import optimize  # Here: learners start sooner without.

    found = optimize.minimize_scalar(loss, bounds=(middle - width, middle + width), method="bounded")
    return math.exp(float(found.x)), -float(found.fun)
