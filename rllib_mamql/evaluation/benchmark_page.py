"""A benchmark's results as Markdown: returns, scores over all problems, who is better, and what it took."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence

import numpy as np

from rllib_mamql.evaluation.benchmark_groups import Groups, Task
from rllib_mamql.evaluation.benchmark_statistics import Estimate, Scores, aggregate, improvement

PICTURES = {
    "returns.png": "Returns of every problem and method",
    "profile.png": "Which share of runs scores above each threshold",
    "sample_efficiency.png": "Returns against steps of demonstration",
    "convergence.png": "Returns on the way, against environment steps and gradient steps",
}
"""Files of :mod:`~rllib_mamql.evaluation.benchmark_plots`, with what each shows."""

SCORES = """A task is a problem at a size of demonstrations; `fewest` are those of the
fewest steps. *As trained* acts at the rationality of training; else a method
acts as it does when it is used, which MAMQL chooses from its own play."""


def page(groups: Groups, name: str, command: str, pictures: Sequence[str] = ()) -> str:
    """The page of a benchmark.

    Args:
        groups: Its rows.
        name: The suite's.
        command: What makes the rows that are missing.
        pictures: Files of ``PICTURES`` that lie beside the page.
    """
    parts = [_head(groups, name, command), _returns(groups)]
    parts += [_scores(groups), _better(groups)] if any(row["score"] is not None for row in groups.rows) else []
    parts.append(_effort(groups))
    parts += [f"![{PICTURES[file]}]({file})" for file in pictures]
    return "\n\n".join(filter(None, parts)) + "\n"


def _head(groups: Groups, name: str, command: str) -> str:
    days = sorted({row["day"] for row in groups.rows})
    versions: dict[str, set[str]] = {}
    for row in groups.rows:
        for package, version in json.loads(row["versions"]).items():
            versions.setdefault(package, set()).add(version)
    shown = [f"{package} {', '.join(sorted(found))}" for package, found in versions.items()]
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    wrapped = command if len(command) <= 80 else command.replace(" --", " \\\n    --")
    return f"""# Benchmark {name}

```sh
{wrapped}
```

makes the cells that results.parquet lacks, and this page; with `--page` the
page alone. Every figure is of the last iterate: the interquartile mean over
seeds (below four the mean), and its 95% stratified bootstrap interval. A score
is (return - random) / (expert - random).

{textwrap.fill(f"{len(groups.rows)} cells, {when}. {', '.join(shown)}.", 80)}"""


def _returns(groups: Groups) -> str:
    rows = []
    for task in groups.tasks():
        found = {method: groups.values(task, method) for method in groups.shown_methods()}
        shown = {method: aggregate([values]) for method, values in found.items() if len(values)}
        best = max(each.value for each in shown.values())
        first = next(row for row in groups.rows if (row["problem"], row["expert_steps"]) == task)
        lines = [("expert", plain(first["expert_return"]), "")] if first["expert_return"] is not None else []
        for method, each in shown.items():
            value = text(each, bold=len(shown) > 1 and each.value == best)
            lines.append((method, value, str(len(found[method]))))
        rows += [["", "", *line] for line in lines]
        rows[-len(lines)][:2] = [task[0], f"{task[1]:,}"]
    return "## Returns\n\n" + table(["problem", "steps", "method", "return", "seeds"], rows)


def _scores(groups: Groups) -> str:
    rows = []
    for what, tasks in _selections(groups):
        for method in groups.shown_methods():
            (scores,) = groups.scores(tasks, [method])
            (trained,) = groups.scores(tasks, [method], "score_as_trained")
            if scores:
                lowest = min(float(runs.min()) for runs in scores)
                cells = [text(aggregate(scores)), plain(aggregate(trained).value), plain(lowest)]
                rows.append([what, method, *cells, str(len(scores))])
    return f"## Scores over all tasks\n\n{SCORES}\n\n" + table(
        ["sizes", "method", "score", "as trained", "lowest", "tasks"], rows
    )


def _better(groups: Groups) -> str:
    first, *others = groups.shown_methods()
    rows = []
    for what, tasks in _selections(groups):
        for other in others:
            columns: list[tuple[Scores, Scores]] = []
            for column in ("score", "score_as_trained"):
                mine, theirs = groups.scores(tasks, [first, other], column)
                columns.append((mine, theirs))
            if columns[0][0]:
                cells = [text(improvement(*pair)) for pair in columns]
                rows.append([what, other, *cells, str(len(columns[0][0]))])
    if not rows:
        return ""
    return f"## How likely a run of {first} scores above one of another method\n\n" + table(
        ["sizes", "other method", "probability", "as trained", "tasks"], rows
    )


def _effort(groups: Groups) -> str:
    rows = []
    for method in groups.shown_methods():
        mine = [row for row in groups.rows if row["method"] == method]
        middle = [
            float(np.median([row[column] for row in mine])) for column in ("env_steps", "updates", "train_s", "wall_s")
        ]
        rows.append([method, *(f"{value:,.0f}" for value in middle)])
    heads = ["method", "env steps", "gradient steps", "training, s", "in all, s"]
    return "## What a cell took, in the median\n\n" + table(heads, rows)


def _selections(groups: Groups) -> list[tuple[str, list[Task]]]:
    tasks, fewest = groups.tasks(), groups.fewest()
    return [("all", tasks)] if tasks == fewest else [("fewest", fewest), ("all", tasks)]


def text(estimate: Estimate, bold: bool = False) -> str:
    """An estimate with its interval, where it has one."""
    value = f"**{plain(estimate.value)}**" if bold else plain(estimate.value)
    return value if estimate.low == estimate.high else f"{value} [{plain(estimate.low)}, {plain(estimate.high)}]"


def plain(value: float | None) -> str:
    """A number with three digits or so: intervals over a few seeds are wider than a fourth; nothing for None."""
    if value is None:
        return ""
    digits = 0 if abs(value) >= 99.95 else 1 if abs(value) >= 9.995 else 2
    return f"{round(value, digits) + 0.0:.{digits}f}"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that can be read as text too: its columns are padded."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = [heads, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )
