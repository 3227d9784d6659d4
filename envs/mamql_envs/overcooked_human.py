"""People's play in Overcooked, recorded in 2019, which the package overcooked-ai ships.

Pairs of people played five layouts for three minutes each. Their game differs from today's in three ways:

- a pot with three onions began to cook by itself, and nothing else started one (`auto_cook` of `overcooked_v0`);
- a soup was worth 5, not 20;
- states were written otherwise: here they become the numbers of `overcooked_kitchen`.

Each transition is played again by our own rules, all of a layout at once. What ends up elsewhere, or is paid
otherwise, is left out: the trial is cut there in two.
"""

from __future__ import annotations

import json
import pathlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamql_envs import checks
from mamql_envs.overcooked_batch import OvercookedBatch
from mamql_envs.overcooked_compat import human_data_folder
from mamql_envs.overcooked_features import DIRECTIONS
from mamql_envs.overcooked_human_frame import FrameError, read_frame
from mamql_envs.overcooked_kitchen import DISH, IDLE, INTERACT, NOTHING, ONION, RECIPES, Kitchen, cooking

TRIALS = ("train", "test")
"""The two files; no pair is in both."""

LAYOUTS = {
    "cramped_room": "cramped_room",
    "asymmetric_advantages": "asymmetric_advantages",
    "coordination_ring": "coordination_ring",
    "forced_coordination": "random0",
    "counter_circuit_o_1order": "random3",
}
"""The five layouts, under the names of today and of the recording."""

STAY = 4
UNKNOWN = -1
"""A number for what has none: a transition with it agrees with nothing."""

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Stretch:
    """A part of a trial that the rules of today replay.

    Attributes:
        name: Of the trial, and which part of it.
        observations: `{agent: (L + 1, *obs)}`.
        actions: `{agent: (L,)}`.
        rewards: `(L,)`, what the team is paid, 20 for a soup.
    """

    name: str
    observations: dict[str, NDArray[np.float32]]
    actions: dict[str, IntArray]
    rewards: NDArray[np.float64]


@dataclass(frozen=True)
class HumanPlay:
    """What is left of the trials of a layout.

    Attributes:
        stretches: In the order of the file.
        trials: How many there are in the file.
        recorded: Transitions in the file.
        dropped: Those of them that the rules of today do not replay.
    """

    stretches: list[Stretch]
    trials: int
    recorded: int
    dropped: int

    @property
    def return_per_400(self) -> float:
        """What the team was paid in 400 steps, on average."""
        paid = sum(float(stretch.rewards.sum()) for stretch in self.stretches)
        return 400 * paid / max(1, self.recorded - self.dropped)


def read_human_play(layout: str, trials: str = "train", **config: Any) -> HumanPlay:
    """Reads the trials of a layout and plays them again.

    Args:
        layout: One of `LAYOUTS`.
        trials: One of `TRIALS`.
        **config: Other arguments of `overcooked_v0.parallel_env`; observations are of this form.

    Raises:
        ValueError: An argument is not among the known values, or the file is not that which the package ships.
    """
    checks.one_of("trials", trials, TRIALS)
    recorded_as = LAYOUTS[checks.one_of("layout", layout, tuple(LAYOUTS))]
    path = human_data_folder() / f"clean_{trials}_trials.pickle"
    frame = read_frame(path)
    try:
        rows = np.flatnonzero([name == recorded_as for name in frame["layout_name"]])
        columns = {name: frame[name][rows] for name in ("state", "next_state", "joint_action", "reward", "layout")}
        trial = frame["workerid_num"][rows]
    except KeyError as error:
        raise FrameError(f"{path} has no column {error}: install overcooked-ai 1.1.0 again, which ships it") from error
    batch = OvercookedBatch(len(rows), **config, layout=layout, auto_cook=True)
    _check_grid(batch.kitchen, str(columns["layout"][0]), path)
    return _stretches(batch, columns, trial)


def _check_grid(kitchen: Kitchen, recorded: str, path: pathlib.Path) -> None:
    """Compares the walls of the recording and of today's layout; where the cooks start may differ."""
    grid = [row.replace("1", " ").replace("2", " ") for row in json.loads(recorded.replace("'", '"'))]
    if grid != ["".join(row) for row in kitchen.layout.mdp.terrain_mtx]:
        raise FrameError(f"{path} was recorded in another kitchen than today's {kitchen.layout.name}: {grid}")


def _stretches(batch: OvercookedBatch, columns: dict[str, NDArray[Any]], trial: NDArray[Any]) -> HumanPlay:
    numbers = _Numbers(batch.kitchen)
    before = numbers.of(columns["state"])
    after = numbers.of(columns["next_state"])
    actions = np.array([_actions(text) for text in columns["joint_action"]])
    known = np.all(np.concatenate([before, after, actions], axis=1) >= 0, axis=1)
    if not known.any():
        raise FrameError("no state of the trials can be read: install overcooked-ai 1.1.0 again, which ships them")
    players = batch.kitchen.players
    start = np.where(known[:, None], before, before[known][0])
    batch.put(start[:, :players].T, start[:, players : 2 * players].T, start[:, 2 * players :])
    seen = batch.observations()
    paid, *_ = batch.step({agent: np.where(known, actions[:, i], STAY) for i, agent in enumerate(batch.agents)})
    poses, held, lying = batch.state
    replayed = np.concatenate([poses.T, held.T, lying], axis=1)
    follows = batch.observations()
    rewards = np.asarray(paid[batch.agents[0]], np.float64)
    agrees = known & (replayed == after).all(axis=1) & ((rewards > 0) == (columns["reward"] > 0))

    # A stretch goes on while each step agrees and leads to the state that the next row starts from.
    joined = agrees[1:] & agrees[:-1] & (trial[1:] == trial[:-1]) & (after[:-1] == before[1:]).all(axis=1)
    firsts = np.flatnonzero(agrees & np.append(True, ~joined))
    lasts = np.flatnonzero(agrees & np.append(~joined, True))
    stretches = []
    for number, (first, last) in enumerate(zip(firsts, lasts, strict=True)):
        part = slice(first, last + 1)
        stretches.append(
            Stretch(
                f"pair-{int(trial[first]):03d}-{number:03d}",
                {agent: np.concatenate([seen[agent][part], follows[agent][last : last + 1]]) for agent in batch.agents},
                {agent: actions[part, i] for i, agent in enumerate(batch.agents)},
                rewards[part],
            )
        )
    return HumanPlay(stretches, len(np.unique(trial)), len(trial), int((~agrees).sum()))


class _Numbers:
    """States of 2019 as numbers: poses and things held of the cooks, then what lies at the places."""

    def __init__(self, kitchen: Kitchen) -> None:
        self._kitchen = kitchen
        self._cells = {cell: i for i, cell in enumerate(kitchen.floor)}
        self._places = {cell: i for i, (cell, _) in enumerate(kitchen.places)}
        self._known: dict[str, IntArray] = {}

    def of(self, texts: NDArray[Any]) -> IntArray:
        """The numbers of states `(N, 2 * players + places)`; `UNKNOWN` where a state has none."""
        for text in texts:
            if text not in self._known:
                self._known[text] = self._encode(text)
        return np.stack([self._known[text] for text in texts])

    def _encode(self, text: str) -> IntArray:
        players = self._kitchen.players
        numbers = np.full(2 * players + len(self._places), NOTHING)
        try:
            state = _json(text)
            for i, cook in enumerate(state["players"]):
                numbers[i] = 4 * self._cells[tuple(cook["position"])] + DIRECTIONS.index(tuple(cook["orientation"]))
                numbers[players + i] = self._thing(cook.get("held_object"))
            for thing in state["objects"].values():
                numbers[2 * players + self._places[tuple(thing["position"])]] = self._thing(thing)
        except (KeyError, ValueError, TypeError, IndexError):
            return np.full_like(numbers, UNKNOWN)
        return numbers

    def _thing(self, thing: Any) -> int:
        if thing is None:
            return NOTHING
        if thing["name"] != "soup":
            return {"onion": ONION, "dish": DISH}[thing["name"]]
        kind, count, time = thing["state"]
        recipe = RECIPES.index((count, 0))
        if kind != "onion":
            return UNKNOWN
        times = self._kitchen.cook_times
        # Their clock runs on when the soup is ready, also in a cook's hands.
        return cooking(recipe, max(0, times[recipe] - time), times) if count == 3 else IDLE + recipe


def _actions(text: str) -> list[int]:
    try:
        return [
            INTERACT if one in ("INTERACT", "interact") else STAY if one == [0, 0] else DIRECTIONS.index(tuple(one))
            for one in _json(text)
        ]
    except (ValueError, TypeError):
        return [UNKNOWN, UNKNOWN]


def _json(text: str) -> Any:
    """States and actions were written as Python prints them, with words and numbers only."""
    return json.loads(text.replace("'", '"').replace("True", "true").replace("False", "false").replace("None", "null"))
