"""What training found for itself, as a checkpoint records it, and in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rllib_mamql.algorithms.mamql.coverage import ENOUGH, REACHED
from rllib_mamql.algorithms.mamql.stopping import BEST_UPDATES, STOPPED

WEIGHTS = ("rollout_share", "chi_square_scale")
MULTIPLE, COMING_BACK, DEMONSTRATED = "acting_multiple", "coming_back", "demonstrations_coming_back"
"""What was found of how decidedly to act: of the training rationality, and shares of states that play comes back to."""


def chosen(settings: Mapping[str, Any]) -> dict[str, float]:
    """What training found for itself, of the settings that a checkpoint records; empty where it was told everything."""
    names = [REACHED, *WEIGHTS] if REACHED in settings else []
    names += [STOPPED, BEST_UPDATES, MULTIPLE, COMING_BACK, DEMONSTRATED]
    return {name: float(settings[name]) for name in names if settings.get(name) is not None}


def in_words(found: Mapping[str, float]) -> list[str]:
    """Lines on what was chosen, and why."""
    lines = [f"chosen: {_weights(found)}"] if REACHED in found else []
    if STOPPED in found:
        stopped, best = found[STOPPED], found[BEST_UPDATES]
        lines.append(f"chosen: {stopped:,.0f} updates, for held-out steps were likeliest after {best:,.0f}")
    if MULTIPLE in found:
        beside = f" (expert {found[DEMONSTRATED]:.0%})" if DEMONSTRATED in found else ""
        revisited = f"{found[COMING_BACK]:.0%} of states revisited{beside}"
        lines.append(f"chosen: acts at {found[MULTIPLE]:g}x training's rationality; {revisited}")
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
