"""Joint replay: whole joint steps in preallocated tensors on the learner's device."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rllib_mamql.columns import EPS_ID, Array, JointColumns, num_rows
from rllib_mamql.errors import ConfigError
from rllib_mamql.networks.tensors import to_tensor

TensorColumns = dict[str, Tensor]
"""Like ``JointColumns``, but tensors; without ``eps_id``."""


def stage(tensor: Tensor, device: torch.device | None) -> Tensor:
    """A tensor of the host on ``device``; on its way to a GPU in page-locked memory, so that the host need not wait."""
    if device is None or device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def to_tensors(
    columns: Mapping[str, Array], device: torch.device | None = None, *, staged: bool = True
) -> TensorColumns:
    """Tensors of all numeric columns, on a device.

    Args:
        columns: Columns; ``eps_id`` is dropped.
        device: Where to.
        staged: Whether to :func:`stage` them. What is large and moves once had better not be: torch keeps page-locked
            memory.
    """
    tensors = {name: to_tensor(values) for name, values in columns.items() if name != EPS_ID}
    return {name: stage(tensor, device) if staged else tensor.to(device) for name, tensor in tensors.items()}


def draw_rows(
    columns: TensorColumns, size: int, rows: int, generator: torch.Generator, names: Collection[str] | None = None
) -> TensorColumns:
    """``rows`` of the first ``size`` rows, uniformly with replacement; of the columns ``names``, or of all."""
    device = next(iter(columns.values())).device
    index = stage(torch.randint(size, (rows,), generator=generator), device)
    wanted = columns if names is None else [name for name in names if name in columns]
    return {name: columns[name].index_select(0, index) for name in wanted}


def memory_of(device: torch.device) -> int:
    """Bytes of memory of a GPU, or of this machine."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[1])
    return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


class JointReplayBuffer:
    """Ring buffer of joint steps; every row keeps all agents' data of one time step together.

    Args:
        capacity: Number of joint steps kept; the oldest are overwritten.
        device: Where the tensors live.

    Attributes:
        columns: ``(capacity, ...)`` each; empty before the first rows. Others may put views in their place.

    Raises:
        ValueError: If ``capacity`` is below 1.
    """

    def __init__(self, capacity: int, device: torch.device | None = None) -> None:
        if capacity < 1:
            raise ValueError(f"replay capacity must be at least 1, got {capacity}")
        self.capacity = capacity
        self.device = device or torch.device("cpu")
        self.columns: TensorColumns = {}
        self._next = 0
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, columns: JointColumns) -> None:
        """Appends joint steps; of more than ``capacity`` only the last are kept.

        Raises:
            ConfigError: If a full buffer would not fit into the memory of the device.
        """
        rows = num_rows(columns)
        if rows == 0:
            return
        new = to_tensors(columns, self.device)
        if rows > self.capacity:
            new = {name: values[-self.capacity :] for name, values in new.items()}
            rows = self.capacity
        if not self.columns:
            self._check_room(sum(values[0].nbytes for values in new.values()))
            self.columns = {
                name: torch.zeros((self.capacity, *values.shape[1:]), dtype=values.dtype, device=self.device)
                for name, values in new.items()
            }
        where = (torch.arange(rows, device=self.device) + self._next) % self.capacity
        for name, values in new.items():
            self.columns[name][where] = values.to(self.columns[name].dtype)
        self._next = (self._next + rows) % self.capacity
        self._size = min(self._size + rows, self.capacity)

    def _check_room(self, row_bytes: int) -> None:
        """Refuses what the system would end the process for, hours later."""
        wanted, there = self.capacity * row_bytes, memory_of(self.device)
        if wanted > there:
            raise ConfigError(
                f"replay_capacity is {self.capacity:,} joint steps of {row_bytes:,} bytes, {wanted / 1e9:.1f} GB, and "
                f"the learner's device has {there / 1e9:.1f} GB: lower it to {max(1, there // (4 * row_bytes)):,}, or "
                "make observations smaller (docs/your_environment.md#large-images)"
            )

    def sample(self, rows: int, generator: torch.Generator, names: Collection[str] | None = None) -> TensorColumns:
        """``rows`` joint steps drawn uniformly with replacement.

        Args:
            rows: How many.
            generator: Source of the draws.
            names: Columns to give, of those there are; None gives all.

        Raises:
            ValueError: If the buffer is empty.
        """
        if self._size == 0:
            raise ValueError("the replay buffer is empty: add rollouts before sampling")
        return draw_rows(self.columns, self._size, rows, generator, names)

    def get_state(self) -> dict[str, Any]:
        """The rows held and the write position, as numpy arrays."""
        return {
            "columns": {name: values[: self._size].cpu().numpy() for name, values in self.columns.items()},
            "next": self._next,
            "size": self._size,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restores :meth:`get_state`; a smaller capacity keeps the newest rows."""
        self.columns, self._next, self._size = {}, 0, 0
        columns, size, position = state["columns"], int(state["size"]), int(state["next"])
        if size == 0:
            return
        oldest_first = (np.arange(size) + (position if position < size else 0)) % size
        self.add({name: values[oldest_first] for name, values in columns.items()})
