"""How tables are printed: numbers and names are never cut, whatever the width of the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Table

NARROWEST_TEXT = 10
"""Characters that a column of words is folded to at most."""


def table_of(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    words: Sequence[int] = (0,),
    title: str | None = None,
    caption: str | None = None,
) -> Table:
    """A table whose columns are numbers, as wide as they are, but for those of words, which may be folded.

    Args:
        headings: One a column.
        rows: Cells, one a column.
        words: Which columns are of words.
        title: A line above.
        caption: A line below.
    """
    table = Table(title=title, caption=caption, title_justify="left", box=SIMPLE_HEAD)
    for index, heading in enumerate(headings):
        cells = [heading, *(row[index] for row in rows)]
        longest = max(map(cell_len, cells))
        if index in words:
            table.add_column(heading, overflow="fold", min_width=min(longest, NARROWEST_TEXT))
        else:
            table.add_column(heading, justify="right", no_wrap=True, min_width=longest)
    for row in rows:
        table.add_row(*row)
    return table


def fits(table: Table) -> bool:
    """Whether a table fits the terminal without a fold."""
    console = Console()
    return Measurement.get(console, console.options.update(max_width=10_000), table).maximum <= console.width


def show(*parts: RenderableType) -> None:
    """Prints tables: where a terminal is narrower than their numbers, their lines are longer than the terminal."""
    for part in parts:
        console = Console()
        least = Measurement.get(console, console.options.update(max_width=10_000), part).minimum
        Console(width=max(console.width, least)).print(part)


def tell(text: str, style: str | None = None) -> None:
    """Prints a line as it is: paths in it stay whole, however narrow the terminal is."""
    Console().print(text, style=style, markup=False, highlight=False, soft_wrap=True)
