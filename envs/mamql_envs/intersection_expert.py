"""A scripted expert for the intersection: it looks ahead along the known paths, one vehicle after another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamql_envs.intersection_paths import Floats, Path, gaps

SLOWER, IDLE, FASTER = range(3)
_STEP = 4.5
"""Between two speeds that can be aimed at [m/s]."""
_TOP = 2
"""Index of the highest of them."""
_DT, _DECAY = 1 / 15, 8 / 9
"""A substep [s], and what is left of the gap to the speed aimed at after it."""
_SAMPLES = np.array([3, 6, 9, 12, 15])
"""Substeps of a step at which plans are compared."""
_LEFT_OVER = _DECAY**_SAMPLES
HORIZON = 10
"""Seconds that a plan looks ahead."""
import os
MARGINS = eval(os.environ.get("MARG","((2.0, 3), (0.8, 0))"))
_MOST_CRAWLING = 3


def _profiles() -> NDArray[np.intp]:
    """Plans as the speed wished for at every second: crawl for a while, stand for a while, then drive on."""
    rows = []
    for crawling in range(_MOST_CRAWLING + 1):
        for standing in range(HORIZON - crawling + 1):
            rows.append([1] * crawling + [0] * standing + [_TOP] * (HORIZON - crawling - standing))
    return np.array(rows)


_PROFILES = _profiles()


def _drive(s: float, speed: float, target: float, wishes: NDArray[np.intp]) -> tuple[Floats, NDArray[np.intp]]:
    """Follows plans as the vehicle would.

    Args:
        s: Coordinate on the path [m].
        speed: Speed [m/s].
        target: Speed aimed at [m/s].
        wishes: `(plans, seconds)`, indices of the speeds wished for.

    Returns:
        Coordinates at all samples, `(plans, samples)`, and the first action of every plan.
    """
    plans, seconds = wishes.shape
    at, v, aim = np.full(plans, s), np.full(plans, speed), np.full(plans, target)
    places = np.empty((plans, seconds, len(_SAMPLES)))
    first = np.full(plans, IDLE)
    for second in range(seconds):
        index = np.clip(np.rint(v / _STEP), 0, _TOP)
        wish = wishes[:, second]
        # Standing and driving on are always asked for, so that the same action means the same whatever was aimed at.
        faster = (wish > index) | (wish == _TOP)
        slower = (wish < index) | (wish == 0)
        aim = np.where(faster, np.minimum(index + 1, _TOP) * _STEP, aim)
        aim = np.where(slower, np.maximum(index - 1, 0) * _STEP, aim)
        if second == 0:
            first = np.where(faster, FASTER, np.where(slower, SLOWER, IDLE))
        lag = v - aim
        places[:, second] = at[:, None] + aim[:, None] * _SAMPLES * _DT + lag[:, None] * (1 - _LEFT_OVER) * 9 * _DT
        at, v = places[:, second, -1], aim + lag * _LEFT_OVER[-1]
    return places.reshape(plans, -1), first


class ScriptedExpert:
    """Plans every vehicle's next ten seconds, those first that can no longer stop, then those closest to the crossing.

    Each vehicle gets the plan that brings it farthest among those that keep clear of all vehicles planned before it:
    drive on, or crawl and stand for a while and then drive on. Others than agents are taken to go on as they do.
    The plan is made anew at every step from positions, speeds and paths alone: nothing is remembered or random.
    """

    def reset(self, env: Any, seed: int) -> None:
        """Nothing to prepare.

        Args:
            env: An `intersection_v0` environment, wrapped or not.
            seed: Not used.
        """

    def act(self, env: Any, observations: Mapping[str, Any]) -> dict[str, int]:
        """Chooses an action for every agent.

        Args:
            env: The environment that `reset` was given.
            observations: Not used: the expert reads positions, speeds and paths from the environment.
        """
        base = env.unwrapped
        cars = {agent: base.vehicle(agent) for agent in base.agents}
        planned: list[Floats] = []
        for vehicle in base.sim.road.vehicles:
            if not any(vehicle is car for car in cars.values()):
                planned.append(self._expected(vehicle, *base.place(vehicle)))
        queue = []
        for agent, car in cars.items():
            path, s = base.place(car)
            queue.append((not self._is_committed(s, car.speed), -s, agent, path, s))
        actions = {}
        for _, _, agent, path, s in sorted(queue, key=lambda entry: entry[:3]):
            actions[agent], plan = self._plan(path, s, cars[agent], planned)
            planned.append(plan)
        return {agent: actions[agent] for agent in base.agents}

    @staticmethod
    def _is_committed(s: float, speed: float) -> bool:
        """Whether the vehicle would enter the crossing even if it braked from now on."""
        places, _ = _drive(s, speed, speed, np.zeros((1, HORIZON), dtype=np.intp))
        return bool(places[0, -1] > 0)

    @staticmethod
    def _expected(vehicle: Any, path: Path, s: float) -> Floats:
        """Where a vehicle without an agent will be: an arrived one drives off, traffic keeps its speed."""
        if vehicle.crashed:
            return path.discs(np.full(HORIZON * len(_SAMPLES), s))
        if s > path.arrival:
            places, _ = _drive(s, vehicle.speed, vehicle.target_speed, np.full((1, HORIZON), _TOP))
            return path.discs(places[0])
        times = (np.arange(HORIZON)[:, None] + _SAMPLES * _DT).reshape(-1)
        return path.discs(s + vehicle.speed * times)

    @staticmethod
    def _plan(path: Path, s: float, car: Any, planned: list[Floats]) -> tuple[int, Floats]:
        """The farthest plan that keeps clear of those planned before; the one that keeps clear longest if none does."""
        places, first = _drive(s, car.speed, car.target_speed, _PROFILES)
        order = np.argsort(-places[:, -1], kind="stable")
        best, best_time = int(order[0]), -1
        if not planned:
            return int(first[best]), path.discs(places[best])
        others = np.stack(planned)
        for clearance, delay in MARGINS:
            wide = _spread(others, delay)
            for k in order:
                discs = path.discs(places[k])
                blocked = (gaps(discs[None], wide) < clearance).any(axis=0)
                if not blocked.any():
                    return int(first[k]), discs
                time = int(blocked.argmax())
                if clearance == MARGINS[-1][0] and time > best_time:
                    best, best_time = int(k), time
        return int(first[best]), path.discs(places[best])


def _spread(plans: Floats, delay: int) -> Floats:
    """The plans, and the same plans `delay` samples late and early."""
    if not delay:
        return plans
    late = np.concatenate([np.repeat(plans[:, :1], delay, axis=1), plans[:, :-delay]], axis=1)
    early = np.concatenate([plans[:, delay:], np.repeat(plans[:, -1:], delay, axis=1)], axis=1)
    return np.concatenate([plans, late, early])
