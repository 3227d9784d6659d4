"""A cluster of two nodes, each in a network of its own: an experiment file trains on both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command_line import ROOT
from tests.support.networks import Network, two_networks

PORT = 6399
TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def cluster() -> Iterator[tuple[Network, Network, dict[str, str]]]:
    """A head with one CPU and a node with another, guarded by a token, and the environment of who joins them."""
    with two_networks() as networks, tempfile.TemporaryDirectory(prefix="r", dir="/tmp") as folder:
        environ = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "RAY_TMPDIR": folder}
        head, node = networks
        own = {
            head: ["--head", "--port", PORT, "--include-dashboard", "false", "--temp-dir", folder],
            node: ["--address", f"{head.address}:{PORT}"],
        }
        log = (Path(folder) / "log").open("w")
        for network, options in own.items():
            words = [
                sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus", 1,
                "--object-store-memory", 100 * 2**20, "--node-ip-address", network.address, *options,
            ]  # fmt: skip
            subprocess.Popen(network.command(*words), env=environ, stdout=log, stderr=log)
            until = time.monotonic() + 100.0
            while not any("/raylet/raylet " in title for title in network.titles()):
                assert time.monotonic() < until, (Path(folder) / "log").read_text()[-2000:]
                time.sleep(0.2)
        yield head, node, environ


@pytest.mark.slow
def test_trial_and_runner_are_on_two_nodes_with_addresses_of_their_own(
    cluster: tuple[Network, Network, dict[str, str]], tmp_path: Path
) -> None:
    head, node, environ = cluster
    file, said = tmp_path / "result.json", tmp_path / "said"
    words = [
        sys.executable, "-m", "rllib_mamql", "train", "--file", "tuned_examples/gems.yaml",
        "--ray-address", f"{head.address}:{PORT}", "--wait-for-nodes", "--num-env-runners", 1,
        "--stop", "training_iteration=1", "--set", "min_sample_timesteps_per_iteration=320",
        "--set", "reward_gauge=none", "--set", "evaluation_rationality=3", "--eval-episodes", 4,
        "--storage-path", tmp_path / "results", "--json", file,
    ]  # fmt: skip
    ran: dict[str, set[str]] = {"MAMQL": set(), "EnvRunner": set()}
    with said.open("w") as log:
        command = subprocess.Popen(head.command(*words), cwd=ROOT, env=environ, stdout=log, stderr=log)
        until = time.monotonic() + 200.0
        while command.poll() is None:
            assert time.monotonic() < until, said.read_text()[-3000:]
            for network in (head, node):
                for title in network.titles():
                    for kind, places in ran.items():
                        if title.startswith("ray::") and kind in title:
                            places.add(network.address)
            time.sleep(0.2)
    assert command.returncode == 0, said.read_text()[-3000:]
    (trial,) = json.loads(file.read_text())["trials"]
    assert (trial["status"], trial["env_steps"], trial["updates"]) == ("finished", 320, 80)
    # Neither node has the CPUs of both.
    assert [len(places) for places in ran.values()] == [1, 1]
    assert ran["MAMQL"] | ran["EnvRunner"] == {head.address, node.address}
