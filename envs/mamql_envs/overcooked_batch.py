"""The rules of Overcooked for a batch of kitchens at once, in numpy; `overcooked_v0` describes the game.

A step is a handful of look-ups in the tables of `overcooked_kitchen`. Interactions alone are resolved one after the
other: there are few in a step, and what a cook finds depends on what the cooks before it did.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamql_envs import checks
from mamql_envs.batched import Array, BatchedEnv, StepResult
from mamql_envs.overcooked_kitchen import (
    ABSENT,
    DISH,
    EVENTS_OF,
    INTERACT,
    NUM_ACTIONS,
    TOOK_NEEDED_DISH,
    TOOK_NEW_DISH,
    Kitchen,
    UnknownKitchen,
    load_kitchen,
)
from mamql_envs.overcooked_starts import draw_start
from mamql_envs.overcooked_v0 import OvercookedParallelEnv
from mamql_envs.overcooked_views import make_views


def batched_env(num_envs: int, **config: Any) -> OvercookedBatch | None:
    """A batch of kitchens, or None where the layout cannot be written as numbers.

    Args:
        num_envs: Environments in the batch, at least 1.
        **config: Arguments of `overcooked_v0.parallel_env`.
    """
    try:
        return OvercookedBatch(num_envs, **config)
    except UnknownKitchen:
        return None


class OvercookedBatch(BatchedEnv):
    """A batch of Overcooked environments.

    Args:
        num_envs: Environments in the batch, at least 1.
        **config: Arguments of `overcooked_v0.parallel_env`; nothing but random starts is drawn.

    Raises:
        ValueError: An argument is out of range.
        UnknownKitchen: The layout cannot be written as numbers.
    """

    def __init__(self, num_envs: int, **config: Any) -> None:
        checks.positive("num_envs", num_envs)
        # One environment says what the arguments mean, and whether they are right.
        single = OvercookedParallelEnv(**config)
        self.num_envs = num_envs
        self.agents = list(single.possible_agents)
        self.observation_spaces = {agent: single.observation_space(agent) for agent in self.agents}
        self.action_spaces = {agent: single.action_space(agent) for agent in self.agents}
        self.horizon = single.horizon
        self.random_starts = single.random_starts
        self.kitchen: Kitchen = load_kitchen(single.layout.name, single.auto_cook)
        self._views = make_views(self.kitchen, single.observation)
        self._team = single.reward_split == "team"
        sparse, shaped = self.kitchen.rewards
        self._reward: list[float] = (sparse if single.reward == "sparse" else sparse + shaped).tolist()
        self._kinds = [kind for _, kind in self.kitchen.places]
        self._needs_dish = self.kitchen.needs_dish
        self._pairs = list(itertools.combinations(range(self.kitchen.players), 2))
        shape = (self.kitchen.players, num_envs)
        self._poses = np.zeros(shape, np.int64)
        self._held = np.zeros(shape, np.int64)
        self._lying = np.full((num_envs, len(self._kinds) + 1), ABSENT)
        self._steps = np.zeros(num_envs, np.int64)
        self._running = np.zeros(num_envs, bool)
        # Steps until some episode ends; 0 while any has ended and not started anew.
        self._left = 0

    @property
    def state(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Copies of poses `(players, num_envs)`, of things held alike, and of what lies where `(num_envs, places)`."""
        return self._poses.copy(), self._held.copy(), self._lying[:, :-1].copy()

    def reset_envs(self, indices: Sequence[int] | Array, seeds: Sequence[int] | Array) -> None:
        """Starts an episode in some environments, see `BatchedEnv.reset_envs`; seeds matter to random starts only."""
        rows, chosen = checks.rows_and_seeds(indices, seeds)
        poses, held, lying = self.kitchen.start
        self._poses[:, rows] = poses[:, None]
        self._held[:, rows] = held[:, None]
        self._lying[rows, :-1] = lying
        if self.random_starts:
            self._scatter(rows, chosen)
        self._steps[rows] = 0
        self._running[rows] = True
        self._left = self.horizon - int(self._steps.max()) if self._running.all() else 0

    def put(self, poses: Array, held: Array, lying: Array) -> None:
        """Puts every environment into a state, where a new episode starts; the arguments are as `state` gives them."""
        self._poses[:], self._held[:], self._lying[:, :-1] = poses, held, lying
        self._steps[:] = 0
        self._running[:] = True
        self._left = self.horizon

    def _scatter(self, rows: NDArray[np.int64], seeds: Array) -> None:
        """Puts those environments into a random state whose seed draws one."""
        for row, seed in zip(rows.tolist(), seeds.tolist(), strict=True):
            start = draw_start(self.kitchen, self.random_starts, np.random.default_rng(seed))
            if start is not None:
                self._poses[:, row], self._held[:, row], self._lying[row, :-1] = start

    def observations(self) -> dict[str, Array]:
        """The present observations `{agent: (num_envs, *observation)}`."""
        return dict(zip(self.agents, self._views(self._poses, self._held, self._lying), strict=True))

    def step(self, actions: Mapping[str, Array]) -> StepResult:
        """Takes a joint step in every environment, see `BatchedEnv.step`; events that did not occur are left out."""
        if not self._left:
            ended = np.flatnonzero(~self._running)[:5].tolist()
            raise RuntimeError(f"no episode is under way in environments {ended}: call reset_envs() before step()")
        chosen = checks.batch_of_actions(actions, self.agents, self.num_envs, NUM_ACTIONS)
        earned, events = self._interact(chosen)
        self._move(chosen)
        pots = self._lying[:, self.kitchen.pots]
        self._lying[:, self.kitchen.pots] = self.kitchen.after.take(pots)

        self._steps += 1
        self._left -= 1
        truncated = np.zeros(self.num_envs, bool)
        if self._left == 0:
            truncated = self._steps >= self.horizon
            self._running = ~truncated
        return (
            dict(zip(self.agents, earned, strict=True)),
            dict.fromkeys(self.agents, np.zeros(self.num_envs, bool)),
            dict.fromkeys(self.agents, truncated),
            events,
        )

    def _interact(self, chosen: NDArray[np.int64]) -> tuple[NDArray[np.float64], dict[str, dict[str, Array]]]:
        """Resolves interactions, in each kitchen in the order of the cooks; gives rewards and events."""
        earned = np.zeros(chosen.shape)
        events: dict[str, dict[str, Array]] = {agent: {} for agent in self.agents}
        places = self.kitchen.faced.take(self._poses)
        players, envs = ((chosen == INTERACT) & (places >= 0)).nonzero()
        if not len(envs):
            return earned, events
        before = self._lying[:, self.kitchen.pots].copy()
        held, lying, rules = self._held, self._lying, self.kitchen.rules
        for player, env in zip(players.tolist(), envs.tolist(), strict=True):
            place = places.item(player, env)
            change = rules.get((self._kinds[place], held.item(player, env), lying.item(env, place)))
            if change is None:
                continue
            in_hand, left_there, outcome = change
            if outcome == TOOK_NEW_DISH and self._dish_is_needed(env, before[env]):
                outcome = TOOK_NEEDED_DISH
            held[player, env] = in_hand
            lying[env, place] = left_there
            if outcome:
                earned[slice(None) if self._team else player, env] += self._reward[outcome]
                mine = events[self.agents[player]]
                for event in EVENTS_OF[outcome]:
                    if event not in mine:
                        mine[event] = np.zeros(self.num_envs, np.int64)
                    mine[event][env] = 1
        return earned, events

    def _dish_is_needed(self, env: int, pots_before: Array) -> bool:
        """Whether a dish is of use, as the package has it: it looks at the pots as they were before the step."""
        if self.kitchen.players != 2 or (self._lying[env] == DISH).any():
            return False
        return int((self._held[:, env] == DISH).sum()) < int(self._needs_dish[pots_before].sum())

    def _move(self, chosen: NDArray[np.int64]) -> None:
        """Turns and moves the cooks; where any two would meet or cross, all stay in their cells."""
        before = self._poses
        after = self.kitchen.moved.take(NUM_ACTIONS * before + chosen)
        old, new = before >> 2, after >> 2
        for i, j in self._pairs:
            blocked = (new[i] == new[j]) | ((new[i] == old[j]) & (new[j] == old[i]))
            if np.count_nonzero(blocked):
                after[:, blocked] = 4 * old[:, blocked] + (after[:, blocked] & 3)
        self._poses = after
