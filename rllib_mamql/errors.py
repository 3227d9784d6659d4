"""Errors that the user can mend, and the checks of settings that raise them.

The command line prints such an error as one line and exits with status 2. A check names the setting, the value found
and what is allowed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rapidfuzz import process


class UserError(ValueError):
    """Something in the user's input is wrong: says what, the value found and the remedy."""


class ConfigError(UserError):
    """A setting is unknown or out of range."""


class UnknownEnvironmentError(UserError):
    """An environment or layout is unknown, or does not fit its configuration."""


class EnvironmentFault(UserError):
    """An environment breaks PettingZoo's contract, or fails, while it is stepped: says where, what, and the remedy."""


class DatasetError(UserError):
    """A dataset is missing, unreadable, or does not fit the environment."""


def one_line(error: BaseException) -> str:
    """What an error says, as one line; its kind where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


MOST_LISTED = 30
"""Known words that an error lists; more would not fit on a screen."""


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint naming the nearest known word, or where none is near the known ones, if they fit on a screen."""
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
