"""The lines of trials while they run: a bar each on a terminal, now and then a line where there is none."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TaskID, TextColumn
from rich.table import Column

from rllib_mamql.cli.progress_line import bar_width, progress_line, shortened
from rllib_mamql.cli.results import nearness

PLAIN_EVERY_S = 10.0
"""Least time between two lines of a trial where the output is no terminal."""

SPINNER_WIDTH = 2
"""Characters before a trial's name: what turns while an iteration takes long."""


@dataclass
class _Row:
    name: str
    line: str
    task: TaskID


class TrialLines:
    """Shows one line a trial on standard error; of those that have ended above those that run.

    Args:
        stop: The experiment's stopping criteria; how near they are is the bar.
    """

    def __init__(self, stop: Mapping[str, float]) -> None:
        self.stop = dict(stop)
        self._console = Console(stderr=True)
        self._progress: Progress | None = None
        self._bar = 0
        self._rows: dict[str, _Row] = {}
        self._printed: dict[str, float] = {}

    def start(self, trial: str, name: str) -> None:
        """Shows that a trial starts, which takes a while."""
        if trial not in self._rows and trial not in self._printed:
            self._show(trial, name, "starting", 0.0, at_once=True)

    def show(
        self,
        trial: str,
        name: str,
        result: Mapping[str, Any],
        wall_s: float,
        last_return: float | None,
        final: str = "",
    ) -> None:
        """Shows a trial's state.

        Args:
            trial: Its id.
            name: What to call it.
            result: Its latest result.
            wall_s: Seconds that it has run for.
            last_return: What to show where the result has no return.
            final: ``done`` or ``FAILED`` where it has ended.
        """
        width = None
        if self._console.is_terminal:
            if self._progress is None:
                self._open(name)
            width = self._room() - len(name) - 1
        line = progress_line(result, wall_s, self.stop, last_return=last_return, final=final, width=width)
        if final and self._progress is not None:
            self._finish(trial, name, line)
        else:
            self._show(trial, name, line, nearness(result, self.stop), at_once=bool(final))

    def warn(self, line: str) -> None:
        """A line above those of the trials, which stays."""
        if self._progress is None:
            print(line, file=sys.stderr, flush=True)
        else:
            self._progress.console.print(line, style="bold yellow", markup=False, highlight=False)

    def close(self) -> None:
        """Leaves the last lines standing, and gives the terminal back."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _show(self, trial: str, name: str, line: str, done: float, at_once: bool) -> None:
        if not self._console.is_terminal:
            now = time.monotonic()
            if at_once or now - self._printed.get(trial, 0.0) >= PLAIN_EVERY_S:
                self._printed[trial] = now
                print(f"{name}  {line}", file=sys.stderr, flush=True)
            return
        progress = self._progress or self._open(name)
        if trial not in self._rows:
            self._rows[trial] = _Row(name, line, progress.add_task("", total=1.0, name=name))
        self._rows[trial].line = line
        # What a line does not need is the names', of all rows alike: columns are as wide as their widest cell.
        room = self._room() - 1 - max(len(row.line) for row in self._rows.values())
        for row in self._rows.values():
            progress.update(row.task, name=shortened(row.name, room))
        progress.update(self._rows[trial].task, description=line, completed=done)

    def _finish(self, trial: str, name: str, line: str) -> None:
        """Puts a trial's last line above those that run: of many trials a terminal has lines for a few only."""
        assert self._progress is not None
        if row := self._rows.pop(trial, None):
            self._progress.remove_task(row.task)
        room = self._console.width - SPINNER_WIDTH - len(line) - 1
        text = f"{' ' * SPINNER_WIDTH}{shortened(name, room)} {line}"
        self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _room(self) -> int:
        """Characters for names and lines, and a space between them."""
        return self._console.width - SPINNER_WIDTH - (self._bar + 1 if self._bar else 0)

    def _open(self, name: str) -> Progress:
        self._bar = bar_width(self._console.width - SPINNER_WIDTH, name, self.stop)
        whole = Column(no_wrap=True)
        columns: list[ProgressColumn] = [
            SpinnerColumn(),
            TextColumn("{task.fields[name]}", markup=False),
        ]
        if self._bar:
            columns.append(BarColumn(bar_width=self._bar))
        columns.append(TextColumn("{task.description}", markup=False, table_column=whole))
        self._progress = Progress(*columns, console=self._console)
        self._progress.start()
        return self._progress
