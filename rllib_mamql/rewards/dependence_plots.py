"""Pictures of what rewards depend on: bars by action, curves by column, saliency of pictures; a row for each agent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rllib_mamql.rewards.dependence import Dependence

INCHES = 2.6
MOST_CHANNELS = 4
MOST_LINES = 10
"""Actions that have a colour of their own; of more, those whose lines differ most from the mean are drawn."""


def plot_dependence(found: Mapping[str, Dependence], title: str, file: Path) -> None:
    """Draws into a file.

    Args:
        found: As ``reward_dependence`` gives it.
        title: Above all.
        file: Where the picture goes; its ending says the format.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    wide = 1 + max((_panels(one) for one in found.values()), default=0)
    figure, axes = pyplot.subplots(
        len(found), wide, figsize=(INCHES * wide, INCHES * len(found) + 0.7), squeeze=False, layout="constrained"
    )
    for line, (name, one) in zip(axes, found.items(), strict=True):
        for axis in line[1 + _panels(one) :]:
            axis.remove()
        _bars(line[0], name, one)
        if one.saliency is not None:
            _saliency(line[1 : 1 + _panels(one)], one, figure)
        else:
            _curves(line[1 : 1 + _panels(one)], one)
    figure.suptitle(title, fontsize="medium")
    figure.savefig(file, dpi=110)
    pyplot.close(figure)


def _panels(one: Dependence) -> int:
    return len(one.curves) if one.saliency is None else min(MOST_CHANNELS, one.saliency.change.shape[-1])


def _bars(axis: Any, name: str, one: Dependence) -> None:
    for action, value in enumerate(one.by_action):
        axis.bar(action, value, color=f"C{action % MOST_LINES}")
    axis.axhline(0.0, color="0.6", linewidth=0.7)
    colours = " (colours of the lines)" if one.curves else ""
    axis.set(title=f"{name}: by own action", xlabel=f"action{colours}", ylabel="mean reward")
    axis.set_xticks(range(len(one.by_action)))
    axis.title.set_fontsize("small")


def _curves(axes: Any, one: Dependence) -> None:
    """One line an action, all panels of a row on one scale."""
    drawn = list(range(len(one.by_action)))
    if len(drawn) > MOST_LINES:
        # Those that differ most from what the mean action is paid there.
        apart = np.nansum([np.nansum(np.square(c.means - np.nanmean(c.means, 0)), -1) for c in one.curves], axis=0)
        drawn = sorted(np.argsort(-apart)[:MOST_LINES].tolist())
    low = min((float(np.nanmin(curve.means)) for curve in one.curves), default=0.0)
    high = max((float(np.nanmax(curve.means)) for curve in one.curves), default=1.0)
    room = 0.06 * max(high - low, 1e-9)
    for axis, curve in zip(axes, one.curves, strict=True):
        for action in drawn:
            axis.plot(curve.at, curve.means[action], "o-", markersize=3, color=f"C{action % MOST_LINES}")
        axis.set(
            title=f"{curve.name} explains {curve.explained:.0%}", xlabel=curve.name, ylim=(low - room, high + room)
        )
        axis.title.set_fontsize("small")


def _saliency(axes: Any, one: Dependence, figure: Any) -> None:
    """One panel a channel, where most is drawn if there are many; all on one scale."""
    assert one.saliency is not None
    change = one.saliency.change
    channels = sorted(np.argsort(-change.sum((0, 1)))[: len(axes)].tolist())
    image = None
    for axis, channel in zip(axes, channels, strict=True):
        image = axis.imshow(change[..., channel], vmin=0.0, vmax=float(change.max()) or 1.0, cmap="magma")
        axis.set(title=f"channel {channel}", xticks=[], yticks=[])
        axis.title.set_fontsize("small")
    figure.colorbar(image, ax=list(axes), shrink=0.8, label="change if painted over")
