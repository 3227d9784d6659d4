"""Gradients between the backward pass and the optimisers: shared by the learners, clipped by module."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor


def average_over_learners(parameters: Sequence[Tensor], learners: int) -> None:
    """Averages gradients over learners by one all-reduce of a flat buffer.

    RLlib wraps modules in DDP, whose hooks act only on a forward pass through the wrapper, one a backward pass.
    Ours makes several, through the unwrapped modules; one flat buffer is also faster for small networks.

    Args:
        parameters: Everything that the optimisers change; those without a gradient are left out, by all learners
            alike.
        learners: How many learners there are; with one there is nothing to do.
    """
    if learners <= 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.view(-1) for gradient in gradients])
    dist.all_reduce(flat)
    flat /= learners
    offset = 0
    for gradient in gradients:
        size = gradient.numel()
        gradient.copy_(flat[offset : offset + size].view_as(gradient))
        offset += size


def clip_norms(groups: Sequence[Sequence[Tensor]], limit: float) -> None:
    """Scales the gradients of each group of parameters so that their joint norm is at most ``limit``.

    Does for each group what ``torch.nn.utils.clip_grad_norm_`` does, in a few operations for all of them.

    Args:
        groups: Parameters of each module; those without a gradient are left out.
        limit: Largest norm, > 0.
    """
    gradients = [[parameter.grad for parameter in group if parameter.grad is not None] for group in groups]
    gradients = [group for group in gradients if group]
    if not gradients:
        return
    norms = torch.stack(torch._foreach_norm([gradient for group in gradients for gradient in group]))
    by_group = torch.stack([torch.linalg.vector_norm(part) for part in torch.split(norms, [len(g) for g in gradients])])
    for group, scale in zip(gradients, (limit / (by_group + 1e-6)).clamp(max=1.0).unbind(), strict=True):
        torch._foreach_mul_(group, scale)
