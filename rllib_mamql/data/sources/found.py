"""What a source of demonstrations gives, and its spaces where nobody says them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium.spaces import Discrete

from rllib_mamql.data.agent_spaces import AgentSpaces, unbounded
from rllib_mamql.data.episodes import Episode
from rllib_mamql.data.metadata import DatasetMetadata
from rllib_mamql.errors import DatasetError

LARGEST_EXACT = 2**24
"""Whole numbers up to this size are exact as float32."""


@dataclass
class Found:
    """Episodes of a source.

    Attributes:
        episodes: Pairs of a name and what each agent saw and did.
        notes: What was left out or taken for granted, a sentence each.
        spaces: ``{agent: (observation space, action space)}`` where the source says them.
    """

    episodes: Sequence[tuple[str, Episode]]
    notes: list[str] = field(default_factory=list)
    spaces: dict[str, tuple[Any, Any]] | None = None


def inferred_metadata(episodes: Iterable[tuple[str, Episode]]) -> DatasetMetadata:
    """Agents, in the order in which they appear, with boxes without bounds and as many actions as were seen.

    Floats become float32, and whole numbers too unless they are bytes or too large.

    Raises:
        DatasetError: If there are no episodes, or an agent's observations differ in shape.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    kinds: dict[str, np.dtype[Any]] = {}
    sizes: dict[str, int] = {}
    for eps_id, episode in episodes:
        for agent, part in episode.items():
            observations, actions = np.asarray(part.observations), np.asarray(part.actions)
            shape = observations.shape[1:]
            if shapes.setdefault(agent, shape) != shape:
                raise DatasetError(
                    f"episode '{eps_id}': observations of '{agent}' have shape {shape}, {shapes[agent]} in those "
                    "before: an agent sees arrays of one shape"
                )
            kind = _kind(observations)
            kinds[agent] = np.promote_types(kinds.get(agent, kind), kind)
            if actions.dtype.kind not in "iubf":
                raise DatasetError(
                    f"episode '{eps_id}': actions of '{agent}' are of type {actions.dtype}: give numbers"
                )
            sizes[agent] = max(sizes.get(agent, 1), int(actions.max(initial=0)) + 1)
    if not shapes:
        raise DatasetError("there are no episodes: nothing is written")
    spaces = {agent: AgentSpaces(unbounded(shapes[agent], kinds[agent]), Discrete(sizes[agent])) for agent in shapes}
    return DatasetMetadata(tuple(shapes), spaces, spaces_inferred=True)


def _kind(values: np.ndarray) -> np.dtype[Any]:
    if values.dtype.kind == "b" or values.dtype == np.uint8:
        return values.dtype
    if values.dtype.kind in "iu" and np.abs(values).max(initial=0) > LARGEST_EXACT:
        return values.dtype
    return np.dtype(np.float32)
