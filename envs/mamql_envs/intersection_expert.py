"""A scripted expert for the intersection: the conflict-time rule of a careful driver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamql_envs.intersection_outlook import CRAWL, DRIVE, MERGED, STAND, STOP_LINE, WISHES, first_beyond, foresee
from mamql_envs.intersection_paths import Floats, Path, zones

HEADWAY = 6
"""Samples, a fifth of a second each, between one vehicle leaving a zone and the next entering it."""
GAP = 10.0
"""What would be left between the centres of two vehicles in a row if both braked [m]."""


@dataclass(frozen=True, eq=False)
class _Outlook:
    """A vehicle, and what it can do.

    Attributes:
        path: Its path.
        s: Its coordinate on it [m].
        going: Where it would be if it drove on after each of the three wishes, `(3, samples)`.
        stops: Where it would come to stand if it braked after each of them, `(3,)`.
        actions: The actions that stand for the wishes, `(3,)`.
        has_agent: Whether it knows this rule.
        rank: Vehicles of lower rank go first: those that can no longer stop, then those closest to the crossing.
    """

    path: Path
    s: float
    going: Floats
    stops: Floats
    actions: NDArray[np.int_]
    has_agent: bool
    rank: tuple[bool, float, int]

    @classmethod
    def of(cls, number: int, vehicle: Any, path: Path, s: float, *, has_agent: bool) -> _Outlook:
        places, actions = foresee(s, vehicle.speed, vehicle.target_speed, WISHES)
        stops = places[3:, -1]
        must_go = not has_agent or bool(stops[STAND] > STOP_LINE)
        return cls(path, s, places[:3], stops, actions[:3], has_agent, (not must_go, -s, number))


def _allowed(me: _Outlook, other: _Outlook) -> NDArray[np.bool_]:
    """Which of my wishes leave me a safe way past another vehicle, `(3,)`."""
    every = np.ones(3, dtype=bool)
    enter, leave = zones()[me.path.index, other.path.index]
    its_enter, its_leave = zones()[other.path.index, me.path.index]
    if np.isnan(enter) or me.s >= leave or other.s >= its_leave:
        return every
    if me.path.approach == other.path.approach:
        return every if me.s >= other.s else me.stops < other.stops[STAND] - GAP
    if np.isinf(leave):
        if other.s > its_enter:
            behind = me.s - enter < other.s - its_enter
            return me.stops - enter < other.stops[STAND] - its_enter - GAP if behind else every
        its_leave = its_enter + MERGED
    if me.s > enter or me.rank < other.rank:
        return every
    waits = me.stops < min(enter, STOP_LINE)
    later = first_beyond(me.going, enter) >= first_beyond(other.going[DRIVE], its_leave) + HEADWAY
    if other.has_agent:
        return waits | later
    its_coming = first_beyond(other.going[DRIVE], its_enter)
    return waits | later | (first_beyond(me.going, min(leave, enter + MERGED)) + HEADWAY <= its_coming)


class ScriptedExpert:
    """Drives on unless that takes away a safe way past some vehicle that goes first; else crawls, else brakes.

    Vehicles that can no longer stop before the crossing go first, then those closest to it. One that goes later stops
    before the crossing, or enters a zone in which their paths meet some time after the other has left it, as far as one
    can foresee. It also stays far enough behind those in front. Others than agents are taken to drive on,
    and a gap before them is used where it is wide enough.

    The rule wants only positions, speeds and paths of this moment: nothing is remembered or random. Its margins are
    wider than safety asks for, since what is learned from it is less exact than it is.
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
        cars = [base.vehicle(agent) for agent in base.agents]
        others = [vehicle for vehicle in base.sim.road.vehicles if not any(vehicle is car for car in cars)]
        outlooks = [
            _Outlook.of(number, vehicle, *base.place(vehicle), has_agent=number < len(cars))
            for number, vehicle in enumerate(cars + others)
        ]
        actions = {}
        for agent, me in zip(base.agents, outlooks, strict=False):
            allowed = np.ones(3, dtype=bool)
            for other in outlooks:
                if other is not me:
                    allowed &= _allowed(me, other)
            wish = DRIVE if allowed[DRIVE] else CRAWL if allowed[CRAWL] else STAND
            actions[agent] = int(me.actions[wish])
        return actions
