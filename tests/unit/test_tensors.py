"""Whatever numpy gives becomes a tensor, without a warning; and what is large goes through networks in parts."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from rllib_mamql.networks.tensors import PASS_BYTES, PASS_ROWS, in_parts, rows_at_once, to_tensor


def test_memory_is_shared_where_torch_can() -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    to_tensor(values)[0, 0] = 7.0
    assert values[0, 0] == 7.0


@pytest.mark.parametrize("kind", ["read-only", "reversed", "every second"])
def test_what_torch_cannot_express_is_copied(kind: str) -> None:
    values = np.arange(8, dtype=np.int64)
    if kind == "read-only":
        values.flags.writeable = False
    shown = {"read-only": values, "reversed": values[::-1], "every second": values[::2]}[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tensor = to_tensor(shown)
    assert torch.equal(tensor, torch.tensor(shown.tolist()))
    tensor[0] = 100
    assert 100 not in values


def test_large_observations_go_through_a_network_a_few_at_a_time() -> None:
    assert rows_at_once(np.zeros((9, 20), np.float32)) == PASS_ROWS
    assert rows_at_once(np.zeros((9, 20), np.float32), most=5) == 5
    images = np.zeros((70, 256, 256, 4), np.uint8)
    assert rows_at_once(images) == PASS_BYTES // (4 * 256 * 256 * 4) == 64
    sizes = []

    def network(part: torch.Tensor) -> torch.Tensor:
        sizes.append(len(part))
        return part.float().mean((1, 2, 3))

    assert in_parts(network, images).shape == (70,) and sizes == [64, 6]
    values = torch.rand(PASS_ROWS + 1, 3, requires_grad=True)
    found = in_parts(lambda part: part.sum(-1), values)
    assert torch.equal(found, values.sum(-1)) and not found.requires_grad
    assert in_parts(lambda part: part, np.zeros((0, 3))).shape == (0, 3)
