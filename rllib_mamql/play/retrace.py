"""Rollouts that go on where they were: running episodes are stored as what they follow from, and played again.

An environment is no data that could be stored without a pickle. Its episode follows from the seed of its reset and from
the actions taken since, if it is what PettingZoo asks for; a checksum of what agents saw last tells where it is not.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rllib_mamql.columns import IDLE_ACTION, Array
from rllib_mamql.errors import EnvironmentHang

REMEMBERED = 2**20
"""Joint steps, over all environments, whose actions are remembered: a longer episode starts anew."""
Actions = Mapping[str, Array]
"""Of all environments at one step, ``{agent: (num_envs,)}``."""


class Retraceable:
    """What a rollout of several environments needs in order to go on; see ``ColumnarRollout`` for the attributes."""

    agents: list[str]
    observations: dict[str, Array]
    alive: dict[str, Array]
    on_step: Callable[[str, Mapping[str, int]], None] | None
    _rng: np.random.Generator
    _started: int
    _needs_reset: bool
    _running: list[Any]
    _ids: Array
    _taken: deque[Actions]

    @property
    def num_envs(self) -> int:
        """Number of environments stepped together."""
        raise NotImplementedError

    def begin(self, index: int, seed: int) -> None:
        """Starts the episode of a seed in one environment."""
        raise NotImplementedError

    def repeat(self, index: int, actions: Mapping[str, list[int]]) -> None:
        """Takes a step in one environment, of which nothing is kept; other environments stay where they are.

        Args:
            index: Which.
            actions: Of all environments, by agent.
        """
        raise NotImplementedError

    def get_state(self) -> dict[str, Any]:
        """The seed stream, the episode counter, and what running episodes follow from; plain values."""
        state: dict[str, Any] = {"rng": self._rng.bit_generator.state, "started": self._started}
        if not self._needs_reset:
            state["running"] = self._running_episodes()
        return state

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restores :meth:`get_state`; new episodes start where running ones are too long or cannot be played again."""
        running = state.get("running") or [None]
        self._needs_reset = not (len(running) == self.num_envs and None not in running and self._retrace(running))
        self._rng.bit_generator.state = state["rng"]
        self._started = int(state["started"])

    def steps_taken(self) -> list[int]:
        """Joint steps of the running episodes."""
        return [run.t for run in self._running]

    def _running_episodes(self) -> list[dict[str, Any] | None]:
        found: list[dict[str, Any] | None] = []
        taken = list(self._taken)
        for index, (run, steps) in enumerate(zip(self._running, self.steps_taken(), strict=True)):
            if steps > len(taken):
                found.append(None)
                continue
            since = taken[len(taken) - steps :]
            actions = {agent: [int(step[agent][index]) for step in since] for agent in self.agents}
            found.append({"eps_id": run.eps_id, "seed": run.seed, "actions": actions, "seen": self.seen(index)})
        return found

    def seen(self, index: int) -> int:
        """A checksum of what living agents see now in one environment."""
        found = 0
        for agent in self.agents:
            if self.alive[agent][index]:
                found = zlib.crc32(np.ascontiguousarray(self.observations[agent][index]).tobytes(), found)
        return found

    def _retrace(self, running: Sequence[Mapping[str, Any]]) -> bool:
        """Plays running episodes again, silently; whether that led to what was seen."""
        report, self.on_step = self.on_step, None
        lengths = [len(next(iter(each["actions"].values()))) for each in running]
        longest = max(lengths)
        # Where they are shorter, nothing was done before.
        steps = [{agent: np.full(self.num_envs, IDLE_ACTION) for agent in self.agents} for _ in range(longest)]
        for index, each in enumerate(running):
            for agent, actions in each["actions"].items():
                for step, action in enumerate(actions, longest - lengths[index]):
                    steps[step][agent][index] = action
        try:
            self.play_again([int(each["seed"]) for each in running], lengths, steps)
        except EnvironmentHang:
            raise
        except Exception:  # An episode that went elsewhere may have ended, or allow other actions.
            return False
        finally:
            self.on_step = report
        self._taken.clear()
        self._taken.extend(steps)
        self._ids = np.array([str(each["eps_id"]) for each in running], dtype=object)
        for run, each in zip(self._running, running, strict=True):
            run.eps_id = str(each["eps_id"])
        return all(self.seen(index) == each["seen"] for index, each in enumerate(running))

    def play_again(self, seeds: Sequence[int], lengths: Sequence[int], steps: Sequence[Actions]) -> None:
        """Plays episodes that end together.

        Args:
            seeds: Of their resets, by environment.
            lengths: Their joint steps, by environment.
            steps: The actions of all; of a shorter one the last.
        """
        for index, (seed, length) in enumerate(zip(seeds, lengths, strict=True)):
            self.begin(index, seed)
            for step in steps[len(steps) - length :]:
                self.repeat(index, {agent: values.tolist() for agent, values in step.items()})
