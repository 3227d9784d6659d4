"""What a command is doing while it takes long: a bar or a turning mark on a terminal, lines where there is none."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from rllib_mamql.cli.messages import say
from rllib_mamql.cli.numbers import clock

if TYPE_CHECKING:
    from rllib_mamql.play.rollout import Watch

LINE_AFTER_S, LINE_EVERY_S = 5.0, 10.0
"""Where the output is no terminal: how long work takes before a line says so, and least time between two lines."""


@contextmanager
def working(what: str, total: int | None = None) -> Iterator[Watch]:
    """Shows on standard error what is being done for as long as it is.

    Args:
        what: In a few words, such as ``evaluating FOLDER``.
        total: How much there is to do; None where it is not known.

    Yields:
        A function to be told how much is done.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        timer = threading.Timer(LINE_AFTER_S, say, [what])
        timer.daemon = True
        timer.start()
        try:
            yield _lines(what, total)
        finally:
            timer.cancel()
        return
    # What is done is told in full; only its name gives way where the terminal is narrow.
    name = Column(no_wrap=True, overflow="ellipsis", ratio=1)
    columns: list[ProgressColumn] = [SpinnerColumn(), TextColumn("{task.description}", markup=False, table_column=name)]
    if total is not None:
        columns += [BarColumn(bar_width=12), MofNCompleteColumn(), TimeRemainingColumn(compact=True)]
    else:
        columns.append(TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, expand=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done: progress.update(task, completed=done)


def _lines(what: str, total: int | None) -> Watch:
    started = said = time.monotonic()

    def tell(done: int) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= LINE_EVERY_S:
            said = now
            say(f"{what}: {done:,}" + (f" of {total:,}" if total is not None else "") + f", {clock(now - started)}")

    return tell
