"""Networks as data: a list of tensor operators by name in JSON, and the weights as arrays, in one ``.npz`` file.

Why not what torch offers: ``torch.export.load`` reads a ``.pt2`` archive with ``torch.load(weights_only=False)`` and
``pickle.loads`` where the archive asks for it, and evaluates its symbolic shapes as Python text. TorchScript is
deprecated, and its operators reach files. A program here can name the operators below and nothing else, so what a file
may do is known from this page. It needs numpy and torch, not Ray.

A document is ``{"format_version", "inputs": [name], "nodes": [{"name", "operator", "args", "kwargs"}], "output"}``. An
argument is a number, a bool, a string, null, a list of arguments, or one of ``{"node": name}`` (an input or an earlier
node), ``{"array": name}``, ``{"dtype": name}`` and ``{"float": "inf" | "-inf" | "nan"}``.
"""

from __future__ import annotations

import io
import json
import operator
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rllib_mamql.data.untrusted import StoredArrays, parse_json
from rllib_mamql.export.sizes import at_most

FORMAT_VERSION = 1
DOCUMENT = "document"
"""Name of the JSON bytes among the arrays; no weight has it, for theirs begin with ``array/``."""
ARRAY_PREFIX = "array/"

PLAIN = {
    "getitem": operator.getitem,
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "floordiv": operator.floordiv,
}
"""What traced programs do with sizes and with operators of several results."""

# Functions of their arguments: none reads or writes anything else, draws at random, or changes its input.
OPERATORS = frozenset(
    f"aten.{name}"
    for name in (
        "__and__.Tensor __or__.Tensor _to_copy.default abs.default add.Scalar add.Tensor addmm.default "
        "adaptive_avg_pool2d.default alias.default amax.default amin.default any.dim arange.default arange.start "
        "argmax.default avg_pool2d.default bitwise_and.Tensor bitwise_not.default bitwise_or.Tensor bmm.default "
        "cat.default clamp.default clamp_max.default clamp_min.default clone.default contiguous.default "
        "conv1d.default conv2d.default conv2d.padding cumsum.default detach.default div.Scalar div.Tensor elu.default "
        "embedding.default eq.Scalar eq.Tensor exp.default expand.default expand_as.default flatten.using_ints "
        "full.default full_like.default gather.default ge.Scalar ge.Tensor gelu.default gt.Scalar gt.Tensor "
        "hardtanh.default index_select.default layer_norm.default le.Scalar le.Tensor leaky_relu.default "
        "linear.default log.default log_softmax.int logical_and.default logical_not.default logical_or.default "
        "logsumexp.default lt.Scalar lt.Tensor masked_fill.Scalar masked_fill.Tensor matmul.default max.dim "
        "max_pool2d.default maximum.default mean.default mean.dim min.dim minimum.default mm.default mish.default "
        "movedim.int mul.Scalar mul.Tensor ne.Scalar ne.Tensor neg.default ones.default ones_like.default pad.default "
        "permute.default pow.Tensor_Scalar prod.dim_int reciprocal.default relu.default relu6.default repeat.default "
        "reshape.default rsqrt.default rsub.Scalar select.int selu.default sigmoid.default sign.default silu.default "
        "slice.Tensor softmax.int softplus.default split.Tensor split_with_sizes.default sqrt.default squeeze.default "
        "squeeze.dim stack.default sub.Scalar sub.Tensor sum.default sum.dim_IntList sym_size.int t.default "
        "tanh.default to.dtype transpose.int unsqueeze.default view.default where.ScalarOther where.self "
        "zeros.default zeros_like.default"
    ).split()
)

DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64")

NOT_FOR_FILES = ("device", "layout", "pin_memory", "memory_format", "out")
"""Keywords that say where a result lies, not what it is."""
MOST_NODES = 10_000
NUMBERS_A_ROW = 2**24
"""All results of a program together have at most so many numbers for each row of its input: a large image network has
11 million."""
LARGEST_SIZE = 2**40
"""Sizes that a program computes with are at most this large."""


class ProgramError(ValueError):
    """A file holds no program of this format, or one that asks for what programs may not do."""


_DAMAGE = (
    AttributeError, EOFError, LookupError, MemoryError, OSError, OverflowError, RuntimeError, TypeError, ValueError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip


class Program:
    """A network read back: a function of tensors.

    Args:
        document: Its operators; see the module's text.
        arrays: Its weights by name.

    Raises:
        ProgramError: If the document is malformed, or names an operator, an array or a node that is not there.
    """

    def __init__(self, document: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        try:
            version = document["format_version"]
            if version != FORMAT_VERSION:
                raise ProgramError(f"program format version is {version!r}, this package reads {FORMAT_VERSION}")
            self.inputs = tuple(str(name) for name in document["inputs"])
            self._tensors = {name: torch.from_numpy(np.array(values)) for name, values in arrays.items()}
            known = set(self.inputs)
            self._nodes: list[tuple[str, str, Callable[..., Any], list[Any], dict[str, Any]]] = []
            if len(document["nodes"]) > MOST_NODES:
                raise ProgramError(f"the program has {len(document['nodes'])} nodes, at most {MOST_NODES} may be")
            for node in document["nodes"]:
                function = _function(node["operator"])
                args = [self._read(value, known) for value in node["args"]]
                kwargs = {str(key): self._read(value, known) for key, value in node["kwargs"].items()}
                if odd := sorted(set(kwargs) & set(NOT_FOR_FILES)):
                    raise ProgramError(f"the program says where results lie ({odd[0]}), which is not for files to say")
                self._nodes.append((str(node["name"]), node["operator"], function, args, kwargs))
                known.add(str(node["name"]))
            self.output = str(document["output"])
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ProgramError(f"the program is malformed ({type(error).__name__}: {error})") from error
        if self.output not in known:
            raise ProgramError(f"the program's output {self.output!r} is none of its nodes")

    @torch.inference_mode()
    def __call__(self, *inputs: Tensor) -> Tensor:
        """Runs the operators in order; as many tensors as ``inputs`` has names, in that order.

        Raises:
            ProgramError: If the results would be out of all proportion to the inputs, or the output is no tensor.
            ValueError, TypeError, IndexError, RuntimeError: If an operator cannot take what it is given.
        """
        values: dict[str, Any] = dict(zip(self.inputs, inputs, strict=True))
        most, numbers = _most(inputs), 0
        for name, operator_name, function, args, kwargs in self._nodes:
            given = [_resolve(value, values) for value in args]
            named = {key: _resolve(value, values) for key, value in kwargs.items()}
            if operator_name not in PLAIN:
                numbers += at_most(operator_name, given, named)
                if not 0 <= numbers <= most:
                    raise ProgramError(f"the program's results have over {most:,} numbers for inputs this small")
            values[name] = function(*given, **named)
        result = values[self.output]
        if not isinstance(result, Tensor):
            raise ProgramError(f"the program's output {self.output!r} is a {type(result).__name__}, not a tensor")
        return result

    def _read(self, value: Any, known: set[str]) -> Any:
        """An argument with its arrays, dtypes and unusual floats in place; nodes stay references."""
        if isinstance(value, list):
            return [self._read(item, known) for item in value]
        if not isinstance(value, dict):
            return value
        ((kind, name),) = value.items() if len(value) == 1 else ((None, value),)
        if kind == "node" and name in known:
            return _Reference(name)
        if kind == "array" and name in self._tensors:
            return self._tensors[name]
        if kind == "dtype" and name in DTYPES:
            return getattr(torch, name)
        if kind == "float" and name in ("inf", "-inf", "nan"):
            return float(name)
        raise ProgramError(f"the program has an argument {value!r}, which names nothing that is known at its place")


class _Reference(str):
    """Name of a node whose value stands here."""


def _resolve(value: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(value, _Reference):
        return values[value]
    if isinstance(value, list):
        return [_resolve(item, values) for item in value]
    return value


def _most(inputs: Sequence[Tensor]) -> int:
    """Numbers that all results may have: by rows, which of a reward are observations times joint actions."""
    rows = max(1, inputs[0].shape[0]) if inputs else 1
    return NUMBERS_A_ROW * rows * (max(1, inputs[1].shape[1]) if len(inputs) > 1 and inputs[1].ndim == 3 else 1)


def _on_sizes(name: str) -> Callable[..., Any]:
    """An operator on whole numbers; ``getitem`` takes one of several results."""

    def apply(first: Any, second: Any) -> Any:
        whole = type(second) is int and abs(second) <= LARGEST_SIZE
        if name == "getitem":
            if not whole or not isinstance(first, (list, tuple)):
                raise ProgramError(f"the program takes item {second!r} of a {type(first).__name__}")
        elif not whole or type(first) is not int or abs(first) > LARGEST_SIZE:
            raise ProgramError(f"the program uses {name} on {first!r} and {second!r}, which are no sizes")
        return PLAIN[name](first, second)

    return apply


_ON_SIZES = {name: _on_sizes(name) for name in PLAIN}


def _function(name: Any) -> Callable[..., Any]:
    if name in _ON_SIZES:
        return _ON_SIZES[name]
    if name not in OPERATORS:
        raise ProgramError(f"the program asks for operator {name!r}, which is none that programs may use")
    _, function, overload = name.split(".")
    try:
        return getattr(getattr(torch.ops.aten, function), overload)
    except AttributeError as error:
        raise ProgramError(f"operator {name!r} is not in torch {torch.__version__}: install a newer torch") from error


def to_bytes(document: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """The ``.npz`` file of a program, without pickles."""
    content: dict[str, Any] = {f"{ARRAY_PREFIX}{name}": values for name, values in arrays.items()}
    content[DOCUMENT] = np.frombuffer(json.dumps(document, allow_nan=False).encode(), dtype=np.uint8)
    stream = io.BytesIO()
    np.savez(stream, **content)
    return stream.getvalue()


def from_bytes(content: bytes) -> Program:
    """Reads what :func:`to_bytes` wrote; nothing is unpickled or evaluated.

    Raises:
        ProgramError: If these are no bytes of a program.
    """
    try:
        arrays: dict[str, Any] = StoredArrays(io.BytesIO(content)).read()
        document = parse_json(arrays.pop(DOCUMENT).tobytes().decode())
    except _DAMAGE as error:
        raise ProgramError(f"the file holds no program ({type(error).__name__}: {error})") from error
    return Program(document, {name.removeprefix(ARRAY_PREFIX): values for name, values in arrays.items()})
