"""Arrays as tensors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

PASS_ROWS = 4096
"""Observations that go through a network at once where nothing is learned, at most."""
PASS_BYTES = 2**26
"""Bytes of them in float32, at most: what convolutions make of images is several times as large."""


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


def mark_of(parameter: Tensor) -> tuple[int, int]:
    """What changes when a parameter is written to in place (its version) or is given other data (its address).

    An address tells as long as what was there is kept: other data may come to lie at it else.
    """
    return parameter.data_ptr(), parameter._version
