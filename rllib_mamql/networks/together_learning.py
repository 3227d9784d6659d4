"""Critics of equal shape evaluated together: their parameters are stacked, one batched operation takes the place of n.

Gradients arrive at each module's own parameters; nothing is shared. Plain networks are multiplied by ``baddbmm``,
others are mapped by ``torch.func``. On a CPU only small plain networks gain by it (docs/results/speed.md): their
operations cost more to start than to do. Whatever else can be stacked is for GPUs, where starting one always costs.
"""

from __future__ import annotations

import functools
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rllib_mamql.networks.forms import form_of, in_a_row, plain_layers, stacked_linear
from rllib_mamql.networks.module import BoltzmannModule
from rllib_mamql.networks.tensors import STEP_BYTES, bytes_of, learning_in_parts

FEWEST = 4
"""Critics of equal shape from which ``auto`` stacks plain networks."""
WIDEST = 128
"""Units of the widest layer up to which ``auto`` stacks plain networks."""
LARGEST = 16_384
"""Rows times units of the widest layer up to which ``auto`` stacks plain networks."""

Batched = Callable[[Tensor, list[Tensor]], Tensor]
"""``(observations (n, rows, *obs), stacked parameters) -> (n, rows, A)``."""


def batched_layers(layers: Sequence[nn.Module]) -> Batched:
    """Evaluates plain layers n times at once; parameters are weight and bias of each linear layer in turn."""
    network = in_a_row(layers)

    def forward(observations: Tensor, parameters: list[Tensor]) -> Tensor:
        return network(observations, map(stacked_linear, parameters[::2], parameters[1::2]))

    return forward


def batched_module(critic: nn.Module) -> Batched:
    """Evaluates any network n times at once, by ``torch.func``."""
    names = [name for name, _ in critic.named_parameters()]

    def one(observations: Tensor, parameters: list[Tensor]) -> Tensor:
        return torch.func.functional_call(critic, dict(zip(names, parameters, strict=True)), (observations,))

    return torch.vmap(one)


CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
"""Where PyTorch keeps what it compiled; its default is emptied with the machine's temporary files."""

WITHOUT_GRAPHS = {"reduce-overhead": None, "max-autotune": "max-autotune-no-cudagraphs"}
"""Modes of the compiler that make CUDA graphs of their own, and what does the same without."""


def compiler(config: Any, *, graphs: bool = True) -> Callable[[Any], Any] | None:
    """Compiles as RLlib's ``torch_compile_learner`` asks, or None; RLlib itself compiles no module among several.

    Args:
        config: The algorithm's.
        graphs: Whether the compiler may make CUDA graphs, where the mode asks for them.
    """
    if not config.torch_compile_learner:
        return None
    os.environ.setdefault(CACHE_VARIABLE, str(pathlib.Path.home() / ".cache" / "rllib_mamql" / "compiled"))
    mode = config.torch_compile_learner_dynamo_mode
    return functools.partial(
        torch.compile,
        backend=config.torch_compile_learner_dynamo_backend,
        mode=mode if graphs else WITHOUT_GRAPHS.get(mode, mode),
    )


@dataclass(frozen=True)
class _Group:
    modules: list[str]
    parameters: list[tuple[Tensor, ...]]
    forward: Batched
    widest: int | None

    def worth_it(self, rows: int) -> bool:
        if self.widest is None or len(self.modules) < FEWEST:
            return False
        return self.widest <= WIDEST and rows * self.widest <= LARGEST


class NetworkStack:
    """Evaluates the trained networks of all modules, those of equal shape together where that is faster.

    Args:
        modules: The modules.
        stack: True stacks whatever is equal, False nothing, ``auto`` what was faster on a CPU.
        compiled: Makes of a network or a batched function what is evaluated in its place. torch (2.13) fails to compile
            mapped networks of changing size: with this only plain ones are stacked.
    """

    def __init__(
        self,
        modules: Mapping[str, BoltzmannModule],
        stack: bool | str,
        compiled: Callable[[Any], Any] | None = None,
    ) -> None:
        self._alone: dict[str, Callable[[Tensor], Tensor]] = {
            module_id: compiled(module.trained) if compiled else module.trained for module_id, module in modules.items()
        }
        self._always = stack is True
        # A network with buffers, such as running means, must not see rows twice.
        self._in_parts = {
            module_id: compiled is None and next(module.trained.buffers(), None) is None
            for module_id, module in modules.items()
        }
        self._groups: list[_Group] = []
        alike: dict[Any, list[str]] = {}
        for module_id, module in modules.items():
            alike.setdefault((module.observation_space.shape, form_of(module.trained)), []).append(module_id)
        for members in alike.values():
            critic = modules[members[0]].trained
            if stack is False or len(members) < 2 or next(critic.buffers(), None) is not None:
                continue
            layers = plain_layers(critic)
            if layers is None and compiled:
                continue
            forward = batched_module(critic) if layers is None else batched_layers(layers)
            self._groups.append(
                _Group(
                    modules=members,
                    parameters=list(
                        zip(*(modules[module_id].trained.parameters() for module_id in members), strict=True)
                    ),
                    forward=compiled(forward) if compiled else forward,
                    widest=None if layers is None else max(parameter.shape[0] for parameter in critic.parameters()),
                )
            )

    def __call__(self, observations: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Scores ``(rows, A)`` by module, of observations ``(rows, *obs)``."""
        values: dict[str, Tensor] = {}
        for group in self._groups:
            inputs = [observations[module_id] for module_id in group.modules]
            rows = len(inputs[0])
            if any(len(each) != rows for each in inputs) or not (self._always or group.worth_it(rows)):
                continue
            stacked = group.forward(torch.stack(inputs), [torch.stack(each) for each in group.parameters])
            values.update(zip(group.modules, stacked.unbind(), strict=True))
        large = sum(map(bytes_of, observations.values())) > STEP_BYTES
        for module_id, batch in observations.items():
            if module_id in values:
                continue
            network = self._alone[module_id]
            apart = large and self._in_parts[module_id] and batch.device.type == "cpu"
            values[module_id] = learning_in_parts(network, batch) if apart else network(batch)
        return values
