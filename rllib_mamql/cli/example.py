"""``rllib example``: the tuned examples that lie beside the package in a checkout."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from rllib_mamql.cli.messages import next_step
from rllib_mamql.cli.options import train_options
from rllib_mamql.cli.train import train_file
from rllib_mamql.errors import ConfigError, nearest

FOLDER = Path(__file__).resolve().parents[2] / "tuned_examples"


@click.group()
def example() -> None:
    """The tuned examples: list them, run one."""


@example.command("list")
def example_list() -> None:
    """Names and what each is about."""
    print_list()
    next_step("rllib example run overcooked", "trains one of them")


@example.command("run")
@click.argument("example_name", metavar="NAME")
@train_options
def example_run(example_name: str, **options: Any) -> None:
    """Train a tuned example by its name."""
    train_file(find(example_name), **options)


def find(name: str) -> Path:
    """The file of an example.

    Raises:
        ConfigError: If there is none of that name.
    """
    known = _examples()
    if name not in known:
        raise ConfigError(f"unknown example {name!r}; {nearest(name, known)}")
    return known[name]


def print_list() -> None:
    """Each example's name and the first sentence of its header comment; a line each where no terminal is."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        for name, path in _examples().items():
            click.echo(f"{name}\t{_headline(path)}")
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for name, path in _examples().items():
        table.add_row(name, escape(_headline(path)))
    console.print(table)


def _examples() -> dict[str, Path]:
    """``{name: file}``; files below sub-folders are named ``folder/name``. Suites are for ``rllib benchmark``."""
    files = [path for path in FOLDER.rglob("*.yaml") if path.parent.name not in ("suites", "cluster")]
    found = {path.relative_to(FOLDER).with_suffix("").as_posix(): path for path in sorted(files)}
    if not found:
        raise ConfigError(f"no examples in {FOLDER}; they come with a checkout of the repository")
    return found


def _headline(path: Path) -> str:
    """The first sentence of the comment that a YAML file begins with; empty where there is none."""
    comment = re.match(r"(?:#.*\n)*", path.read_text(encoding="utf-8"))
    text = " ".join(line.lstrip("#").strip() for line in comment.group().splitlines()) if comment else ""
    return re.split(r"(?<=[.])\s", text, maxsplit=1)[0]
