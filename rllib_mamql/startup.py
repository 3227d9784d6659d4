"""Imports RLlib and Tune without garbage collection; a module that needs them imports this one before anything else."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collection_paused(freeze: bool = False) -> Iterator[None]:
    """No garbage collection inside; afterwards it is as it was.

    An import makes hundreds of thousands of objects that all stay. The collector goes over them again and again and
    finds nothing: a fifth of the time that RLlib and PyTorch's compiler take (``tests/benchmarks/bench_start.py``).

    Args:
        freeze: Never go over the objects that exist at the end again. Only for what lives as long as the process.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
        if freeze:
            gc.freeze()
    finally:
        if enabled:
            gc.enable()


COMMAND_LINE = "RLLIB_MAMQL_COMMAND_LINE"
"""Environment variable that the ``rllib`` command sets for itself and its workers: processes of this package's own."""

with collection_paused(freeze=COMMAND_LINE in os.environ):
    import ray.rllib
    import ray.tune  # noqa: F401
