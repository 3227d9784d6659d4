"""A parallel environment with any kind of spaces, and any one habit that breaks PettingZoo's contract."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

OBSERVATIONS: dict[str, spaces.Space[Any]] = {
    "vector": spaces.Box(-1.0, 1.0, (3,), np.float32),
    "float16": spaces.Box(-1.0, 1.0, (3,), np.float16),
    "float64": spaces.Box(-np.inf, np.inf, (3,), np.float64),
    "integers": spaces.Box(-5, 5, (3,), np.int64),
    "image": spaces.Box(0, 255, (12, 9, 3), np.uint8),
    "grey": spaces.Box(0, 255, (6, 5), np.uint8),
    "single": spaces.Box(0.0, 1.0, (), np.float32),
    "film": spaces.Box(0, 255, (2, 4, 4, 3), np.uint8),
    "one_of": spaces.Discrete(5, start=-2),
    "several": spaces.MultiDiscrete([3, 4]),
    "switches": spaces.MultiBinary(4),
    "nested": spaces.Dict(
        {
            "camera": spaces.Box(0, 255, (4, 4, 3), np.uint8),
            "rest": spaces.Tuple((spaces.Discrete(3), spaces.Dict({"speed": spaces.Box(-9.0, 9.0, (2,))}))),
        }
    ),
    "text": spaces.Text(5),
    "sequence": spaces.Dict({"seen": spaces.Sequence(spaces.Discrete(3))}),
}
ACTIONS: dict[str, spaces.Space[Any]] = {
    "plain": spaces.Discrete(3),
    "from_one": spaces.Discrete(3, start=1),
    "several": spaces.MultiDiscrete([2, 3]),
    "switches": spaces.MultiBinary(2),
    "continuous": spaces.Box(-1.0, 1.0, (2,)),
    "too_many": spaces.MultiDiscrete([100, 100, 100]),
    "text": spaces.Text(3),
}


class Awkward(ParallelEnv[Any, Any, Any]):
    """Agents that draw their observations at random, are paid for their first action, and stop after ``steps``.

    Args:
        observations: One of ``OBSERVATIONS``.
        actions: One of ``ACTIONS``.
        habit: What is odd about it; see the branches below.
        at: Step of the episode from which the habit shows.
        steps: Length of an episode.
        agents: How many there are.
    """

    metadata = {"name": "awkward"}  # noqa: RUF012

    def __init__(
        self,
        observations: str = "vector",
        actions: str = "plain",
        habit: str = "",
        at: int = 2,
        steps: int = 5,
        agents: int = 2,
        render_mode: str | None = None,
    ) -> None:
        self.kind, self.acts, self.habit, self.at, self.steps = observations, actions, habit, at, steps
        names: list[Any] = [f"bot{k}" for k in range(agents)]
        if habit == "integer_ids":
            names = list(range(agents))
        if habit == "slash":
            names[0] = "team/a"
        if habit == "same_name":
            names = [1, "1"]
        if habit == "no_possible_agents":
            names = []
        self.possible_agents = names
        self.agents: list[Any] = []
        self.render_mode = render_mode
        self.random = np.random.default_rng()

    def observation_space(self, agent: Any) -> spaces.Space[Any]:
        if self.habit == "no_space":
            raise KeyError(agent)
        return OBSERVATIONS[self.kind]

    def action_space(self, agent: Any) -> spaces.Space[Any]:
        return ACTIONS[self.acts]

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        if seed is not None:
            self.random = np.random.default_rng(seed)
            self.observation_space(None).seed(seed) if self.habit != "no_space" else None
        self.t = 0
        self.agents = list(self.possible_agents)
        if self.habit in ("late", "late_unseen"):
            self.agents = self.agents[:1]
        if self.habit == "reset_raises":
            raise RuntimeError("no power")
        if self.habit == "no_agents":
            self.agents = []
        seen = {agent: self._see() for agent in self.agents}
        if self.habit == "old_reset":
            return seen
        return seen, {}

    def _see(self) -> Any:
        if self.kind not in ("vector", "float64"):
            return OBSERVATIONS[self.kind].sample()
        seen = self.random.uniform(-1.0, 1.0, 3).astype(OBSERVATIONS[self.kind].dtype)
        if self.t >= self.at:
            odd = {"nan": np.nan, "infinite": np.inf, "huge": 1e30, "outside": 3.0}
            if self.habit in odd:
                seen[1] = odd[self.habit]
            if self.habit == "wrong_shape":
                return seen[:2]
            if self.habit == "words":
                return np.array(["a", "b", "c"])
        return seen

    def step(self, actions: dict[Any, Any]) -> Any:
        assert set(actions) == set(self.agents), f"actions of {sorted(actions)}, agents are {self.agents}"
        for agent, action in actions.items():
            assert self.action_space(agent).contains(action), f"{action} is not in {self.action_space(agent)}"
        self.t += 1
        shows, last = self.t >= self.at, self.possible_agents[-1]
        acted, over = list(self.agents), self.t >= self.steps and self.habit != "endless"
        rewards: dict[Any, Any] = {agent: float(np.sum(actions[agent]) == 0) for agent in acted}
        terminated = dict.fromkeys(acted, False)
        truncated = dict.fromkeys(acted, over)
        seen = {agent: self._see() for agent in acted}
        self.agents = [] if over else acted
        if self.habit in ("late", "late_unseen") and self.t == self.at:
            self.agents = list(self.possible_agents)
            if self.habit == "late":
                seen[last] = self._see()
        if shows and not over:
            self._misbehave(last, seen, rewards, terminated, truncated)
        if self.habit == "four_values":
            return seen, rewards, terminated, {}
        if self.habit == "none_step" and shows:
            return None
        if self.habit == "nothing" and shows:
            return {}, {}, {}, {}, {}
        return seen, rewards, terminated, truncated, None

    def _misbehave(self, last: Any, seen: Any, rewards: Any, terminated: Any, truncated: Any) -> None:
        if self.habit == "leaves" and last in self.agents:
            terminated[last] = True
            self.agents.remove(last)
        if self.habit == "returns":
            if self.t == self.at:
                terminated[last] = True
                self.agents.remove(last)
            elif last not in self.agents:
                self.agents.append(last)
                seen[last] = self._see()
        if self.habit == "vanishes":
            self.agents.remove(last)
            for given in (seen, rewards, terminated, truncated):
                given.pop(last)
        if self.habit == "unseen":
            seen.pop(last)
        if self.habit == "unpaid":
            rewards.pop(last)
        if self.habit == "paid_in_words":
            rewards[last] = "a lot"
        if self.habit == "paid_nan":
            rewards[last] = float("nan")
        if self.habit == "stranger":
            self.agents.append("ghost")
        if self.habit == "step_raises":
            raise RuntimeError("out of fuel")
        if self.habit == "cut_unseen":
            truncated[last] = True
            self.agents.remove(last)
            seen.pop(last)

    def render(self) -> None:
        return None

    def close(self) -> None:
        pass


def parallel_env(**keywords: Any) -> Awkward:
    return Awkward(**keywords)
