"""Marginalising a joint network over the other agents' policies: by full enumeration or by sampling."""

from __future__ import annotations

import torch
from torch import Tensor

from rllib_mamql import objective
from rllib_mamql.rl_module import JointHead


def joint_marginal(
    network: JointHead,
    observations: Tensor,
    other_policies: list[Tensor],
    *,
    samples: int | None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """``E_{a_-i ~ pi_-i}[ f(s, ., a_-i) ]`` of a joint network.

    Args:
        network: Scores own actions given the others'.
        observations: ``(B, *obs)``.
        other_policies: Probabilities ``(B, A_j)`` of each other agent, in the network's order.
        samples: ``K`` joint actions drawn a row, or None for full enumeration (exact; grows as the product of
            the others' action counts).
        generator: Source of the draws.

    Returns:
        ``(B, A)``.
    """
    if not other_policies:
        return network(observations, observations.new_zeros(len(observations), 0, dtype=torch.long))
    if samples is None:
        return objective.marginalise_full(network.enumerate_others(observations), other_policies)
    draws = [
        torch.multinomial(policy.cpu(), samples, replacement=True, generator=generator).to(policy.device)
        for policy in other_policies
    ]
    return objective.marginalise_sampled(network(observations, torch.stack(draws, dim=-1)))
