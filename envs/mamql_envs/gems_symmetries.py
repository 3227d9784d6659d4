"""The symmetries of Gems: those of its square, or by the published rules the mirror along its diagonal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

from mamql_envs.gems_batch import ENTITY_COLUMNS, THINGS
from mamql_envs.known_symmetries import TURNS, Turn, turned_moves, turned_pairs, turned_window

Array = NDArray[Any]
Transform = Callable[[Array], Array]

MOVES = ((0, -1), (0, 1), (-1, 0), (1, 0), (0, 0))
SIDES = MOVES[:4]
"""Above, below, to the left, to the right."""
DIAGONAL: Turn = (True, False, False)
"""The mirror that exchanges x and y."""


def symmetries(observation: str = "grid", rules: str = "standard", **config: Any) -> Mapping[str, Any]:
    """What observations and actions become when the board is mirrored or turned, by functions and permutations.

    There are seven ways. By the published rules gems reappear in any row and column but the first: those are exchanged
    by one mirror, along the diagonal, and all other ways would change the rules.

    Args:
        observation: The environment's form of observations.
        rules: The environment's rules.
        **config: Its other keywords, which change nothing here.

    Returns:
        ``{"all": [(transform, actions), ...]}``: both agents see the board alike.
    """
    transforms: dict[str, Callable[[Turn], Transform]] = {
        "grid": lambda turn: turned_window(turn, -2),
        "entities": _entities,
        "vector": lambda turn: turned_pairs(turn, THINGS - 1),
    }
    turns = (DIAGONAL,) if rules == "published" else TURNS
    return {"all": [(transforms[observation](turn), turned_moves(MOVES, turn)) for turn in turns]}


def _entities(turn: Turn) -> Transform:
    offset, side = ENTITY_COLUMNS.index("dx"), ENTITY_COLUMNS.index("above")
    pairs, sides = turned_pairs(turn, 1, offset), turned_moves(SIDES, turn)

    def transform(seen: Array) -> Array:
        result = pairs(seen.reshape(-1, len(ENTITY_COLUMNS))).reshape(seen.shape)
        for before, after in enumerate(sides):
            result[..., side + after] = seen[..., side + before]
        return result

    return transform
