"""What benchmarks look for in the package by name is there."""

from __future__ import annotations

import functools
import importlib

import pytest

from tests.benchmarks.milestones.sitecustomize import CALLS


@pytest.mark.parametrize("module", [name for name, calls in CALLS.items() if calls])
def test_calls_whose_times_are_noted_exist(module: str) -> None:
    for dotted in CALLS[module]:
        assert callable(functools.reduce(getattr, dotted.split("."), importlib.import_module(module)))
