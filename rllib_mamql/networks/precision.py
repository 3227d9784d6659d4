"""Networks in a narrower number format, losses in float32."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rllib_mamql.errors import ConfigError

AUTOCASTS = ("none", "bfloat16")


class Precision:
    """Evaluates networks under torch's autocast; weights, losses and optimisers stay in their own format, float32.

    bfloat16 has the range of float32, so that gradients need no scaling; it keeps two to three decimal digits.

    Args:
        autocast: One of ``AUTOCASTS``.
        device: Where the networks are.

    Raises:
        ConfigError: If the device cannot do it.
    """

    def __init__(self, autocast: str, device: torch.device) -> None:
        self._device = device.type
        self._enabled = autocast == "bfloat16"
        if self._enabled and not _can_do_bfloat16(device):
            raise ConfigError(f"autocast is {autocast!r}, but the learner's device {device} lacks it: use 'none'")

    def context(self) -> contextlib.AbstractContextManager[Any]:
        """A context for forward passes; backward passes belong outside it."""
        if not self._enabled:
            return contextlib.nullcontext()
        return torch.autocast(self._device, torch.bfloat16)

    def __call__(self, network: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        """What the network gives, in the format of its weights."""
        with self.context():
            values = network(*inputs)
        return self.widen(values)

    def widen(self, values: Tensor) -> Tensor:
        """Brings what a network gave under autocast back to float32; else it has the format of the weights."""
        return values.float() if self._enabled else values


def _can_do_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return torch.amp.is_autocast_available(device.type)
