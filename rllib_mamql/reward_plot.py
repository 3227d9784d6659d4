"""Bars of how well each predictor does, with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

SHOWN = ("pearson", "epic", "ranking_accuracy")


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
    figure, axes = pyplot.subplots(
        len(agents), len(SHOWN), figsize=(4 * len(SHOWN), 2.6 * len(agents)), squeeze=False, layout="constrained"
    )
    for line, agent in zip(axes, agents, strict=True):
        for axis, metric in zip(line, SHOWN, strict=True):
            for place, (states, by_agent) in enumerate(results.items()):
                scores = by_agent[agent]
                width = 0.8 / len(results)
                heights = [values[metric] if values[metric] is not None else 0.0 for values in scores.values()]
                ranges = [
                    values[f"{metric}_ci95"] or (height, height)
                    for values, height in zip(scores.values(), heights, strict=True)
                ]
                errors = [[max(0.0, h - low) for h, (low, _) in zip(heights, ranges, strict=True)],
                          [max(0.0, high - h) for h, (_, high) in zip(heights, ranges, strict=True)]]  # fmt: skip
                where = [index + place * width for index in range(len(scores))]
                axis.bar(where, heights, width, yerr=errors, label=f"{states} states", capsize=2)
            axis.set_xticks([i + 0.4 - width / 2 for i in range(len(scores))], list(scores), rotation=20)
            axis.set_title(f"{metric}, {agent}", fontsize=9)
            axis.axhline(0.0, color="grey", linewidth=0.5)
    axes[0][0].legend(fontsize=8)
    figure.savefig(file, dpi=110)
    pyplot.close(figure)
