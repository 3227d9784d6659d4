"""highway-env's lanes, vehicles and regulated road in plain floats: the same dynamics, many times faster.

Stock highway-env spends its time on numpy arrays of two numbers, on finding every vehicle's closest lane at every
substep, and on deep copies of the whole road to predict one vehicle. The classes here are subclasses that override the
hot methods only. Each says what the stock method does that need not be done; what they compute is equal to rounding
(`tests/integration/test_intersection_stock.py` holds them to 1e-9).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamql_envs.intersection_compat import (
    CircularLane,
    ControlledVehicle,
    IDMVehicle,
    MDPVehicle,
    RegulatedRoad,
    RoadNetwork,
    StraightLane,
    rotated_rectangles_intersect,
)

LaneIndex = tuple[str, str, int]
Pose = tuple[float, float, float]

_PI, _TWO_PI = math.pi, 2 * math.pi
_PREDICTION_TIMES = tuple(0.25 * k for k in range(1, 12))
"""When `is_conflict_possible` looks for conflicts [s]."""


# numpy's functions and Python's differ in the last bit, and the steering law amplifies that bit when a vehicle stands.
_sin, _cos, _tan = np.sin, np.cos, np.tan
_asin, _atan, _atan2 = np.arcsin, np.arctan, np.arctan2


def _clip(x: float, low: float, high: float) -> float:
    return low if x < low else high if x > high else x


def _not_zero(x: float) -> float:
    if abs(x) > 1e-2:
        return x
    return 1e-2 if x >= 0 else -1e-2


def _wrap(x: float) -> float:
    return ((x + _PI) % _TWO_PI) - _PI


class _Straight:
    """`StraightLane` in plain floats."""

    __slots__ = ("_dx", "_dy", "_heading", "_x", "_y", "half_width", "length", "speed_limit")

    def __init__(self, lane: Any) -> None:
        self._x, self._y = map(float, lane.start)
        self._dx, self._dy = map(float, lane.direction)
        self._heading = float(lane.heading)
        self.length, self.half_width, self.speed_limit = float(lane.length), lane.width / 2, lane.speed_limit

    def local(self, x: float, y: float) -> tuple[float, float]:
        dx, dy = x - self._x, y - self._y
        return dx * self._dx + dy * self._dy, dy * self._dx - dx * self._dy

    def heading_at(self, longitudinal: float) -> float:
        return self._heading

    def pose(self, longitudinal: float) -> Pose:
        return self._x + longitudinal * self._dx, self._y + longitudinal * self._dy, self._heading


class _Circular:
    """`CircularLane` in plain floats."""

    __slots__ = ("_delta", "_phase", "_radius", "_sign", "_x", "_y", "half_width", "length", "speed_limit")

    def __init__(self, lane: Any) -> None:
        self._x, self._y = map(float, lane.center)
        self._delta = np.zeros(2)
        self._radius, self._phase, self._sign = float(lane.radius), float(lane.start_phase), lane.direction
        self.length, self.half_width, self.speed_limit = float(lane.length), lane.width / 2, lane.speed_limit

    def local(self, x: float, y: float) -> tuple[float, float]:
        dx, dy = x - self._x, y - self._y
        phi = self._phase + _wrap(float(_atan2(dy, dx)) - self._phase)
        self._delta[0], self._delta[1] = dx, dy
        radius = math.sqrt(float(self._delta.dot(self._delta)))
        return self._sign * (phi - self._phase) * self._radius, self._sign * (self._radius - radius)

    def heading_at(self, longitudinal: float) -> float:
        return self._sign * longitudinal / self._radius + self._phase + _PI / 2 * self._sign

    def pose(self, longitudinal: float) -> Pose:
        phi = self._sign * longitudinal / self._radius + self._phase
        x, y = self._x + self._radius * math.cos(phi), self._y + self._radius * math.sin(phi)
        return x, y, phi + _PI / 2 * self._sign


_FastLane = _Straight | _Circular


class FastNetwork(RoadNetwork):
    """A road network that finds the closest lane without arrays.

    Args:
        network: A network of straight and circular lanes, one to a road; its lanes are shared, not copied.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.graph = network.graph
        self.fast: dict[LaneIndex, _FastLane] = {}
        for index, lane in network.lanes_dict().items():
            assert isinstance(lane, (StraightLane, CircularLane)) and index[2] == 0
            self.fast[index] = _Straight(lane) if isinstance(lane, StraightLane) else _Circular(lane)

    def get_closest_lane_index(self, position: Any, heading: float | None = None) -> LaneIndex:
        """The lane closest in position and heading; the first of those equally close."""
        assert heading is not None
        return self.closest_lane(float(position[0]), float(position[1]), heading)

    def closest_lane(self, x: float, y: float, heading: float) -> LaneIndex:
        """As `get_closest_lane_index`, without building an array."""
        best, closest = math.inf, None
        for index, lane in self.fast.items():
            s, r = lane.local(x, y)
            distance = abs(r) + max(s - lane.length, 0.0) + max(-s, 0.0)
            if distance < best:  # The heading only adds to the distance.
                distance += abs(_wrap(heading - lane.heading_at(s)))
                if distance < best:
                    best, closest = distance, index
        assert closest is not None
        return closest


class FastVehicle(ControlledVehicle):
    """A vehicle whose coordinates are floats, and whose closest lane is found when somebody asks."""

    x: float
    y: float
    heading: float
    speed: float
    target_speed: float
    target_lane_index: LaneIndex
    crashed: bool
    impact: Any
    _lane_index: LaneIndex | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.heading, self.speed = float(self.heading), float(self.speed)

    @property
    def position(self) -> NDArray[np.float64]:
        """World position [m]; assign it, since changing the array's elements changes nothing here."""
        return np.array([self.x, self.y])

    @position.setter
    def position(self, value: Any) -> None:
        self.x, self.y = float(value[0]), float(value[1])

    @property
    def lane_index(self) -> LaneIndex:
        """The closest lane. Stock looks for it at every substep, though few ever ask."""
        if self._lane_index is None:
            self._lane_index = self.road.network.closest_lane(self.x, self.y, self.heading)
        return self._lane_index

    @lane_index.setter
    def lane_index(self, value: LaneIndex | None) -> None:
        self._lane_index = value

    @property
    def lane(self) -> Any:
        """Geometry of the closest lane."""
        return self.road.network.get_lane(self.lane_index)

    @lane.setter
    def lane(self, value: Any) -> None:
        pass  # It follows from the lane's index.

    def lane_distance_to(self, other: Any, lane: Any = None) -> float:
        """The signed distance to another vehicle along the own lane [m]."""
        assert lane is None
        fast = self.road.network.fast[self.lane_index]
        return fast.local(other.x, other.y)[0] - fast.local(self.x, self.y)[0]

    def follow_road(self) -> None:
        """Switches to the next lane of the route near the end of one."""
        lane = self.road.network.fast[self.target_lane_index]
        if lane.local(self.x, self.y)[0] > lane.length - 2.5:
            self.target_lane_index = self.road.network.next_lane(
                self.target_lane_index, route=self.route, position=self.position, np_random=self.road.np_random
            )

    def steering_control(self, target_lane_index: LaneIndex) -> float:
        """The stock steering law [rad]."""
        lane = self.road.network.fast[target_lane_index]
        longitudinal, lateral = lane.local(self.x, self.y)
        speed = _not_zero(self.speed)
        heading = lane.heading_at(longitudinal + self.speed * self.TAU_PURSUIT)
        towards_centre = float(_asin(_clip(-self.KP_LATERAL * lateral / speed, -1.0, 1.0)))
        heading += _clip(towards_centre, -_PI / 4, _PI / 4)
        rate = self.KP_HEADING * _wrap(heading - self.heading)
        slip = float(_asin(_clip(self.LENGTH / 2 / speed * rate, -1.0, 1.0)))
        return _clip(float(_atan(2 * float(_tan(slip)))), -self.MAX_STEERING_ANGLE, self.MAX_STEERING_ANGLE)

    def control(self) -> None:
        """Follows the road at the target speed: what `ControlledVehicle.act` does without a command."""
        self.follow_road()
        self.action = {
            "steering": self.steering_control(self.target_lane_index),
            "acceleration": self.KP_A * (self.target_speed - self.speed),
        }

    def step(self, dt: float) -> None:
        """Integrates the bicycle model; speeds here stay within the stock bounds."""
        if self.crashed:
            self.action = {"steering": 0.0, "acceleration": -self.speed}
        speed = self.speed
        beta = float(_atan(0.5 * float(_tan(self.action["steering"]))))
        self.x += speed * float(_cos(self.heading + beta)) * dt
        self.y += speed * float(_sin(self.heading + beta)) * dt
        if self.impact is not None:
            self.x += float(self.impact[0])
            self.y += float(self.impact[1])
            self.crashed = True
            self.impact = None
        self.heading += speed * float(_sin(beta)) / (self.LENGTH / 2) * dt
        self.speed += self.action["acceleration"] * dt
        self._lane_index = None

    def predict(self) -> list[Pose]:
        """Poses at constant speed along the route, at the times that the rules of the road look at."""
        network = self.road.network
        lanes = [network.fast[index[0], index[1], 0] for index in self.route or [self.lane_index]]
        start = network.fast[self.lane_index].local(self.x, self.y)[0]
        poses = []
        for time in _PREDICTION_TIMES:
            s, k = start + self.speed * time, 0
            while k < len(lanes) - 1 and s > lanes[k].length:
                s -= lanes[k].length
                k += 1
            poses.append(lanes[k].pose(s))
        return poses


class FastMDPVehicle(FastVehicle, MDPVehicle):
    """The vehicle of an agent: slower, idle, faster."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.target_speed = float(self.target_speed)

    def act(self, action: Any = None) -> None:
        """Changes the target speed if told to, and controls steering and acceleration."""
        if action == "FASTER" or action == "SLOWER":
            index = int(self.speed_to_index(self.speed)) + (1 if action == "FASTER" else -1)
            self.speed_index = int(_clip(index, 0, self.target_speeds.size - 1))
            self.target_speed = float(self.target_speeds[self.speed_index])
        self.control()


class FastIDMVehicle(FastVehicle, IDMVehicle):
    """A vehicle of the traffic. Roads have one lane here: the stock deliberation on changing lanes is left out."""

    def act(self, action: Any = None) -> None:
        """Steers along the road and keeps its distance to the vehicle in front."""
        if self.crashed:
            return
        self.follow_road()
        steering = self.steering_control(self.target_lane_index)
        acceleration = self._acceleration(self.road.front_vehicle(self, self.lane_index))
        if self.lane_index != self.target_lane_index:
            front = self.road.front_vehicle(self, self.target_lane_index)
            acceleration = min(acceleration, self._acceleration(front))
        self.action = {"steering": steering, "acceleration": _clip(acceleration, -self.ACC_MAX, self.ACC_MAX)}

    def _acceleration(self, front: Any) -> float:
        """The intelligent driver model [m/s^2]: `IDMVehicle.acceleration` and `desired_gap` for the vehicle itself."""
        comfort = self.COMFORT_ACC_MAX
        target = _clip(self.target_speed, 0.0, self.lane.speed_limit)
        acceleration = comfort * (1 - (max(self.speed, 0.0) / abs(_not_zero(target))) ** self.DELTA)
        if front is not None:
            cos, sin = float(_cos(self.heading)), float(_sin(self.heading))
            closing = (self.speed * cos - front.speed * float(_cos(front.heading))) * cos
            closing += (self.speed * sin - front.speed * float(_sin(front.heading))) * sin
            gap = self.DISTANCE_WANTED + self.speed * self.TIME_WANTED
            gap += self.speed * closing / (2 * math.sqrt(-comfort * self.COMFORT_ACC_MIN))
            acceleration -= comfort * (gap / _not_zero(self.lane_distance_to(front))) ** 2
        return acceleration

    def step(self, dt: float) -> None:
        """Integrates the bicycle model; the stock timer only counts towards changes of lane."""
        FastVehicle.step(self, dt)


class FastRoad(RegulatedRoad):
    """A regulated road that leaves out the checks that can change nothing."""

    def front_vehicle(self, vehicle: Any, lane_index: LaneIndex) -> Any:
        """The first vehicle ahead on a lane, or None; the stock method also looks for the one behind."""
        lane = self.network.fast[lane_index]
        s = lane.local(vehicle.x, vehicle.y)[0]
        nearest, front = math.inf, None
        for other in self.vehicles:
            if other is not vehicle:
                ahead, lateral = lane.local(other.x, other.y)
                if s <= ahead <= nearest and abs(lateral) <= lane.half_width + 1 and -5 <= ahead < lane.length + 5:
                    nearest, front = ahead, other
        return front

    def step(self, dt: float) -> None:
        """Enforces the rules of the road, moves all vehicles, then looks for collisions of those close enough."""
        self.steps += 1
        if self.steps % int(1 / dt / self.REGULATION_FREQUENCY) == 0:
            self.enforce_road_rules()
        vehicles = self.vehicles
        for vehicle in vehicles:
            vehicle.step(dt)
        for i, vehicle in enumerate(vehicles):
            x, y, diagonal, ahead = vehicle.x, vehicle.y, vehicle.diagonal, vehicle.speed * dt + 1e-6
            for other in vehicles[i + 1 :]:
                reach = (diagonal + other.diagonal) / 2 + ahead
                if (other.x - x) ** 2 + (other.y - y) ** 2 <= reach * reach:
                    vehicle.handle_collisions(other, dt)

    def enforce_road_rules(self) -> None:
        """Makes the traffic yield. Agents' vehicles never yield, so that conflicts among them are not looked for."""
        traffic = [isinstance(vehicle, FastIDMVehicle) for vehicle in self.vehicles]
        if not any(traffic):
            return
        for vehicle, yields in zip(self.vehicles, traffic, strict=True):
            if yields and getattr(vehicle, "is_yielding", False):
                if vehicle.yield_timer >= self.YIELD_DURATION * self.REGULATION_FREQUENCY:
                    vehicle.target_speed = vehicle.lane.speed_limit
                    del vehicle.color
                    vehicle.is_yielding = False
                else:
                    vehicle.yield_timer += 1
        poses: dict[int, list[Pose]] = {}
        for i, first in enumerate(self.vehicles):
            for j in range(i + 1, len(self.vehicles)):
                if not (traffic[i] or traffic[j]):
                    continue
                for k in (i, j):
                    if k not in poses:
                        poses[k] = self.vehicles[k].predict()
                second = self.vehicles[j]
                if not self._meet(first, poses[i], second, poses[j]):
                    continue
                k = i if self.respect_priorities(first, second) is first else j
                if traffic[k]:
                    yielding = self.vehicles[k]
                    yielding.color = self.YIELDING_COLOR
                    yielding.target_speed, yielding.is_yielding, yielding.yield_timer = 0.0, True, 0
                    poses.pop(k)

    @staticmethod
    def _meet(first: Any, poses_1: list[Pose], second: Any, poses_2: list[Pose]) -> bool:
        """Whether two vehicles, drawn out lengthwise, meet at any of the predicted times."""
        for (x1, y1, heading_1), (x2, y2, heading_2) in zip(poses_1, poses_2, strict=True):
            if math.hypot(x2 - x1, y2 - y1) <= first.LENGTH and rotated_rectangles_intersect(
                (np.array([x1, y1]), 1.5 * first.LENGTH, 0.9 * first.WIDTH, heading_1),
                (np.array([x2, y2]), 1.5 * second.LENGTH, 0.9 * second.WIDTH, heading_2),
            ):
                return True
        return False
