"""What discriminators minimise and what they pay: tensors in, tensors out.

A discriminator says how likely a row is the expert's, ``D = sigmoid(logit)``. MAGAIL's logit is a network's output.
MAAIRL's is that of ``D = exp f / (exp f + pi(a | s))``, which is ``f - log pi(a | s)``, with::

    f(s, a, s') = g(s, a) + gamma (1 - terminated) h(s') - h(s)

Where agents terminate, rewards of one sign say that ending is good or bad, whatever the expert does. With absorbing
states (arXiv 1809.02925) an agent that terminated goes on for ever in a state of its own, and a discriminator judges
that as well. Nothing is seen or chosen there, so that counting terminations gives its logit.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from rllib_mamql.learning.soft_q import weighted_mean


def discriminator_loss(logits: Tensor, weights: Tensor, expert_rows: int) -> Tensor:
    """Cross-entropy of telling expert rows from rollouts, ``-E_expert[log D] - E_rollout[log(1 - D)]``.

    Args:
        logits: ``(..., R)``, the expert's rows first.
        weights: ``(..., R)``, >= 0; 0 where the agent was not alive.
        expert_rows: How many of the R rows are the expert's.

    Returns:
        ``(...)``, >= 0; 2 log 2 where nothing tells the rows apart.
    """
    expert, rollouts = slice(0, expert_rows), slice(expert_rows, None)
    of_expert = weighted_mean(softplus(-logits[..., expert]), weights[..., expert])
    return of_expert + weighted_mean(softplus(logits[..., rollouts]), weights[..., rollouts])


def absorbing_logit(ended: Tensor, rows: Tensor) -> Tensor:
    """Logit of the absorbing state that each termination leads to: it is the expert's as far as experts terminate.

    The log-ratio of the shares of rows that terminate, each as observed and expected terminations, with one of both
    added: few rows say little, and where equal shares terminate the logit is 0.

    Args:
        ended: How many rows terminate, the expert's and rollouts' ``(..., 2)``.
        rows: Of how many ``(..., 2)``.

    Returns:
        ``(...)``.
    """
    expected = rows * ended.sum(-1, keepdim=True) / rows.sum(-1, keepdim=True).clamp_min(1.0)
    surplus = torch.log((ended + 1.0) / (expected + 1.0))
    return surplus[..., 0] - surplus[..., 1]


def with_absorbing(rewards: Tensor, absorbing: Tensor, terminated: Tensor, discount: float) -> Tensor:
    """Rewards with what follows a termination: the absorbing state's, at every step from the next one on.

    Args:
        rewards: ``(...)``.
        absorbing: Reward of a step in the absorbing state, scalar; 0 leaves all as it is.
        terminated: ``(...)``, bool.
        discount: ``gamma`` in [0, 1).

    Returns:
        ``(...)``: ``r + terminated gamma / (1 - gamma) r_absorbing``.
    """
    return rewards + terminated * (discount / (1.0 - discount) * absorbing)


def gail_reward(logits: Tensor) -> Tensor:
    """GAIL's reward, ``-log(1 - D)``, >= 0: living on always pays."""
    return softplus(logits)


def airl_reward(logits: Tensor) -> Tensor:
    """AIRL's reward, ``log D - log(1 - D)``: the logit itself, ``f - log pi(a | s)``."""
    return logits


def shaped(base: Tensor, potential: Tensor, next_potential: Tensor, terminated: Tensor, discount: float) -> Tensor:
    """AIRL's ``f = g + gamma (1 - terminated) h(s') - h(s)``; through truncation the potential counts.

    Args:
        base: ``g`` of the rows ``(...)``.
        potential: ``h(s)``, ``(...)``.
        next_potential: ``h(s')``, ``(...)``.
        terminated: True where nothing follows ``(...)``.
        discount: ``gamma`` in [0, 1).

    Returns:
        ``(...)``.
    """
    return base + discount * next_potential.where(~terminated.bool(), 0.0) - potential
