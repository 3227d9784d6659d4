"""Overcooked as a PettingZoo parallel environment, on the package overcooked-ai."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

from mamql_envs import checks
from mamql_envs.overcooked_compat import Layout, event_types, layout_names, load_layout, render_rgb
from mamql_envs.overcooked_compat import actions as all_actions
from mamql_envs.overcooked_features import EntityFeatures, VectorFeatures
from mamql_envs.overcooked_kitchen import Kitchen, UnknownKitchen, load_kitchen
from mamql_envs.overcooked_starts import draw_start

REWARDS = ("sparse", "shaped")
REWARD_SPLITS = ("team", "agent")
OBSERVATIONS = ("vector", "entities")
RENDER_MODES = ("rgb_array",)
EVENTS = (
    "potting_onion",
    "potting_tomato",
    "dish_pickup",
    "useful_dish_pickup",
    "soup_pickup",
    "soup_delivery",
)

Observations = dict[str, NDArray[np.float32]]
Infos = dict[str, dict[str, Any]]


def _kitchen(layout: Layout, random_starts: float, auto_cook: bool) -> Kitchen:
    try:
        return load_kitchen(layout.name, auto_cook)
    except UnknownKitchen as error:
        raise ValueError(
            f"random_starts={random_starts!r} cannot be had in layout {layout.name!r}, whose states cannot be written "
            f"as numbers ({error}): give 0, or another layout"
        ) from error


class OvercookedParallelEnv(ParallelEnv):
    """Cooks share a kitchen: they put ingredients into pots, cook soup, and deliver it.

    ## Actions

    `Discrete(6)` for each agent, in the package's order:

    | Num | Action                                              |
    |-----|-----------------------------------------------------|
    | 0   | turn north, and move there if the cell is free      |
    | 1   | turn south, and move there if the cell is free      |
    | 2   | turn east, and move there if the cell is free       |
    | 3   | turn west, and move there if the cell is free       |
    | 4   | stay                                                |
    | 5   | interact with what is in front                      |

    If moves collide, nobody moves. Interacting picks up, puts down, fills a pot, starts to cook (with empty
    hands), ladles a ready soup (with a dish) or delivers it.

    With `auto_cook` a pot begins to cook by itself, in the step in which its last ingredient comes in, and no cook
    can start one: the game of 2019, in which people were recorded.

    ## Observations

    `observation="vector"`: `Box(48 * players,)` of float32, equal to the package's `featurize_state` with its
    default planner (two players: 96). Offsets are `(x, y)` in cells from the player; 0 means absent or held.
    Such a planner takes no counter for a goal, so what lies on counters cannot be seen in this form.

    | Num    | Observation                                                    | Min        | Max       |
    |--------|----------------------------------------------------------------|------------|-----------|
    | 0-3    | facing north, south, east, west                                | 0          | 1         |
    | 4-7    | holds onion, soup, dish, tomato                                | 0          | 1         |
    | 8-13   | offset of the closest onion, tomato, dish dispenser            | -size      | size      |
    | 14-15  | offset of the closest soup on a counter (always 0)             | -size      | size      |
    | 16-17  | onions, tomatoes in the held soup                              | 0          | 3         |
    | 18-19  | offset of the closest serving counter                          | -size      | size      |
    | 20-21  | offset of the closest empty counter (always 0)                 | -size      | size      |
    | 22-26  | closest pot: exists, is empty, full, cooking, ready            | 0          | 1         |
    | 27-28  | closest pot: onions, tomatoes                                  | 0          | 3         |
    | 29     | closest pot: steps left to cook                                | 0          | cook time |
    | 30-31  | closest pot: offset                                            | -size      | size      |
    | 32-41  | the same ten of the second closest pot                         |            |           |
    | 42-45  | something other than floor to the north, south, east, west     | 0          | 1         |
    | 46-91  | the same 46 of the other player (of each other player in turn) |            |           |
    | 92-93  | offset of the other player (of each in turn)                   | -size      | size      |
    | 94-95  | own position                                                   | 0          | size      |

    `observation="entities"`: `Box(N, 30)` of float32, a row for each entity: the player itself (row 0), the
    other players, every dispenser, pot and serving counter, and each counter within reach (padding, all
    zeros, while nothing lies on it). N is fixed for a layout. All columns are in [0, 1], offsets in [-1, 1].

    | Num   | Column                                                                                    |
    |-------|-------------------------------------------------------------------------------------------|
    | 0     | present: 0 for padding                                                                    |
    | 1-8   | type: self, other, onion, tomato, dish dispenser, pot, serving, counter                   |
    | 9-10  | offset from the observing player, in widths and heights of the kitchen                    |
    | 11    | faced: directly in front of the observing player                                          |
    | 12-15 | players: facing north, south, east, west                                                  |
    | 16-19 | players: something other than floor to the north, south, east, west                       |
    | 20-23 | holds, bears or contains: onion, tomato, dish, soup                                       |
    | 24-25 | onions, tomatoes in that soup, in thirds                                                  |
    | 26-28 | that soup is not yet cooking, is cooking, is ready                                        |
    | 29    | steps left to cook, in the longest cooking time of the layout                             |

    ## Rewards

    `reward="sparse"`: the value of a delivered soup, 20 unless the layout says otherwise (its orders may be
    worth nothing or double; tutorial_3 makes a bonus order worth infinity).
    `reward="shaped"`: to this the package adds 3 for an ingredient put into a pot, 3 for taking a dish from
    its dispenser when one is needed, and 5 for ladling a soup.
    `reward_split="team"` gives the sum to every agent, `"agent"` gives each what it earned itself.
    `metadata["return_aggregation"]` says how the agents' returns combine into the team's: "mean" or "sum".

    `infos[agent]["events"]` counts the agent's events of the step by kind (`EVENTS`; kinds that did not occur
    are left out); `sparse_reward` and `shaped_reward` are what the agent earned, before any split.

    ## Start

    The layout's start positions, facing north, with empty hands (one layout starts elsewhere). Start and
    dynamics are deterministic: the seed of `reset` changes nothing.

    With probability `random_starts` an episode starts in a random state instead, which the seed determines. The
    following are uniform and independent; recipes are those whose ingredients the layout dispenses, of one to
    three ingredients.

    | What        | Drawn from                                                                             |
    |-------------|----------------------------------------------------------------------------------------|
    | cells       | the floor, a cell for each cook; also where walls keep them from what they need        |
    | directions  | north, south, east, west                                                               |
    | hands       | nothing, each ingredient that is dispensed, a dish if dispensed, a soup (any recipe)   |
    | pots        | empty, not yet cooking, cooking, ready (any recipe; 1 to all of its steps left)        |
    | counters    | always empty                                                                           |

    ## End

    Every agent is truncated at `horizon` steps; none is ever terminated.

    Args:
        layout: A layout that the package ships, see `overcooked_compat.layout_names()`. Agents are named
            `agent_0`, `agent_1`, ...; nearly all layouts have two.
        horizon: Steps in an episode, at least 1.
        reward: "sparse" or "shaped".
        reward_split: "team" or "agent".
        observation: "vector" or "entities".
        render_mode: None or "rgb_array".
        random_starts: Probability, in [0, 1], with which an episode starts in a random state of the kitchen.
        auto_cook: Whether full pots cook by themselves, as in the game of 2019; else a cook starts them.

    Raises:
        ValueError: An argument is not among the known values, an action is not among the six, or `random_starts`
            is above 0 in a layout whose states `overcooked_kitchen` cannot write as numbers.

    ## Version history

    * v0: first version.
    """

    metadata: ClassVar[dict[str, Any]] = {
        "name": "overcooked_v0",
        "render_modes": list(RENDER_MODES),
        "is_parallelizable": True,
        "render_fps": 6,
    }

    def __init__(
        self,
        layout: str = "cramped_room",
        horizon: int = 400,
        reward: str = "sparse",
        reward_split: str = "team",
        observation: str = "vector",
        render_mode: str | None = None,
        random_starts: float = 0.0,
        auto_cook: bool = False,
    ) -> None:
        self.layout = load_layout(checks.one_of("layout", layout, layout_names()))
        self.horizon = checks.steps("horizon", horizon)
        self.reward: str = checks.one_of("reward", reward, REWARDS)
        self.reward_split: str = checks.one_of("reward_split", reward_split, REWARD_SPLITS)
        self.observation: str = checks.one_of("observation", observation, OBSERVATIONS)
        self.render_mode = checks.render_mode(render_mode, RENDER_MODES)
        self.random_starts = checks.probability("random_starts", random_starts)
        self.auto_cook = checks.flag("auto_cook", auto_cook)
        self._kitchen = _kitchen(self.layout, self.random_starts, self.auto_cook) if self.random_starts else None
        self._rng: np.random.Generator | None = None
        aggregation = "mean" if self.reward_split == "team" else "sum"
        self.metadata = {  # type: ignore[misc]
            **type(self).metadata,
            "return_aggregation": aggregation,
        }

        self.layout.activate()
        self._features: VectorFeatures | EntityFeatures
        self._features = VectorFeatures(self.layout) if self.observation == "vector" else EntityFeatures(self.layout)
        self.possible_agents = [f"agent_{i}" for i in range(self.layout.mdp.num_players)]
        self.agents: list[str] = []
        self._observation_spaces = {
            agent: spaces.Box(self._features.low, self._features.high, dtype=np.float32)
            for agent in self.possible_agents
        }
        self._actions = all_actions()
        self._action_spaces: dict[str, spaces.Space[Any]] = {
            agent: spaces.Discrete(len(self._actions)) for agent in self.possible_agents
        }
        self._terrain = self.layout.mdp.terrain_mtx
        self._floor = frozenset(self.layout.mdp.get_valid_player_positions())
        self._state: Any = None
        self._score = 0.0

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """The space of an agent's observations."""
        return self._observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """The space of an agent's actions."""
        return self._action_spaces[agent]

    @property
    def overcooked_state(self) -> Any:
        """A copy of the package's `OvercookedState`, which does not change when the environment steps."""
        if self._state is None:
            raise RuntimeError("there is no state before the first reset(): call reset()")
        self.layout.activate()
        return self._state.deepcopy()

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observations, Infos]:
        """Starts an episode.

        Args:
            seed: Determines this start, and those that follow it by resets without a seed; without `random_starts`
                the start is always the same.
            options: Not used.
        """
        self.agents = list(self.possible_agents)
        self._state = self._start_state(seed)
        self._score = 0.0
        nothing = [0.0] * len(self.agents)
        return self._observe(), self._infos({}, nothing, nothing)

    def step(
        self, actions: dict[str, Any]
    ) -> tuple[Observations, dict[str, float], dict[str, bool], dict[str, bool], Infos]:
        """Moves every agent once.

        Args:
            actions: An action for each agent in `agents`.
        """
        if not self.agents:
            raise RuntimeError("no episode is under way: call reset() before step()")
        self.layout.activate()
        agents, state = self.agents, self._state
        joint_action = [self._checked_action(agent, actions) for agent in agents]
        # What `OvercookedGridworld.get_state_transition` does, less its copy of the state and its checks.
        sparse, shaped, events = self._interact(joint_action)
        if self.auto_cook:
            self._light_full_pots()
        self._move(joint_action)
        self.layout.mdp.step_environment_effects(state)

        self._score += sum(sparse)
        earned = sparse if self.reward == "sparse" else [a + b for a, b in zip(sparse, shaped, strict=True)]
        if self.reward_split == "team":
            earned = [sum(earned)] * len(agents)
        truncated = state.timestep >= self.horizon
        result = (
            self._observe(),
            dict(zip(agents, earned, strict=True)),
            dict.fromkeys(agents, False),
            dict.fromkeys(agents, truncated),
            self._infos(events, sparse, shaped),
        )
        if truncated:
            self.agents = []
        return result

    def render(self) -> NDArray[np.uint8] | None:
        """Draws the state, if `render_mode` is "rgb_array".

        Returns:
            An array of shape `(height, width, 3)`, or None.
        """
        if self.render_mode is None:
            return None
        if self._state is None:
            raise RuntimeError("there is nothing to render before the first reset(): call reset()")
        left = self.horizon - self._state.timestep
        return render_rgb(self.layout, self._state, score=self._score, time_left=left)

    def close(self) -> None:
        """Nothing to release."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        # State and generator are all that changes; the kitchen and its tables, most of the environment, are shared.
        twin = copy.copy(self)
        twin.agents = list(self.agents)
        twin._state = None if self._state is None else self._state.deepcopy()
        twin._rng = copy.deepcopy(self._rng)
        return twin

    def _start_state(self, seed: int | None) -> Any:
        if self._kitchen is None:
            return self.layout.start_state()
        if seed is not None or self._rng is None:
            self._rng = np.random.default_rng(seed)
        start = draw_start(self._kitchen, self.random_starts, self._rng)
        return self.layout.start_state() if start is None else self._kitchen.decode(start)

    def _checked_action(self, agent: str, actions: dict[str, Any]) -> Any:
        return self._actions[checks.action_of(agent, actions, self.agents, len(self._actions))]

    def _interact(self, joint_action: list[Any]) -> tuple[list[float], list[float], dict[str, list[bool]]]:
        """Lets the package resolve the interactions, if there are any."""
        interact = self._actions[-1]
        players = self._state.players
        nothing = [0.0] * len(players)
        if self.auto_cook:
            joint_action = [self._unlit(player, a) for player, a in zip(players, joint_action, strict=True)]
        for player, action in zip(players, joint_action, strict=True):
            if action == interact:
                (x, y), (dx, dy) = player.position, player.orientation
                if self._terrain[y + dy][x + dx] != " ":
                    break
        else:
            return nothing, nothing, {}
        events = {event: [False] * len(players) for event in event_types()}
        sparse, shaped = self.layout.mdp.resolve_interacts(self._state, joint_action, events)
        return [float(r) for r in sparse], [float(r) for r in shaped], events

    def _unlit(self, player: Any, action: Any) -> Any:
        """The action, or to stay where it would start a pot: empty hands do nothing else to one."""
        (x, y), (dx, dy) = player.position, player.orientation
        starts = action == self._actions[-1] and player.held_object is None and self._terrain[y + dy][x + dx] == "P"
        return (0, 0) if starts else action

    def _light_full_pots(self) -> None:
        for thing in self._state.objects.values():
            if thing.name == "soup" and thing.is_idle and thing.is_full:
                thing.begin_cooking()

    def _move(self, joint_action: list[Any]) -> None:
        """Turns and moves the players; if any two would meet or cross, all stay where they are."""
        players = self._state.players
        interact = self._actions[-1]
        before = [player.position for player in players]
        after, turned = [], []
        for player, action in zip(players, joint_action, strict=True):
            x, y = player.position
            if action == interact or action == (0, 0):
                after.append((x, y))
                turned.append(player.orientation)
            else:
                target = (x + action[0], y + action[1])
                after.append(target if target in self._floor else (x, y))
                turned.append(action)
        if self.layout.mdp.is_transition_collision(before, after):
            after = before
        for player, position, orientation in zip(players, after, turned, strict=True):
            player.update_pos_and_or(position, orientation)

    def _observe(self) -> Observations:
        return dict(zip(self.agents, self._features(self._state), strict=True))

    def _infos(self, events: dict[str, list[bool]], sparse: list[float], shaped: list[float]) -> Infos:
        happened = [kind for kind in EVENTS if any(events[kind])] if events else []
        return {
            agent: {
                "events": {kind: 1 for kind in happened if events[kind][i]},
                "sparse_reward": sparse[i],
                "shaped_reward": shaped[i],
            }
            for i, agent in enumerate(self.agents)
        }


parallel_env = OvercookedParallelEnv
