"""The toy environment with action masks, in every form in which environments give them, and a game in turns."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from pettingzoo import AECEnv, ParallelEnv

from tests.toy_env import ToyEnv

KEYS = {"pettingzoo": "observation", "rllib": "observations"}
STATES, ACTIONS = 4, 3


class MaskedToy(ParallelEnv[str, Any, Any]):
    """Agents must not step left from the first state of the ring, nor right from the last, and fail where they do.

    Args:
        form: ``pettingzoo``, ``rllib`` or ``info``.
        rule: ``walls`` as above; ``all`` allows everything; ``none`` nothing, from the second step on.
        start: What the first action is.
        steps: Length of an episode.
    """

    metadata = {"name": "masked"}  # noqa: RUF012

    def __init__(self, form: str = "pettingzoo", rule: str = "walls", start: int = 0, steps: int = 10) -> None:
        self.toy = ToyEnv(steps=steps)
        self.form, self.rule, self.start = form, rule, start
        self.possible_agents, self.agents = self.toy.possible_agents, []

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        seen = self.toy.observation_space(agent)
        if self.form == "info":
            return seen
        return spaces.Dict({KEYS[self.form]: seen, "action_mask": spaces.Box(0, 1, (ACTIONS,), np.int8)})

    def action_space(self, agent: str) -> spaces.Discrete[Any]:
        return spaces.Discrete(ACTIONS, start=self.start)

    def mask(self, agent: str) -> np.ndarray:
        place = self.toy.positions[self.possible_agents.index(agent)]
        if self.rule == "all" or (self.rule == "none" and self.toy.t < 2):
            return np.ones(ACTIONS, np.int8)
        if self.rule == "none":
            return np.zeros(ACTIONS, np.int8)
        return np.array([1, place > 0, place < STATES - 1], np.int8)

    def _told(self, seen: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        if self.form == "info":
            return seen, {agent: {"action_mask": self.mask(agent)} for agent in seen}
        key = KEYS[self.form]
        return {agent: {key: values, "action_mask": self.mask(agent)} for agent, values in seen.items()}, {}

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        seen, _ = self.toy.reset(seed=seed)
        self.agents = list(self.toy.agents)
        return self._told(seen)

    def step(self, actions: dict[str, Any]) -> tuple[Any, ...]:
        moves = {agent: int(action) - self.start for agent, action in actions.items()}
        for agent, move in moves.items():
            assert self.mask(agent)[move], f"{agent} takes the illegal action {move}"
        seen, rewards, terminateds, truncateds, _ = self.toy.step(moves)
        self.agents = list(self.toy.agents)
        observations, infos = self._told(seen)
        return observations, rewards, terminateds, truncateds, infos

    def render(self) -> None:
        return None

    def close(self) -> None:
        pass


def parallel_env(**keywords: Any) -> MaskedToy:
    return MaskedToy(**keywords)


class Nim(AECEnv[str, Any, Any]):
    """Three players in turns take one or two of nine stones; who takes the last but three is out, the last one wins.

    Whoever moves, the first player is paid 0.5, so that it is paid while it waits.
    """

    metadata = {"name": "nim", "is_parallelizable": False}  # noqa: RUF012

    def __init__(self, start: int = 0) -> None:
        super().__init__()
        self.possible_agents = ["a", "b", "c"]
        self.start = start

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        return spaces.Box(0, 9, (1,), np.float32)

    def action_space(self, agent: str) -> spaces.Space[Any]:
        return spaces.Discrete(2, start=self.start)

    def reset(self, seed: int | None = None, options: Any = None) -> None:
        self.agents = list(self.possible_agents)
        self.stones = 9
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations = dict.fromkeys(self.agents, False)
        self._tell()
        self.agent_selection = "a"

    def _tell(self) -> None:
        self.infos = {agent: {"action_mask": np.array([1, self.stones > 1], np.int8)} for agent in self.agents}

    def observe(self, agent: str) -> np.ndarray:
        return np.array([self.stones], np.float32)

    def step(self, action: Any) -> None:
        mover = self.agent_selection
        if self.terminations[mover]:
            self._was_dead_step(action)
            return
        following = self.agents[(self.agents.index(mover) + 1) % len(self.agents)]
        before, taken = self.stones, int(action) - self.start + 1
        assert taken in (1, 2) and taken <= before, f"{mover} takes {taken} of {before}"
        self.stones -= taken
        self._clear_rewards()
        if "a" in self.rewards:
            self.rewards["a"] = 0.5
        if before > 3 >= self.stones:
            self.terminations[mover] = True
        if self.stones == 0:
            self.rewards[mover] += 1.0
            self.terminations = dict.fromkeys(self.agents, True)
        self._accumulate_rewards()
        self._tell()
        self.agent_selection = following
        self._deads_step_first()

    def render(self) -> None:
        return None

    def close(self) -> None:
        pass


def nim(**keywords: Any) -> Nim:
    return Nim(**keywords)
