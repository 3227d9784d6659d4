"""Actions in Overcooked, and its layouts, for tests."""

import pytest

from mamql_envs.overcooked_compat import layout_names

NORTH, SOUTH, EAST, WEST, STAY, INTERACT = range(6)

# Agent 0 cooks one soup in cramped_room by itself: three onions, cook, dish, wait, ladle, deliver.
COOKING = (
    [NORTH]
    + [WEST, INTERACT, EAST, NORTH, INTERACT] * 3
    + [INTERACT]
    + [WEST, SOUTH, SOUTH, INTERACT, NORTH, EAST, NORTH]
    + [STAY] * 13
    + [INTERACT]
    + [SOUTH, EAST, SOUTH, INTERACT]
)

OFTEN = {"cramped_room", "asymmetric_advantages", "coordination_ring", "corridor", "multiplayer_schelling"}
"""Layouts that are known best, the largest, and one of more than two cooks."""
EVERY_LAYOUT = [
    pytest.param(name, marks=[] if name in OFTEN or place % 8 == 0 else [pytest.mark.slow])
    for place, name in enumerate(layout_names())
]
"""All layouts; those that are like others belong to the slow tests."""
