"""Gems as a PettingZoo parallel environment: gems for oneself, and gems for which both are needed."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

from mamql_envs import checks
from mamql_envs.gems_batch import ACTIONS, AGENTS, OWN, SHARED, SIZE, XY, GemsBatch

RENDER_MODES = ("rgb_array",)

Observations = dict[str, NDArray[np.float32]]
Infos = dict[str, dict[str, Any]]

_PIXELS = 24
_BACKGROUND, _LINE = (250, 248, 243), (224, 220, 210)
_COLOURS = ((214, 69, 65), (52, 110, 196))
_SHARED_COLOUR = (140, 84, 178)


class GemsParallelEnv(ParallelEnv):
    """Two agents gather gems on a grid of 15 x 15 cells: each its own, and together the shared ones.

    There are always three gems of each agent's colour and three shared gems, each in a cell of its own. An agent
    takes a gem of its own colour by stepping on it; nothing happens on a gem of the other's colour. Shared gems
    are taken when both agents stand on shared gems in the same step, be it the same gem or different ones: every
    shared gem that is stood on is taken, so one or two. An agent may wait on a shared gem for the other to reach
    one. A taken gem reappears at once in a random cell that holds neither a gem nor an agent.

    `rules="published"` is the game of the figures published with the method; it differs:

    | What               | `standard`                        | `published`                                            |
    |--------------------|-----------------------------------|--------------------------------------------------------|
    | moves              | both at once                      | in order, agent 0 first                                |
    | on a shared gem is | who stands on one after the moves | who stood on one before *or* after the own move        |
    | start              | cells all different               | any cells, be they the same                            |
    | taken gems go to   | a free cell                       | any cell but of the first row and column (x, y >= 1)   |

    Nobody needs to stay there: whoever leaves a shared gem counts as standing on it in that step. An agent that steps
    onto two of its own gems in one cell takes both.

    ## Actions

    `Discrete(5)` for each agent. A move into the wall has no effect; agents may share a cell.

    | Num | Action            |
    |-----|-------------------|
    | 0   | up (y - 1)        |
    | 1   | down (y + 1)      |
    | 2   | left (x - 1)      |
    | 3   | right (x + 1)     |
    | 4   | stay              |

    ## Observations

    No form shows the steps or the gems that are left until the end.

    `observation="grid"`: `Box(5, 15, 15)` of float32, 1 where something is, indexed by channel, y, x. It is the same
    for both agents, so that agents that share parameters cannot tell from it which of the two they are.

    | Channel | Shows             |
    |---------|-------------------|
    | 0       | agent 0           |
    | 1       | agent 1           |
    | 2       | gems of agent 0   |
    | 3       | gems of agent 1   |
    | 4       | shared gems       |

    `observation="entities"`: `Box(11, 13)` of float32, a row for each thing as seen by the observing agent:
    itself (row 0), the other agent (1), its own gems (2-4), the other's (5-7), shared gems (8-10). All columns are
    in [0, 1], offsets in [-1, 1]. Columns 8-12 follow from the offset; they spare a network learning its sign.

    | Num   | Column                                                              |
    |-------|---------------------------------------------------------------------|
    | 0     | present: always 1                                                   |
    | 1-5   | type: self, other agent, own gem, other's gem, shared gem           |
    | 6-7   | offset (x, y) from the observing agent, in 14 cells                 |
    | 8     | steps from the observing agent, in 28                               |
    | 9-12  | is above, below, to the left, to the right of the observing agent   |

    `observation="vector"`: `Box(20,)` of float32, columns 6-7 of rows 1-10 of that table, flat.

    ## Rewards

    +1 to an agent for each gem of its own colour that it takes. +6 to each agent when shared gems are taken, however
    many are. `metadata["return_aggregation"]` is "mean": the pair's return is the mean of the agents' returns.

    `infos[agent]["events"]` counts what the agent was rewarded for in the step: `{"own_gem": 1}` (2 where two lie in a
    cell, by the published rules) or `{"shared_gem": 1}`; taking shared gems counts once for each agent.

    ## Start

    All things are in random cells, no two in the same (by the standard rules).

    ## End

    Both agents are terminated when `gems_to_end` gems have been taken in all (two shared gems taken at
    once are two), and otherwise truncated at `horizon` steps.

    Args:
        horizon: Steps in an episode, at least 1.
        gems_to_end: Gems that end an episode, at least 1, or None: every episode lasts for `horizon` steps, so that
            its length says nothing about the reward.
        observation: "grid", "entities" or "vector".
        rules: "standard" or "published", see above.
        render_mode: None or "rgb_array".

    Raises:
        ValueError: An argument is out of range, or an action is not among the five.

    ## Version history

    * v0: first version.
    """

    metadata: ClassVar[dict[str, Any]] = {
        "name": "gems_v0",
        "render_modes": list(RENDER_MODES),
        "is_parallelizable": True,
        "render_fps": 6,
        "return_aggregation": "mean",
    }

    def __init__(
        self,
        horizon: int = 45,
        gems_to_end: int | None = 7,
        observation: str = "grid",
        render_mode: str | None = None,
        rules: str = "standard",
    ) -> None:
        self._batch = GemsBatch(1, horizon, gems_to_end, observation, rules)
        self.horizon = self._batch.horizon
        self.gems_to_end = self._batch.gems_to_end
        self.observation = self._batch.observation
        self.rules = self._batch.rules
        self.render_mode = checks.render_mode(render_mode, RENDER_MODES)
        self.possible_agents = list(AGENTS)
        self.agents: list[str] = []
        self._seeds: np.random.Generator | None = None

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """The space of an agent's observations."""
        return self._batch.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """The space of an agent's actions."""
        return self._batch.action_spaces[agent]

    @property
    def cells(self) -> NDArray[np.int64]:
        """The state `(11,)`: the cells (15 y + x) of both agents, of each agent's gems, and of the shared gems."""
        if self._seeds is None:
            raise RuntimeError("there is no state before the first reset(): call reset()")
        return self._batch.cells[0]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observations, Infos]:
        """Starts an episode.

        Args:
            seed: Determines this episode, and those that follow it by resets without a seed.
            options: Not used.
        """
        if seed is not None or self._seeds is None:
            self._seeds = np.random.default_rng(seed)
        if seed is None:
            seed = int(self._seeds.integers(2**31 - 1))
        self._batch.reset_envs([0], [seed])
        self.agents = list(AGENTS)
        return self._observe(), {agent: {"events": {}} for agent in AGENTS}

    def step(
        self, actions: dict[str, Any]
    ) -> tuple[Observations, dict[str, float], dict[str, bool], dict[str, bool], Infos]:
        """Moves both agents once.

        Args:
            actions: An action for each agent.
        """
        if not self.agents:
            raise RuntimeError("no episode is under way: call reset() before step()")
        chosen = {agent: np.array([checks.action_of(agent, actions, self.agents, len(ACTIONS))]) for agent in AGENTS}
        rewards, terminated, truncated, events = self._batch.step(chosen)
        ended = terminated[AGENTS[0]][0] or truncated[AGENTS[0]][0]
        if ended:
            self.agents = []
        infos = {a: {"events": {kind: int(n[0]) for kind, n in events[a].items() if n[0]}} for a in AGENTS}
        return (
            self._observe(),
            {agent: float(rewards[agent][0]) for agent in AGENTS},
            {agent: bool(terminated[agent][0]) for agent in AGENTS},
            {agent: bool(truncated[agent][0]) for agent in AGENTS},
            infos,
        )

    def render(self) -> NDArray[np.uint8] | None:
        """Draws the state, if `render_mode` is "rgb_array": agents are discs, gems diamonds, shared ones violet.

        Returns:
            An array of shape `(360, 360, 3)`, or None.
        """
        return None if self.render_mode is None else _draw(self.cells)

    def close(self) -> None:
        """Nothing to release."""

    def _observe(self) -> Observations:
        return {agent: seen[0] for agent, seen in self._batch.observations().items()}


def _draw(cells: NDArray[np.int64]) -> NDArray[np.uint8]:
    image = np.full((SIZE * _PIXELS, SIZE * _PIXELS, 3), _BACKGROUND, np.uint8)
    image[::_PIXELS] = image[:, ::_PIXELS] = _LINE
    y, x = np.mgrid[:_PIXELS, :_PIXELS] - (_PIXELS - 1) / 2

    def paint(cell: int, shape: NDArray[np.bool_], colour: tuple[int, int, int]) -> None:
        left, top = XY[cell] * _PIXELS
        image[top : top + _PIXELS, left : left + _PIXELS][shape] = colour

    radius, diamond = np.hypot(x, y), np.abs(x) + np.abs(y)
    for i, colour in enumerate(_COLOURS):
        # Agents that share a cell are half a disc each.
        half = (x < 0) == (i == 0) if cells[0] == cells[1] else np.ones_like(x, bool)
        paint(cells[i], half & (radius < 11), (40, 40, 40))
        paint(cells[i], half & (radius < 9.5), colour)
    for things, colour in ((OWN[0], _COLOURS[0]), (OWN[1], _COLOURS[1]), (SHARED, _SHARED_COLOUR)):
        for cell in cells[things]:
            paint(cell, diamond < 8, (255, 255, 255))
            paint(cell, diamond < 7, colour)
    return image


parallel_env = GemsParallelEnv
batched_env = GemsBatch
