"""highway-env's multi-agent intersection: the same dynamics but faster, and a choice of who starts where."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np

from mamql_envs.intersection_compat import MultiAgentAction, MultiAgentIntersectionEnv, class_from_path
from mamql_envs.intersection_fast import FastIDMVehicle, FastMDPVehicle, FastNetwork, FastRoad

APPROACHES = 4
MAX_VEHICLES = 2 * APPROACHES
"""Two on each approach: a third would have no room behind them."""
REAR_GAP = 25.0
"""How far a vehicle starts behind another on its approach, at least [m]."""
REAR_GAP_RANGE = 10.0
"""How much farther it may start [m], uniformly random."""
_WARM_UP_SECONDS = 3


def simulation_config(
    vehicles: int, *, traffic: bool = False, challenger: bool = False, shared_destination: bool = False
) -> dict[str, Any]:
    """A configuration for `IntersectionSim`; with all three switched on it is highway-env's own."""
    return {
        "controlled_vehicles": vehicles,
        "initial_vehicle_count": 10 if traffic else 0,
        "spawn_probability": 0.6 if traffic else 0.0,
        "challenger": challenger,
        "destination": "o1" if shared_destination else "own",
        "clear_arrived": True,
        "collision_reward": -4,
        "arrived_reward": 2,
        "high_speed_reward": 0,
    }


def approach_lane(i: int) -> tuple[str, str, int]:
    """The lane on which the vehicle of agent `i` starts."""
    return f"o{i % APPROACHES}", f"ir{i % APPROACHES}", 0


def draw_start(rng: np.random.Generator, i: int, starts: Sequence[float], destination: str | None) -> tuple[str, float]:
    """Where the vehicle of agent `i` goes to, and where on its approach it starts [m].

    Args:
        rng: Where it is drawn from.
        i: The agent's number.
        starts: Where those before it start.
        destination: As in the configuration, see `StartMixin`.
    """
    approach = i % APPROACHES
    if destination == "own":
        destination = f"o{(approach + int(rng.integers(1, APPROACHES))) % APPROACHES}"
    elif not destination:
        destination = f"o{rng.integers(1, APPROACHES)}"
    if i < APPROACHES:
        return destination, 60.0 + 5.0 * rng.normal(1.0)
    return destination, starts[i - APPROACHES] - REAR_GAP - rng.uniform(0, REAR_GAP_RANGE)


class StartMixin:
    """Start and leave of an `IntersectionEnv`, where they have to differ from highway-env's.

    Keys of the configuration: `challenger` (highway-env always adds a vehicle that goes straight on), `destination`
    ("own": one of the three other roads, at random; else as in highway-env) and `clear_arrived` (whether agents'
    vehicles that reach the end of their road leave, as traffic does; in highway-env they turn around and come back).
    """

    config: dict[str, Any]
    road: Any
    np_random: np.random.Generator
    action_type: Any
    controlled_vehicles: list[Any]

    def _make_vehicles(self, n_vehicles: int = 10) -> None:
        """Places the traffic, then the challenger, then the agents' vehicles; draws in the order of highway-env."""
        env: Any = self
        traffic_class = class_from_path(self.config["other_vehicles_type"])
        traffic_class.DISTANCE_WANTED, traffic_class.COMFORT_ACC_MAX, traffic_class.COMFORT_ACC_MIN = 7, 6, -3
        frequency = self.config["simulation_frequency"]
        for start in np.linspace(0, 80, max(n_vehicles, 1))[: max(n_vehicles - 1, 0)]:
            env._spawn_vehicle(start)
        for _ in range(_WARM_UP_SECONDS * frequency):
            self.road.act()
            self.road.step(1 / frequency)
        if self.config["challenger"]:
            env._spawn_vehicle(60, spawn_probability=1.0, go_straight=True, position_deviation=0.1, speed_deviation=0.0)
        self.controlled_vehicles = []
        starts: list[float] = []
        for i in range(self.config["controlled_vehicles"]):
            self._place(i, starts)

    def _place(self, i: int, starts: list[float]) -> None:
        """Adds the vehicle of agent `i`; from the fifth on, they queue behind those already there."""
        destination, start = draw_start(self.np_random, i, starts, self.config["destination"])
        starts.append(start)
        lane = self.road.network.get_lane(approach_lane(i))
        vehicle = self.action_type.vehicle_class(
            self.road, lane.position(start, 0.0), speed=lane.speed_limit, heading=lane.heading_at(60.0)
        )
        vehicle.plan_route_to(destination)
        vehicle.speed_index = vehicle.speed_to_index(lane.speed_limit)
        vehicle.target_speed = float(vehicle.index_to_speed(vehicle.speed_index))
        self.road.vehicles.append(vehicle)
        self.controlled_vehicles.append(vehicle)
        for other in self.road.vehicles.copy():  # No early collisions with the traffic
            near = np.linalg.norm(other.position - vehicle.position) < 20
            if near and other not in self.controlled_vehicles:
                self.road.vehicles.remove(other)

    def _clear_vehicles(self) -> None:
        """Lets vehicles leave near the end of their road."""
        super()._clear_vehicles()  # type: ignore[misc]
        if self.config["clear_arrived"]:
            gone = [v for v in self.controlled_vehicles if v in self.road.vehicles and _is_leaving(v)]
            self.road.vehicles = [v for v in self.road.vehicles if v not in gone]


def _is_leaving(vehicle: Any) -> bool:
    start, end, _ = vehicle.lane_index
    if not ("il" in start and "o" in end):
        return False
    travelled: float = vehicle.lane.local_coordinates(vehicle.position)[0]
    return travelled >= vehicle.lane.length - 4 * vehicle.LENGTH


class _JointAction(MultiAgentAction):
    """The stock joint action, on fast vehicles."""

    @property
    def vehicle_class(self) -> Any:
        """Builds the vehicle of an agent."""
        return functools.partial(FastMDPVehicle, target_speeds=super().vehicle_class.keywords["target_speeds"])


class IntersectionSim(StartMixin, MultiAgentIntersectionEnv):
    """The intersection without observations and rewards: `reset` and `step` only move vehicles.

    Args:
        config: See `simulation_config`.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        traffic = f"{FastIDMVehicle.__module__}.{FastIDMVehicle.__qualname__}"
        self._network: FastNetwork | None = None
        super().__init__({**config, "other_vehicles_type": traffic})

    def define_spaces(self) -> None:
        """Links the actions to the vehicles; there is no observation to define."""
        self.action_type = _JointAction(self, **self.config["action"])

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[None, dict[str, Any]]:
        """Starts an episode; without a seed the random stream goes on."""
        gymnasium.Env.reset(self, seed=seed)
        self.define_spaces()
        self.time = self.steps = 0
        self._reset()
        self.define_spaces()
        return None, {}

    def step(self, action: tuple[int, ...]) -> tuple[None, float, bool, bool, dict[str, Any]]:
        """Moves all vehicles for one second; the flags are highway-env's own."""
        self.time += 1 / self.config["policy_frequency"]
        self._simulate(action)
        ends = self._is_terminated(), self._is_truncated()
        self._clear_vehicles()
        self._spawn_vehicle(spawn_probability=self.config["spawn_probability"])
        return None, 0.0, *ends, {}

    def _make_road(self) -> None:
        """Builds the lanes once; they never change."""
        if self._network is None:
            super()._make_road()
            self._network = FastNetwork(self.road.network)
        self.road = FastRoad(network=self._network, np_random=self.np_random)
