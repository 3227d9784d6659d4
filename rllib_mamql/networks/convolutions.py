"""Small convolutional critics, called as few functions one after the other.

Eight pictures of a grid take less arithmetic than calling a network's modules costs, and padding them first costs as
much again as padding them within the convolution. One grouped convolution for all critics is slower on a CPU than
theirs in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from rllib_mamql.networks.encoders import CatalogEncoder
from rllib_mamql.networks.forms import ACTIVATIONS, IN_PLACE
from rllib_mamql.networks.heads import MarginalCritic
from rllib_mamql.networks.tensors import mark_of

Step = Callable[[Tensor], Tensor]


def convolutional_layers(critic: nn.Module) -> list[nn.Module] | None:
    """Paddings, convolutions and activations before the head of a critic that has nothing else, else None."""
    if type(critic) is not MarginalCritic or not isinstance(critic.encoder, CatalogEncoder):
        return None
    layers = critic.encoder.convolutions
    if layers is None or not all(type(layer) in (nn.ZeroPad2d, *ACTIVATIONS) or _plain(layer) for layer in layers):
        return None
    return layers


def _plain(layer: nn.Module) -> bool:
    return type(layer) is nn.Conv2d and layer.padding == (0, 0) and layer.groups == 1 and layer.padding_mode == "zeros"


class ConvolutionalCritics:
    """Critics that are evaluated in turn, on the weights that they have at that moment.

    Args:
        critics: For which :func:`convolutional_layers` found layers.
    """

    def __init__(self, critics: Sequence[MarginalCritic]) -> None:
        self._critics = [(_steps(convolutional_layers(critic) or []), critic.head) for critic in critics]

    def __call__(self, observations: Tensor | Sequence[Tensor]) -> Tensor:
        """Action values ``(critics, B, A)`` of observations ``(critics, B, H, W, C)``, without gradients."""
        pairs = zip(self._critics, observations, strict=True)
        with torch.no_grad():
            return torch.stack([self._values(steps, head, pictures) for (steps, head), pictures in pairs])

    @staticmethod
    def _values(steps: Sequence[Step], head: nn.Linear, pictures: Tensor) -> Tensor:
        hidden = pictures.permute(0, 3, 1, 2)
        for step in steps:
            hidden = step(hidden)
        return nn.functional.linear(hidden.permute(0, 2, 3, 1).flatten(1), head.weight, head.bias)


def _steps(layers: Sequence[nn.Module]) -> list[Step]:
    """The layers as functions; what follows the first convolution may overwrite what it is given."""
    steps: list[Step] = []
    padding = (0, 0)
    convolved = False
    for index, layer in enumerate(layers):
        if isinstance(layer, nn.Conv2d):
            steps.append(_convolution(layer, padding))
            padding, convolved = (0, 0), True
        elif isinstance(layer, nn.ZeroPad2d):
            left, right, top, bottom = layer.padding
            following = layers[index + 1] if index + 1 < len(layers) else None
            if left == right and top == bottom and isinstance(following, nn.Conv2d):
                padding = (top, left)
            else:
                steps.append(layer)
        else:
            steps.append(IN_PLACE.get(type(layer), layer) if convolved else layer)
    return steps


def _convolution(layer: nn.Conv2d, padding: tuple[int, int]) -> Step:
    laid_out: list[tuple[tuple[int, int], Tensor, Tensor]] = []

    def convolve(inputs: Tensor) -> Tensor:
        # Pictures come with their channels last: weights that do not are laid out anew within each call.
        weight = layer.weight
        mark = mark_of(weight)
        if not laid_out or laid_out[0][0] != mark:
            # The weight is kept too, so that no other can come to lie at its address.
            laid_out[:] = [(mark, weight, weight.detach().contiguous(memory_format=torch.channels_last))]
        return nn.functional.conv2d(inputs, laid_out[0][2], layer.bias, layer.stride, padding, layer.dilation)

    return convolve
