"""A scripted expert for PettingZoo's ``connect_four_v3``: it looks four plies ahead, and lapses now and then.

Boards are two integers of 49 bits, a player's stones and all stones: seven bits a column, from the bottom row up, the
seventh always free. A line of four then is the same shift of bits wherever it lies, and no line runs over an edge.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

PLIES = 4
LAPSES = 0.2
"""Share of moves that are random: without them every game would be one of a handful."""
WIN = 1000
COLUMNS, ROWS, HEIGHT = 7, 6, 7
ORDER = (3, 2, 4, 1, 5, 0, 6)
"""Columns from the middle outwards: good moves are tried first, so that more is cut off."""
DIRECTIONS = (1, HEIGHT, HEIGHT - 1, HEIGHT + 1)
"""Shifts of bits to the neighbour above, beside, and diagonally."""
BOTTOM = sum(1 << HEIGHT * column for column in range(COLUMNS))
BOARD = BOTTOM * ((1 << ROWS) - 1)
MIDDLE = ((1 << ROWS) - 1) << HEIGHT * 3


def has_four(stones: int) -> bool:
    """Whether some stones hold four in a line."""
    for shift in DIRECTIONS:
        pairs = stones & (stones >> shift)
        if pairs & (pairs >> 2 * shift):
            return True
    return False


def threats(stones: int, every: int) -> int:
    """Free cells that would complete a line of four, as bits."""
    found = (stones << 1) & (stones << 2) & (stones << 3)
    for shift in DIRECTIONS[1:]:
        right = (stones << shift) & (stones << 2 * shift)
        left = (stones >> shift) & (stones >> 2 * shift)
        found |= right & (stones << 3 * shift)
        found |= right & (stones >> shift)
        found |= left & (stones << shift)
        found |= left & (stones >> 3 * shift)
    return found & BOARD & ~every


def moves(every: int) -> Iterator[tuple[int, int]]:
    """Columns that are not full, and the cell that a stone falls to, the middle first."""
    landing = (every + BOTTOM) & BOARD
    for column in ORDER:
        cell = landing & (((1 << ROWS) - 1) << HEIGHT * column)
        if cell:
            yield column, cell


def value(own: int, every: int, plies: int, low: int, high: int) -> int:
    """What a board is worth to whoever moves next, by negamax with alpha-beta cuts.

    Args:
        own: Stones of whoever moves next.
        every: All stones; the other player has not won.
        plies: How many moves to look ahead.
        low: Worth that is certain already.
        high: Worth beyond which the other player would not let it come to this board.

    Returns:
        ``WIN`` and more where a win is certain within these plies, the sooner the more; else threats, compared.
    """
    if every == BOARD:
        return 0
    wins = threats(own, every)
    if wins & (every + BOTTOM):
        return WIN + plies
    other = own ^ every
    if plies <= 1:
        middle = (own & MIDDLE).bit_count() - (other & MIDDLE).bit_count()
        return 4 * (wins.bit_count() - threats(other, every).bit_count()) + middle
    best = -WIN - PLIES - 1
    for _, cell in moves(every):
        best = max(best, -value(other, every | cell, plies - 1, -high, -max(low, best)))
        if best >= high:
            break
    return best


def best_columns(own: int, every: int, plies: int = PLIES) -> list[int]:
    """All moves that look best, so many plies ahead."""
    found: dict[int, int] = {}
    for column, cell in moves(every):
        if has_four(own | cell):
            found[column] = WIN + plies
        else:
            found[column] = -value(own ^ every, every | cell, plies - 1, -WIN - PLIES - 1, WIN + PLIES + 1)
    return [column for column, worth in found.items() if worth == max(found.values())]


def bits(cells: Sequence[int], players: Sequence[int]) -> int:
    """Stones of some players on PettingZoo's board: 42 cells, row by row from the top, 0 where free."""
    return sum(
        1 << HEIGHT * (place % COLUMNS) + ROWS - 1 - place // COLUMNS
        for place, player in enumerate(cells)
        if player in players
    )


class ScriptedExpert:
    """Plays both players; moves that look equally good are drawn from."""

    def __init__(self) -> None:
        self._random = np.random.default_rng()

    def reset(self, env: Any, seed: int) -> None:
        """Prepares for an episode.

        Args:
            env: A ``connect_four_v3`` environment, wrapped or not.
            seed: A non-negative integer.
        """
        self._random = np.random.default_rng(seed)

    def act(self, env: Any, observations: Mapping[str, Any]) -> dict[str, int]:
        """The move of the player whose turn it is.

        Args:
            env: The environment that `reset` was given.
            observations: Not used: the board is looked at.
        """
        game = env.unwrapped
        player = game.possible_agents.index(game.agent_selection) + 1
        every = bits(game.board, (1, 2))
        columns = best_columns(bits(game.board, (player,)), every)
        if self._random.random() < LAPSES:
            columns = [column for column, _ in moves(every)]
        return {game.agent_selection: int(self._random.choice(sorted(columns)))}
