"""Ray as the commands start it, and what they say on the way."""

from __future__ import annotations

import importlib
import logging
import os
import socket
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rllib_mamql.cli.messages import say
from rllib_mamql.cli.options import RunOptions
from rllib_mamql.cli.working import working
from rllib_mamql.errors import ConfigError, one_line
from rllib_mamql.ray_internals import INIT_IMPORTS, job_config

if TYPE_CHECKING:
    from rllib_mamql.learning.checkpoint import Checkpoint
    from rllib_mamql.rewards.clone import Clone


def quiet(verbose: bool) -> None:
    """Silences what Ray tells about itself, here and in its workers."""
    if verbose:
        return
    # These packages set their loggers' levels when they are imported.
    import rllib_mamql.startup  # noqa: F401

    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", module="gymnasium")
    for name in ("ray", "ray.tune", "ray.rllib", "ray.train", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL if name == "ray.tune" else logging.ERROR)


@contextmanager
def ray_session(options: RunOptions, cpus: float = 1.0, gpus: float = 0.0) -> Iterator[None]:
    """Ray on this machine, or the cluster of ``--ray-address``.

    Args:
        options: How to run.
        cpus: Logical CPUs that the largest trial asks for; this machine's Ray has as many.
        gpus: GPUs that it asks for.

    Raises:
        ConfigError: If the cluster cannot be joined, or this machine has fewer GPUs.
    """
    with working("loading Ray"):
        import rllib_mamql.startup  # noqa: F401

    import ray

    if options.ray_address:
        check_reachable(options.ray_address)
        try:
            ray.init(address=options.ray_address, **_logs(options.verbose))
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            text = one_line(error)[:200]
            raise ConfigError(
                f"--ray-address {options.ray_address}: cannot join the cluster ({text}); if it wants a token, set "
                "RAY_AUTH_MODE=token"
            ) from error
    else:
        available = _processors()
        wanted = max(available, int(-(-cpus // 1)))
        if wanted > available:
            say(f"a trial asks for {cpus:g} CPUs, this machine has {available}: its processes share them")
        _start(wanted, options.verbose)
    try:
        quiet(options.verbose)
        present = ray.cluster_resources().get("GPU", 0.0)
        if gpus > present and not options.ray_address:
            raise ConfigError(f"a trial asks for {gpus:g} GPUs, Ray sees {present:g} here; lower num_gpus_per_learner")
        yield
    finally:
        ray.shutdown()


def start_while_loading(cpus: float, verbose: bool) -> None:
    """Starts Ray on this machine while RLlib is being imported: both take seconds, and neither needs the other.

    The next :func:`ray_session` uses it; Ray itself shuts down at exit what none has used. Nothing is started in a
    process that has RLlib already, nor where more CPUs are needed than there are, since Ray is told how many it has.

    Args:
        cpus: Logical CPUs that the largest trial seems to ask for.
        verbose: Whether Ray and its workers may log.
    """
    global _ahead
    if "ray.rllib" in sys.modules or cpus > _processors():
        return
    # A module that both threads import for the first time could be seen half made by one of them.
    for name in INIT_IMPORTS:
        importlib.import_module(name)
    with working("starting Ray, loading RLlib"), ThreadPoolExecutor(1) as pool:
        loading = pool.submit(importlib.import_module, "rllib_mamql.startup")
        _init(_processors(), verbose)
        loading.result()
    _ahead = _processors()


_ahead = 0
"""Logical CPUs of the Ray that was started before a session asked for it; 0: there is none."""


def _start(cpus: int, verbose: bool) -> None:
    """Ray on this machine with so many logical CPUs, unless it has been started with as many."""
    global _ahead
    import ray

    there, _ahead = _ahead, 0
    if there >= cpus:
        return
    if there:
        ray.shutdown()
    with working("starting Ray"):
        _init(cpus, verbose)


def _init(cpus: int, verbose: bool) -> None:
    import ray

    if not verbose:
        os.environ.setdefault("PYTHONWARNINGS", "ignore::DeprecationWarning")  # of the workers
    ray.init(address="local", num_cpus=cpus, include_dashboard=False, job_config=job_config(), **_logs(verbose))


def _logs(verbose: bool) -> dict[str, Any]:
    """Arguments of ``ray.init``: what Ray tells about itself."""
    return {"logging_level": logging.INFO if verbose else logging.ERROR, "log_to_driver": verbose}


def _processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_reachable(address: str) -> None:
    """Refuses a ``host:port`` where nothing listens: Ray itself would try for many minutes.

    Raises:
        ConfigError: If no connection can be made.
    """
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5.0).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"--ray-address {address}: nothing answers there ({error}); start the cluster first"
        ) from error


def learn_clone(
    stored: Checkpoint, data: str | Path | None, steps: int | None, updates: int | None, seed: int
) -> Clone | None:
    """A behaviour clone of the dataset that ``--data`` names, where it names one; says how it came to be.

    Args:
        stored: The checkpoint whose encoder and sharing it takes.
        data: The dataset.
        steps: ``--clone-steps``.
        updates: ``--clone-updates``.
        seed: ``--seed``.
    """
    if data is None:
        return None
    from rllib_mamql.rewards.clone import clone_of

    with working(f"a behaviour clone learns from {data}"):
        clone = clone_of(stored, data, steps, updates, seed)
    say(clone.summary())
    return clone
