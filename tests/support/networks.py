"""Two networks of this machine's own, with an address each, as if they were two machines."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

import psutil
import pytest


@dataclass(frozen=True)
class Network:
    """A network namespace.

    Attributes:
        name: Its name.
        address: The address by which the other one finds it.
    """

    name: str
    address: str

    def command(self, *words: object) -> list[str]:
        """A command that runs in it."""
        return ["ip", "netns", "exec", self.name, *map(str, words)]

    def processes(self) -> list[psutil.Process]:
        """What runs in it."""
        listed = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True).stdout.split()
        found = []
        for pid in map(int, listed):
            with contextlib.suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(pid))
        return found

    def titles(self) -> list[str]:
        """What its processes call themselves."""
        found = []
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                found.append(" ".join(process.cmdline()))
        return found


@contextlib.contextmanager
def two_networks() -> Iterator[tuple[Network, Network]]:
    """Makes two namespaces with a cable between them; in the end neither they nor a process in them is left.

    Skips the test where this machine cannot, and says why.
    """
    if shutil.which("ip") is None:
        pytest.skip("needs the command ip (iproute2)")
    number = os.getpid() % 200 + 20
    first, second = (Network(f"mamql-{os.getpid()}-{end}", f"10.217.{number}.{end}") for end in (1, 2))
    try:
        for network in (first, second):
            made = ip("netns", "add", network.name)
            if made.returncode:
                pytest.skip(f"may not make network namespaces: {made.stderr.strip()}")
        cable = [f"mamql{number}a", f"mamql{number}b"]
        steps = [["link", "add", cable[0], "netns", first.name, "type", "veth", "peer", cable[1], "netns", second.name]]
        for network, end in zip((first, second), cable, strict=True):
            inside = ["-n", network.name]
            steps += [
                [*inside, "addr", "add", f"{network.address}/24", "dev", end],
                [*inside, "link", "set", end, "up"],
                [*inside, "link", "set", "lo", "up"],
            ]
        for step in steps:
            made = ip(*step)
            if made.returncode:
                pytest.skip(f"may not join network namespaces: {made.stderr.strip()}")
        yield first, second
    finally:
        for network in (first, second):
            end_all(network)
            ip("netns", "delete", network.name)


def ip(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *words], capture_output=True, text=True)


def end_all(network: Network) -> None:
    """Ends what runs in a namespace."""
    until = time.monotonic() + 20.0
    while (left := network.processes()) and time.monotonic() < until:
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        psutil.wait_procs(left, 2.0)
