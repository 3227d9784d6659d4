"""Fixtures that several tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator

# Its pytest plugin imports hypothesis when the session ends; by then Ray's threads compile as well, and Python 3.11's
# ast module is not safe against that.
import hypothesis  # noqa: F401
import pytest


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if ray.is_initialized():
        yield
        return
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()
