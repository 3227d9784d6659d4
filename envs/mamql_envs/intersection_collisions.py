"""Collisions of vehicles, many pairs at once: highway-env's check of two rectangles by their separating axes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mamql_envs.intersection_compat import ControlledVehicle
from mamql_envs.intersection_paths import Floats

_LENGTH, _WIDTH = ControlledVehicle.LENGTH, ControlledVehicle.WIDTH
DIAGONAL = float(np.sqrt(_LENGTH**2 + _WIDTH**2))
"""Vehicles whose centres are farther apart cannot touch [m]."""
_CORNERS = np.array([[-0.5, -0.5], [-0.5, 0.5], [0.5, 0.5], [0.5, -0.5]]) * (_LENGTH, _WIDTH)


def meet(first: Floats, second: Floats, ways: Floats) -> tuple[NDArray[np.bool_], NDArray[np.bool_], Floats]:
    """Whether two vehicles touch.

    Args:
        first: Position and heading of one vehicle of each pair, `(pairs, 3)`.
        second: Those of the other.
        ways: How far the first will move within a substep, less how far the second will, `(pairs, 2)` [m].

    Returns:
        Whether they touch, whether they will after the substep, and the way that would part them, `(pairs, 2)`, which
        both have to share.
    """
    a, b = _corners(first), _corners(second)
    axes = np.concatenate([_normals(a), _normals(b)], axis=1)
    low_a, high_a = _shadow(a, axes)
    low_b, high_b = _shadow(b, axes)
    touch: NDArray[np.bool_] = np.logical_and.reduce(_gap(low_a, high_a, low_b, high_b) <= 0, axis=1)
    moved = (axes * ways[:, None]).sum(axis=-1)
    gap = _gap(low_a + np.minimum(moved, 0.0), high_a + np.maximum(moved, 0.0), low_b, high_b)
    will_touch: NDArray[np.bool_] = np.logical_and.reduce(gap <= 0, axis=1)
    pairs = np.arange(len(first))
    nearest = np.abs(gap).argmin(axis=1)
    axis = axes[pairs, nearest]
    away = ((a.mean(axis=1) - b.mean(axis=1)) * axis).sum(axis=-1) > 0
    depth = np.abs(gap)[pairs, nearest]
    return touch, will_touch, (depth * np.where(away, 1.0, -1.0))[:, None] * axis


def _corners(poses: Floats) -> Floats:
    """Corners of the vehicles, `(pairs, 4, 2)`."""
    cos, sin = np.cos(poses[:, 2])[:, None], np.sin(poses[:, 2])[:, None]
    x, y = _CORNERS.T
    return np.stack([cos * x - sin * y + poses[:, :1], sin * x + cos * y + poses[:, 1:2]], axis=-1)


def _normals(corners: Floats) -> Floats:
    """Unit vectors across the four sides, `(pairs, 4, 2)`."""
    side = np.roll(corners, -1, axis=1) - corners
    normal = np.stack([-side[..., 1], side[..., 0]], axis=-1)
    unit: Floats = normal / np.sqrt((normal * normal).sum(axis=-1, keepdims=True))
    return unit


def _shadow(corners: Floats, axes: Floats) -> tuple[Floats, Floats]:
    """The interval that a vehicle covers on each axis, `(pairs, 8)` twice."""
    projected = np.einsum("pcd,pad->pac", corners, axes)
    return projected.min(axis=-1), projected.max(axis=-1)


def _gap(low_a: Floats, high_a: Floats, low_b: Floats, high_b: Floats) -> Floats:
    """The distance of two intervals, negative where they overlap."""
    return np.where(low_a < low_b, low_b - high_a, low_a - high_b)
