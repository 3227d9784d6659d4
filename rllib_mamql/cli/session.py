"""Ray as the commands start it, and what they say on the way."""

from __future__ import annotations

import logging
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rllib_mamql.cli.messages import say
from rllib_mamql.cli.options import RunOptions
from rllib_mamql.cli.working import working
from rllib_mamql.errors import ConfigError, one_line
from rllib_mamql.ray_internals import job_config

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
    os.environ.setdefault("PYTHONWARNINGS", "ignore::DeprecationWarning")
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

    level = logging.INFO if options.verbose else logging.ERROR
    common: dict[str, Any] = {"logging_level": level, "log_to_driver": options.verbose}
    if options.ray_address:
        check_reachable(options.ray_address)
        try:
            ray.init(address=options.ray_address, **common)
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            text = one_line(error)[:200]
            raise ConfigError(
                f"--ray-address {options.ray_address}: cannot join the cluster ({text}); if it wants a token, set "
                "RAY_AUTH_MODE=token"
            ) from error
    else:
        available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        wanted = max(available, int(-(-cpus // 1)))
        if wanted > available:
            say(f"a trial asks for {cpus:g} CPUs, this machine has {available}: its processes share them")
        with working("starting Ray"):
            ray.init(address="local", num_cpus=wanted, include_dashboard=False, job_config=job_config(), **common)
    try:
        quiet(options.verbose)
        present = ray.cluster_resources().get("GPU", 0.0)
        if gpus > present and not options.ray_address:
            raise ConfigError(f"a trial asks for {gpus:g} GPUs, Ray sees {present:g} here; lower num_gpus_per_learner")
        yield
    finally:
        ray.shutdown()


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
