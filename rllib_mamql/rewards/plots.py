"""Pictures of recovered rewards: bars of how good each predictor is, and maps of what rewards value.

Maps come in a row for each agent with one colour scale for all, white at the row's median: most cells pay nothing in
particular, and what a reward values shows against those.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rllib_mamql.rewards.maps import RewardMap
from rllib_mamql.rewards.verdict import HIGHER

SHOWN = ("pearson", "epic", "ranking_accuracy")
"""Metrics that bars are drawn of."""
LINEAR = 0.15
"""Share of the colour scale, from 0, that is linear."""
EMPTY = "#d9d9d9"
"""Colour of cells about which nothing is known."""
INCHES = 2.3
WIDEST = 5
"""Most maps side by side."""


def plot_maps(rows: Mapping[str, Sequence[RewardMap]], title: str, file: Path) -> None:
    """Draws maps into a file.

    Args:
        rows: ``{row: maps}``, as ``reward_maps`` gives them.
        title: Above all.
        file: Where the picture goes; its ending says the format.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.colors import SymLogNorm

    first = next(iter(rows.values()))
    # Too many maps for one line go into two.
    wide = len(first) if len(first) <= WIDEST else -(-len(first) // 2)
    medians = {name: _median(maps) for name, maps in rows.items()}
    rows = {name: _centred(maps) for name, maps in rows.items()}
    first = next(iter(rows.values()))
    lines = [(name, maps, maps[at : at + wide]) for name, maps in rows.items() for at in range(0, len(maps), wide)]
    limit = colour_limit([found for maps in rows.values() for found in maps])
    height, width = first[0].values.shape
    inches = INCHES * min(max(height / width, 0.75), 1.3) + (0.3 if first[0].probe.x_label else 0.0)
    figure, axes = pyplot.subplots(
        len(lines), wide, figsize=(INCHES * wide + 1.6, inches * len(lines) + 0.9), squeeze=False, layout="constrained"
    )
    colours = pyplot.get_cmap("RdBu_r").with_extremes(bad=EMPTY)
    image = None
    for line, (name, _, shown) in zip(axes, lines, strict=True):
        for axis in line[len(shown) :]:
            axis.set_axis_off()
        for place, (axis, found) in enumerate(zip(line, shown, strict=False)):
            # Rewards differ by factors: linear near 0, logarithmic beyond.
            norm = SymLogNorm(LINEAR * limit, vmin=-limit, vmax=limit)
            image = axis.imshow(found.values, cmap=colours, norm=norm, aspect="auto")
            _decorate(axis, found, limit)
            if place == 0:
                axis.annotate(
                    f"{name}\nmedian {medians[name]:+.2f}",
                    (-0.42 if found.probe.y_label else -0.12, 0.5), xycoords="axes fraction",
                    rotation=90, ha="center", va="center", fontsize=9, fontweight="bold",
                )  # fmt: skip
    assert image is not None
    bar = figure.colorbar(image, ax=axes, shrink=0.85, pad=0.01, extend="both")
    bar.set_label("mean marginal recovered reward, less the row's median")
    figure.suptitle(title, fontsize=12)
    figure.supxlabel(first[0].probe.note, fontsize=9)
    figure.savefig(file, dpi=120)
    pyplot.close(figure)


def _median(maps: Sequence[RewardMap]) -> float:
    """The value of most cells, at which a reward says nothing in particular; NaN where there are none."""
    known = np.concatenate([found.values[np.isfinite(found.values)] for found in maps])
    return float(np.median(known)) if len(known) else float("nan")


def _centred(maps: Sequence[RewardMap]) -> list[RewardMap]:
    median = _median(maps)
    return [replace(found, values=found.values - median) for found in maps]


def colour_limit(maps: Sequence[RewardMap]) -> float:
    """The end of a colour scale around 0: the largest absolute value but for the outermost fiftieth, and any focus."""
    known = np.concatenate([np.abs(found.values[np.isfinite(found.values)]) for found in maps])
    focused = [abs(float(found.values[found.probe.focus])) for found in maps if found.probe.focus is not None]
    sizes = [float(np.quantile(known, 0.98))] if len(known) else []
    return max([size for size in sizes + focused if size > 0.0], default=1.0)


def _decorate(axis: Any, found: RewardMap, limit: float) -> None:
    probe, values = found.probe, found.values
    axis.set_title(probe.title, fontsize=10)
    axis.set_xticks(list(probe.x_ticks), list(probe.x_ticks.values()), fontsize=7)
    axis.set_yticks(list(probe.y_ticks), list(probe.y_ticks.values()), fontsize=7)
    axis.set_xlabel(probe.x_label, fontsize=8)
    axis.set_ylabel(probe.y_label, fontsize=8)
    if probe.y_label:
        axis.invert_yaxis()
    for (row, place), text in probe.marks.items():
        dark = np.isfinite(values[row, place]) and abs(values[row, place]) > 0.4 * limit
        axis.text(place, row, text, ha="center", va="center", fontsize=9, color="white" if dark else "black")
    if probe.focus is not None:
        row, place = probe.focus
        value = values[row, place]
        if np.isfinite(value):
            dark = abs(value) > 0.4 * limit
            axis.text(place, row, f"{value:+.2f}", ha="center", va="center", fontsize=7,
                      color="white" if dark else "black")  # fmt: skip
        axis.add_patch(_square(place, row))


def _square(x: int, y: int) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, edgecolor="black", linewidth=1.2)


def plot_scores(results: Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]], file: Path) -> None:
    """Draws what ``rllib reward`` measured.

    Args:
        results: ``{states: {agent: {predictor: {metric: value, metric_ci95: [low, high]}}}}``.
        file: Where the picture goes.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    agents = list(next(iter(results.values())))
    shown = [
        metric
        for metric in SHOWN
        if any(_known(scores[agent], metric) for scores in results.values() for agent in agents)
    ]
    if not shown:
        shown = list(SHOWN[:1])
    figure, axes = pyplot.subplots(
        len(agents), len(shown), figsize=(4 * len(shown), 2.6 * len(agents)), squeeze=False, layout="constrained"
    )
    drawn: dict[str, Any] = {}
    for line, agent in zip(axes, agents, strict=True):
        for axis, metric in zip(line, shown, strict=True):
            drawn |= _draw_scores(axis, {states: scores[agent] for states, scores in results.items()}, metric)
            axis.set_title(f"{agent}: {metric} ({'higher' if HIGHER[metric] else 'lower'} is better)", fontsize=9)
    if drawn:
        figure.legend(list(drawn.values()), list(drawn), loc="outside upper center", ncols=len(drawn), fontsize=9)
    figure.savefig(file, dpi=110)
    pyplot.close(figure)


def _known(scores: Mapping[str, Mapping[str, Any]], metric: str) -> list[str]:
    """Predictors for which a metric is defined."""
    return [name for name, values in scores.items() if values[metric] is not None]


def _draw_scores(axis: Any, by_states: Mapping[str, Mapping[str, Mapping[str, Any]]], metric: str) -> dict[str, Any]:
    """Bars of one agent and metric, of the predictors that it is defined for; gives them by kind of states."""
    names = list(dict.fromkeys(name for scores in by_states.values() for name in _known(scores, metric)))
    width, drawn = 0.8 / len(by_states), {}
    for place, (states, scores) in enumerate(by_states.items()):
        known = [name for name in names if name in _known(scores, metric)]
        if not known:
            continue
        heights = [scores[name][metric] for name in known]
        ends = [scores[name][f"{metric}_ci95"] or (scores[name][metric],) * 2 for name in known]
        errors = [
            [max(0.0, height - low) for height, (low, _) in zip(heights, ends, strict=True)],
            [max(0.0, high - height) for height, (_, high) in zip(heights, ends, strict=True)],
        ]
        where = [names.index(name) + place * width for name in known]
        drawn[f"{states} states"] = axis.bar(where, heights, width, yerr=errors, color=f"C{place}", capsize=2)
    axis.set_xticks([index + 0.4 - width / 2 for index in range(len(names))], names, rotation=20)
    if not names:
        axis.text(0.5, 0.5, "no true reward occurred", ha="center", va="center", transform=axis.transAxes)
        axis.set_axis_off()
    axis.axhline(0.0, color="grey", linewidth=0.5)
    return drawn
