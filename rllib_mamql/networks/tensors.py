"""Arrays as tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


def to_tensor(values: Any) -> Tensor:
    """A tensor that shares an array's memory, or a copy's where torch cannot.

    Arrays from an object store are read-only, and slices may have steps of their own: torch can express neither.

    Args:
        values: An array of any shape and numeric dtype.
    """
    return torch.from_numpy(np.require(values, requirements=["C", "W"]))
