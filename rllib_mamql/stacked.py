"""Several small networks of one shape evaluated at once.

Eight observations through a network of 256 x 256 take less arithmetic than calling its six layers costs: networks of
equal shapes go through each layer together, as one batched product.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from rllib_mamql.encoders import CatalogEncoder
from rllib_mamql.heads import MarginalCritic

# What may stand between linear layers: it acts on each number by itself and has no parameters.
_ACTIVATIONS: dict[type[nn.Module], Callable[[Tensor], Tensor]] = {
    nn.ReLU: torch.relu_,
    nn.Tanh: torch.tanh_,
    nn.Sigmoid: torch.sigmoid_,
    nn.SiLU: nn.functional.silu,
}


def layers_of(critic: nn.Module) -> list[nn.Module] | None:
    """The layers of a critic that is linear layers and activations in a row; None where it is anything else."""
    if type(critic) is not MarginalCritic or type(critic.encoder) is not CatalogEncoder:
        return None
    encoder = critic.encoder.layers
    if encoder is None:
        return None
    layers = [*encoder, critic.head]
    linear = [layer for layer in layers if type(layer) is nn.Linear]
    if any(type(layer) not in _ACTIVATIONS for layer in layers if type(layer) is not nn.Linear):
        return None
    return None if any(layer.bias is None for layer in linear) else layers


class StackedCritics:
    """Critics of one shape, evaluated together on the weights that they have at that moment.

    The weights are copied into stacks. A copy is renewed when a parameter was written to in place (its version, which
    torch counts, is another), was given other data or was replaced (its address is another). Torch does not count what
    is written through ``parameter.data`` or through a numpy view, which is seen by the next object only.

    Args:
        critics: For which :func:`stack_critics` found that they can be stacked.
    """

    def __init__(self, critics: Sequence[Sequence[nn.Module]]) -> None:
        first = critics[0]
        self._steps: list[int | Callable[[Tensor], Tensor]] = []
        self._parameters: list[tuple[dict[str, Tensor], str]] = []
        for place, layer in enumerate(first):
            if type(layer) is not nn.Linear:
                self._steps.append(_ACTIVATIONS[type(layer)])
                continue
            self._steps.append(len(self._parameters))
            for name in ("weight", "bias"):
                self._parameters += [(critic[place]._parameters, name) for critic in critics]  # type: ignore[misc]
        self._size = len(critics)
        self._marks: list[tuple[int, int]] = []
        # Keeps the memory of the stacked parameters, so that no other data can come to lie at the same address.
        self._kept: list[Tensor] = []
        self._stacks: dict[int, tuple[Tensor, Tensor]] = {}

    def __call__(self, observations: Tensor) -> Tensor:
        """Action values ``(critics, B, A)`` of observations ``(critics, B, D)``, without gradients."""
        found = [parameters[name] for parameters, name in self._parameters]
        marks = [(parameter.data_ptr(), parameter._version) for parameter in found]
        if marks != self._marks:
            self._stack(found)
            self._marks = marks
        hidden = observations
        for step in self._steps:
            if isinstance(step, int):
                bias, weight = self._stacks[step]
                hidden = torch.baddbmm(bias, hidden, weight)
            else:
                hidden = step(hidden)
        return hidden

    def _stack(self, found: list[Tensor]) -> None:
        self._kept = [parameter.detach() for parameter in found]
        for step in self._steps:
            if isinstance(step, int):
                weights = torch.stack(self._kept[step : step + self._size])
                biases = torch.stack(self._kept[step + self._size : step + 2 * self._size])
                self._stacks[step] = biases.unsqueeze(1), weights.transpose(1, 2)


def stack_critics(critics: Sequence[nn.Module]) -> StackedCritics | None:
    """The critics as one, or None where they are not multilayer perceptrons of one shape on one device."""
    layers = [layers_of(critic) for critic in critics]
    known = [found for found in layers if found is not None]
    if not known or len(known) < len(layers):
        return None

    def form(found: Sequence[nn.Module]) -> list[tuple[object, ...]]:
        return [(type(layer), *((p.shape, p.dtype, p.device) for p in layer.parameters())) for layer in found]

    return StackedCritics(known) if all(form(found) == form(known[0]) for found in known) else None
