"""How many numbers an operator of a program gives at most, told before it runs: a few bytes can ask for terabytes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def at_most(operator: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    """An upper bound on the numbers that an operator's results have.

    Args:
        operator: Its name, as programs have it.
        args: What it is given.
        kwargs: Likewise; sizes and tensors stand in ``args``, as torch traces them.

    Raises:
        ValueError: If a keyword gives a size or a tensor.
        TypeError, IndexError, RuntimeError: If the arguments are none that the operator takes.
    """
    if any(isinstance(value, (Tensor, list, tuple)) for value in kwargs.values()):
        raise ValueError(f"{operator} is given a tensor or a list by keyword")
    bound = _BOUNDS.get(operator.split(".")[1], _broadcast)
    return int(bound(args))


def _broadcast(args: Sequence[Any]) -> int:
    """Of what works on numbers one by one, or makes fewer of them; tensors in a list are put side by side."""
    listed = [item for value in args if isinstance(value, (list, tuple)) for item in value if isinstance(item, Tensor)]
    tensors = [value for value in args if isinstance(value, Tensor)]
    together = math.prod(_together(*(tensor.shape for tensor in tensors))) if tensors else 1
    return together + sum(tensor.numel() for tensor in listed)


def _together(*shapes: Sequence[int]) -> Sequence[int]:
    return torch.broadcast_shapes(*shapes)  # type: ignore[no-untyped-call]


def _first(args: Sequence[Any]) -> int:
    return args[0].numel()


def _sized(args: Sequence[Any]) -> int:
    return math.prod(args[0])


def _expanded(args: Sequence[Any]) -> int:
    shape, sizes = args[0].shape, args[1]
    own = [1] * (len(sizes) - len(shape)) + list(shape)
    return math.prod(there if size == -1 else size for there, size in zip(own, sizes, strict=True))


def _counted(args: Sequence[Any]) -> int:
    start, end = (0, args[0]) if len(args) == 1 else args[:2]
    return math.ceil(abs(end - start) / abs(args[2] if len(args) > 2 else 1))


def _padded(args: Sequence[Any]) -> int:
    shape, pads = list(args[0].shape), args[1]
    for index in range(len(pads) // 2):
        shape[-1 - index] += max(0, pads[2 * index]) + max(0, pads[2 * index + 1])
    return math.prod(shape)


def _product(args: Sequence[Any]) -> int:
    """Of matrices, with batches of them broadcast."""
    first, second = (tensor.shape for tensor in args[:2])
    batch = _together(first[:-2], second[:-2])
    return math.prod(batch) * (first[-2] if len(first) > 1 else 1) * (second[-1] if len(second) > 1 else 1)


def _linear(args: Sequence[Any]) -> int:
    return math.prod(args[0].shape[:-1]) * (args[1].shape[0] if args[1].ndim > 1 else 1)


def _convolved(args: Sequence[Any]) -> int:
    shape, kernels = args[0].shape, args[1].shape
    padding = args[4] if len(args) > 4 else 0
    if isinstance(padding, str):
        padding = list(kernels[2:])
    pads = padding if isinstance(padding, (list, tuple)) else [padding]
    pads = list(pads) * (len(kernels) - 2) if len(pads) == 1 else pads
    spatial = shape[-(len(kernels) - 2) :]
    batch = shape[0] if len(shape) == len(kernels) else 1
    return batch * kernels[0] * math.prod(size + 2 * pad for size, pad in zip(spatial, pads, strict=True))


_BOUNDS: dict[str, Callable[[Sequence[Any]], int]] = {
    **dict.fromkeys(("full", "ones", "zeros"), _sized),
    **dict.fromkeys(("full_like", "ones_like", "zeros_like", "view", "reshape", "flatten", "squeeze", "to"), _first),
    "arange": _counted,
    "expand": _expanded,
    "repeat": lambda args: args[0].numel() * math.prod(args[1]),
    "pad": _padded,
    **dict.fromkeys(("mm", "bmm", "matmul"), _product),
    "addmm": lambda args: _product(args[1:3]),
    "linear": _linear,
    **dict.fromkeys(("conv1d", "conv2d"), _convolved),
    "adaptive_avg_pool2d": lambda args: math.prod(args[0].shape[:-2]) * math.prod(args[1]),
    **dict.fromkeys(("avg_pool2d", "max_pool2d"), lambda args: 4 * args[0].numel()),
    "embedding": lambda args: args[1].numel() * args[0].shape[-1],
    "gather": lambda args: args[2].numel(),
    "index_select": lambda args: args[0].numel() * args[2].numel(),
    "layer_norm": _first,
    "expand_as": lambda args: args[1].numel(),
    **dict.fromkeys(("split", "split_with_sizes", "cumsum", "movedim", "permute", "transpose"), _first),
}
"""By the operator's name; for all others :func:`_broadcast`."""
