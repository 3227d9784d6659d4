"""Errors of data that one node of a cluster does not see, with the node's name."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from rllib_mamql.errors import DatasetError


@contextmanager
def naming_the_node() -> Iterator[None]:
    """Adds the node to a dataset's error, where there are several.

    Raises:
        DatasetError: The one that was raised inside, with the node where it was.
    """
    try:
        yield
    except DatasetError as error:
        node = this_node()
        if node is None or str(error).startswith("on node "):
            raise
        raise DatasetError(f"on {node}: {error}; every node must see the same paths, or give a URI") from error


def this_node() -> str | None:
    """``node HOST (ADDRESS)`` where this process is on one of several nodes of Ray's; else None."""
    import ray

    if not ray.is_initialized() or sum(node["Alive"] for node in ray.nodes()) < 2:
        return None
    return f"node {socket.gethostname()} ({ray.util.get_node_ip_address()})"
