"""Observations of any kind as one Box: what networks and datasets see of an environment.

A ``Box`` stays as it is, in its own number format. ``Discrete``, ``MultiDiscrete`` and ``MultiBinary`` become vectors
of zeros and ones, ``Dict`` and ``Tuple`` of all of these, nested as deep as you like, one vector of float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from gymnasium.spaces.utils import flatdim, flatten
from numpy.typing import NDArray

from rllib_mamql.errors import ConfigError

Array = NDArray[Any]

WIDEST = 100_000
"""Most numbers of an observation that is made a vector."""
NETWORKS_READ = (1, 2, 3)
"""Axes of a Box that networks read: a vector, a table of entities, an image."""
REMEDY = "a wrapper can change that, see docs/your_environment.md#wrappers"


@dataclass(frozen=True)
class ObservationCoding:
    """How an agent's observations become arrays of one Box.

    Attributes:
        space: What comes out.
        encode: Gives the array of an observation; raises ValueError where the observation is not in its space.
    """

    space: Box
    encode: Callable[[Any], Array]


def observation_coding(space: gym.Space[Any]) -> ObservationCoding:
    """The coding of a space.

    Args:
        space: As the environment declares it.

    Raises:
        ConfigError: If nothing can be made of it; says what to do.
    """
    if isinstance(space, Box) and np.dtype(space.dtype).kind not in "fiub":
        raise ConfigError(f"observations are {space}, which hold no numbers: {REMEDY}")
    if isinstance(space, Box) and len(space.shape) in NETWORKS_READ:
        return ObservationCoding(space, lambda value: in_space(value, space))
    low, high = _vector_bounds(space)
    if not 0 < len(low) <= WIDEST:
        raise ConfigError(f"observations are {space}, which make {len(low):,} numbers, at most {WIDEST:,}: {REMEDY}")
    return ObservationCoding(Box(low, high, dtype=np.float32), lambda value: _vector(value, space))


def in_space(value: Any, space: Box) -> Array:
    """An observation of a Box as an array of its shape and number format.

    Bounds are looked at elsewhere (:mod:`~rllib_mamql.data.bounds`).

    Raises:
        ValueError: If the shape differs, or numbers would be lost: a pixel of 0.5 is no byte.
    """
    array: Array = value if type(value) is np.ndarray else np.asarray(value)
    if array.shape != space.shape:
        raise ValueError(f"has shape {array.shape}, its space says {space.shape}")
    if array.dtype == space.dtype:
        return array
    dtype = np.dtype(space.dtype)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"holds {array.dtype}, no numbers")
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return array.astype(dtype)
    with np.errstate(invalid="ignore"):
        cast = array.astype(dtype)
    if not np.array_equal(cast, array):
        odd = array[cast != array].flat[0]
        raise ValueError(f"holds {odd} in {array.dtype}, which its space's {dtype} cannot express")
    return cast


def _vector_bounds(space: gym.Space[Any]) -> tuple[Array, Array]:
    """Lower and upper ends of the vector that a space becomes."""
    if isinstance(space, Box):
        scale = _scale(space)
        return (np.asarray(space.low, np.float32).ravel() * scale, np.asarray(space.high, np.float32).ravel() * scale)
    if isinstance(space, (Discrete, MultiDiscrete, MultiBinary)):
        size = int(flatdim(space))
        if size > WIDEST:
            raise ConfigError(f"observations hold {space}, of {size:,} values, at most {WIDEST:,}: {REMEDY}")
        return np.zeros(size, np.float32), np.ones(size, np.float32)
    if isinstance(space, (Dict, Tuple)):
        parts = [_vector_bounds(part) for part in _parts(space)]
        lows, highs = zip(*parts, strict=True) if parts else ((), ())
        empty = [np.zeros(0, np.float32)]
        return np.concatenate([*empty, *lows]), np.concatenate([*empty, *highs])
    raise ConfigError(
        f"observations hold a {type(space).__name__} ({space}), of no fixed size: make it a Box, Discrete, "
        f"MultiDiscrete, MultiBinary, or a Dict or Tuple of them; {REMEDY}"
    )


def _vector(value: Any, space: gym.Space[Any]) -> Array:
    """The float32 vector of an observation."""
    if isinstance(space, Box):
        return in_space(value, space).ravel().astype(np.float32) * _scale(space)
    if isinstance(space, Dict):
        if not hasattr(value, "keys") or set(value.keys()) != set(space.spaces):
            found = sorted(map(str, value.keys())) if hasattr(value, "keys") else f"a {type(value).__name__}"
            raise ValueError(f"has {found}, its space says {sorted(map(str, space.spaces))}")
        return np.concatenate([_vector(value[key], part) for key, part in space.spaces.items()])
    if isinstance(space, Tuple):
        if not isinstance(value, (tuple, list)) or len(value) != len(space.spaces):
            raise ValueError(f"is {type(value).__name__} of other length than its space's {len(space.spaces)} parts")
        return np.concatenate([_vector(part, inner) for part, inner in zip(value, space.spaces, strict=True)])
    whole = np.asarray(value)
    if whole.dtype.kind not in "iub" or not space.contains(_as(whole, space)):
        raise ValueError(f"is {value!r}, not in {space}")
    return np.asarray(flatten(space, _as(whole, space)), np.float32)


def _as(value: Array, space: gym.Space[Any]) -> Any:
    return int(value) if isinstance(space, Discrete) and value.size == 1 else value.astype(np.dtype(space.dtype))


def _parts(space: Dict | Tuple) -> list[gym.Space[Any]]:
    return list(space.spaces.values()) if isinstance(space, Dict) else list(space.spaces)


def _scale(space: Box) -> np.float32:
    """What numbers of a part are multiplied by: pixels in bytes are brought into [0, 1]."""
    picture = len(space.shape) in (2, 3) and np.dtype(space.dtype) == np.uint8
    return np.float32(1.0 / 255.0) if picture else np.float32(1.0)
