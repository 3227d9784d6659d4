"""Errors that the user can mend, and the checks of settings that raise them.

The command line prints such an error as one line and exits with status 2. A check names the setting, the value found
and what is allowed.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterable
from typing import Any


class UserError(ValueError):
    """Something in the user's input is wrong: says what, the value found and the remedy.

    In one line that a terminal can show, whatever names out of files are part of it.
    """

    def __str__(self) -> str:
        """The message."""
        return printable(" ".join(super().__str__().split()))


class ConfigError(UserError):
    """A setting is unknown or out of range."""


class UnknownEnvironmentError(UserError):
    """An environment or layout is unknown, or does not fit its configuration."""


class EnvironmentFault(UserError):
    """An environment breaks PettingZoo's contract, or fails, while it is stepped: says where, what, and the remedy."""


class EnvironmentHang(EnvironmentFault):
    """An environment does not come back from a call within ``env_step_timeout_s``."""


class DatasetError(UserError):
    """A dataset is missing, unreadable, or does not fit the environment."""


MOST_CHARACTERS = 1500
"""Length of a message; more would not fit on a screen."""


def one_line(error: BaseException) -> str:
    """What an error says, as one line; its kind where it says nothing."""
    return printable(" ".join(str(error).split())) or type(error).__name__


def printable(text: str) -> str:
    """A text without characters that a terminal would take for commands; those are shown as Python writes them."""
    return "".join(char if char.isprintable() or char == "\n" else repr(char)[1:-1] for char in text)


def shortened(text: str) -> str:
    """A text that fits on a screen, with its beginning and its end, where the remedy stands."""
    if len(text) <= MOST_CHARACTERS:
        return text
    half = MOST_CHARACTERS // 2
    return f"{text[:half]} ... {text[-half:]}"


def no_space(error: BaseException) -> str | None:
    """What to say of an error that a full disk caused; None where none did."""
    seen: BaseException | None = error
    while seen is not None:
        if (isinstance(seen, OSError) and seen.errno in (errno.ENOSPC, errno.EDQUOT)) or NO_SPACE in str(seen):
            where = f" at {seen.filename}" if isinstance(seen, OSError) and seen.filename else ""
            return f"the disk is full{where}: free some space, or give another --storage-path"
        seen = seen.__cause__ or seen.__context__
    return None


def full_disk(error: BaseException | None, folder: str) -> str | None:
    """The same of a folder on it, whose own records of errors can be cut off; None where it has room left.

    Args:
        error: What is known of the error.
        folder: Where the run writes.
    """
    if error is not None and (found := no_space(error)):
        return found
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return None
    return no_space(OSError(errno.ENOSPC, NO_SPACE, folder)) if free < LITTLE_ROOM else None


LITTLE_ROOM = 2**20
"""Bytes free on a disk that count as none."""
NO_SPACE = os.strerror(errno.ENOSPC)
"""How the system calls a full disk; errors that come from other processes are texts."""


DIED = r"worker process has died|The actor died unexpectedly|The actor .* is unavailable"
"""How Ray says, in many lines, that a process is no more."""


def last_line(error: BaseException) -> str:
    """The line of a remote traceback that says what went wrong, or that a process ended.

    RLlib raises some errors anew without their text, so a bare class name gives way to the cause above it.
    """
    if re.search(DIED, str(error)):
        return "its process died (killed, out of memory, or crashed in native code)"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if re.match(r"[A-Za-z_][\w.]*(Error|Exception|Exit|Interrupt): \S", line)]
    if not lines:
        return type(error).__name__
    return telling[-1] if telling and re.fullmatch(r"[\w.]+", lines[-1]) else lines[-1]


MOST_LISTED = 30
"""Known words that an error lists; more would not fit on a screen."""


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint naming the nearest known word, or where none is near the known ones, if they fit on a screen."""
    from rapidfuzz import process  # Who only reads an export need not have it.

    choices = sorted(known)
    match = process.extractOne(word, choices, score_cutoff=60)
    if match:
        return f"did you mean '{match[0]}'?"
    if len(choices) > MOST_LISTED:
        return "nothing known is near it"
    return "known: " + ", ".join(choices)


def check_number(
    name: str,
    value: Any,
    *,
    low: float,
    high: float | None = None,
    open_low: bool = False,
    open_high: bool = False,
) -> None:
    """Refuses what is no number in the range that the bounds, open or closed, describe."""
    bounds = f"{'above' if open_low else 'at least'} {low:g}"
    if high is not None:
        bounds += f" and {'below' if open_high else 'at most'} {high:g}"
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and value == value
    if good:
        good = value > low if open_low else value >= low
        if good and high is not None:
            good = value < high if open_high else value <= high
    if not good:
        raise ConfigError(f"{name} is {value!r}: it must be a number {bounds}")


def check_integer(name: str, value: Any, low: int = 1) -> None:
    """Refuses what is no whole number of at least ``low``."""
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise ConfigError(f"{name} is {value!r}: it must be a whole number of at least {low}")


def check_choice(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    """Refuses what is none of the words allowed, naming the nearest."""
    if value not in allowed or isinstance(value, bool):
        words = [str(word) for word in allowed]
        raise ConfigError(f"{name} is {value!r}: {nearest(str(value), words)} (one of {', '.join(words)})")
