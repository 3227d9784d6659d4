"""Observations that carry what their agent may do.

Where an environment says which actions are legal, the mask is a part of the agent's observation everywhere in memory:
behind the flattened observation stands one number an action, 1 where it is legal. So a mask is wherever its
observation is: in rollouts, replay, minibatches and checkpoints. Networks take the two apart
(:mod:`rllib_mamql.networks.masks`), and so do files, where ``obs.<agent>`` and ``mask.<agent>`` are two columns.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.spaces import Box

from rllib_mamql.columns import Array

Flags = npt.NDArray[np.bool_]


class MaskedBox(Box):
    """Flattened observations ``(F,)`` with A numbers behind them, which say what the agent may do: ``(F + A,)``.

    Args:
        observation: What the agent sees ``(*obs)``, F numbers in any number format.
        actions: How many actions A it has.
    """

    def __init__(self, observation: Box, actions: int) -> None:
        dtype: np.dtype[Any] = np.dtype(observation.dtype)
        low, high = np.zeros(actions, dtype), np.ones(actions, dtype)
        super().__init__(
            np.concatenate([observation.low.ravel(), low]),
            np.concatenate([observation.high.ravel(), high]),
            dtype=dtype.type,
        )
        self.observation, self.actions = observation, actions
        self.size = int(np.prod(observation.shape))

    def join(self, observations: Array, legal: Array) -> Array:
        """Puts masks ``(..., A)`` behind observations ``(..., *obs)``: ``(..., F + A)``."""
        flat = observations.reshape(*legal.shape[:-1], self.size)
        return np.concatenate([flat, legal.astype(self.dtype)], axis=-1)

    def split(self, joined: Array) -> tuple[Array, Flags]:
        """Takes ``(..., F + A)`` apart into observations ``(..., *obs)`` and masks ``(..., A)``, bool."""
        flat = joined[..., : self.size]
        return flat.reshape(*joined.shape[:-1], *self.observation.shape), self.legal(joined)

    def legal(self, joined: Array) -> Flags:
        """The masks alone ``(..., A)``, bool."""
        return np.asarray(joined[..., self.size :] != 0, np.bool_)

    def __eq__(self, other: object) -> bool:
        """Whether observations and numbers of actions are the same."""
        return isinstance(other, MaskedBox) and self.observation == other.observation and self.actions == other.actions

    def __repr__(self) -> str:
        """The observation's space and the number of actions."""
        return f"MaskedBox({self.observation}, {self.actions} actions)"


def is_masked(space: gym.Space[Any]) -> bool:
    """Whether observations of a space carry what their agent may do."""
    return isinstance(space, MaskedBox)


def seen_space(space: Any) -> Box:
    """The Box of what an agent sees, without what it may do."""
    seen: Box = space.observation if isinstance(space, MaskedBox) else space
    return seen


def draw_actions(
    space: gym.Space[Any] | None, observations: Array, actions: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Uniformly random legal actions.

    Args:
        space: Of the observations; None where they carry no masks.
        observations: ``(B, *obs)``.
        actions: How many there are.
        rng: Source of the draws.

    Returns:
        ``(B,)``; any action where none is legal, as where nobody acts.
    """
    if not isinstance(space, MaskedBox):
        return rng.integers(actions, size=len(observations))
    legal = space.legal(observations)
    draws: npt.NDArray[np.int64] = np.where(legal, rng.random(legal.shape), -1.0).argmax(-1)
    return draws
