"""The vehicles of many crossings, moved together: the dynamics of `intersection_fast.FastMDPVehicle` in arrays."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mamql_envs.intersection_collisions import DIAGONAL, meet
from mamql_envs.intersection_fast import FastMDPVehicle
from mamql_envs.intersection_features import Scene
from mamql_envs.intersection_lanes import Index, roads, wrap
from mamql_envs.intersection_outlook import FASTER, SLOWER
from mamql_envs.intersection_paths import EXIT_DISTANCE, Floats
from mamql_envs.intersection_sim import APPROACHES

Bools = NDArray[np.bool_]

SUBSTEPS = 15
_DT = 1 / SUBSTEPS
_SPEEDS = np.array([0.0, 4.5, 9.0])
"""What an agent can aim at [m/s]."""
_SWITCH = FastMDPVehicle.LENGTH / 2
"""A vehicle follows the next lane from so far before the end of one [m]."""
_LEAVE = 4 * FastMDPVehicle.LENGTH
"""A vehicle leaves the road so far before its end [m]."""
_HALF_LENGTH = FastMDPVehicle.LENGTH / 2
_EXIT = 2


def _clip(x: Floats, low: float, high: float) -> Floats:
    clipped: Floats = np.minimum(np.maximum(x, low), high)
    return clipped


def _not_zero(speed: Floats) -> Floats:
    return np.where(np.abs(speed) > 1e-2, speed, np.where(speed >= 0, 1e-2, -1e-2))


class Fleet:
    """Vehicles that agents drive, on the roads of `num_envs` crossings; without traffic nobody else is there.

    Arrays are flat, the first vehicle of every crossing first: `array.reshape(vehicles, num_envs)` is a row a vehicle.
    Operations are those of the single vehicle in the same order, so that both are equal to the last bit; where vehicles
    touch, to rounding.

    Args:
        num_envs: Crossings.
        vehicles: Vehicles at each of them.

    Attributes:
        x: World coordinate [m].
        y: World coordinate [m].
        heading: Of each vehicle [rad].
        speed: Of each vehicle [m/s].
        target: The speed aimed at [m/s].
        path: Number of its path.
        crashed: Whether it has crashed.
        present: Whether it is on the road; one that has left it stays where it was.
        arrives: Whether it is where vehicles have arrived.
        on_road: Whether it is on the lane that is closest to it.
    """

    def __init__(self, num_envs: int, vehicles: int) -> None:
        self.shape = (vehicles, num_envs)
        size = vehicles * num_envs
        self.x, self.y, self.heading, self.speed, self.target = np.zeros((5, size))
        self.path = np.zeros(size, np.intp)
        self.crashed, self.present, self.arrives, self.on_road, self._hit = np.zeros((5, size), bool)
        self._impact = np.zeros((size, 2))
        self._stage = np.zeros(size, np.intp)  # which lane of its path a vehicle follows
        self._first, self._second = np.triu_indices(vehicles, 1)
        self._roads = roads()
        self._follow()

    def place(self, which: Index, destinations: Index, starts: Floats) -> None:
        """Puts vehicles on their approach, at the speed limit.

        Args:
            which: Flat indices of vehicles.
            destinations: Number of the road that each is told to go to.
            starts: Coordinate on the approach [m].
        """
        approach = which // self.shape[1] % APPROACHES
        self.path[which] = self._roads.path_to[approach, destinations]
        start = self._roads.start_of(self.path[which], starts)
        self.x[which], self.y[which], self.heading[which] = start
        self.speed[which] = self._roads.speed_limit
        self.target[which] = _SPEEDS[self._nearest_speed(self.speed[which])]
        self._stage[which] = 0
        self.crashed[which] = self.arrives[which] = self._hit[which] = False
        self.present[which] = self.on_road[which] = True
        self._follow()

    def scene(self, envs: Index | slice, acting: Bools) -> Scene:
        """What there is to be seen at some crossings: who is on the road, and who acts.

        Args:
            envs: Which.
            acting: Whether an agent acts, `(vehicles, len(envs))`.
        """
        s = self._lanes.local(self.x, self.y)[0] - self._roads.before[self.path, self._stage]
        columns = (self.x, self.y, self.heading, self.speed, self.target, self.crashed, self.present, self.path, s)
        x, y, heading, speed, target, crashed, present, path, s = (
            np.ascontiguousarray(column.reshape(self.shape)[:, envs].T) for column in columns
        )
        return Scene(x, y, heading, speed, target, crashed, np.ones_like(crashed), present | acting.T, path, s)

    def step(self, actions: NDArray[np.int64]) -> None:
        """Drives for a second.

        Args:
            actions: SLOWER, IDLE or FASTER for each vehicle, `(vehicles, num_envs)`; of no consequence to a wreck.
        """
        chosen = actions.reshape(-1)
        index = self._nearest_speed(self.speed) + (chosen == FASTER) - (chosen == SLOWER)
        aims = (chosen == FASTER) | (chosen == SLOWER)
        self.target = np.where(aims, _SPEEDS[np.minimum(np.maximum(index, 0), len(_SPEEDS) - 1)], self.target)
        # One that is told what to do looks for its next lane once more than one that drives on.
        self._switch(self._lanes.local(self.x, self.y)[0])
        for _ in range(SUBSTEPS):
            self._move()
            self._collide()
        self._look_where()

    @staticmethod
    def _nearest_speed(speed: Floats) -> Index:
        """Index of the speed closest to the present one."""
        return _clip(np.round(speed / _SPEEDS[-1] * (len(_SPEEDS) - 1)), 0, len(_SPEEDS) - 1).astype(np.intp)

    def _follow(self) -> None:
        """Looks up the lanes that vehicles follow."""
        self._lanes = self._roads.lanes(self._roads.of_path[self.path, self._stage])

    def _switch(self, s: Floats) -> bool:
        """Lets vehicles near the end of a lane follow the next one; nobody gets to the end of an exit."""
        ends = (s > self._lanes.length - _SWITCH) & (self._stage < _EXIT)
        if not ends.any():
            return False
        self._stage += ends
        self._follow()
        return True

    def _move(self) -> None:
        """A substep: steers along the lane, approaches the speed aimed at, and integrates the bicycle model."""
        car, speed = FastMDPVehicle, self.speed
        s, r = self._lanes.local(self.x, self.y)
        if self._switch(s):
            s, r = self._lanes.local(self.x, self.y)
        rolling = _not_zero(speed)
        heading = self._lanes.heading_at(s + speed * car.TAU_PURSUIT)
        towards_centre = np.arcsin(_clip(-car.KP_LATERAL * r / rolling, -1.0, 1.0))
        heading += _clip(towards_centre, -math.pi / 4, math.pi / 4)
        rate = car.KP_HEADING * wrap(heading - self.heading)
        slip = np.arcsin(_clip(_HALF_LENGTH / rolling * rate, -1.0, 1.0))
        steering = _clip(np.arctan(2 * np.tan(slip)), -car.MAX_STEERING_ANGLE, car.MAX_STEERING_ANGLE)
        acceleration = car.KP_A * (self.target - speed)
        if self.crashed.any():
            steering = np.where(self.crashed, 0.0, steering)
            acceleration = np.where(self.crashed, -speed, acceleration)

        beta = np.arctan(0.5 * np.tan(steering))
        dt = _DT * self.present
        self.x += speed * np.cos(self.heading + beta) * dt
        self.y += speed * np.sin(self.heading + beta) * dt
        if self._hit.any():
            struck = np.flatnonzero(self._hit & self.present)
            self.x[struck] += self._impact[struck, 0]
            self.y[struck] += self._impact[struck, 1]
            self.crashed[struck] = True
            self._hit[:] = False
        self.heading += speed * np.sin(beta) / _HALF_LENGTH * dt
        self.speed = speed + acceleration * dt

    def _collide(self) -> None:
        """Looks for vehicles that touch, or will: these are pushed apart in the next substep, and have crashed."""
        x, y, speed = (each.reshape(self.shape) for each in (self.x, self.y, self.speed))
        present = self.present.reshape(self.shape)
        dx, dy = x[self._second] - x[self._first], y[self._second] - y[self._first]
        near = np.sqrt(dx * dx + dy * dy) <= DIAGONAL + speed[self._first] * _DT
        pairs, envs = (near & present[self._first] & present[self._second]).nonzero()
        if not len(pairs):
            return
        first, second = self._first[pairs] * self.shape[1] + envs, self._second[pairs] * self.shape[1] + envs
        poses = np.stack([self.x, self.y, self.heading], axis=-1)
        ways = self._way(first) - self._way(second)
        touch, will_touch, apart = meet(poses[first], poses[second], ways)
        self.crashed[first[touch]] = self.crashed[second[touch]] = True
        # In the order of the pairs: where a vehicle touches two others, the last one counts.
        struck = np.stack([first, second], axis=1)[will_touch].reshape(-1)
        push = apart[will_touch] / 2
        self._hit[struck] = True
        self._impact[struck] = np.stack([push, -push], axis=1).reshape(-1, 2)

    def _way(self, which: Index) -> Floats:
        """How far vehicles will move within a substep [m]."""
        heading, speed = self.heading[which], self.speed[which]
        return np.stack([speed * np.cos(heading) * _DT, speed * np.sin(heading) * _DT], axis=-1)

    def _look_where(self) -> None:
        """Finds out who has arrived, who is on the road, and who leaves it."""
        lane, s, r = self._roads.closest(self.x, self.y, self.heading)
        length = self._roads.length[lane]
        is_exit = self._roads.is_exit[lane]
        self.arrives = is_exit & (s >= EXIT_DISTANCE)
        within = (s >= -FastMDPVehicle.LENGTH) & (s < length + FastMDPVehicle.LENGTH)
        self.on_road = (np.abs(r) <= self._roads.half_width) & within
        self.present &= ~(is_exit & (s >= length - _LEAVE))
