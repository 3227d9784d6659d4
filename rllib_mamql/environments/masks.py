"""What agents may do, as environments say it: ``action_mask``, beside the observation or in the agent's info.

PettingZoo's environments give ``{"observation": ..., "action_mask": ...}`` or ``infos[agent]["action_mask"]``, RLlib's
``{"observations": ..., "action_mask": ...}``. A mask has a number for each action, in the order of the actions, that is
not 0 where the action is legal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Dict, Discrete

from rllib_mamql.data.masks import MaskedBox
from rllib_mamql.environments.calls import call_environment
from rllib_mamql.environments.observations import Array, ObservationCoding, observation_coding
from rllib_mamql.errors import ConfigError

MASK_KEY = "action_mask"
"""Where environments put masks, in a Dict of observations or in an info."""
SEEN_KEYS = ("observation", "observations")
"""What PettingZoo and RLlib call the observation beside a mask."""


def has_mask(space: gym.Space[Any]) -> bool:
    """Whether observations of a space hold a mask."""
    return isinstance(space, Dict) and MASK_KEY in space.spaces


def without_mask(space: Dict) -> gym.Space[Any]:
    """The space of what an agent sees beside its mask: the one other part, where it has one of the usual names."""
    rest = {key: part for key, part in space.spaces.items() if key != MASK_KEY}
    if len(rest) == 1 and (name := next(iter(rest))) in SEEN_KEYS:
        return rest[name]
    return Dict(rest)


@dataclass(frozen=True)
class MaskCoding:
    """How an agent's observations and masks become arrays of one :class:`~rllib_mamql.data.masks.MaskedBox`.

    Attributes:
        space: What comes out.
        seen: The coding of what the agent sees beside its mask.
        in_info: Whether masks are in infos, not in observations.
    """

    space: MaskedBox
    seen: ObservationCoding
    in_info: bool

    @classmethod
    def of(cls, observation: gym.Space[Any], action: gym.Space[Any], in_info: bool) -> MaskCoding:
        """The coding of an agent's spaces.

        Args:
            observation: As the environment declares it; a Dict with a mask in it, unless masks are in infos.
            action: Likewise.
            in_info: Whether masks are in infos.

        Raises:
            ConfigError: If nothing can be made of them; says what to do.
        """
        if not isinstance(action, Discrete):
            raise ConfigError(
                f"there is an {MASK_KEY}, but actions are {action}: masks are read of Discrete actions; offer the "
                "combinations as a Discrete, with a mask of as many numbers"
            )
        seen = observation
        if not in_info:
            assert isinstance(observation, Dict)
            seen, shape = without_mask(observation), observation[MASK_KEY].shape
            if shape != (int(action.n),):
                raise ConfigError(
                    f"{MASK_KEY} has shape {shape}, but there are {int(action.n)} actions: give one number for each"
                )
        coding = observation_coding(seen)
        return cls(MaskedBox(coding.space, int(action.n)), coding, in_info)

    def encode(self, observation: Any, info: Mapping[str, Any], acts: bool) -> Array:
        """An observation and its mask as one array.

        Args:
            observation: As the environment gives it.
            info: The agent's.
            acts: Whether the agent acts next; what it may do does not count otherwise.

        Raises:
            ValueError: If they are not in their spaces, or an agent that acts next may do nothing.
        """
        if self.in_info:
            given = info.get(MASK_KEY)
        else:
            if not hasattr(observation, "keys") or MASK_KEY not in observation.keys():
                raise ValueError(f"has no {MASK_KEY!r}, its space has one")
            given = observation[MASK_KEY]
            observation = self._beside_mask(observation)
        legal = np.zeros(self.space.actions, np.bool_)
        if given is not None:
            legal = self._mask(given)
        elif acts:
            raise ValueError(f"comes without infos[agent][{MASK_KEY!r}], which reset gave")
        if acts and not legal.any():
            raise ValueError(f"comes with an {MASK_KEY} that allows no action, though it acts next: allow one")
        return self.space.join(self.seen.encode(observation), legal)

    def _beside_mask(self, observation: Mapping[str, Any]) -> Any:
        rest = {key: part for key, part in observation.items() if key != MASK_KEY}
        if len(rest) == 1 and (name := next(iter(rest))) in SEEN_KEYS:
            return rest[name]
        return rest

    def _mask(self, given: Any) -> Array:
        mask = np.asarray(given)
        if mask.shape != (self.space.actions,) or mask.dtype.kind not in "biuf":
            raise ValueError(f"comes with an {MASK_KEY} {given!r}, expected {self.space.actions} numbers")
        return mask != 0


def masks_in_infos(env: Any, called: str) -> bool:
    """Whether an environment gives masks in its infos, which no space says: it is reset to see.

    What is wrong with such a reset is told where the environment is tried out.

    Args:
        env: A parallel environment as its author wrote it.
        called: Its name.
    """
    try:
        if all(has_mask(env.observation_space(agent)) for agent in env.possible_agents):
            return False
        _, infos = call_environment(env, "reset", called, lambda: "reset", seed=0)
        return any(isinstance(info, Mapping) and MASK_KEY in info for info in infos.values())
    except Exception:
        return False
