"""Actions in Overcooked, for tests."""

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
