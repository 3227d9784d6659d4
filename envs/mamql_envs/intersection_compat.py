"""What is used of highway-env, imported without pygame's greeting and without opening a display.

highway-env needs the distribution pygame-ce and overcooked-ai needs pygame. Both install the import package `pygame`,
and whichever was installed last is the one that is there: nothing here depends on which.
"""

from __future__ import annotations

import os

_PROMPT = "PYGAME_HIDE_SUPPORT_PROMPT"
_prompt_is_hidden = _PROMPT in os.environ
os.environ.setdefault(_PROMPT, "1")
try:
    import pygame
    from highway_env.envs.common.action import MultiAgentAction
    from highway_env.envs.intersection_env import MultiAgentIntersectionEnv
    from highway_env.road.graphics import RoadGraphics, WorldSurface
    from highway_env.road.lane import CircularLane, StraightLane
    from highway_env.road.regulation import RegulatedRoad
    from highway_env.road.road import RoadNetwork
    from highway_env.utils import class_from_path, rotated_rectangles_intersect
    from highway_env.vehicle.behavior import IDMVehicle
    from highway_env.vehicle.controller import ControlledVehicle, MDPVehicle
finally:
    if not _prompt_is_hidden:
        os.environ.pop(_PROMPT, None)

__all__ = [
    "CircularLane",
    "ControlledVehicle",
    "IDMVehicle",
    "MDPVehicle",
    "MultiAgentAction",
    "MultiAgentIntersectionEnv",
    "RegulatedRoad",
    "RoadGraphics",
    "RoadNetwork",
    "StraightLane",
    "WorldSurface",
    "class_from_path",
    "pygame",
    "rotated_rectangles_intersect",
]
