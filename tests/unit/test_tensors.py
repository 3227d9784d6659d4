"""Whatever numpy gives becomes a tensor, without a warning."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from rllib_mamql.networks.tensors import to_tensor


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
