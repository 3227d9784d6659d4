"""Draws the intersection with highway-env's graphics, on a surface in memory: no display is opened or needed.

highway-env's own viewer opens a display, draws nothing under SDL's dummy driver, follows the first vehicle, and quits
pygame when it is closed, for everybody in the process.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamql_envs.intersection_compat import RoadGraphics, WorldSurface, pygame

SIZE = 600
METRES = 140.0
COLORS = (
    (50, 200, 0),
    (100, 200, 255),
    (220, 220, 0),
    (210, 0, 190),
    (255, 130, 0),
    (170, 255, 190),
    (60, 90, 255),
    (140, 80, 20),
)
"""Of the agents' vehicles, in order; traffic is grey, a crashed vehicle red."""
TRAFFIC_COLOR = (170, 170, 170)
CRASH_COLOR = (255, 60, 60)


def render_rgb(road: Any, vehicles: list[Any]) -> NDArray[np.uint8]:
    """Draws the road and what drives on it.

    Args:
        road: The road.
        vehicles: The agents' vehicles.

    Returns:
        An array of shape `(SIZE, SIZE, 3)`.
    """
    surface = WorldSurface((SIZE, SIZE), 0, pygame.Surface((SIZE, SIZE), 0, 24))
    surface.scaling = SIZE / METRES
    surface.centering_position = [0.5, 0.5]
    surface.move_display_window_to(np.zeros(2))
    RoadGraphics.display(road, surface)
    colors = {id(vehicle): COLORS[i % len(COLORS)] for i, vehicle in enumerate(vehicles)}
    for vehicle in road.vehicles:
        color = CRASH_COLOR if vehicle.crashed else colors.get(id(vehicle), TRAFFIC_COLOR)
        _draw(vehicle, surface, color)
    image: NDArray[np.uint8] = np.moveaxis(pygame.surfarray.array3d(surface), 0, 1)
    return np.ascontiguousarray(image)


def _draw(vehicle: Any, surface: Any, color: tuple[int, int, int]) -> None:
    cos, sin = np.cos(vehicle.heading), np.sin(vehicle.heading)
    length, width = vehicle.LENGTH / 2, vehicle.WIDTH / 2
    corners = [(length, width), (-length, width), (-length, -width), (length, -width)]
    points = [surface.pos2pix(vehicle.x + cos * a - sin * b, vehicle.y + sin * a + cos * b) for a, b in corners]
    pygame.draw.polygon(surface, color, points)
    pygame.draw.polygon(surface, (40, 40, 40), points, 1)
