"""Fixtures that several tests share. What is made once a session is not to be written to: copy it first."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Before torch is imported, here and in the processes that tests start: on networks as small as those of the tests
# threads only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Checkpoints of the tests name environments of the tests; what is trained with is remembered for this run alone.
os.environ.setdefault("RLLIB_MAMQL_ALLOW_IMPORT", "tests")
os.environ["XDG_CONFIG_HOME"] = tempfile.mkdtemp(prefix="rllib-mamql-tests-")

# Its pytest plugin imports hypothesis when the session ends; by then Ray's threads compile as well, and Python 3.11's
# ast module is not safe against that.
import hypothesis  # noqa: F401
import pytest

from tests.support.command_line import Rllib
from tests.support.object_store import Store, credentials, object_store

atexit.register(shutil.rmtree, os.environ["XDG_CONFIG_HOME"], ignore_errors=True)


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """Ray on this machine. With more than two logical CPUs it would start more processes than the tests need."""
    import ray

    # Workers start when they are needed, not one for each CPU ahead of need.
    os.environ.setdefault("RAY_prestart_worker_first_driver", "0")
    # And those that have imported everything wait for the next test.
    os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", "600000")
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def toy_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 steps of random play in the toy environment."""
    from tests.support.toy_data import write_toy_dataset

    return write_toy_dataset(tmp_path_factory.mktemp("data") / "toy")


@pytest.fixture(scope="session")
def long_toy_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400 steps of random play in the toy environment."""
    from tests.support.toy_data import write_toy_dataset

    return write_toy_dataset(tmp_path_factory.mktemp("data") / "toy", rows=400)


@pytest.fixture(scope="session")
def toy_checkpoint_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the toy environment, soft-optimal for its true reward; both agents share a module."""
    from tests.support.toy_checkpoint import toy_checkpoint

    path = tmp_path_factory.mktemp("toy") / "checkpoint_000000"
    toy_checkpoint(path)
    return path


@pytest.fixture
def rllib(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Rllib]:
    """The command line in this process."""
    environ = dict(os.environ)
    yield Rllib(monkeypatch, capfd)
    # The command sets Ray's variables for itself and for the processes that it starts.
    os.environ.clear()
    os.environ.update(environ)


@pytest.fixture
def rllib_on_ray(rllib: Rllib, ray_session: None, monkeypatch: pytest.MonkeyPatch) -> Rllib:
    """The same for commands that start Ray: they use the tests' own, and leave it running."""
    import ray

    monkeypatch.setattr(ray, "init", lambda **settings: None)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    return rllib


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """An S3 server on loopback, which the processes that a test starts know by their environment."""
    with object_store() as made:
        for name, value in credentials(made).items():
            monkeypatch.setenv(name, value)
        yield made
