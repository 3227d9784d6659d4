"""Reward networks: what they may see, and that the order of entities is none of it."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_mamql.errors import ConfigError
from rllib_mamql.networks.rewards import EntityAdditive, build_reward

BOX = gym.spaces.Box(-1.0, 1.0, (5, 4), np.float32)
ACTIONS = gym.spaces.Discrete(3)


def entities(seed: int, rows: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    observations = torch.randn(rows, 5, 4, generator=generator)
    observations[..., 0] = (torch.rand(rows, 5, generator=generator) < 0.8).float()
    return observations


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**16))
def test_an_additive_reward_reads_a_set(seed: int) -> None:
    torch.manual_seed(seed)
    network = EntityAdditive((5, 4), 3, (2, 4))
    observations, others = entities(seed), torch.randint(2, (6, 2))
    values = network(observations, others)
    order = torch.randperm(5)
    assert torch.allclose(network(observations[:, order], others), values, atol=1e-5)
    # What is absent may hold anything.
    noise = observations + (1.0 - observations[..., :1]) * torch.cat([torch.zeros(1), torch.ones(3)])
    assert torch.allclose(network(noise, others), values, atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**16), kind=st.sampled_from(["plain", "entity_additive"]))
def test_many_joint_actions_at_once_are_as_one_by_one(seed: int, kind: str) -> None:
    torch.manual_seed(seed)
    network = build_reward(BOX, ACTIONS, {"fcnet_hiddens": [8]}, (2, 4), network=kind)
    observations, others = entities(seed), torch.randint(2, (6, 7, 2))
    together = network(observations, others)
    assert together.shape == (6, 7, 3)
    for k in range(7):
        assert torch.allclose(together[:, k], network(observations, others[:, k]), atol=1e-5)


@pytest.mark.parametrize("kind", ["plain", "entity_additive"])
def test_every_parameter_learns(kind: str) -> None:
    network = build_reward(BOX, ACTIONS, {"fcnet_hiddens": [8]}, (2,), network=kind)
    network(entities(0, 64), torch.randint(2, (64, 1))).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_entities_are_asked_for_where_there_are_none() -> None:
    flat = gym.spaces.Box(0.0, 1.0, (7,), np.float32)
    with pytest.raises(ConfigError, match="observation to entities"):
        build_reward(flat, ACTIONS, {}, (2,), network="entity_additive")
    with pytest.raises(ConfigError, match="state_action"):
        build_reward(flat, ACTIONS, {}, (2,), inputs="state_actions")
