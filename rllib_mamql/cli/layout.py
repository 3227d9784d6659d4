"""How tables are printed: numbers and names are never cut, whatever the width of the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from rllib_mamql.errors import printable

NARROWEST_TEXT = 10
"""Characters that a column of words is folded to at most."""


def table_of(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    words: Sequence[int] = (0,),
) -> Table:
    """A table whose columns are numbers, as wide as they are, but for those of words, which may be folded.

    Args:
        headings: One a column.
        rows: Cells, one a column.
        words: Which columns are of words.
    """
    table = Table(box=SIMPLE_HEAD)
    for index, heading in enumerate(headings):
        cells = [heading, *(row[index] for row in rows)]
        longest = max(map(cell_len, cells))
        if index in words:
            table.add_column(heading, overflow="fold", min_width=min(longest, NARROWEST_TEXT))
        else:
            table.add_column(heading, justify="right", no_wrap=True, min_width=longest)
    for row in rows:
        table.add_row(*map(as_it_is, row))
    return table


def as_it_is(text: str) -> Text:
    """Words that may come from a file: nothing in them is markup, or a command to the terminal."""
    return Text(printable(text))


def fits(table: Table) -> bool:
    """Whether a table fits the terminal without a fold."""
    console = Console()
    return Measurement.get(console, console.options.update(max_width=10_000), table).maximum <= console.width


def show(table: Table, title: str = "", caption: str = "") -> None:
    """Prints a table: where a terminal is narrower than its numbers, its lines are longer than the terminal.

    Args:
        table: The table.
        title: A line above. Rich would fold a title of its own to the table's width.
        caption: A line below.
    """
    console = Console()
    if title:
        tell(title, style="italic")
    least = Measurement.get(console, console.options.update(max_width=10_000), table).minimum
    Console(width=max(console.width, least)).print(table)
    if caption:
        tell(caption, style="dim")


def tell(text: str, style: str | None = None) -> None:
    """Prints a line as it is: paths in it stay whole, however narrow the terminal is."""
    Console().print(printable(text), style=style, markup=False, highlight=False, soft_wrap=True)
