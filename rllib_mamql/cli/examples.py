"""``rllib example``: the tuned examples that lie beside the package in a checkout."""

from __future__ import annotations

from pathlib import Path

import click

from rllib_mamql.errors import ConfigError, nearest

FOLDER = Path(__file__).resolve().parents[2] / "tuned_examples"


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
    """Each example's name and the first line of its header comment."""
    known = _examples()
    width = max(map(len, known))
    for name, path in known.items():
        click.echo(f"{name:<{width}}  {_headline(path)}")


def _examples() -> dict[str, Path]:
    """``{name: file}``; files below sub-folders are named ``folder/name``."""
    found = {path.relative_to(FOLDER).with_suffix("").as_posix(): path for path in sorted(FOLDER.rglob("*.yaml"))}
    if not found:
        raise ConfigError(f"no examples in {FOLDER}; they come with a checkout of the repository")
    return found


def _headline(path: Path) -> str:
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.strip().lstrip("#").strip()
        if text:
            return text if line.lstrip().startswith("#") else ""
    return ""
