"""A trial's state in one line that fits the terminal: what tells least gives way, numbers are never cut."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rllib_mamql.cli.numbers import clock
from rllib_mamql.cli.results import expert_log_likelihood, latest_return, nearness
from rllib_mamql.learning.counts import env_steps, updates

BAR_WIDTH, NARROWEST_BAR = 12, 4
"""Most and fewest characters of a trial's bar; where there is room for fewer, it is left out."""


def progress_line(
    result: Mapping[str, Any],
    wall_s: float,
    stop: Mapping[str, float],
    *,
    last_return: float | None = None,
    final: str = "",
    width: int | None = None,
) -> str:
    """A trial's state in one line.

    Args:
        result: Its latest result.
        wall_s: Seconds that it has run for.
        stop: Its stopping criteria, from which the time left follows.
        last_return: What to show where the result has no return.
        final: ``done`` or ``FAILED`` where the trial has ended.
        width: Characters that there is room for; what tells least is left out first, but never the iteration, the
            return or the time left. None leaves out nothing.
    """
    iteration, limit = result.get("training_iteration", 0), stop.get("training_iteration")
    told = {"iteration": f"iteration {iteration:,}" + (f" of {limit:,.0f}" if limit else "")}
    if (mean := latest_return(result)) is not None or (mean := last_return) is not None:
        told["return"] = f"return {mean:.2f}"
    told["steps"] = f"{env_steps(result):,} env steps"
    if count := updates(result):
        told["updates"] = f"{count:,} updates"
    if (likelihood := expert_log_likelihood(result)) is not None:
        told["likelihood"] = f"expert log-likelihood {likelihood:.3f}"
    told["clock"] = clock(wall_s)
    share = nearness(result, stop)
    if final:
        told["left"] = final
    elif 0.0 < share < 1.0:
        told["left"] = f"{clock(wall_s * (1.0 - share) / share)} left"
    for name in ("likelihood", "updates", "steps", "clock"):
        if width is None or len(", ".join(told.values())) <= width:
            break
        told.pop(name, None)
    return ", ".join(told.values())


def bar_width(width: int, name: str, stop: Mapping[str, float]) -> int:
    """Characters for a bar beside a trial's name and line; 0 where these need the terminal for themselves.

    Args:
        width: Characters of the terminal, without what stands before the name.
        name: The trial's name.
        stop: Its stopping criteria, which say how long its line becomes.
    """
    limit = f"{stop.get('training_iteration', 0):,.0f}"
    longest = f"iteration {limit} of {limit}, return 1000.00, 1:00:00 left"
    room = width - len(name) - len(longest) - 2
    return min(BAR_WIDTH, room) if room >= NARROWEST_BAR else 0


def shortened(name: str, width: int) -> str:
    """A trial's name in so many characters, or as few as its number needs: ``overcook.. 00003``."""
    if len(name) <= width:
        return name
    experiment, _, trial = name.rpartition(" ")
    kept = width - len(trial) - len(".. ")
    return f"{experiment[:kept]}.. {trial}" if kept > 0 else trial
