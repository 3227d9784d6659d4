"""What the benchmarks share: interleaved timing, results that can be compared, and the command line of each script.

The figures are ratios of two things measured in the same run, in turns (A B A B ...), so that a busy machine slows both
alike; seconds alone would tell of the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

ROOT = pathlib.Path(__file__).parents[2]


PLAIN: dict[str, Any] = {"symmetries": False, "rollout_share": None, "chi_square_scale": 1.0}
"""Settings of MAMQL at which a gradient step is the objective alone: what bare loops do as well."""


def experiment_of(file: pathlib.Path, overrides: Any) -> tuple[Any, Any]:
    """The config, in RLlib's sense, and the settings of a YAML file's one experiment.

    Args:
        file: The file.
        overrides: ``cli.experiment.Overrides``.
    """
    from rllib_mamql.cli.experiment import load_experiments
    from rllib_mamql.cli.settings import prepare

    (experiment,) = load_experiments(file, overrides)
    prepared = prepare(experiment)
    return prepared.algorithm.get_default_config().update_from_dict(prepared.param_space), experiment.settings


@dataclass(frozen=True)
class Ratio:
    """A figure with what is asked of it.

    Attributes:
        value: The median over repetitions.
        low: Lowest of the repetitions.
        high: Highest of the repetitions.
        higher_is_better: Which way is better.
        target: What is aimed at, or None.
        checked: Whether ``make bench-check`` fails where it got worse; False for what varies too much.
    """

    value: float
    low: float
    high: float
    higher_is_better: bool = True
    target: float | None = None
    checked: bool = True

    @property
    def meets_target(self) -> bool:
        """Whether the median is on the good side of the target, if there is one."""
        if self.target is None:
            return True
        return self.value >= self.target if self.higher_is_better else self.value <= self.target

    def worse_than(self, other: Ratio, tolerance: float) -> bool:
        """Whether the median is worse than another's by more than the share ``tolerance``."""
        if self.higher_is_better:
            return self.value < (1.0 - tolerance) * other.value
        return self.value > (1.0 + tolerance) * other.value


@dataclass(frozen=True)
class Result:
    """What one script found.

    Attributes:
        title: Heading of its table.
        ratios: Figures by name; a name means the same in a quick run.
        columns: Heads of the table.
        rows: Cells of the table.
        notes: Lines below the table.
    """

    title: str
    ratios: dict[str, Ratio]
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    notes: list[str] = field(default_factory=list)

    def text(self) -> str:
        """The table in Markdown, then the ratios that have a target, then the notes."""
        lines = [
            f"## {self.title}",
            "",
            "| " + " | ".join(self.columns) + " |",
            "| " + " | ".join("---" for _ in self.columns) + " |",
            *("| " + " | ".join(_cell(value) for value in row) + " |" for row in self.rows),
            "",
        ]
        for name, ratio in self.ratios.items():
            if ratio.target is not None:
                sign = ">=" if ratio.higher_is_better else "<="
                verdict = "met" if ratio.meets_target else "MISSED"
                lines.append(
                    f"- {name}: {ratio.value:.3g} [{ratio.low:.3g}, {ratio.high:.3g}], target {sign} "
                    f"{ratio.target:g}: {verdict}"
                )
        return "\n".join([*lines, *(f"- {note}" for note in self.notes), ""])

    def to_json(self) -> dict[str, Any]:
        """A plain dict, from which :func:`ratios_of` reads the ratios again."""
        return asdict(self)


def ratios_of(document: Mapping[str, Any]) -> dict[str, Ratio]:
    """The ratios in what :meth:`Result.to_json` gave."""
    return {name: Ratio(**values) for name, values in document["ratios"].items()}


def seconds(call: Callable[[], Any]) -> float:
    """CPU seconds of one call in this process, which are its wall seconds on one idle core.

    What is timed so has one thread and waits for nothing; unlike wall seconds these do not count other processes.
    """
    started = time.process_time()
    call()
    return time.process_time() - started


def interleave(tasks: Mapping[str, Callable[[], float]], repetitions: int) -> dict[str, list[float]]:
    """Runs the tasks in turns, ``repetitions`` rounds of each after one that does not count.

    Args:
        tasks: Each gives its own measurement, such as seconds a step.
        repetitions: Rounds that count.

    Returns:
        Measurements by task, in the order of the rounds.
    """
    for task in tasks.values():
        task()
    taken: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(repetitions):
        for name, task in tasks.items():
            taken[name].append(task())
    return taken


def ratio(above: Sequence[float], below: Sequence[float], **settings: Any) -> Ratio:
    """Median, lowest and highest of the quotients of measurements of the same round."""
    quotients = [a / b for a, b in zip(above, below, strict=True)]
    return Ratio(statistics.median(quotients), min(quotients), max(quotients), **settings)


def repeats_for(once: Callable[[], Any], at_least_s: float) -> int:
    """How often to call ``once`` so that it takes about ``at_least_s`` seconds; it is called twice to find out."""
    once()
    return max(1, round(at_least_s / max(seconds(once), 1e-9)))


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Slope of log cost against log size by least squares: 1 is proportional growth."""
    import numpy as np

    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def plain_process() -> None:
    """One thread and no telemetry: what is measured must not depend on the number of cores."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import logging

    import torch

    torch.set_num_threads(1)
    logging.getLogger("ray").setLevel(logging.ERROR)


def run_alone(measure: Callable[[bool], Result], description: str | None) -> int:
    """The command line of one script: ``--quick`` and ``--json FILE``."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="fewer cases and repetitions")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    arguments = parser.parse_args()
    plain_process()
    result = measure(arguments.quick)
    print(result.text(), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(result.to_json(), indent=1) + "\n")
    return 0


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)
