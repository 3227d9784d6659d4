"""Pictures of a benchmark: returns, performance profiles, sample efficiency and convergence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rllib_mamql.evaluation.benchmark_groups import Groups, Task
from rllib_mamql.evaluation.benchmark_statistics import Estimate, aggregate, profile

WIDE, TALL = 3.6, 2.4
"""Inches of a panel."""
ABREAST = 3
"""Panels side by side, at most."""
MARKERS = "osD^vPX*<>"
THRESHOLDS = np.linspace(0.0, 1.3, 131)


def draw(groups: Groups, folder: Path) -> list[str]:
    """Draws all pictures for which there is something to show into a folder; gives their names."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    colours = pyplot.get_cmap("tab10").colors
    style = {
        method: {"color": colours[place % 10], "marker": MARKERS[place % len(MARKERS)]}
        for place, method in enumerate(groups.shown_methods())
    }
    made = []
    for name, make in _PICTURES.items():
        figure = make(groups, style, pyplot)
        if figure is not None:
            figure.savefig(folder / name, dpi=110)
            pyplot.close(figure)
            made.append(name)
    return made


Style = Mapping[str, Mapping[str, Any]]


def _returns(groups: Groups, style: Style, pyplot: Any) -> Any:
    tasks, methods = groups.tasks(), groups.shown_methods()
    height = 0.9 + 0.26 * len(methods)
    figure, axes = _panels(pyplot, len(tasks), height)
    for number, (axis, task) in enumerate(zip(axes, tasks, strict=False)):
        for place, method in enumerate(methods):
            values = groups.values(task, method)
            if len(values):
                found = aggregate([values])
                axis.plot(values, np.full(len(values), place), ".", color="0.75", zorder=1)
                axis.errorbar(found.value, place, xerr=_error(found), capsize=2, zorder=2, **style[method])
        _expert(groups, task, axis.axvline)
        axis.set_yticks(range(len(methods)), methods if number % ABREAST == 0 else [])
        axis.set_ylim(len(methods) - 0.5, -0.5)
        axis.set_title(_title(task), fontsize=9)
        axis.grid(axis="x", alpha=0.3)
    figure.supxlabel(
        "return: interquartile mean with 95% interval, and every seed (grey); the expert's dashed", fontsize=9
    )
    return figure


def _profile(groups: Groups, style: Style, pyplot: Any) -> Any:
    methods = [method for method in groups.shown_methods() if groups.scores(groups.tasks(), [method])[0]]
    if not methods:
        return None
    figure, axis = pyplot.subplots(figsize=(6.4, 4.0), layout="constrained")
    for method in methods:
        (scores,) = groups.scores(groups.tasks(), [method])
        shares, low, high = profile(scores, THRESHOLDS, resamples=500)
        colour = style[method]["color"]
        axis.plot(THRESHOLDS, shares, color=colour, label=method)
        axis.fill_between(THRESHOLDS, low, high, color=colour, alpha=0.15, linewidth=0)
    axis.axvline(1.0, color="0.4", linestyle="--", linewidth=1)
    axis.set(xlabel="normalised score (1: the expert's)", ylabel="share of runs above", ylim=(-0.02, 1.02))
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    return figure


def _sample_efficiency(groups: Groups, style: Style, pyplot: Any) -> Any:
    sizes: dict[str, list[Task]] = {}
    for task in groups.tasks():
        sizes.setdefault(task[0], []).append(task)
    several = {problem: tasks for problem, tasks in sizes.items() if len(tasks) > 1}
    if not several:
        return None
    figure, axes = _panels(pyplot, len(several), TALL)
    for axis, (problem, tasks) in zip(axes, several.items(), strict=False):
        for method in groups.shown_methods():
            shown = [(task[1], aggregate([runs])) for task in tasks if len(runs := groups.values(task, method))]
            _line(axis, [steps for steps, _ in shown], [found for _, found in shown], style[method], method)
        _expert(groups, tasks[0], axis.axhline)
        axis.set_xscale("log")
        steps = [task[1] for task in tasks]
        axis.set_xticks(steps, [f"{each:,}" for each in steps], fontsize=8)
        axis.set_xticks([], minor=True)
        axis.set_title(problem, fontsize=9)
        axis.grid(alpha=0.3)
    _legend(figure, axes)
    figure.supxlabel("joint steps of demonstration", fontsize=9)
    figure.supylabel("return", fontsize=9)
    return figure


def _convergence(groups: Groups, style: Style, pyplot: Any) -> Any:
    tasks = [task for task in groups.fewest() if any(len(groups.points(task, m)) > 1 for m in groups.shown_methods())]
    if not tasks:
        return None
    axes_of = (("env_steps", "environment steps"), ("updates", "gradient steps"))
    figure, axes = pyplot.subplots(
        len(tasks), 2, figsize=(2.2 * WIDE, TALL * len(tasks) + 0.7), squeeze=False, layout="constrained", sharey="row"
    )
    for line, task in zip(axes, tasks, strict=True):
        for axis, (column, label) in zip(line, axes_of, strict=True):
            for method in groups.shown_methods():
                points = groups.points(task, method)
                at = [float(np.mean([row[column] for row in rows])) for rows in points]
                found = [aggregate([np.array([row["return_mean"] for row in rows])]) for rows in points]
                _line(axis, at, found, style[method], method)
            _expert(groups, task, axis.axhline)
            axis.set_xlabel(label, fontsize=8)
            axis.grid(alpha=0.3)
            axis.xaxis.set_major_formatter("{x:,.0f}")
            axis.tick_params(labelsize=8)
        line[0].set_ylabel("return, acting as trained", fontsize=8)
        line[0].set_title(_title(task), fontsize=9, loc="left")
    _legend(figure, axes.ravel())
    return figure


_PICTURES: dict[str, Callable[[Groups, Style, Any], Any]] = {
    "returns.png": _returns,
    "profile.png": _profile,
    "sample_efficiency.png": _sample_efficiency,
    "convergence.png": _convergence,
}


def _panels(pyplot: Any, count: int, height: float) -> tuple[Any, Sequence[Any]]:
    wide = min(count, ABREAST)
    lines = -(-count // wide)
    size = (max(WIDE * wide, 5.0) + 0.8, height * lines + 0.6)
    figure, axes = pyplot.subplots(lines, wide, figsize=size, squeeze=False, layout="constrained")
    for axis in axes.ravel()[count:]:
        axis.set_axis_off()
    return figure, axes.ravel()


def _line(axis: Any, at: Sequence[float], found: Sequence[Estimate], style: Mapping[str, Any], label: str) -> None:
    if not at:
        return
    values = [each.value for each in found]
    errors = np.concatenate([_error(each) for each in found], axis=1)
    axis.errorbar(at, values, yerr=errors, capsize=2, markersize=4, linewidth=1.2, label=label, **style)


def _error(found: Estimate) -> Any:
    # The interval is of resampled runs: with few of them rounding may put the value a hair outside.
    return np.maximum(np.array([[found.value - found.low], [found.high - found.value]]), 0.0)


def _expert(groups: Groups, task: Task, draw_line: Callable[..., Any]) -> None:
    known = [row["expert_return"] for row in groups.rows if (row["problem"], row["expert_steps"]) == task]
    if known and known[0] is not None:
        draw_line(known[0], color="0.4", linestyle="--", linewidth=1, label="expert")


def _legend(figure: Any, axes: Sequence[Any]) -> None:
    handles: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=min(len(handles), 6), fontsize=8)


def _title(task: Task) -> str:
    return f"{task[0]}, {task[1]:,} steps"
