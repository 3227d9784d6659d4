"""Spaces of one agent, as a dataset's metadata and checkpoints write them down."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Discrete

from rllib_mamql.data.history import frame_space
from rllib_mamql.data.masks import MaskedBox, is_masked
from rllib_mamql.data.untrusted import LARGEST_OBSERVATION, MOST_ACTIONS
from rllib_mamql.errors import DatasetError


@dataclass(frozen=True)
class AgentSpaces:
    """Spaces of one agent.

    Attributes:
        observation: A box of any shape and numeric dtype; a :class:`~rllib_mamql.data.masks.MaskedBox` where what the
            agent may do is known.
        action: A discrete space; where it starts is what a dataset's first action is.
    """

    observation: Box
    action: Discrete[Any]

    def __post_init__(self) -> None:
        if not isinstance(self.observation, Box):
            raise DatasetError(f"observation space is {self.observation}, expected a Box: flatten it")
        if not isinstance(self.action, Discrete):
            raise DatasetError(f"action space is {self.action}, expected Discrete(n): number the combinations")
        if isinstance(self.observation, MaskedBox) and self.observation.actions != int(self.action.n):
            raise DatasetError(
                f"there are {int(self.action.n)} actions, but masks of {self.observation.actions}: give one for each"
            )

    @property
    def masked(self) -> bool:
        """Whether it is known what the agent may do."""
        return is_masked(self.observation)

    def with_masks(self) -> AgentSpaces:
        """The same of observations that carry masks."""
        return self if self.masked else replace(self, observation=MaskedBox(self.observation, int(self.action.n)))

    @property
    def start(self) -> int:
        """The first action."""
        return int(self.action.start)

    @property
    def row_bytes(self) -> int:
        """Bytes that one joint step takes in memory for this agent (all its columns)."""
        return 2 * int(np.prod(self.observation.shape)) * np.dtype(self.observation.dtype).itemsize + 15

    def to_json(self) -> dict[str, Any]:
        """The JSON form, ``{"observation": {"type": "Box", ...}, "action": {"type": "Discrete", "n"}}``.

        Actions that do not start at 0 have a ``start`` as well. ``"action_mask": true`` says that there are masks; the
        observation is then what the agent sees without them. A history is not told: it is the policy's, not the
        environment's.
        """
        box = frame_space(self.observation)
        return {
            "observation": {
                "type": "Box",
                "shape": list(box.shape),
                "dtype": str(np.dtype(box.dtype)),
                "low": _bound_to_json(box.low),
                "high": _bound_to_json(box.high),
            },
            "action": {"type": "Discrete", "n": int(self.action.n)} | ({"start": self.start} if self.start else {}),
        } | ({"action_mask": True} if self.masked else {})

    @staticmethod
    def from_json(document: Any, agent: str) -> AgentSpaces:
        """Reads what :meth:`to_json` wrote; ``low`` and ``high`` may be left out (unbounded).

        Raises:
            DatasetError: If the document is not such a pair of spaces.
        """
        try:
            observation, action = document["observation"], document["action"]
            kinds = (observation.get("type", "Box"), action.get("type", "Discrete"))
            if kinds != ("Box", "Discrete"):
                raise ValueError(f"types are {kinds}, expected Box and Discrete")
            shape, dtype = tuple(int(size) for size in observation["shape"]), np.dtype(observation["dtype"])
            if dtype.kind not in "fiub":
                raise ValueError(f"dtype is {dtype}, expected a number")
            if any(size < 0 for size in shape) or math.prod(shape) > LARGEST_OBSERVATION:
                raise ValueError(f"shape is {list(shape)}, expected at most {LARGEST_OBSERVATION} numbers")
            if int(action["n"]) > MOST_ACTIONS:
                raise ValueError(f"n is {action['n']}, expected at most {MOST_ACTIONS} actions")
            low = _bound_from_json(observation.get("low"), shape, dtype, -math.inf)
            high = _bound_from_json(observation.get("high"), shape, dtype, math.inf)
            start = int(action.get("start", 0))
            spaces = AgentSpaces(Box(low, high, shape, dtype.type), Discrete(int(action["n"]), start=start))
            return spaces.with_masks() if document.get("action_mask") is True else spaces
        except DatasetError as error:
            raise DatasetError(f"spaces of agent '{agent}' in the metadata: {error}") from error
        except (KeyError, TypeError, ValueError, AttributeError, AssertionError, OverflowError) as error:
            what = f"missing key {error}" if isinstance(error, KeyError) else str(error)
            raise DatasetError(
                f"spaces of agent '{agent}' in the metadata are wrong ({what}), expected "
                '{"observation": {"type": "Box", "shape", "dtype", "low", "high"}, '
                '"action": {"type": "Discrete", "n"}}'
            ) from error


def unbounded(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Box:
    """The box of all arrays of a shape and dtype, for observations whose bounds nobody says."""
    if dtype.kind == "f":
        return Box(-np.inf, np.inf, shape, dtype.type)
    limits = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return Box(*limits, shape, dtype.type)


def spaces_from_gym(
    agents: Sequence[str],
    observation_spaces: Mapping[str, gym.Space[Any]],
    action_spaces: Mapping[str, gym.Space[Any]],
) -> dict[str, AgentSpaces]:
    """Spaces of each agent as the metadata holds them.

    Raises:
        DatasetError: If a space is not a Box or Discrete.
    """
    result = {}
    for agent in agents:
        seen = observation_spaces[agent]
        if isinstance(seen, gym.spaces.Dict) and "action_mask" in seen.spaces:
            raise DatasetError(
                f"agent '{agent}' has an action mask in its observations: record with `rllib record --expert "
                "module:function`, or write the columns 'mask' and 'next_mask' (docs/your_data.md#columns)"
            )
        try:
            result[agent] = AgentSpaces(observation_spaces[agent], action_spaces[agent])  # type: ignore[arg-type]
        except DatasetError as error:
            raise DatasetError(f"agent '{agent}': {error}") from error
    return result


def _bound_to_json(bound: np.ndarray) -> Any:
    """JSON has no infinity, so it is written as the string "inf" or "-inf"."""

    def encode(value: Any) -> Any:
        if isinstance(value, list):
            return [encode(item) for item in value]
        return str(value) if isinstance(value, float) and math.isinf(value) else value

    if bound.size and (bound == bound.flat[0]).all():
        return encode(bound.flat[0].item())
    return encode(bound.tolist())


def _bound_from_json(value: Any, shape: tuple[int, ...], dtype: np.dtype[Any], default: float) -> np.ndarray:
    def decode(item: Any) -> Any:
        if isinstance(item, list):
            return [decode(one) for one in item]
        return default if item is None else float(item) if isinstance(item, str) else item

    decoded = np.asarray(decode(value))
    if dtype.kind in "iu" and decoded.dtype.kind == "f":
        limits = np.iinfo(dtype)
        decoded = np.where(np.isinf(decoded), limits.min if default < 0 else limits.max, decoded)
    elif dtype.kind == "b" and decoded.dtype.kind == "f":
        decoded = decoded > 0
    bound = np.broadcast_to(decoded.astype(dtype), shape).copy()
    if dtype.kind == "f" and np.isnan(bound).any():
        raise ValueError("a bound is NaN")
    return bound
