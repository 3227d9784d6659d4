"""What discriminators minimise and what they pay: tensors in, tensors out.

A discriminator says how likely a row is the expert's, ``D = sigmoid(logit)``. MAGAIL's logit is a network's output.
MAAIRL's is that of ``D = exp f / (exp f + pi(a | s))``, which is ``f - log pi(a | s)``, with::

    f(s, a, s') = g(s, a) + gamma (1 - terminated) h(s') - h(s)

Where agents terminate, rewards of one sign say that ending is good or bad, whatever the expert does. With absorbing
states (arXiv 1809.02925) an agent that terminated goes on for ever in a state of its own, and a discriminator judges
that as well. Nothing is seen or chosen there, so that counting terminations gives its logit.

Rewards have a mean over rollouts that says nothing of endings. AIRL's is minus a Kullback-Leibler divergence: life
would be a cost, and ending it a way out as soon as terminations are too few to be counted. GAIL's is above zero: life
would pay, whatever is done with it. With absorbing states rewards are therefore centred over each round's rollouts
(``living``), and the absorbing state's is what it exceeds the reward of logit 0 by: counts alone say how often to end.
Where policies play as the expert all logits are 0, and nothing is paid for anything.
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


def payment(
    rewards: Tensor, terminated: Tensor, discount: float, absorbing: Tensor | float = 0.0, living: Tensor | float = 0.0
) -> Tensor:
    """What PPO is paid: rewards, and at a termination the absorbing state's of every step from the next one on.

    All of it is scaled by ``1 - gamma``, so that values are as large as rewards: unscaled, the hundredfold reward at a
    termination drives the value's loss up to where its share of the clipped gradient leaves none for the policy.

    Args:
        rewards: ``(...)``.
        terminated: ``(...)``, bool.
        discount: ``gamma`` in [0, 1).
        absorbing: Reward of a step in the absorbing state, scalar.
        living: What a step of life is worth on average, scalar; it is taken off each.

    Returns:
        ``(...)``: ``(1 - gamma) (r - living) + terminated gamma r_absorbing``.
    """
    return (1.0 - discount) * (rewards - living) + terminated * (discount * absorbing)


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
