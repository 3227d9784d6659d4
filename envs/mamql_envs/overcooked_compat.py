"""The one place that knows the hazards of the package overcooked-ai 1.1.0.

What it keeps away from the rest of the project:

- the package uses `np.Inf`, which numpy 2 removed: its modules see a numpy that has it, numpy is left alone;
- it imports the dead `gym`, which prints a banner: a stub stands in for it during the import only;
- it pickles planners into its own install folder, and unpickles what it finds there: planners are built in
  memory, once per process and layout, and nothing is read, written or unpickled;
- it keeps the recipes of the layout built last in class attributes: `Layout.activate` puts them back;
- its scripted agents draw from numpy's global random state: `agent_random` gives them another;
- pygame prints a greeting, and the package's renderer opens video and audio devices: neither happens here.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import importlib
import os
import pathlib
import sys
import threading
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

_PACKAGE = "overcooked_ai_py"
_LAYOUT_SUFFIX = ".layout"
_import_lock = threading.RLock()
_active_random: contextvars.ContextVar[np.random.RandomState | None] = contextvars.ContextVar(
    "overcooked_agent_random", default=None
)


class _Overlay(types.ModuleType):
    """A module seen through a few replaced names."""

    def __init__(self, module: Any, **names: Any) -> None:
        super().__init__(module.__name__)
        self.__dict__["_overlaid"] = module
        self.__dict__.update(names)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_overlaid"], name)


class _AgentRandom:
    """Stands for `np.random` in the package's agents: the state in force, or numpy's own where none is."""

    def __getattr__(self, name: str) -> Any:
        return getattr(_active_random.get() or np.random, name)


@contextlib.contextmanager
def _gym_stub() -> Iterator[None]:
    """Lets the package register its environment with a gym that does nothing, and leaves no trace of it."""
    if "gym" in sys.modules:
        yield
        return
    names = ("gym", "gym.envs", "gym.envs.registration")
    stubs = {name: types.ModuleType(name) for name in names}
    stubs["gym"].__dict__.update(envs=stubs["gym.envs"], __path__=[])
    stubs["gym.envs"].__dict__.update(registration=stubs["gym.envs.registration"], __path__=[])
    stubs["gym.envs.registration"].__dict__["register"] = lambda *args, **kwargs: None
    sys.modules.update(stubs)
    try:
        yield
    finally:
        for name, stub in stubs.items():
            if sys.modules.get(name) is stub:
                del sys.modules[name]


@contextlib.contextmanager
def _default_environ(name: str, value: str) -> Iterator[None]:
    """Sets an environment variable for a while, unless the user has set it."""
    if name in os.environ:
        yield
        return
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)


@functools.cache
def _module(name: str) -> Any:
    """Imports `overcooked_ai_py.<name>` without side effects and with the numpy names it expects."""
    with _import_lock, _gym_stub(), _default_environ("PYGAME_HIDE_SUPPORT_PROMPT", "1"):
        module: Any = importlib.import_module(f"{_PACKAGE}.{name}")
        if name in ("planning.planners", "agents.agent"):
            module.np = _Overlay(np, Inf=np.inf, random=_AgentRandom())
        if name == "visualization.state_visualizer":
            # Drawing on surfaces needs fonts only: no display and no sound.
            module.pygame = _Overlay(module.pygame, init=module.pygame.font.init)
    return module


@functools.cache
def actions() -> tuple[Any, ...]:
    """The six actions in the package's order: north, south, east, west, stay, interact."""
    return tuple(_module("mdp.actions").Action.ALL_ACTIONS)


@functools.cache
def event_types() -> tuple[str, ...]:
    """The kinds of events that the package records in a step."""
    return tuple(_module("mdp.overcooked_mdp").EVENT_TYPES)


@functools.cache
def layout_names() -> tuple[str, ...]:
    """The layouts that the installed package ships, sorted by name."""
    files = os.listdir(_module("static").LAYOUTS_DIR)
    return tuple(sorted(f[: -len(_LAYOUT_SUFFIX)] for f in files if f.endswith(_LAYOUT_SUFFIX)))


def human_data_folder() -> pathlib.Path:
    """Where the installed package keeps the pickled trials of people's play."""
    return pathlib.Path(_module("static").HUMAN_DATA_DIR)


@dataclass(frozen=True, eq=False)
class Layout:
    """A layout's rules and its planner, shared by all its environments in a process.

    Attributes:
        name: The name of the layout's file in the package.
        mdp: The package's `OvercookedGridworld`.
        max_cook_time: The longest cooking time of any recipe, in steps.
    """

    name: str
    mdp: Any
    max_cook_time: int

    def activate(self) -> None:
        """Makes this layout's recipes the package's current ones; call it before any other use of `mdp`."""
        recipe = _module("mdp.overcooked_mdp").Recipe
        if recipe._conf is not self.mdp.recipe_config:
            recipe.configure(self.mdp.recipe_config)

    @functools.cached_property
    def motion_planner(self) -> Any:
        """The package's `MotionPlanner`: one agent's shortest paths; counters are no goals, by default."""
        self.activate()
        return _module("planning.planners").MotionPlanner(self.mdp, counter_goals=[])

    @functools.cached_property
    def action_manager(self) -> Any:
        """The package's `MediumLevelActionManager`, without the joint plans that its greedy agents never use.

        Those plans take minutes on the larger layouts.
        """
        planners = _module("planning.planners")
        manager = object.__new__(planners.MediumLevelActionManager)
        params = planners.NO_COUNTERS_PARAMS
        manager.mdp = self.mdp
        manager.params = params
        manager.wait_allowed = params["wait_allowed"]
        manager.counter_drop = params["counter_drop"]
        manager.counter_pickup = params["counter_pickup"]
        manager.motion_planner = self.motion_planner
        manager.joint_motion_planner = types.SimpleNamespace(motion_planner=self.motion_planner)
        return manager

    def thing(self, name: str) -> Any:
        """The package's object for an onion, a tomato or a dish that lies nowhere in particular."""
        return _module("mdp.overcooked_mdp").ObjectState(name, (0, 0))

    def soup(self, onions: int, tomatoes: int, tick: int) -> Any:
        """The package's soup that has cooked for `tick` steps, or has not begun to cook if that is -1."""
        self.activate()
        return _module("mdp.overcooked_mdp").SoupState.get_soup((0, 0), onions, tomatoes, cooking_tick=tick)

    def soup_value(self, soup: Any) -> float:
        """What delivering a soup that has begun to cook earns, by the orders of the start state."""
        return float(self.mdp.get_recipe_value(self.start_state(), soup.recipe))

    def start_state(self) -> Any:
        """A fresh copy of the layout's start state."""
        self.activate()
        return self.mdp.get_standard_start_state().deepcopy()


@functools.cache
def load_layout(name: str) -> Layout:
    """Reads one of `layout_names()`; cached per process."""
    module = _module("mdp.overcooked_mdp")
    with _import_lock:
        # A layout with a start state makes recipes before it configures them.
        module.Recipe.configure({})
        mdp = module.OvercookedGridworld.from_layout_name(name)
        max_cook_time = max(recipe.time for recipe in module.Recipe.ALL_RECIPES)
    return Layout(name=name, mdp=mdp, max_cook_time=int(max_cook_time))


def greedy_agents(layout: Layout) -> list[Any]:
    """One `GreedyHumanModel` for each player, with the package's defaults."""
    model = _module("agents.agent").GreedyHumanModel
    agents = [model(layout.action_manager) for _ in range(layout.mdp.num_players)]
    for index, agent in enumerate(agents):
        agent.set_agent_index(index)
    return agents


@contextlib.contextmanager
def agent_random(random_state: np.random.RandomState) -> Iterator[None]:
    """Makes the package's agents draw from `random_state`, not from numpy's global state."""
    token = _active_random.set(random_state)
    try:
        yield
    finally:
        _active_random.reset(token)


def render_rgb(layout: Layout, state: Any, **hud: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Draws a state with the package's `StateVisualizer`.

    Args:
        layout: The layout of the state.
        state: The package's `OvercookedState`.
        **hud: Extra lines for the head-up display, such as `score`.

    Returns:
        An array of shape `(height, width, 3)`.
    """
    layout.activate()
    module = _module("visualization.state_visualizer")
    visualizer = module.StateVisualizer(player_colors=["blue", "green", "orange", "purple"])
    surface = visualizer.render_state(
        state, grid=layout.mdp.terrain_mtx, hud_data=visualizer.default_hud_data(state, **hud)
    )
    pixels = module.pygame.surfarray.array3d(surface)
    return np.ascontiguousarray(pixels.transpose(1, 0, 2), dtype=np.uint8)
