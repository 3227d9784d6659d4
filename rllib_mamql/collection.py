"""Python's garbage collector, kept away while packages are imported."""

from __future__ import annotations

import gc
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
