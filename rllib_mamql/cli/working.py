"""What a command is doing while it takes long: a bar or a turning mark on a terminal, lines where there is none."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
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
COUNTED_S = 1.0
"""So much later a line says so without a number."""


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
        # Work that is counted says itself how far it is, once it has begun to count.
        timer = threading.Timer(LINE_AFTER_S + (COUNTED_S if total else 0.0), say, [what])
        timer.daemon = True
        timer.start()
        try:
            yield _lines(what, total, timer.cancel)
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


@contextmanager
def in_turn() -> Iterator[Callable[[str, int], Watch]]:
    """The same for pieces of work that follow each other.

    Yields:
        A function to be told, as a piece begins, what it is and how much there is to do; gives one to be told how much
        of that is done.
    """
    with ExitStack() as under_way:

        def begin(what: str, total: int) -> Watch:
            under_way.pop_all().close()
            return under_way.enter_context(working(what, total))

        yield begin


def _lines(what: str, total: int | None, first: Callable[[], None]) -> Watch:
    started = time.monotonic()
    said = started - LINE_EVERY_S + LINE_AFTER_S

    def tell(done: int) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= LINE_EVERY_S:
            said = now
            first()
            say(f"{what}: {how_far(done, total, now - started)}")

    return tell


def how_far(done: int, total: int | None, seconds: float) -> str:
    """How much is done and how long the rest will take, ``40%, 12 s left``.

    Args:
        done: How much.
        total: Of how much; None where it is not known.
        seconds: How long it has taken.
    """
    if total is None:
        return f"{done:,}, {clock(seconds)}"
    share = done / total if total else 1.0
    left = f", {_short(seconds * (1.0 - share) / share)} left" if 0.0 < share < 1.0 else ""
    return f"{share:.0%}{left}"


def _short(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100.0 else clock(seconds)
