"""The files that start clusters, each against its own schema or by a dry run; all of them with a token."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
import ray
import yaml

from rllib_mamql.cli.experiment import load_experiments
from rllib_mamql.cli.train import train
from tests.support.command_line import ROOT

FOLDER = ROOT / "tuned_examples" / "cluster"
IMAGE = "REGISTRY/rllib-mamql:0.1.0"


def read(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text())


def check_command(text: str) -> dict[str, Any]:
    """The options of a ``rllib train`` are known, and its file is shipped."""
    words = shlex.split(text.split("rllib train", 1)[1])
    options = train.make_context("train", words).params
    assert load_experiments(ROOT / str(options["path"]).removeprefix("/home/ray/rllib-mamql/"))
    assert options["ray_address"] and options["wait_for_nodes"] and options["num_gpus_per_learner"] == 1
    return options


def test_the_cluster_launchers_file_follows_rays_schema() -> None:
    launcher = read("launcher.yaml")
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(launcher, schema)
    types = launcher["available_node_types"]
    assert launcher["head_node_type"] in types and types["gpu"]["resources"]["GPU"] == 1
    assert launcher["max_workers"] == types["gpu"]["max_workers"] == 4
    # A token on every node, and nothing but the token lets anybody in.
    assert "--env RAY_AUTH_MODE=token" in launcher["docker"]["run_options"]
    assert launcher["file_mounts"] == {"/home/ray/.ray/auth_token": "~/.ray/auth_token"}
    assert launcher["docker"]["image"] == IMAGE
    (command,) = re.findall(r"^# *ray exec .*'cd rllib-mamql && (.*)'$", (FOLDER / "launcher.yaml").read_text(), re.M)
    check_command(command)


def test_the_job_for_kubernetes_has_what_kuberay_requires() -> None:
    job = read("rayjob.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob") and job["metadata"]["name"]
    options = check_command(job["spec"]["entrypoint"])
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"} and cluster["rayVersion"] == ray.__version__
    (workers,) = cluster["workerGroupSpecs"]
    assert workers["groupName"] and workers["minReplicas"] <= workers["replicas"] <= workers["maxReplicas"]
    for group in (cluster["headGroupSpec"], workers):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert container["image"] == IMAGE and container["name"] and "rayStartParams" in group
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounts == {"results": options["storage_path"]} and [each["name"] for each in pod["volumes"]] == [
            "results"
        ]
    gpus = int(workers["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"])
    assert gpus * workers["replicas"] == options["num_samples"], "a GPU for each trial"


def test_the_container_file_is_of_this_version_and_copies_what_is_there() -> None:
    text = (FOLDER / "Containerfile").read_text().replace("\\\n", " ")
    steps = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    assert steps[0] == ["FROM", f"rayproject/ray:{ray.__version__}-py311-gpu"]
    assert {word for word, _ in steps} <= {"FROM", "ENV", "WORKDIR", "COPY", "RUN"}
    copied = {name for word, rest in steps if word == "COPY" for name in rest.split()[1:-1]}
    assert copied and [name for name in copied if not (ROOT / name).exists()] == []
    assert "RAY_AUTH_MODE=token" in dict(steps)["ENV"]
    assert "packages = [" in (ROOT / "pyproject.toml").read_text() and {"rllib_mamql", "envs"} <= copied


# -- Slurm: the script itself runs, with stand-ins for Slurm and for the command ------------------------------------


@pytest.fixture
def stand_ins(tmp_path: Path) -> Path:
    """Commands that write down how they were called; ``rllib`` ends when it is asked to, as after a checkpoint."""
    folder = tmp_path / "bin"
    folder.mkdir()
    log = tmp_path / "log"
    note = f'echo "$(basename "$0") $* mode=$RAY_AUTH_MODE token=$(cat "$RAY_AUTH_TOKEN_PATH")" >> {log}'
    for name, body in {
        "scontrol": "printf '%s\\n' localhost n2 n3 n4",
        "srun": f"{note}; exec sleep 30",
        "rllib": f"trap 'echo saved >> {log}; exit 130' TERM; {note}; sleep 30 & wait $!",
    }.items():
        (folder / name).write_text(f"#!/bin/bash\n{body}\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture
def job() -> Iterator[int]:
    """The number of a job at whose port something answers."""
    with socket.socket() as listening:
        for number in range(os.getpid() % 9000, 10_000):
            try:
                listening.bind(("127.0.0.1", 20_000 + number))
                break
            except OSError:
                continue
        listening.listen()
        yield number


def test_the_slurm_script_starts_ray_on_all_nodes_and_hands_the_signal_on(
    stand_ins: Path, job: int, tmp_path: Path
) -> None:
    script = FOLDER / "slurm.sh"
    wanted = {"nodes", "ntasks-per-node", "cpus-per-task", "gpus-per-task", "time", "signal", "output"}
    assert wanted <= set(re.findall(r"^#SBATCH --([\w-]+)=", script.read_text(), re.M))
    environ = {**os.environ, "PATH": f"{stand_ins}:{os.environ['PATH']}", "SLURM_JOB_ID": str(job)}
    environ |= {"SLURM_JOB_NODELIST": "n[1-4]", "SLURM_CPUS_PER_TASK": "8"}
    words = ["tuned_examples/gems.yaml", "--num-samples", "4"]
    running = subprocess.Popen(["bash", script, *words], cwd=tmp_path, env=environ)
    log = tmp_path / "log"
    until = time.monotonic() + 20.0
    while (not log.exists() or len(log.read_text().splitlines()) < 5) and time.monotonic() < until:
        time.sleep(0.05)
    (token,) = tmp_path.glob(".ray-token-*")
    assert token.stat().st_mode & 0o077 == 0 and len(token.read_text()) == 64
    secret = token.read_text()
    time.sleep(0.1)
    running.send_signal(signal.SIGTERM)
    assert running.wait(20.0) == 130
    lines = log.read_text().splitlines()
    assert lines[-1] == "saved" and not token.exists()
    assert all(line.endswith(f"mode=token token={secret}") for line in lines[:-1])
    address = f"localhost:{20_000 + job}"
    nodes = {
        re.search(r"--nodelist=(\S+) (.*) --block --num-cpus=8", line).groups() for line in lines if "srun" in line
    }  # type: ignore[union-attr]
    head = f"ray start --head --node-ip-address=localhost --port={20_000 + job} --include-dashboard=false"
    assert nodes == {("localhost", head), *((node, f"ray start --address={address}") for node in ("n2", "n3", "n4"))}
    (command,) = [line for line in lines if line.startswith("rllib ")]
    assert f"train --file tuned_examples/gems.yaml --ray-address {address} --wait-for-nodes" in command
    try:
        options = train.make_context("train", shlex.split(command.split(" mode=")[0])[2:]).params
    except click.ClickException as error:
        raise AssertionError(error.format_message()) from None
    assert options["num_samples"] == 4 and options["storage_path"] == f"{tmp_path}/results"
