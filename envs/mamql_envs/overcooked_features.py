"""What Overcooked agents see: the package's own feature vector, and a set of entities.

Both are tables by the position and orientation of an agent, into which the moving parts of a state are
written, because the package recomputes walking distances at each call. A test holds `VectorFeatures` equal to
the package's `featurize_state`.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamql_envs.overcooked_compat import Layout

FloatArray = NDArray[np.float32]
Cell = tuple[int, int]
Pose = tuple[Cell, Cell]  # position and orientation, as the package keeps them

DIRECTIONS: tuple[Cell, ...] = ((0, -1), (0, 1), (1, 0), (-1, 0))  # north, south, east, west
_MAX_INGREDIENTS = 3


def _soup_contents(soup: Any) -> tuple[int, int]:
    """The numbers of onions and tomatoes in a soup."""
    names = soup.ingredients
    return names.count("onion"), names.count("tomato")


_SYMBOLS = MappingProxyType(
    {
        "O": "onion_dispenser",
        "T": "tomato_dispenser",
        "D": "dish_dispenser",
        "P": "pot",
        "S": "serving",
    }
)


def places(layout: Layout) -> list[tuple[Cell, str]]:
    """What cooks can use and its kind: dispensers, pots and serving counters, then each counter within reach."""
    mdp = layout.mdp
    floor = set(mdp.get_valid_player_positions())
    fixtures = [(cell, kind) for symbol, kind in _SYMBOLS.items() for cell in mdp.terrain_pos_dict.get(symbol, [])]
    return fixtures + [
        ((x, y), "counter")
        for x, y in mdp.get_counter_locations()
        if any((x + dx, y + dy) in floor for dx, dy in DIRECTIONS)
    ]


def _blocked(layout: Layout, cell: Cell) -> list[float]:
    """1 for each direction in which something other than floor is next to a cell."""
    terrain = layout.mdp.terrain_mtx
    return [float(terrain[cell[1] + dy][cell[0] + dx] != " ") for dx, dy in DIRECTIONS]


class VectorFeatures:
    """The package's `featurize_state`: 48 numbers a player in the layout, seen from each player.

    Args:
        layout: The layout whose states are observed.

    Attributes:
        low: Lower bounds, shape `(48 * players,)`.
        high: Upper bounds, of the same shape.
    """

    BLOCK = 46  # features of one player, before the positions
    _HELD = 4
    _HELD_ORDER = ("onion", "soup", "dish", "tomato")
    _CLOSEST = MappingProxyType({"onion": 8, "tomato": 10, "dish": 12})  # the soup at 14 stays 0: see below
    _SOUP_CONTENTS = 16
    _SERVING = 18  # the empty counter at 20 stays 0, like the soup: counters are no goals
    POTS = 22
    POT_WIDTH = 10
    NUM_POTS = 2
    _WALLS = 42

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._players = layout.mdp.num_players
        self._tables: dict[Pose, tuple[FloatArray, list[tuple[int, Cell]]]] = {}
        self._pots: list[Cell] = layout.mdp.get_pot_locations()
        self.low, self.high = self._bounds()

    def _bounds(self) -> tuple[FloatArray, FloatArray]:
        mdp = self._layout.mdp
        size = np.array([mdp.width - 1, mdp.height - 1], dtype=np.float32)
        low = np.zeros(self.BLOCK, dtype=np.float32)
        high = np.ones(self.BLOCK, dtype=np.float32)
        for start in (*range(8, 16, 2), self._SERVING, self._SERVING + 2):
            low[start : start + 2], high[start : start + 2] = -size, size
        high[self._SOUP_CONTENTS : self._SOUP_CONTENTS + 2] = _MAX_INGREDIENTS
        for pot in range(self.NUM_POTS):
            start = self.POTS + pot * self.POT_WIDTH
            high[start + 5 : start + 7] = _MAX_INGREDIENTS
            high[start + 7] = self._layout.max_cook_time
            low[start + 8 : start + 10], high[start + 8 : start + 10] = -size, size
        others = self._players - 1
        lows = [*[low] * self._players, *[-size] * others, np.zeros(2, dtype=np.float32)]
        highs = [*[high] * self._players, *[size] * others, size]
        return np.concatenate(lows), np.concatenate(highs)

    def table(self, pose: Pose) -> tuple[FloatArray, list[tuple[int, Cell]]]:
        """What depends on a player's pose alone, and where in it the contents of which pot belong."""
        mdp, planner = self._layout.mdp, self._layout.motion_planner
        position, orientation = pose
        block = np.zeros(self.BLOCK, dtype=np.float32)
        block[DIRECTIONS.index(orientation)] = 1.0

        def closest(locations: list[Cell]) -> Cell | None:
            found: Cell | None = planner.min_cost_to_feature(pose, locations, with_argmin=True)[1]
            return found

        def write_offset(start: int, cell: Cell | None) -> None:
            if cell is not None:
                block[start : start + 2] = cell[0] - position[0], cell[1] - position[1]

        write_offset(self._CLOSEST["onion"], closest(mdp.get_onion_dispenser_locations()))
        write_offset(self._CLOSEST["tomato"], closest(mdp.get_tomato_dispenser_locations()))
        write_offset(self._CLOSEST["dish"], closest(mdp.get_dish_dispenser_locations()))
        write_offset(self._SERVING, closest(mdp.get_serving_locations()))
        block[self._WALLS : self._WALLS + 4] = _blocked(self._layout, position)

        pots: list[tuple[int, Cell]] = []
        remaining = list(self._pots)
        for pot in range(self.NUM_POTS):
            cell = closest(remaining)
            if cell is None:
                break
            remaining.remove(cell)
            start = self.POTS + pot * self.POT_WIDTH
            block[start] = 1.0
            write_offset(start + 8, cell)
            pots.append((start + 1, cell))
        return block, pots

    def _pot_contents(self, objects: dict[Cell, Any]) -> dict[Cell, tuple[int, ...]]:
        """Of each pot: is empty, full, cooking, ready; onions, tomatoes, steps left."""
        return {cell: self.pot_columns(objects.get(cell)) for cell in self._pots}

    @staticmethod
    def pot_columns(soup: Any) -> tuple[int, ...]:
        """The same seven numbers of one pot that holds `soup`, or nothing if that is None."""
        if soup is None:
            return (1, 0, 0, 0, 0, 0, 0)
        onions, tomatoes = _soup_contents(soup)
        if soup.is_idle:
            return (0, int(onions + tomatoes == _MAX_INGREDIENTS), 0, 0, onions, tomatoes, 0)
        left = soup.cook_time_remaining
        return (0, 1, int(left > 0), int(left == 0), onions, tomatoes, left)

    def write_held(self, block: FloatArray, held: Any) -> None:
        """Writes what a player holds into its block, in place."""
        block[self._HELD + self._HELD_ORDER.index(held.name)] = 1.0
        if held.name == "soup":
            block[self._SOUP_CONTENTS : self._SOUP_CONTENTS + 2] = _soup_contents(held)
        else:
            start = self._CLOSEST[held.name]
            block[start : start + 2] = 0.0

    def __call__(self, state: Any) -> list[FloatArray]:
        """The observation of each player in turn.

        Args:
            state: The package's `OvercookedState`; the layout is active.
        """
        pots = self._pot_contents(state.objects)
        blocks = []
        for player in state.players:
            pose = (player.position, player.orientation)
            entry = self._tables.get(pose)
            if entry is None:
                entry = self._tables[pose] = self.table(pose)
            block = entry[0].copy()
            for start, cell in entry[1]:
                block[start : start + 7] = pots[cell]
            if player.held_object is not None:
                self.write_held(block, player.held_object)
            blocks.append(block)
        positions = state.player_positions
        observations = []
        for i, (x, y) in enumerate(positions):
            others = [j for j in range(self._players) if j != i]
            tail = [d for j in others for d in (positions[j][0] - x, positions[j][1] - y)]
            tail += [x, y]
            parts = [blocks[i], *[blocks[j] for j in others], np.array(tail, dtype=np.float32)]
            observations.append(np.concatenate(parts))
        return observations


class EntityFeatures:
    """The kitchen as a set of entities, one row each, seen from each player.

    Rows: the player itself, the other players, every dispenser, pot and serving counter, and a slot for each
    counter that a player can reach, which is padding (all zeros) while nothing lies on it.

    Args:
        layout: The layout whose states are observed.

    Attributes:
        COLUMNS: The name of each column, in order.
        low: Lower bounds, shape `(entities, columns)`.
        high: Upper bounds, of the same shape.
    """

    TYPES = (
        "self",
        "other",
        "onion_dispenser",
        "tomato_dispenser",
        "dish_dispenser",
        "pot",
        "serving",
        "counter",
    )
    OBJECTS = ("onion", "tomato", "dish", "soup")
    COLUMNS = (
        "present",
        *(f"is_{kind}" for kind in TYPES),
        "dx",
        "dy",
        "faced",
        *(f"facing_{name}" for name in ("north", "south", "east", "west")),
        *(f"blocked_{name}" for name in ("north", "south", "east", "west")),
        *(f"has_{name}" for name in OBJECTS),
        "onions",
        "tomatoes",
        "waiting",
        "cooking",
        "ready",
        "steps_left",
    )
    _TYPE = COLUMNS.index("is_self")
    _OFFSET = COLUMNS.index("dx")
    _FACED = COLUMNS.index("faced")
    FACING = COLUMNS.index("facing_north")
    _BLOCKED = COLUMNS.index("blocked_north")
    HAS = COLUMNS.index("has_onion")
    _SOUP = COLUMNS.index("onions")

    def __init__(self, layout: Layout) -> None:
        mdp = layout.mdp
        self._layout = layout
        self._players: int = mdp.num_players
        self._scale = (1.0 / max(mdp.width - 1, 1), 1.0 / max(mdp.height - 1, 1))
        self._blocked = {cell: _blocked(layout, cell) for cell in mdp.get_valid_player_positions()}
        rows = places(layout)
        self._fixtures = [(cell, kind) for cell, kind in rows if kind != "counter"]
        self._row_of = {cell: self._players + row for row, (cell, _) in enumerate(rows)}
        self._counters = frozenset(cell for cell, kind in rows if kind == "counter")
        self._templates: dict[Pose, FloatArray] = {}
        shape = (self._players + len(rows), len(self.COLUMNS))
        self.low = np.zeros(shape, dtype=np.float32)
        self.low[:, self._OFFSET : self._OFFSET + 2] = -1.0
        self.high = np.ones(shape, dtype=np.float32)

    def head(self, kind: str, cell: Cell, pose: Pose) -> list[float]:
        """The columns up to `faced` of an entity at `cell`, seen from `pose`."""
        (x, y), orientation = pose
        dx, dy = cell[0] - x, cell[1] - y
        types = [float(kind == name) for name in self.TYPES]
        return [1.0, *types, dx * self._scale[0], dy * self._scale[1], float((dx, dy) == orientation)]

    def template(self, pose: Pose) -> FloatArray:
        """What a player's pose alone decides: its own row and the fixtures."""
        table = np.zeros(self.low.shape, dtype=np.float32)
        table[0, : self.FACING] = self.head("self", pose[0], pose)
        self.write_pose(table[0], pose)
        for cell, kind in self._fixtures:
            table[self._row_of[cell], : self.FACING] = self.head(kind, cell, pose)
        return table

    def write_pose(self, row: FloatArray, pose: Pose) -> None:
        """Writes where a player faces and where it is blocked into its row, in place."""
        row[self.FACING + DIRECTIONS.index(pose[1])] = 1.0
        row[self._BLOCKED : self._BLOCKED + 4] = self._blocked[pose[0]]

    def contents(self, thing: Any) -> list[float]:
        """The columns from `has_onion` on, of an object that is held, on a counter or in a pot."""
        columns = [float(thing.name == name) for name in self.OBJECTS]
        if thing.name != "soup":
            return [*columns, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
        onions, tomatoes = _soup_contents(thing)
        columns += [onions / _MAX_INGREDIENTS, tomatoes / _MAX_INGREDIENTS]
        if thing.is_idle:
            return [*columns, 1.0, 0.0, 0.0, 0.0]
        left = thing.cook_time_remaining
        return [*columns, 0.0, float(left > 0), float(left == 0), left / self._layout.max_cook_time]

    def __call__(self, state: Any) -> list[FloatArray]:
        """The observation of each player in turn.

        Args:
            state: The package's `OvercookedState`; the layout is active.
        """
        poses: list[Pose] = [(player.position, player.orientation) for player in state.players]
        held = [None if p.held_object is None else self.contents(p.held_object) for p in state.players]
        lying = [(cell, self._row_of[cell], self.contents(thing)) for cell, thing in state.objects.items()]
        observations = []
        for i, pose in enumerate(poses):
            template = self._templates.get(pose)
            if template is None:
                template = self._templates[pose] = self.template(pose)
            table = template.copy()
            if held[i] is not None:
                table[0, self.HAS :] = held[i]
            row = 1
            for j, other in enumerate(poses):
                if j == i:
                    continue
                table[row, : self.FACING] = self.head("other", other[0], pose)
                self.write_pose(table[row], other)
                if held[j] is not None:
                    table[row, self.HAS :] = held[j]
                row += 1
            for cell, row_of_cell, contents in lying:
                if cell in self._counters:
                    table[row_of_cell, : self.FACING] = self.head("counter", cell, pose)
                table[row_of_cell, self.HAS :] = contents
            observations.append(table)
        return observations
