"""Marginalising a joint network over the other agents' policies: by full enumeration or by sampling."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rllib_mamql import objective


def enumerate_others(network: Callable[..., Tensor], observations: Tensor, other_actions: list[int]) -> Tensor:
    """Values of a joint network for every joint action of the others, ``(B, A, A_1, ..., A_m)``."""
    grid = torch.cartesian_prod(*(torch.arange(n, device=observations.device) for n in other_actions))
    grid = grid.view(1, -1, len(other_actions)).expand(observations.shape[0], -1, -1)
    values = network(observations, grid)
    return values.transpose(1, 2).reshape(observations.shape[0], values.shape[-1], *other_actions)


def joint_marginal(
    network: Callable[..., Tensor],
    observations: Tensor,
    other_policies: list[Tensor],
    *,
    samples: int | None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """``E_{a_-i ~ pi_-i}[ f(s, ., a_-i) ]`` of a joint network.

    Args:
        network: Scores own actions given the others', ``(observations, others (B, K, m)) -> (B, K, A)``.
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
        return objective.marginalise_full(
            enumerate_others(network, observations, [policy.shape[-1] for policy in other_policies]), other_policies
        )
    draws = [
        torch.multinomial(policy.cpu(), samples, replacement=True, generator=generator).to(policy.device)
        for policy in other_policies
    ]
    return objective.marginalise_sampled(network(observations, torch.stack(draws, dim=-1)))
