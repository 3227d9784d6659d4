"""Several small networks of one shape evaluated at once.

Eight observations through a network of 256 x 256 take less arithmetic than calling its six layers costs: networks of
equal shapes go through each layer together, as one batched product.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rllib_mamql.networks.convolutions import ConvolutionalCritics, convolutional_layers
from rllib_mamql.networks.encoders import EntityAttention
from rllib_mamql.networks.forms import (
    StackedLinear,
    apply_linear,
    form_of,
    in_a_row,
    is_linear,
    plain_layers,
    stacked_linear,
)
from rllib_mamql.networks.heads import MarginalCritic
from rllib_mamql.networks.tensors import mark_of


class StackedWeights:
    """The parameters of equal modules, one behind the other, layer by layer.

    The parameters are copied. Copies are renewed when a parameter was written to in place (its version, which torch
    counts, is another), was given other data or was replaced (its address is another). Torch does not count what is
    written through ``parameter.data`` or through a numpy view, which is seen by the next object only.

    Args:
        modules: Of one structure, with parameters of equal shapes; all of these are in linear layers with biases.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self._size = len(modules)
        self._names = [name for name, layer in modules[0].named_modules() if type(layer) is nn.Linear]
        self._places: list[tuple[dict[str, Tensor], str]] = []
        for layer in self._names:
            for name in ("weight", "bias"):
                owners = [module.get_submodule(layer) for module in modules]
                self._places += [(owner._parameters, name) for owner in owners]  # type: ignore[misc]
        self._marks: list[tuple[int, int]] = []
        # Keeps the memory of what was copied, so that no other data can come to lie at the same address.
        self._kept: list[Tensor] = []
        self.layers: dict[str, StackedLinear] = {}
        """By name, in the modules' order; there after the first `refresh`."""

    def refresh(self) -> None:
        """Copies the parameters again if any of them is not what it was."""
        found = [parameters[name] for parameters, name in self._places]
        marks = [mark_of(parameter) for parameter in found]
        if marks == self._marks:
            return
        self._marks = marks
        self._kept = [parameter.detach() for parameter in found]
        stacks = [torch.stack(self._kept[k : k + self._size]) for k in range(0, len(found), self._size)]
        for layer, weight, bias in zip(self._names, stacks[::2], stacks[1::2], strict=True):
            self.layers[layer] = stacked_linear(weight, bias)


class StackedCritics:
    """Critics of one shape, evaluated together on the weights that they have at that moment (`StackedWeights`).

    Args:
        critics: For which :func:`stack_critics` found that they can be stacked.
    """

    def __init__(self, critics: Sequence[MarginalCritic]) -> None:
        self._weights = StackedWeights(critics)
        layers, encoder = plain_layers(critics[0]), critics[0].encoder
        self._plain = None if layers is None else in_a_row(layers, in_place=True)
        self._blocks: list[str] = []
        if isinstance(encoder, EntityAttention):
            self._blocks = [f"encoder.blocks.{k}" for k in range(len(encoder.blocks))]

    def __call__(self, observations: Tensor) -> Tensor:
        """Action values ``(critics, B, A)`` of observations ``(critics, B, *obs)``, without gradients."""
        self._weights.refresh()
        if self._plain is not None:
            return self._plain(observations, self._weights.layers.values())
        return self._linear("head", self._attention(observations))

    def _linear(self, layer: str, inputs: Tensor) -> Tensor:
        return apply_linear(self._weights.layers[layer], inputs)

    def _attention(self, observations: Tensor) -> Tensor:
        """What ``EntityAttention`` computes, of ``(critics, B, N, F)``; laid out for the CPU.

        Scores are ``(keys, queries)``, for a softmax over the last axis of eleven entities takes twice as long, and
        what is absent is masked by adding -inf.
        """
        linear, (critics, size, entities, _) = self._linear, observations.shape
        present = observations[..., 0].reshape(critics * size, entities, 1) > 0.5
        any_present = present.any(1)
        absent = torch.zeros(present.shape, dtype=observations.dtype, device=present.device).masked_fill_(
            ~present, float("-inf")
        )
        absent_keys = torch.where(any_present.unsqueeze(1), absent, 0.0)
        hidden = torch.relu_(linear("encoder.embed.0", observations.flatten(1, 2)))
        hidden = torch.relu_(linear("encoder.embed.2", hidden))
        for block in self._blocks:
            query_key = linear(f"{block}.query_key", hidden).view(critics * size, entities, -1)
            query, key = query_key.chunk(2, dim=-1)
            scores = torch.baddbmm(absent_keys, key, query.transpose(1, 2), alpha=1.0 / math.sqrt(key.shape[-1]))
            attention = torch.softmax(scores, dim=1).transpose(1, 2)
            value = linear(f"{block}.value", hidden).view(critics * size, entities, -1)
            hidden = hidden + torch.bmm(attention, value).view(hidden.shape)
            hidden = hidden + torch.relu_(linear(f"{block}.feed", hidden))
        hidden = hidden.view(critics * size, entities, -1)
        weight = present.to(hidden.dtype)
        weight = weight / weight.sum(1, keepdim=True).clamp_min(1.0)
        mean = torch.bmm(weight.transpose(1, 2), hidden).squeeze(1)
        highest = torch.where(any_present, (hidden + absent).amax(1), 0.0)
        return torch.cat([mean, highest], dim=-1).view(critics, size, -1)


def stackable(critic: nn.Module) -> bool:
    """Whether a critic is a plain network or attention over entities."""
    if plain_layers(critic) is not None:
        return True
    if type(critic) is not MarginalCritic or type(critic.encoder) is not EntityAttention:
        return False
    return all(is_linear(layer) for layer in critic.modules() if isinstance(layer, nn.Linear))


def stack_critics(critics: Sequence[nn.Module]) -> StackedCritics | ConvolutionalCritics | None:
    """The critics as one, or None where they cannot be called together or are not of one form on one device."""
    known = [critic for critic in critics if isinstance(critic, MarginalCritic)]
    if not known or len(known) < len(critics) or len({form_of(critic) for critic in known}) > 1:
        return None
    if all(convolutional_layers(critic) is not None for critic in known):
        return ConvolutionalCritics(known)
    return StackedCritics(known) if all(map(stackable, known)) else None
