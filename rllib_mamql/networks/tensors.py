"""Arrays as tensors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

PASS_ROWS = 4096
"""Observations that go through a network at once where nothing is learned, at most."""
PASS_BYTES = 2**26
"""Bytes of them in float32, at most: what convolutions make of images is several times as large."""
STEP_BYTES = 2**28
"""Bytes of a gradient step's observations in float32 from which on :func:`learning_in_parts` is worth its while."""


def to_tensor(values: Any) -> Tensor:
    """A tensor that shares an array's memory, or a copy's where torch cannot.

    Arrays from an object store are read-only, and slices may have steps of their own: torch can express neither.

    Args:
        values: An array of any shape and numeric dtype.
    """
    return torch.from_numpy(np.require(values, requirements=["C", "W"]))


def rows_at_once(observations: Any, most: int = PASS_ROWS) -> int:
    """How many observations ``(N, *obs)`` go through a network at once where nothing is learned, >= 1."""
    return max(1, min(most, PASS_BYTES // (4 * max(1, math.prod(observations.shape[1:])))))


def bytes_of(observations: Tensor) -> int:
    """Bytes of observations in float32."""
    return 4 * observations.numel()


def learning_in_parts(network: Callable[[Tensor], Tensor], observations: Tensor) -> Tensor:
    """``network(observations)`` with gradients, a few rows at a time.

    What lies between observations and scores is made again for the backward pass, so that no more than one part of it
    is held: a third more work, and a small part of the memory.

    Args:
        network: Gives a row for each that it is given, whatever the others are.
        observations: ``(N, *obs)``.
    """
    parts = torch.split(observations, rows_at_once(observations))
    return torch.cat([checkpoint(network, part, use_reentrant=False) for part in parts])


@torch.no_grad()
def in_parts(network: Callable[[Tensor], Tensor], observations: Any) -> Tensor:
    """``network(observations)``, a few rows at a time.

    Args:
        network: Gives a row for each that it is given.
        observations: An array or a tensor ``(N, *obs)``.
    """
    size = rows_at_once(observations)
    parts = (observations[first : first + size] for first in range(0, max(1, len(observations)), size))
    return torch.cat([network(part if isinstance(part, Tensor) else to_tensor(part)) for part in parts])
