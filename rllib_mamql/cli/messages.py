"""What commands say beside their results, on standard error."""

from __future__ import annotations

import sys

from rllib_mamql.errors import printable


def say(text: str) -> None:
    """A line for the user that is no result."""
    print(printable(text), file=sys.stderr, flush=True)


def next_step(command: str, why: str) -> None:
    """The line at a command's end that says what to do next."""
    say(f"next: {command}  # {why}")
