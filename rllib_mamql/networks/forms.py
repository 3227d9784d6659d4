"""Networks of one form evaluated at once: what acting (`stacked`) and learning (`stacking`) both need to know.

Plain networks, linear layers with activations of single numbers in between, go through each layer together, as one
batched product.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterable, Sequence

import torch
from torch import Tensor, nn

from rllib_mamql.networks.encoders import CatalogEncoder
from rllib_mamql.networks.heads import MarginalCritic

IN_PLACE: dict[type[nn.Module], Callable[[Tensor], Tensor]] = {
    nn.ReLU: torch.relu_,
    nn.Tanh: torch.tanh_,
    nn.Sigmoid: torch.sigmoid_,
    nn.SiLU: functools.partial(nn.functional.silu, inplace=True),
}
"""Activations without settings, as functions that write into their input."""

ACTIVATIONS = (*IN_PLACE, nn.ELU, nn.GELU, nn.LeakyReLU, nn.Identity)
"""What may stand between linear layers: it acts on each number by itself and has no parameters."""

StackedLinear = tuple[Tensor, Tensor]
"""A linear layer of n networks: biases ``(n, 1, O)`` and weights ``(n, I, O)``, as ``baddbmm`` takes them."""


def form_of(network: nn.Module) -> Hashable:
    """What networks must have in common to be evaluated together."""
    # The text names every layer with its settings.
    return repr(network), *((name, p.shape, p.dtype, p.device) for name, p in network.named_parameters())


def plain_layers(critic: nn.Module) -> list[nn.Module] | None:
    """The layers of a critic that is nothing but linear layers with biases and activations, else None."""
    if type(critic) is not MarginalCritic or not isinstance(critic.encoder, CatalogEncoder):
        return None
    if critic.encoder.layers is None:
        return None
    layers = [*critic.encoder.layers, critic.head]
    return layers if all(is_linear(layer) or type(layer) in ACTIVATIONS for layer in layers) else None


def is_linear(layer: nn.Module) -> bool:
    """Whether it is a linear layer with a bias."""
    return type(layer) is nn.Linear and layer.bias is not None


def stacked_linear(weight: Tensor, bias: Tensor) -> StackedLinear:
    """A layer with weights ``(n, O, I)`` and biases ``(n, O)``, which are not copied."""
    return bias.unsqueeze(1), weight.transpose(1, 2)


def apply_linear(layer: StackedLinear, inputs: Tensor) -> Tensor:
    """Each network's layer on its own inputs: ``(n, B, I) -> (n, B, O)``."""
    bias, weight = layer
    return torch.baddbmm(bias, inputs, weight)


def in_a_row(
    layers: Sequence[nn.Module], *, in_place: bool = False
) -> Callable[[Tensor, Iterable[StackedLinear]], Tensor]:
    """Evaluates n plain networks at once.

    Args:
        layers: As :func:`plain_layers` gives them, of any of the networks.
        in_place: Whether activations overwrite what the layer before gave.

    Returns:
        ``(inputs (n, B, I), each linear layer of the n networks in turn) -> (n, B, O)``.
    """
    replaced = IN_PLACE if in_place else {}
    steps = [None if type(layer) is nn.Linear else replaced.get(type(layer), layer) for layer in layers]

    def forward(hidden: Tensor, linears: Iterable[StackedLinear]) -> Tensor:
        rest = iter(linears)
        for activation in steps:
            hidden = apply_linear(next(rest), hidden) if activation is None else activation(hidden)
        return hidden

    return forward
