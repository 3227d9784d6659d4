"""Learning in bfloat16, compiled, and from staged batches is close to learning without."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rllib_mamql.errors import ConfigError
from rllib_mamql.learning.replay import stage
from rllib_mamql.networks.precision import Precision
from tests.unit.test_learner import learner, play


def losses(settings: dict[str, Any], autocast: str) -> tuple[dict[str, float], list[torch.Tensor]]:
    made = learner(autocast=autocast, **settings)
    made.replay.add(play(seed=9))
    made._log_this_step = False
    _, found, _ = made._update(made._minibatch())
    assert all(loss.dtype == torch.float32 for loss in found.values())
    gradients = [p.grad for p in made._params.values() if p.requires_grad]
    assert all(gradient is not None and gradient.dtype == torch.float32 for gradient in gradients)
    return {name: loss.item() for name, loss in found.items()}, gradients


@pytest.mark.parametrize(
    "settings", [{}, {"critic": "joint"}, {"stack_networks": True}, {"parameter_sharing": "all"}], ids=str
)
def test_bfloat16_is_close_to_float32(settings: dict[str, Any]) -> None:
    narrow, full = losses(settings, "bfloat16"), losses(settings, "none")
    for name, value in full[0].items():
        assert narrow[0][name] == pytest.approx(value, abs=0.01, rel=0.02)
        assert narrow[0][name] != value, "the networks were not evaluated in bfloat16"
    ours, theirs = (torch.cat([gradient.flatten() for gradient in each[1]]) for each in (narrow, full))
    assert torch.cosine_similarity(ours, theirs, dim=0) > 0.999


@pytest.mark.parametrize("settings", [{}, {"critic": "joint"}, {"stack_networks": True}], ids=str)
def test_networks_in_float64_learn_in_float64(settings: dict[str, Any]) -> None:
    made = learner(**settings)
    made.replay.add(play(seed=9))
    made.module.foreach_module(lambda _, module: module.double())
    for columns in (made.expert.columns, made.replay.columns):
        columns.update({name: values.double() for name, values in columns.items() if values.is_floating_point()})
    made._log_this_step = False
    _, found, _ = made._update(made._minibatch())
    assert all(loss.dtype == torch.float64 for loss in found.values())


def test_a_device_without_bfloat16_is_refused() -> None:
    with pytest.raises(ConfigError, match="autocast is 'bfloat16', but the learner's device meta lacks it"):
        Precision("bfloat16", torch.device("meta"))
    Precision("none", torch.device("meta"))


def test_rllibs_setting_compiles_the_critics() -> None:
    torch._dynamo.reset()
    graphs: list[Any] = []

    def backend(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    made, other = learner(compiled_by=backend), learner()
    for each in (made, other):
        each.replay.add(play(seed=9))
        each.update(num_updates=3)
    assert graphs
    for a, b in zip(made._params.values(), other._params.values(), strict=True):
        torch.testing.assert_close(a, b, rtol=0.0, atol=1e-2 * made.config.lr)


def test_only_what_goes_to_a_gpu_is_staged() -> None:
    class Host:
        def __init__(self) -> None:
            self.calls: list[Any] = []

        def pin_memory(self) -> Host:
            self.calls.append("pinned")
            return self

        def to(self, device: Any, non_blocking: bool = False) -> Host:
            self.calls.append((str(device), non_blocking))
            return self

    to_cpu, to_gpu = Host(), Host()
    stage(to_cpu, torch.device("cpu"))  # type: ignore[arg-type]
    stage(to_gpu, torch.device("cuda"))  # type: ignore[arg-type]
    assert to_cpu.calls == [("cpu", False)]
    assert to_gpu.calls == ["pinned", ("cuda", True)]
    tensor = torch.arange(3)
    assert stage(tensor, None) is tensor
