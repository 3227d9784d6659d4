"""The rules of Gems for a batch of environments at once, in numpy; `gems_v0` is a batch of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from mamql_envs import checks
from mamql_envs.batched import Array, BatchedEnv, StepResult

SIZE = 15
AGENTS = ("agent_0", "agent_1")
ACTIONS = ("up", "down", "left", "right", "stay")
OBSERVATIONS = ("grid", "entities", "vector")
RULES = ("standard", "published")
OWN_GEM, SHARED_GEM = EVENTS = ("own_gem", "shared_gem")
OWN_REWARD, SHARED_REWARD = 1.0, 6.0

# A state is the cells (15 y + x) of eleven things: two agents, three gems of each agent, three shared gems.
THINGS = 11
OWN = (slice(2, 5), slice(5, 8))
SHARED = slice(8, 11)
# The same eleven as each agent sees them: itself, the other, own gems, the other's gems, shared gems.
_SEEN_BY = (np.arange(THINGS), np.array([1, 0, 5, 6, 7, 2, 3, 4, 8, 9, 10]))
_TYPES = np.eye(5, dtype=np.float32)[[0, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]]
ENTITY_COLUMNS = (
    "present",
    *("is_self", "is_other", "is_own_gem", "is_others_gem", "is_shared_gem"),
    *("dx", "dy", "distance"),
    *("above", "below", "left", "right"),
)
_CHANNELS = np.array([0, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4])

XY = np.stack([np.arange(SIZE * SIZE) % SIZE, np.arange(SIZE * SIZE) // SIZE], axis=1)
"""Column and row of each cell, `(225, 2)`."""

MOVES = np.array([[0, -1], [0, 1], [-1, 0], [1, 0], [0, 0]])
"""Change of column and row by each action, `(5, 2)`."""

_MOVED = np.clip(XY[:, None] + MOVES, 0, SIZE - 1)
_NEXT_CELL = _MOVED[..., 0] + SIZE * _MOVED[..., 1]

# The constants of splitmix64 (Steele, Lea and Flood 2014): the n-th draw is a hash of the episode's key and n, so
# that draws need no generator an environment and come out the same in a batch of any size.
_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    values = (values ^ (values >> np.uint64(30))) * _MIX_1
    values = (values ^ (values >> np.uint64(27))) * _MIX_2
    return values ^ (values >> np.uint64(31))


def observation_space(form: str) -> spaces.Box:
    """The space of an agent's observations, the same for both."""
    if form == "grid":
        return spaces.Box(0.0, 1.0, (5, SIZE, SIZE), np.float32)
    if form == "vector":
        return spaces.Box(-1.0, 1.0, (2 * (THINGS - 1),), np.float32)
    low = np.zeros((THINGS, len(ENTITY_COLUMNS)), np.float32)
    low[:, ENTITY_COLUMNS.index("dx") : ENTITY_COLUMNS.index("dy") + 1] = -1.0
    return spaces.Box(low, np.ones_like(low), dtype=np.float32)


def observe(cells: Array, form: str) -> dict[str, NDArray[np.float32]]:
    """What both agents see in states `cells`, `(B, 11)`; the forms are described in `gems_v0`."""
    if form == "grid":
        grid = np.zeros((len(cells), 5, SIZE * SIZE), np.float32)
        grid[np.arange(len(cells))[:, None], _CHANNELS, cells] = 1.0
        shown = grid.reshape(-1, 5, SIZE, SIZE)
        return {AGENTS[0]: shown, AGENTS[1]: shown.copy()}
    xy = XY.astype(np.float32)[cells]
    seen = {}
    for i, agent in enumerate(AGENTS):
        offset = (xy[:, _SEEN_BY[i]] - xy[:, None, i]) / np.float32(SIZE - 1)
        seen[agent] = offset[:, 1:].reshape(len(cells), -1) if form == "vector" else _entities(offset)
    return seen


def _entities(offset: NDArray[np.float32]) -> NDArray[np.float32]:
    table = np.empty((*offset.shape[:2], len(ENTITY_COLUMNS)), np.float32)
    dx, dy = offset[..., 0], offset[..., 1]
    table[..., 0] = 1.0
    table[..., 1:6] = _TYPES
    table[..., 6:8] = offset
    table[..., 8] = (np.abs(dx) + np.abs(dy)) / 2
    table[..., 9] = dy < 0
    table[..., 10] = dy > 0
    table[..., 11] = dx < 0
    table[..., 12] = dx > 0
    return table


def _taken_together(standing: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """Shared gems `(B, 3)` that are taken: those that either agent stands on, where both stand on one."""
    together = np.logical_and(standing[0].any(axis=1, keepdims=True), standing[1].any(axis=1, keepdims=True))
    return (standing[0] | standing[1]) & together


class GemsBatch(BatchedEnv):
    """A batch of Gems environments; `gems_v0` describes the game.

    Args:
        num_envs: Environments in the batch, at least 1.
        horizon: Steps in an episode, at least 1.
        gems_to_end: Gems taken until the episode terminates, or None: it never does.
        observation: "grid", "entities" or "vector".
        rules: "standard" or "published".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        num_envs: int,
        horizon: int = 45,
        gems_to_end: int | None = 7,
        observation: str = "grid",
        rules: str = "standard",
    ) -> None:
        self.num_envs = checks.positive("num_envs", num_envs)
        self.horizon = checks.positive("horizon", horizon)
        self.gems_to_end = None if gems_to_end is None else checks.positive("gems_to_end", gems_to_end)
        self.observation: str = checks.one_of("observation", observation, OBSERVATIONS)
        self.rules: str = checks.one_of("rules", rules, RULES)
        self.agents = list(AGENTS)
        self.observation_spaces = {agent: observation_space(self.observation) for agent in AGENTS}
        self.action_spaces = {agent: spaces.Discrete(len(ACTIONS)) for agent in AGENTS}
        self._cells = np.full((self.num_envs, THINGS), -1)
        self._keys = np.zeros(self.num_envs, np.uint64)
        self._draws = np.zeros(self.num_envs, np.uint64)
        self._taken = np.zeros(self.num_envs, np.int64)
        self._steps = np.zeros(self.num_envs, np.int64)
        self._running = np.zeros(self.num_envs, bool)

    @property
    def cells(self) -> NDArray[np.int64]:
        """A copy of the state `(num_envs, 11)`: the cells of both agents, of each agent's gems, of shared gems."""
        return self._cells.copy()

    def reset_envs(self, indices: Sequence[int] | Array, seeds: Sequence[int] | Array) -> None:
        """Starts an episode in some environments, see `BatchedEnv.reset_envs`."""
        rows, chosen = checks.rows_and_seeds(indices, seeds)
        self._keys[rows] = _mix(chosen.astype(np.uint64) + _GAMMA)
        self._draws[rows] = 0
        self._taken[rows] = 0
        self._steps[rows] = 0
        self._running[rows] = True
        self._cells[rows] = -1
        for thing in range(THINGS):
            if self.rules == "published":
                self._place_anywhere(rows, thing)
            else:
                self._place(rows, np.full(len(rows), thing))

    def observations(self) -> dict[str, Array]:
        """The present observations `{agent: (num_envs, *observation)}`."""
        return dict(observe(self._cells, self.observation))

    def step(self, actions: Mapping[str, Array]) -> StepResult:
        """Takes a joint step in every environment, see `BatchedEnv.step`."""
        if not self._running.all():
            ended = np.flatnonzero(~self._running)[:5].tolist()
            raise RuntimeError(f"no episode is under way in environments {ended}: call reset_envs() before step()")
        chosen = checks.batch_of_actions(actions, AGENTS, self.num_envs, len(ACTIONS))
        if self.rules == "published":
            taken = self._play_in_turn(chosen)
        else:
            taken = self._play_together(chosen)
        own = [taken[:, OWN[i]].sum(axis=1) for i in range(2)]
        together = taken[:, SHARED].any(axis=1)

        self._taken += taken.sum(axis=1)
        self._steps += 1
        if self.gems_to_end is None:
            terminated = np.zeros(self.num_envs, bool)
        else:
            terminated = self._taken >= self.gems_to_end
        truncated = (self._steps >= self.horizon) & ~terminated
        self._running = ~(terminated | truncated)
        rewards = {a: OWN_REWARD * own[i] + SHARED_REWARD * together for i, a in enumerate(AGENTS)}
        events = {a: {OWN_GEM: own[i], SHARED_GEM: together.astype(int)} for i, a in enumerate(AGENTS)}
        return (
            rewards,
            {agent: terminated.copy() for agent in AGENTS},
            {agent: truncated.copy() for agent in AGENTS},
            events,
        )

    def _play_together(self, chosen: Array) -> NDArray[np.bool_]:
        """Both move, then gems are taken and reappear in free cells; gives what was taken, `(num_envs, 11)`."""
        cells = self._cells
        for i in range(2):
            cells[:, i] = _NEXT_CELL[cells[:, i], chosen[i]]
        taken = np.zeros((self.num_envs, THINGS), bool)
        for i in range(2):
            taken[:, OWN[i]] = cells[:, OWN[i]] == cells[:, i, None]
        taken[:, SHARED] = _taken_together([cells[:, SHARED] == cells[:, i, None] for i in range(2)])
        self._replace(taken)
        return taken

    def _play_in_turn(self, chosen: Array) -> NDArray[np.bool_]:
        """The published game: one agent after the other; where it stood before its move counts for shared gems."""
        cells, standing = self._cells, []
        taken = np.zeros((self.num_envs, THINGS), bool)
        for i in range(2):
            before = cells[:, i].copy()
            cells[:, i] = _NEXT_CELL[before, chosen[i]]
            taken[:, OWN[i]] = cells[:, OWN[i]] == cells[:, i, None]
            self._replace_anywhere(taken, OWN[i])
            standing.append((cells[:, SHARED] == before[:, None]) | (cells[:, SHARED] == cells[:, i, None]))
        taken[:, SHARED] = _taken_together(standing)
        self._replace_anywhere(taken, SHARED)
        return taken

    def _replace(self, taken: NDArray[np.bool_]) -> None:
        """Lets taken gems, at most one an agent, reappear."""
        rows, things = np.nonzero(taken)
        again = np.zeros(len(rows), bool)
        again[1:] = rows[1:] == rows[:-1]
        for part in (~again, again):
            self._place(rows[part], things[part])

    def _replace_anywhere(self, taken: NDArray[np.bool_], things: slice) -> None:
        """Lets taken gems of a kind reappear, whatever stands there; never in the first row or column."""
        for thing in range(things.start, things.stop):
            self._place_anywhere(np.flatnonzero(taken[:, thing]), thing, first=1)

    def _place_anywhere(self, rows: Array, thing: int, first: int = 0) -> None:
        """Puts a thing of some rows on a random cell whose coordinates are both at least `first`."""
        side = SIZE - first
        drawn = self._draw(rows, side * side)
        self._cells[rows, thing] = SIZE * (first + drawn // side) + first + drawn % side

    def _draw(self, rows: Array, bound: int) -> NDArray[np.int64]:
        """A number below `bound` for each row; rows are distinct."""
        drawn = _mix(self._keys[rows] + (self._draws[rows] + np.uint64(1)) * _GAMMA)
        self._draws[rows] += np.uint64(1)
        return (drawn % np.uint64(bound)).astype(np.int64)

    def _place(self, rows: Array, things: Array) -> None:
        """Puts a thing of each row (rows are distinct) on a random cell on which nothing stands."""
        while len(rows):
            cell = self._draw(rows, SIZE * SIZE)
            free = (self._cells[rows] != cell[:, None]).all(axis=1)
            self._cells[rows[free], things[free]] = cell[free]
            rows, things = rows[~free], things[~free]
