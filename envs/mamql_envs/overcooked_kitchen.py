"""A kitchen as numbers: the states, the moves and the interactions of an Overcooked layout, for `overcooked_batch`.

What a cook holds, or what lies on a counter or in a pot, is one number, a *thing*: nothing, an onion, a tomato, a
dish, or a soup by its ingredients and by the steps that it has left to cook. A *pose* is a cell of the floor and a
direction, a *place* is a dispenser, pot, serving counter or counter within reach.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamql_envs.overcooked_compat import Layout, actions, load_layout
from mamql_envs.overcooked_features import DIRECTIONS, Cell, places

IntArray = NDArray[np.int64]
Numbers = tuple[IntArray, IntArray, IntArray]
"""A state: poses `(players,)`, things held `(players,)` and things at places `(places,)`."""

ABSENT = -1
"""What lies where there is no place: not even nothing."""

NOTHING, ONION, TOMATO, DISH = range(4)
READY = 4
"""The first of the ready soups, which are in the order of `RECIPES`; up to the last of them things can be held."""

RECIPES = tuple((onions, total - onions) for total in (1, 2, 3) for onions in range(total + 1))
"""Onions and tomatoes of each soup."""

IDLE = READY + len(RECIPES)
"""The first of the soups that have not begun to cook, in the order of `RECIPES`."""

COOKING = IDLE + len(RECIPES)
"""The first of the cooking soups: of the first recipe with one step left, with two, and so on, then of the next."""

HELD = IDLE
"""How many things can be held: they come first."""

INTERACT = 5
NUM_ACTIONS = 6
_MAX_INGREDIENTS = 3
_NAMES = {"onion": ONION, "tomato": TOMATO, "dish": DISH}

# What an interaction can be, beside the delivery of a soup by its recipe.
PASSED, POTTED_ONION, POTTED_TOMATO, TOOK_DISH, TOOK_NEW_DISH, TOOK_NEEDED_DISH, TOOK_SOUP, LADLED = range(8)
DELIVERED = 8
OUTCOMES = DELIVERED + len(RECIPES)

EVENTS_OF: tuple[tuple[str, ...], ...] = (
    (),
    ("potting_onion",),
    ("potting_tomato",),
    ("dish_pickup",),
    ("dish_pickup",),
    ("dish_pickup", "useful_dish_pickup"),
    ("soup_pickup",),
    ("soup_pickup",),
    *[("soup_delivery",)] * len(RECIPES),
)
"""Events of each outcome."""

Change = tuple[int, int, int]
"""What is held and what lies at the place afterwards, and the outcome."""


class UnknownKitchen(ValueError):
    """A layout that cannot be written as these numbers; the environment that steps one by one plays it."""


@dataclass(frozen=True, eq=False)
class Kitchen:
    """The tables of a layout.

    Attributes:
        layout: The layout.
        players: Number of cooks.
        floor: The cells on which cooks can stand; a pose is `4 * cell + direction`.
        places: The cell and the kind of each place, in the order of `overcooked_features.places`.
        pots: Which places are pots.
        counters: Which places are counters.
        moved: `(poses * 6,)`: the pose that an action leads to if nobody is in the way, by `6 * pose + action`.
        faced: `(poses,)`: the place in front, or -1.
        cook_times: Of each recipe, in steps.
        things: The package's object of each thing; None for nothing.
        after: `(things,)`: what a thing in a pot is a step later.
        rules: What interacting changes, by the kind of the place, the thing held and the thing there.
        rewards: `(2, outcomes)`: sparse and shaped reward of each outcome.
        start: The state at the start.
    """

    layout: Layout
    players: int
    floor: list[Cell]
    places: list[tuple[Cell, str]]
    pots: slice
    counters: slice
    moved: IntArray
    faced: IntArray
    cook_times: list[int]
    things: list[Any]
    after: IntArray
    rules: dict[tuple[str, int, int], Change]
    rewards: NDArray[np.float64]
    start: Numbers

    @property
    def needs_dish(self) -> NDArray[np.bool_]:
        """`(things,)`: whether a pot with this counts as in need of a dish: not an empty one, nor one yet to be lit."""
        needs = np.ones(len(self.things), bool)
        needs[:READY] = False
        full = [r for r, recipe in enumerate(RECIPES) if sum(recipe) == _MAX_INGREDIENTS]
        needs[[IDLE + r for r in full]] = False
        return needs

    def encode(self, state: Any) -> Numbers:
        """The numbers of one of the package's states.

        Raises:
            UnknownKitchen: There is something in the state that has no number.
        """
        return _encode(state, self.floor, [cell for cell, _ in self.places], self.cook_times)

    def decode(self, numbers: Numbers) -> Any:
        """A new `OvercookedState` of the package with these numbers, with the orders and the time of the start."""
        poses, held, lying = (values.tolist() for values in numbers)
        state = self.layout.start_state()
        for player, pose, thing in zip(state.players, poses, held, strict=True):
            player.held_object = self.things[thing].deepcopy() if thing else None
            player.update_pos_and_or(self.floor[pose >> 2], DIRECTIONS[pose & 3])
        state.objects.clear()
        for (cell, _), thing in zip(self.places, lying, strict=True):
            if thing:
                state.add_object(self.things[thing].deepcopy(), cell)
        return state


def load_kitchen(name: str, auto_cook: bool = False) -> Kitchen:
    """The tables of one of the package's layouts; cached per process.

    Args:
        name: The layout.
        auto_cook: Whether full pots begin to cook by themselves, and no pot does otherwise.

    Raises:
        UnknownKitchen: The layout cannot be written so.
    """
    return _auto_kitchen(name) if auto_cook else _kitchen(name)


@functools.cache
def _kitchen(name: str) -> Kitchen:
    layout = load_layout(name)
    layout.activate()
    if layout.mdp.recipe_config.get("max_num_ingredients", _MAX_INGREDIENTS) != _MAX_INGREDIENTS:
        raise UnknownKitchen(f"layout {name!r} does not cook with {_MAX_INGREDIENTS} ingredients")
    there = places(layout)
    kinds = [kind for _, kind in there]
    floor = list(layout.mdp.get_valid_player_positions())
    cells = [cell for cell, _ in there]
    cook_times, values = _recipes(layout)
    return Kitchen(
        layout=layout,
        players=layout.mdp.num_players,
        floor=floor,
        places=there,
        pots=slice(kinds.index("pot"), kinds.index("pot") + kinds.count("pot")),
        counters=slice(len(kinds) - kinds.count("counter"), len(kinds)),
        moved=_moved(floor),
        faced=_faced(floor, cells),
        cook_times=cook_times,
        things=_things(layout, cook_times),
        after=_after(cook_times),
        rules=_rules(cook_times),
        rewards=_rewards(layout, values),
        start=_encode(layout.start_state(), floor, cells, cook_times),
    )


@functools.cache
def _auto_kitchen(name: str) -> Kitchen:
    """The same kitchen where full pots are a step further next, and empty hands do nothing to them."""
    kitchen = _kitchen(name)
    after, rules = kitchen.after.copy(), dict(kitchen.rules)
    for recipe, ingredients in enumerate(RECIPES):
        del rules["pot", NOTHING, IDLE + recipe]
        if sum(ingredients) == _MAX_INGREDIENTS:
            time = kitchen.cook_times[recipe]
            after[IDLE + recipe] = cooking(recipe, time - 1, kitchen.cook_times)
    return dataclasses.replace(kitchen, after=after, rules=rules)


def _recipes(layout: Layout) -> tuple[list[int], list[float]]:
    soups = [layout.soup(onions, tomatoes, 0) for onions, tomatoes in RECIPES]
    times = [soup.cook_time for soup in soups]
    for time in times:
        if not isinstance(time, int) or time < 1:
            raise UnknownKitchen(f"layout {layout.name!r} has a soup that cooks for {time!r} steps")
    return times, [layout.soup_value(soup) for soup in soups]


def cooking(recipe: int, left: int, cook_times: list[int]) -> int:
    """The thing that is a soup with steps left to cook, or the ready one if that is 0."""
    return COOKING + sum(cook_times[:recipe]) + left - 1 if left else READY + recipe


def _things(layout: Layout, cook_times: list[int]) -> list[Any]:
    things: list[Any] = [None, *(layout.thing(name) for name in _NAMES)]
    recipes = list(zip(RECIPES, cook_times, strict=True))
    things += [layout.soup(*ingredients, time) for ingredients, time in recipes]
    things += [layout.soup(*ingredients, -1) for ingredients, _ in recipes]
    return things + [layout.soup(*made, time - left) for made, time in recipes for left in range(1, time + 1)]


def _after(cook_times: list[int]) -> IntArray:
    after = np.arange(COOKING + sum(cook_times))
    for recipe, time in enumerate(cook_times):
        for left in range(1, time + 1):
            after[cooking(recipe, left, cook_times)] = cooking(recipe, left - 1, cook_times)
    return after


def _moved(floor: list[Cell]) -> IntArray:
    index = {cell: i for i, cell in enumerate(floor)}
    moved = np.empty((len(floor), len(DIRECTIONS), NUM_ACTIONS), np.int64)
    for i, (x, y) in enumerate(floor):
        for facing in range(len(DIRECTIONS)):
            for number, action in enumerate(actions()):
                if action in DIRECTIONS:
                    target = index.get((x + action[0], y + action[1]), i)
                    moved[i, facing, number] = 4 * target + DIRECTIONS.index(action)
                else:
                    moved[i, facing, number] = 4 * i + facing
    return moved.ravel()


def _faced(floor: list[Cell], cells: list[Cell]) -> IntArray:
    index = {cell: place for place, cell in enumerate(cells)}
    return np.array([index.get((x + dx, y + dy), -1) for x, y in floor for dx, dy in DIRECTIONS])


def _rules(cook_times: list[int]) -> dict[tuple[str, int, int], Change]:
    """What `OvercookedGridworld.resolve_interacts` does; what is not listed changes nothing."""
    rules: dict[tuple[str, int, int], Change] = {
        ("onion_dispenser", NOTHING, NOTHING): (ONION, NOTHING, PASSED),
        ("tomato_dispenser", NOTHING, NOTHING): (TOMATO, NOTHING, PASSED),
        ("dish_dispenser", NOTHING, NOTHING): (DISH, NOTHING, TOOK_NEW_DISH),
    }
    for thing in range(1, HELD):
        rules["counter", thing, NOTHING] = (NOTHING, thing, PASSED)
        outcome = TOOK_SOUP if thing >= READY else TOOK_DISH if thing == DISH else PASSED
        rules["counter", NOTHING, thing] = (thing, NOTHING, outcome)
    for recipe, (onions, tomatoes) in enumerate(RECIPES):
        rules["pot", NOTHING, IDLE + recipe] = (NOTHING, cooking(recipe, cook_times[recipe], cook_times), PASSED)
        rules["pot", DISH, READY + recipe] = (READY + recipe, NOTHING, LADLED)
        rules["serving", READY + recipe, NOTHING] = (NOTHING, NOTHING, DELIVERED + recipe)
        for held, before in ((ONION, (onions - 1, tomatoes)), (TOMATO, (onions, tomatoes - 1))):
            outcome = POTTED_ONION if held == ONION else POTTED_TOMATO
            if before == (0, 0):
                rules["pot", held, NOTHING] = (NOTHING, IDLE + recipe, outcome)
            elif before in RECIPES:
                rules["pot", held, IDLE + RECIPES.index(before)] = (NOTHING, IDLE + recipe, outcome)
    return rules


def _rewards(layout: Layout, values: list[float]) -> NDArray[np.float64]:
    shaping = layout.mdp.reward_shaping_params
    rewards = np.zeros((2, OUTCOMES))
    rewards[0, DELIVERED:] = values
    rewards[1, [POTTED_ONION, POTTED_TOMATO]] = shaping["PLACEMENT_IN_POT_REW"]
    rewards[1, TOOK_NEEDED_DISH] = shaping["DISH_PICKUP_REWARD"]
    rewards[1, LADLED] = shaping["SOUP_PICKUP_REWARD"]
    return rewards


def _encode(state: Any, floor: list[Cell], cells: list[Cell], cook_times: list[int]) -> Numbers:
    poses = [4 * floor.index(p.position) + DIRECTIONS.index(p.orientation) for p in state.players]
    held = [_number(p.held_object, cook_times) for p in state.players]
    lying = np.zeros(len(cells), np.int64)
    for cell, thing in state.objects.items():
        if cell not in cells:
            raise UnknownKitchen(f"something lies at {cell}, which no cook can reach")
        lying[cells.index(cell)] = _number(thing, cook_times)
    if max(held) >= HELD:
        raise UnknownKitchen("a cook holds a soup that is not ready")
    return np.array(poses), np.array(held), lying


def _number(thing: Any, cook_times: list[int]) -> int:
    if thing is None:
        return NOTHING
    if thing.name != "soup":
        return _NAMES[thing.name]
    names = thing.ingredients
    recipe = RECIPES.index((names.count("onion"), names.count("tomato")))
    return IDLE + recipe if thing.is_idle else cooking(recipe, thing.cook_time_remaining, cook_times)
