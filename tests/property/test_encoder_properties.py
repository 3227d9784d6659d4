"""A set of entities has no order, and padding is nothing."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_mamql.networks.encoders import EntityAttention


def entities(seed: int, batch: int = 3, count: int = 6, features: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, count, features, generator=generator)
    x[..., 0] = (torch.rand(batch, count, generator=generator) < 0.7).float()
    x[:, 0, 0] = 1.0
    return x


def encoder(layers: int) -> EntityAttention:
    torch.manual_seed(0)
    return EntityAttention((6, 5), dim=16, key_dim=4, layers=layers)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), layers=st.integers(0, 2), order=st.permutations(range(6)))
def test_permuting_entities_changes_nothing(seed: int, layers: int, order: list[int]) -> None:
    net, x = encoder(layers), entities(seed)
    torch.testing.assert_close(net(x), net(x[:, list(order)]), atol=1e-6, rtol=1e-5)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), layers=st.integers(0, 2), padding=st.integers(1, 5))
def test_absent_entities_change_nothing(seed: int, layers: int, padding: int) -> None:
    net, x = encoder(layers), entities(seed)
    garbage = torch.randn(3, padding, 5)
    garbage[..., 0] = 0.0
    torch.testing.assert_close(net(x), net(torch.cat([x, garbage], 1)), atol=1e-6, rtol=1e-5)


def test_an_empty_set_is_finite_and_trains() -> None:
    net = encoder(1)
    x = entities(0)
    x[1, :, 0] = 0.0
    out = net(x)
    out.sum().backward()
    assert torch.isfinite(out).all() and (out[1] == 0).all()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())
