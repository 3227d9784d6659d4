"""What training found for itself, as a checkpoint records it, and in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rllib_mamql.algorithms.mamql.coverage import ENOUGH, REACHED
from rllib_mamql.algorithms.mamql.stopping import BEST_UPDATES

WEIGHTS = ("rollout_share", "chi_square_scale")


def chosen(settings: Mapping[str, Any]) -> dict[str, float]:
    """What training found for itself, of the settings that a checkpoint records; empty where it was told everything."""
    names = [*([REACHED, *WEIGHTS] if REACHED in settings else []), BEST_UPDATES]
    return {name: float(settings[name]) for name in names if name in settings}


def in_words(found: Mapping[str, float]) -> list[str]:
    """Lines on what was chosen, and why."""
    lines = [f"chosen: {_weights(found)}"] if REACHED in found else []
    if BEST_UPDATES in found:
        lines.append(
            f"chosen: the networks after {found[BEST_UPDATES]:,.0f} updates; later, held-out play got less likely"
        )
    return lines


def _weights(found: Mapping[str, float]) -> str:
    share, reached = found["rollout_share"], found[REACHED]
    if reached >= ENOUGH:
        what = "rollouts take full part"
    elif share < 0.005:
        what = "rollouts take no part"
    else:
        what = f"rollouts weigh {share:.2g}"
    why = f"policies came upon {reached:.0%} of the demonstrated states"
    return f"{what}, chi_square_scale {found['chi_square_scale']:.2g}, for {why}"
