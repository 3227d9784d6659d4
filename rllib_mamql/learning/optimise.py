"""From gradients to weights: gradients shared by the learners, clipped by module, and one step of all optimisers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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


def move_averages(averages: list[Tensor], trained: list[Tensor], weight: Tensor) -> None:
    """``average <- average + weight (trained - average)`` of all tensors at once, the weight a tensor of one number."""
    with torch.no_grad():
        steps = torch._foreach_sub(trained, averages)
        torch._foreach_mul_(steps, weight)
        torch._foreach_add_(averages, steps)


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


class TogetherStep:
    """Steps the AdamW optimisers of several modules as one.

    Each keeps its parameters, state and learning rate, as RLlib's checkpoints and schedules expect; the steps are made
    by another AdamW over all parameters, which shares that state: for small networks a step costs little beside
    getting ready for it. Optimisers of another kind step one by one.

    Args:
        optimizers: One or more for each module.
        rates: Learning rates on the device, read in place of the optimisers' own, at least as many as there are groups
            of parameters. With them a step can be part of a CUDA graph; :meth:`prepare` comes before, outside of it.

    Attributes:
        version: Changes when a step that was recorded earlier would miss something: other settings or other moments.
    """

    def __init__(
        self,
        optimizers: Sequence[torch.optim.Optimizer],
        *,
        rates: Sequence[Tensor] | None = None,
    ) -> None:
        self.optimizers = list(optimizers)
        self.version = 0
        self._rates = rates
        self._joined: torch.optim.AdamW | None = None
        if all(type(each) is torch.optim.AdamW and each.defaults["fused"] for each in optimizers):
            parameters = [p for each in optimizers for group in each.param_groups for p in group["params"]]
            self._joined = torch.optim.AdamW(parameters, fused=True)
            # torch warns of steps outside a graph, such as those before the first recording.
            self._joined._warned_capturable_if_run_uncaptured = True
        elif rates is not None:
            raise ValueError("only AdamW in its fused form steps as part of a CUDA graph")
        self._values: list[float] = []
        self._members: list[dict[str, Any]] = []
        self._settings: list[dict[str, Any]] = []
        self._linked: list[tuple[Any, int]] = []

    def step(self) -> None:
        """Makes one step of every optimiser."""
        if self._joined is None:
            for optimizer in self.optimizers:
                optimizer.step()
            return
        if self._rates is None:
            self._follow_settings(self._joined)
            self._follow_state(self._joined)
        self._joined.step()
        self._give_state_back(self._joined)

    def prepare(self) -> list[float]:
        """Takes over settings and moments from the optimisers; gives the learning rates, in the order of ``rates``."""
        assert self._joined is not None and self._rates is not None
        self._follow_settings(self._joined)
        self._follow_state(self._joined)
        return self._values

    def _follow_settings(self, joined: torch.optim.AdamW) -> None:
        """Takes over learning rates and the like; parameters with the same ones make up one group."""
        groups = [group for each in self.optimizers for group in each.param_groups]
        settings = [{name: value for name, value in group.items() if name != "params"} for group in groups]
        if self._rates is not None:
            # RLlib's schedules write into a tensor, which would always equal itself.
            settings = [{**values, "lr": float(values["lr"])} for values in settings]
        if settings == self._settings:
            return
        merged: list[dict[str, Any]] = []
        for group, values in zip(groups, settings, strict=True):
            for other in merged:
                if all(other[name] == value for name, value in values.items()):
                    other["params"] += group["params"]
                    break
            else:
                merged.append({**values, "params": list(group["params"])})
        self._settings = settings
        if self._rates is not None:
            self._values = [group["lr"] for group in merged]
            for group, rate in zip(merged, self._rates, strict=False):
                group |= {"lr": rate, "capturable": rate.is_cuda}
            members = [{**group, "lr": None, "params": [id(p) for p in group["params"]]} for group in merged]
            if members == self._members:
                return
            self._members = members
            self.version += 1
        joined.param_groups = merged

    def _follow_state(self, joined: torch.optim.AdamW) -> None:
        """Takes over moments that were loaded from a checkpoint."""
        if [(id(each.state), len(each.state)) for each in self.optimizers] == [(id(s), n) for s, n in self._linked]:
            return
        self.version += 1
        joined.state.clear()
        for each in self.optimizers:
            joined.state.update(each.state)
        self._linked = [(each.state, len(each.state)) for each in self.optimizers]

    def _give_state_back(self, joined: torch.optim.AdamW) -> None:
        """Gives the optimisers the moments of parameters that had a gradient for the first time."""
        if len(joined.state) == sum(count for _, count in self._linked):
            return
        for each in self.optimizers:
            parameters: list[Tensor] = [p for group in each.param_groups for p in group["params"]]
            each.state.update({p: joined.state[p] for p in parameters if p in joined.state})
        self._linked = [(each.state, len(each.state)) for each in self.optimizers]
