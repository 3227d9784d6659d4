"""Vehicles at a crossing as a PettingZoo parallel environment, on highway-env's multi-agent intersection."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

from mamql_envs import checks
from mamql_envs.intersection_features import EntityFeatures, Scene
from mamql_envs.intersection_paths import Path, locate
from mamql_envs.intersection_render import render_rgb
from mamql_envs.intersection_sim import IntersectionSim, simulation_config

VEHICLES = (2, 4, 6, 8)
OBSERVATIONS = ("vector", "entities")
COUNTINGS = ("once", "published")
RENDER_MODES = ("rgb_array",)
SLOWER, IDLE, FASTER = range(3)
COLLISION_REWARD = -4.0
ARRIVAL_REWARD = 2.0
ARRIVAL, COLLISION = "arrival", "collision"
EVENTS = (ARRIVAL, COLLISION)
TRAFFIC_SLOTS = 10
"""Vehicles of the traffic that an observation has room for; the nearest are kept."""

Observations = dict[str, NDArray[np.float32]]
Infos = dict[str, dict[str, Any]]


class IntersectionParallelEnv(ParallelEnv):
    """Vehicles approach a crossing from four sides, and each has to get across to the road it wants.

    The vehicles steer by themselves along their routes; agents choose the speed. A step is one second.

    ## Actions

    `Discrete(3)` for each agent:

    | Num | Action                                                                           |
    |-----|----------------------------------------------------------------------------------|
    | 0   | slower: aim at the next lower of 0, 4.5 and 9 m/s, as seen from the speed now    |
    | 1   | idle: keep the speed aimed at                                                    |
    | 2   | faster: aim at the next higher speed                                             |

    ## Observations

    `observation="entities"`: `Box(N, 34)` of float32, a row for each vehicle: the observing vehicle (row 0), then the
    others by distance; rows of absent vehicles are all zeros. N is `vehicles`, and more with traffic (10) and the
    challenger (1). Everything is relative to the observing vehicle's position and heading, so that agents can share
    parameters. Distances are in units of 50 m, speeds of 10 m/s, clipped at +-5; all is rounded to
    multiples of 1/1024.

    | Num   | Column                                                                                             |
    |-------|----------------------------------------------------------------------------------------------------|
    | 0     | present                                                                                            |
    | 1-3   | is the observing vehicle, another agent's, traffic                                                 |
    | 4-5   | offset forward and to the right                                                                    |
    | 6-7   | velocity relative to the observing vehicle's, forward and to the right                             |
    | 8-9   | cosine and sine of the relative heading                                                            |
    | 10    | speed                                                                                              |
    | 11    | the speed aimed at (of the observing vehicle only)                                                 |
    | 12    | way to the crossing, negative within and after it                                                  |
    | 13-15 | turns left, goes straight on, turns right: the intention, as indicators show it                    |
    | 16    | has arrived                                                                                        |
    | 17    | has crashed                                                                                        |
    | 18    | the paths of this vehicle and of the observing one meet, and neither has left that zone behind     |
    | 19-20 | the observing vehicle's way to that zone, and to its end (0 where there is none)                   |
    | 21-22 | this vehicle's way to that zone, and to its end                                                    |
    | 23-25 | where the observing vehicle would stand if it braked after a step at 0, 4.5 and 9 m/s: beyond the  |
    |       | crossing's edge in row 0, else beyond the start of the zone                                        |
    | 26-28 | when it would enter that zone if it drove on after such a step, in units of 10 s, 1 if later       |
    | 29-30 | when this vehicle enters and leaves the zone (of a shared exit: is 14 m into it) if it drives on   |
    | 31    | this vehicle can no longer stop 6 m before the crossing                                            |
    | 32    | it is to go before the observing one: those that cannot stop, then those closer to the crossing    |
    | 33    | where this vehicle would stand if it braked at once, beyond the start of the zone                  |

    `observation="vector"`: the same rows one after another, `Box(N * 34,)`.

    ## Rewards

    -4 in the step in which the vehicle crashes, +2 in the step in which it arrives (25 m into the road it leaves on),
    0 otherwise, whatever its speed: a return is at most 2. The team's return is the mean over agents.
    highway-env pays an arrived vehicle +2 at every step until the episode ends, and nothing for a crash that throws a
    vehicle off its lane; published figures count so. `infos[agent]["published_reward"]` is that count for the step, and
    `infos[agent]["published_return"]` its sum since the start, averaged over all vehicles (also those that have left).
    `counting="published"` makes it the reward; arrived agents then go on acting until the episode ends.

    `infos[agent]["events"]` counts "arrival" and "collision" in the step in which they happen.

    ## Start

    Every vehicle starts on an approach of its own, 20 to 50 m before the crossing, at 10 m/s; from the fifth on they
    start 25 to 35 m behind another (highway-env puts the fifth on top of the first). Each goes to one of the three
    other roads, at random.

    ## End

    A vehicle that arrives or crashes is terminated. An arrived one drives off on its own and leaves the road where it
    ends; until then it is in the way of others, as in highway-env. If any crashes, the episode ends for all
    (`crash_ends_all`): the others are truncated, since no terminal state of their own was reached. At `horizon` steps
    all are truncated.

    Args:
        vehicles: 2, 4, 6 or 8. With 2 and a shared destination driving on always succeeds: a smoke test only.
        horizon: Steps in an episode, at least 1. The scripted expert brings 4 vehicles across in up to 18 steps and 8
            in up to 30, so that highway-env's own 13 would cut off those that wait.
        traffic: Whether vehicles without agents drive along.
        challenger: Whether highway-env's challenger drives along: one vehicle that goes straight on. As in highway-env,
            it is taken away again where an agent starts within 20 m of it, as is the traffic.
        shared_destination: Whether all go to the same road, as in highway-env, instead of each to its own.
        crash_ends_all: Whether a crash ends the episode for all. If not, the wrecks stay in the way.
        observation: "vector" or "entities".
        counting: "once" or "published".
        render_mode: None or "rgb_array".

    Raises:
        ValueError: An argument is not among the known values, or an action is not among the three.

    ## Version history

    * v0: first version.
    """

    metadata: ClassVar[dict[str, Any]] = {
        "name": "intersection_v0",
        "render_modes": list(RENDER_MODES),
        "is_parallelizable": True,
        "render_fps": 2,
        "return_aggregation": "mean",
    }

    def __init__(
        self,
        vehicles: int = 4,
        horizon: int = 30,
        traffic: bool = False,
        challenger: bool = False,
        shared_destination: bool = False,
        crash_ends_all: bool = True,
        observation: str = "vector",
        counting: str = "once",
        render_mode: str | None = None,
    ) -> None:
        self.vehicles = int(checks.one_of("vehicles", vehicles, VEHICLES))
        self.horizon = checks.steps("horizon", horizon)
        self.traffic = checks.flag("traffic", traffic)
        self.challenger = checks.flag("challenger", challenger)
        self.shared_destination = checks.flag("shared_destination", shared_destination)
        self.crash_ends_all = checks.flag("crash_ends_all", crash_ends_all)
        self.observation: str = checks.one_of("observation", observation, OBSERVATIONS)
        self.counting: str = checks.one_of("counting", counting, COUNTINGS)
        self.render_mode = checks.render_mode(render_mode, RENDER_MODES)

        self.sim = IntersectionSim(
            simulation_config(
                self.vehicles,
                traffic=self.traffic,
                challenger=self.challenger,
                shared_destination=self.shared_destination,
            )
        )
        entities = self.vehicles + (TRAFFIC_SLOTS if self.traffic else 0) + (1 if self.challenger else 0)
        self.features = EntityFeatures(entities)
        shape = (-1,) if self.observation == "vector" else self.features.shape
        low, high = self.features.low.reshape(shape), self.features.high.reshape(shape)
        self.possible_agents = [f"agent_{i}" for i in range(self.vehicles)]
        self.agents: list[str] = []
        self._index = {agent: i for i, agent in enumerate(self.possible_agents)}
        self._observation_spaces = {agent: spaces.Box(low, high, dtype=np.float32) for agent in self.possible_agents}
        self._action_spaces: dict[str, spaces.Space[Any]] = {
            agent: spaces.Discrete(3) for agent in self.possible_agents
        }
        self._time = 0
        self._arrived: list[bool] = []
        self._paths: list[Path] = []
        self._published_return = 0.0

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """The space of an agent's observations."""
        return self._observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """The space of an agent's actions."""
        return self._action_spaces[agent]

    def vehicle(self, agent: str) -> Any:
        """The agent's vehicle in highway-env: read it, do not change it."""
        return self.sim.controlled_vehicles[self._index[agent]]

    def place(self, vehicle: Any) -> tuple[Path, float]:
        """The path of a vehicle, and its coordinate on it [m]."""
        for i, own in enumerate(self.sim.controlled_vehicles):
            if own is vehicle:
                return locate(vehicle, self._paths[i])
        return locate(vehicle)

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observations, Infos]:
        """Starts an episode.

        Args:
            seed: Seed of all that is random; None goes on with the stream.
            options: Not used.
        """
        self.sim.reset(seed=seed)
        self.agents = list(self.possible_agents)
        self._time = 0
        self._arrived = [False] * self.vehicles
        self._paths = [locate(vehicle)[0] for vehicle in self.sim.controlled_vehicles]
        self._published_return = 0.0
        infos = {agent: {"events": {}, "published_reward": 0.0, "published_return": 0.0} for agent in self.agents}
        return self._observe(self.agents), infos

    def step(
        self, actions: dict[str, Any]
    ) -> tuple[Observations, dict[str, float], dict[str, bool], dict[str, bool], Infos]:
        """Drives for a second.

        Args:
            actions: An action for each agent in `agents`.
        """
        if not self.agents:
            raise RuntimeError("no episode is under way: call reset() before step()")
        acting, before = self.agents, list(self._arrived)
        # Those who have left drive on; a wreck has no choice.
        joint = [FASTER] * self.vehicles
        for agent in acting:
            joint[self._index[agent]] = checks.action_of(agent, actions, self.agents, FASTER + 1)
        self.sim.step(tuple(joint))
        self._time += 1

        cars = self.sim.controlled_vehicles
        for i, car in enumerate(cars):
            self._arrived[i] = self._arrived[i] or (not car.crashed and bool(self.sim.has_arrived(car)))
        published = [self._published(i) for i in range(self.vehicles)]
        self._published_return += sum(published) / self.vehicles
        events: dict[str, dict[str, int]] = {}
        for agent in acting:
            i = self._index[agent]
            events[agent] = {}
            if cars[i].crashed:
                events[agent] = {COLLISION: 1}
            elif self._arrived[i] and not before[i]:
                events[agent] = {ARRIVAL: 1}

        terminated = self._terminated(acting)
        crashed = any(cars[self._index[agent]].crashed for agent in acting)
        over = self._time >= self.horizon or (crashed and self.crash_ends_all)
        truncated = {agent: over and not terminated[agent] for agent in acting}
        infos = {
            agent: {
                "events": events[agent],
                "published_reward": published[self._index[agent]],
                "published_return": self._published_return,
                "episode_metrics": {"published_return": self._published_return},
            }
            for agent in acting
        }
        if self.counting == "published":
            rewards = {agent: published[self._index[agent]] for agent in acting}
        else:
            worth = {ARRIVAL: ARRIVAL_REWARD, COLLISION: COLLISION_REWARD}
            rewards = {agent: sum((worth[kind] for kind in events[agent]), 0.0) for agent in acting}
        observations = self._observe(acting)
        self.agents = [agent for agent in acting if not (terminated[agent] or truncated[agent])]
        return observations, rewards, terminated, truncated, infos

    def render(self) -> NDArray[np.uint8] | None:
        """Draws the crossing, if `render_mode` is "rgb_array".

        Returns:
            An array of shape `(height, width, 3)`, or None.
        """
        if self.render_mode is None:
            return None
        return render_rgb(self.sim.road, self.sim.controlled_vehicles)

    def close(self) -> None:
        """Nothing to release."""

    def _terminated(self, acting: list[str]) -> dict[str, bool]:
        if self.counting == "published":
            # An arrived vehicle goes on earning, so that only the end of all of them ends it.
            everyone = all(self._arrived)
            return {agent: everyone or self.vehicle(agent).crashed for agent in acting}
        return {agent: self._arrived[self._index[agent]] or self.vehicle(agent).crashed for agent in acting}

    def _published(self, i: int) -> float:
        """What highway-env pays the vehicle for this step, with rewards of -4, +2 and 0."""
        car = self.sim.controlled_vehicles[i]
        if self._arrived[i]:
            return ARRIVAL_REWARD
        return COLLISION_REWARD if car.crashed and car.on_road else 0.0

    def _observe(self, acting: list[str]) -> Observations:
        own = [self.vehicle(agent) for agent in acting]
        seen = own + [vehicle for vehicle in self.sim.road.vehicles if not any(vehicle is car for car in own)]
        features = self.features(Scene.of(seen, [self.place(vehicle) for vehicle in seen]), len(own))[0]
        if self.observation == "vector":
            features = features.reshape(len(own), -1)
        return dict(zip(acting, features, strict=True))


parallel_env = IntersectionParallelEnv
