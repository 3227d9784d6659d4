"""Two nodes on this machine: an experiment file, its processes on both of them, its results in an object store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command_line import run
from tests.support.object_store import Store

SMALL = {"object_store_memory": 100 * 2**20, "include_dashboard": False}


@pytest.fixture
def two_nodes(store: Store) -> Iterator[str]:
    """The address of a cluster with three CPUs on one node and two on another."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 3, **SMALL})
    try:
        cluster.add_node(num_cpus=2, object_store_memory=SMALL["object_store_memory"])
        yield cluster.address
    finally:
        cluster.shutdown()


@pytest.mark.slow
def test_two_learners_and_two_runners_on_two_nodes(two_nodes: str, store: Store, tmp_path: Path) -> None:
    """The trial's own process, two learners and two runners ask for five CPUs: no node has them all."""
    file = tmp_path / "result.json"
    done = run(
        "train", "--file", "tuned_examples/gems.yaml", "--ray-address", two_nodes, "--num-learners", 2,
        "--num-env-runners", 2, "--stop", "training_iteration=1", "--set", "min_sample_timesteps_per_iteration=320",
        "--set", "reward_gauge=none", "--set", "evaluation_rationality=3", "--eval-episodes", 4,
        "--storage-path", "s3://bucket/results", "--json", file,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (trial,) = json.loads(file.read_text())["trials"]
    assert (trial["status"], trial["env_steps"], trial["updates"]) == ("finished", 320, 80)
    # Its checkpoint was fetched, played, and the evaluation written beside it.
    assert trial["return_mean"] > 0.0 and trial["checkpoint"].startswith("s3://bucket/results/gems-mamql/trial_")
    written = trial["checkpoint"].removeprefix("s3://").rpartition("/")[0] + "/evaluation.json"
    assert json.loads(store.objects[written])["return_mean"] == trial["return_mean"]
