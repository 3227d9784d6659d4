"""Errors that the user can mend; the command line prints them as one line and exits with status 2."""

from __future__ import annotations

from collections.abc import Iterable

from rapidfuzz import process


class UserError(ValueError):
    """Something in the user's input is wrong: says what, the value found and the remedy."""


class ConfigError(UserError):
    """A setting is unknown or out of range."""


class UnknownEnvironmentError(UserError):
    """An environment or layout is unknown, or does not fit its configuration."""


class DatasetError(UserError):
    """A dataset is missing, unreadable, or does not fit the environment."""


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint naming the nearest known word, or the list of the known ones where none is near."""
    choices = sorted(known)
    match = process.extractOne(word, choices, score_cutoff=60)
    if match:
        return f"did you mean '{match[0]}'?"
    return "known: " + ", ".join(choices)
