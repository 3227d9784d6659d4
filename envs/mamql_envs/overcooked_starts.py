"""Random states of a kitchen in which an Overcooked episode can start, in the numbers of `overcooked_kitchen`."""

from __future__ import annotations

import functools

import numpy as np

from mamql_envs.overcooked_features import DIRECTIONS
from mamql_envs.overcooked_kitchen import (
    DISH,
    IDLE,
    NOTHING,
    ONION,
    READY,
    RECIPES,
    TOMATO,
    Kitchen,
    Numbers,
    cooking,
)

_STAGES = _EMPTY, _FILLED, _READY, _COOKING = range(4)


def draw_start(kitchen: Kitchen, random_starts: float, rng: np.random.Generator) -> Numbers | None:
    """Draws how an episode starts.

    Args:
        kitchen: Where.
        random_starts: Probability of a random state, in [0, 1].
        rng: Drawn from; the same state of it gives the same start.

    Returns:
        A random state, see `random_state`; None for the layout's own start.
    """
    return random_state(kitchen, rng) if rng.random() < random_starts else None


def random_state(kitchen: Kitchen, rng: np.random.Generator) -> Numbers:
    """A random state: cooks anywhere with anything in hand, pots in any stage, counters empty.

    The cooks stand on distinct cells of the floor, each facing any direction. Each holds nothing, an ingredient or a
    dish that the layout dispenses, or a soup, all equally likely. Each pot is empty, filled, cooking or ready, equally
    likely. Soups are of any recipe whose ingredients the layout dispenses; each number of steps left is equally likely.

    Args:
        kitchen: Where.
        rng: Drawn from.

    Returns:
        Poses `(players,)`, things held `(players,)` and things at places `(places,)`, as `Kitchen.encode` gives them.
    """
    in_hand, recipes = _supplies(kitchen)
    cells = rng.choice(len(kitchen.floor), size=kitchen.players, replace=False)
    poses = len(DIRECTIONS) * cells + rng.integers(len(DIRECTIONS), size=kitchen.players)
    held = [_one_of(in_hand, rng) for _ in range(kitchen.players)]
    held = [READY + _one_of(recipes, rng) if thing == READY else thing for thing in held]
    lying = np.full(len(kitchen.places), NOTHING)
    lying[kitchen.pots] = [_in_pot(kitchen, recipes, rng) for _ in range(*kitchen.pots.indices(len(lying)))]
    return poses, np.array(held), lying


@functools.cache
def _supplies(kitchen: Kitchen) -> tuple[list[int], list[int]]:
    """What a cook can hold, with `READY` for a soup of any recipe, and the recipes that can be made."""
    kinds = {kind for _, kind in kitchen.places}
    things = {"onion_dispenser": ONION, "tomato_dispenser": TOMATO, "dish_dispenser": DISH}
    in_hand = [NOTHING, *(thing for kind, thing in things.items() if kind in kinds)]
    recipes = [
        number
        for number, (onions, tomatoes) in enumerate(RECIPES)
        if (not onions or ONION in in_hand) and (not tomatoes or TOMATO in in_hand)
    ]
    return in_hand + [READY] * bool(recipes), recipes


def _in_pot(kitchen: Kitchen, recipes: list[int], rng: np.random.Generator) -> int:
    stage = int(rng.integers(len(_STAGES)))
    if stage == _EMPTY or not recipes:
        return NOTHING
    recipe = _one_of(recipes, rng)
    if stage == _FILLED:
        return IDLE + recipe
    if stage == _READY:
        return READY + recipe
    left = int(rng.integers(1, kitchen.cook_times[recipe], endpoint=True))
    return cooking(recipe, left, kitchen.cook_times)


def _one_of(numbers: list[int], rng: np.random.Generator) -> int:
    return numbers[int(rng.integers(len(numbers)))]
