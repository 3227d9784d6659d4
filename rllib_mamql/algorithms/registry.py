"""The algorithms of this package, by the name that ``run:`` gives."""

from __future__ import annotations

import importlib
from typing import Any

from rllib_mamql.errors import ConfigError, nearest

ALGORITHMS = ("MAMQL",)
"""Algorithms that this package adds to RLlib's own."""


def algorithm_class(name: str) -> type[Any]:
    """The Algorithm class of one of ``ALGORITHMS``."""
    if name == "MAMQL":
        return importlib.import_module("rllib_mamql.algorithms.mamql.algorithm").MAMQL
    raise ConfigError(f"unknown algorithm {name!r}: {nearest(name, ALGORITHMS)}")
