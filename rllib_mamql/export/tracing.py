"""From a torch network to a program that needs neither its class nor Ray (:mod:`rllib_mamql.export.programs`)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn

from rllib_mamql.errors import ConfigError
from rllib_mamql.export.programs import DTYPES, FORMAT_VERSION, NOT_FOR_FILES, OPERATORS, PLAIN


def trace(network: nn.Module, inputs: Mapping[str, Tensor], dynamic: Mapping[str, Mapping[int, str]]) -> Any:
    """Traces a network into torch's ``ExportedProgram``.

    Args:
        network: Functions of tensors, without control flow on their values.
        inputs: Example inputs by name, in the order of ``forward``.
        dynamic: Of every input the axes that may have any size, ``{axis: name}``; equal names are equal sizes.

    Returns:
        The ``torch.export.ExportedProgram``.

    Raises:
        ConfigError: If the network cannot be traced with such axes.
    """
    sizes = {name: torch.export.Dim(name) for axes in dynamic.values() for name in axes.values()}
    shapes = tuple({axis: sizes[name] for axis, name in dynamic.get(key, {}).items()} for key in inputs)
    # The second way reads the source in place of running it: it follows len(tensor), which the first fixes to a number.
    problem: Exception | None = None
    for strict in (False, True):
        try:
            with torch.no_grad():
                return torch.export.export(network, tuple(inputs.values()), dynamic_shapes=shapes, strict=strict)
        except Exception as error:  # torch raises many kinds, most of them private
            problem = error
    text = " ".join(str(problem).split())[:300]
    raise ConfigError(
        f"{type(network).__name__} cannot be exported ({type(problem).__name__}: {text}): use an encoder of this "
        "package"
    ) from problem


def to_program(traced: Any) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """The program's document and its arrays.

    Args:
        traced: What :func:`trace` gave.

    Raises:
        ConfigError: If it uses an operator that programs do not have.
    """
    signature = traced.graph_signature
    stored = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    stored |= dict(signature.inputs_to_lifted_tensor_constants)
    values = {**traced.constants, **traced.state_dict}
    live = _live(traced.graph)
    arrays: dict[str, npt.NDArray[Any]] = {}
    inputs, nodes, output = [], [], ""
    for node in traced.graph.nodes:
        if node.op == "placeholder" and node.name not in stored:
            inputs.append(node.name)
        elif node.op == "placeholder" and node in live:
            arrays[stored[node.name]] = values[stored[node.name]].detach().cpu().numpy()
        elif node.op == "call_function" and node in live:
            kwargs = {key: value for key, value in node.kwargs.items() if key not in NOT_FOR_FILES}
            nodes.append(
                {
                    "name": node.name,
                    "operator": _operator(node.target),
                    "args": [_argument(value, stored) for value in node.args],
                    "kwargs": {key: _argument(value, stored) for key, value in kwargs.items()},
                }
            )
        elif node.op == "output":
            output = node.args[0][0].name
    return {"format_version": FORMAT_VERSION, "inputs": inputs, "nodes": nodes, "output": output}, arrays


def _live(graph: Any) -> set[Any]:
    """Nodes that the output depends on: torch also notes assertions, which are no part of the function."""
    waiting = [node for node in graph.nodes if node.op == "output"]
    found: set[Any] = set()
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting.extend(node.all_input_nodes)
    return found


def _operator(target: Any) -> str:
    name = getattr(target, "__name__", "") if target in PLAIN.values() else str(target)
    if name not in PLAIN and name not in OPERATORS:
        raise ConfigError(
            f"a network uses operator {name}, which exported programs do not have: use RLlib's catalog or "
            "'entity_attention' as its encoder, or add the operator to rllib_mamql.export.programs.OPERATORS"
        )
    return name


def _argument(value: Any, stored: Mapping[str, str]) -> Any:
    if isinstance(value, torch.fx.Node):
        return {"array": stored[value.name]} if value.name in stored else {"node": value.name}
    if isinstance(value, (list, tuple)):
        return [_argument(item, stored) for item in value]
    if isinstance(value, torch.dtype) and str(value).removeprefix("torch.") in DTYPES:
        return {"dtype": str(value).removeprefix("torch.")}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ConfigError(f"a network passes {value!r} to an operator, which exported programs cannot hold")
