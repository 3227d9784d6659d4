"""Symmetries of an environment: what it looks like and what actions become when the world is mirrored or turned.

Where an environment declares them, one demonstration is as many as there are symmetries: :mod:`learning.augment` learns
from each row as it would have been in a mirrored world.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from rllib_mamql.data.masks import is_masked
from rllib_mamql.environments.registry import declared_symmetries
from rllib_mamql.environments.spaces import environment_spaces
from rllib_mamql.errors import ConfigError

ALL_AGENTS = "all"
"""Key of symmetries that all agents share."""

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Symmetry:
    """One agent's view of a world that was mirrored or turned, given its view of the world as it was.

    ``observation'[k] = sign[k] * observation[index[k]] + offset[k]`` over the flat observation, and
    ``action' = actions[action]``. Of observations with a history, offsets count only where the step took place.

    Attributes:
        index: ``(F,)``, a permutation of the F numbers of an observation.
        sign: ``(F,)``, 1 or -1.
        offset: ``(F,)``, float.
        actions: ``(A,)``, a permutation of the actions.
        flags: ``(F,)``, of observations with a history: which number says whether the step of each number took place,
            -1 for the present, which always does; None: there is no history.
    """

    index: NDArray[np.int64]
    sign: NDArray[np.float64]
    offset: NDArray[np.float64]
    actions: NDArray[np.int64]
    flags: NDArray[np.int64] | None = None

    @classmethod
    def of(cls, transform: Callable[[Array], Array], actions: Sequence[int], space: gym.Space[Any]) -> Symmetry:
        """The symmetry that a function of observations describes.

        Args:
            transform: ``(B, *obs) -> (B, *obs)`` of floats: every number of the result is one of the observation's,
                possibly negated or shifted, each used once. Called with numbers that need not lie in the space.
            actions: What each action becomes.
            space: The agent's observations, a Box.

        Raises:
            ConfigError: If the function is of no such form, or ``actions`` is no permutation.
        """
        shape = space.shape or ()
        size = int(np.prod(shape))
        rng = np.random.default_rng(0)
        first, second = (rng.permutation(size) + rng.uniform(1.0, 1.5, size) for _ in range(2))
        probes = np.stack([np.zeros(size), first, second]).reshape(3, *shape)
        seen = np.asarray(transform(probes), np.float64).reshape(3, -1)
        if seen.shape != (3, size):
            raise ConfigError(
                f"a symmetry makes observations of {size} numbers {seen.shape[1]} numbers: keep the shape"
            )
        offset, moved = seen[0], seen[1] - seen[0]
        order = np.argsort(first)
        index = order[np.clip(np.searchsorted(first[order], np.abs(moved) - 1e-6), 0, size - 1)]
        found = cls(index, np.sign(moved), offset, np.asarray(actions, np.int64))
        if not np.allclose(found.observations(probes.reshape(3, -1)), seen, atol=1e-6):
            raise ConfigError("a symmetry must only reorder, negate and shift the numbers of an observation")
        if sorted(index) != list(range(size)):
            raise ConfigError("a symmetry uses a number of the observation twice: each is used once")
        if sorted(found.actions) != list(range(len(found.actions))):
            raise ConfigError(f"a symmetry's actions are {list(actions)}: give each action once")
        return found

    def observations(self, flat: Array) -> Array:
        """Transforms flat observations ``(B, F)``; steps that never were keep their zeros."""
        offset = self.offset
        if self.flags is not None:
            offset = offset * np.where(self.flags < 0, 1.0, flat[:, np.maximum(self.flags, 0)])
        return self.sign * flat[:, self.index] + offset

    def remembering(self, steps: int) -> Symmetry:
        """The same of observations with a history of so many steps (:mod:`rllib_mamql.data.memory`)."""
        size, actions = len(self.index), len(self.actions)
        # Number b of an own action becomes the one of the action that turns into b.
        step = np.concatenate([[0], 1 + self.index, 1 + size + np.argsort(self.actions)])
        starts = [size + back * len(step) for back in range(steps)]
        sign = np.concatenate([[1.0], self.sign, np.ones(actions)])
        offset = np.concatenate([[0.0], self.offset, np.zeros(actions)])
        return Symmetry(
            np.concatenate([self.index, *(start + step for start in starts)]),
            np.concatenate([self.sign, *[sign] * steps]),
            np.concatenate([self.offset, *[offset] * steps]),
            self.actions,
            np.concatenate([np.full(size, -1), *(np.full(len(step), start) for start in starts)]),
        )


Symmetries = Mapping[str, Sequence[Symmetry]]
"""By agent, as many for each: the k-th of all agents make up the k-th symmetry of the world, besides the identity."""


def symmetries_of(env: str, env_config: Mapping[str, Any], history: int = 0) -> Symmetries | None:
    """The symmetries that an environment declares; None where it declares none.

    Args:
        env: Name of the environment.
        env_config: Its keywords.
        history: How many steps back agents see.

    Raises:
        ConfigError: If they do not fit its agents, observations and actions.
    """
    declared = declared_symmetries(env, env_config)
    if not declared:
        return None
    spaces = environment_spaces(env, env_config)
    if set(declared) not in ({ALL_AGENTS}, set(spaces)):
        raise ConfigError(
            f"the symmetries of {env!r} are of {sorted(declared)}: give them for {sorted(spaces)}, or for 'all'"
        )
    masked = next((agent for agent, (observation, _) in spaces.items() if is_masked(observation)), None)
    if masked is not None:
        raise ConfigError(
            f"the symmetries of {env!r} do not say what becomes of action masks, which {masked!r} has: set symmetries "
            "to false"
        )
    found = {}
    for agent, (observation, action) in spaces.items():
        pairs = declared[agent] if agent in declared else declared[ALL_AGENTS]
        found[agent] = [Symmetry.of(transform, actions, observation) for transform, actions in pairs]
        wrong = next((each for each in found[agent] if len(each.actions) != action.n), None)
        if wrong is not None:
            raise ConfigError(
                f"a symmetry of {env!r} has {len(wrong.actions)} actions, but {agent} has {int(action.n)}"
            )
    counts = {agent: len(each) for agent, each in found.items()}
    if len(set(counts.values())) > 1:
        raise ConfigError(f"the symmetries of {env!r} differ in number by agent: {counts}")
    if history:
        found = {agent: [each.remembering(history) for each in of_agent] for agent, of_agent in found.items()}
    return found if any(counts.values()) else None
