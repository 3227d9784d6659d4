"""From ``rllib train`` to the first update, against a bare Ray start: ``python tests/benchmarks/bench_start.py``.

The bare script imports ``ray.rllib`` and calls ``ray.init()``. Of ``rllib train`` it counts the wall seconds until Tune
has written the result of the first iteration, which here is one round of sampling and one update: an upper bound, for
it holds the way of the result to the driver. Both run in turns. A last run notes when its processes reach certain
points.
"""

from __future__ import annotations

import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from tests.benchmarks.measuring import ROOT, Result, interleave, ratio, run_alone

TARGET = 1.5
PACKAGES = re.compile(r"\S*site-packages/")
"""Where this machine keeps packages, which is of no use to others."""
BARE = "import ray, ray.rllib; ray.init(address='local', include_dashboard=False, log_to_driver=False); print('up')"
EXAMPLE = ROOT / "tuned_examples" / "gems.yaml"
# One round of 160 joint steps, and one update.
SETTINGS = (
    "min_sample_timesteps_per_iteration=160",
    "updates_per_step=0.00625",
    "expert_steps=200",
    "lr=0.001",
    "reward_gauge=none",
)


def environment(milestones: pathlib.Path | None = None) -> dict[str, str]:
    """Variables of the started processes."""
    variables = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    if milestones is not None:
        folders = [str(pathlib.Path(__file__).parent / "milestones"), variables.get("PYTHONPATH", "")]
        variables |= {"MILESTONES": str(milestones), "PYTHONPATH": os.pathsep.join(filter(None, folders))}
    return variables


def bare_start() -> float:
    """Wall seconds until a script that does nothing else has Ray running."""
    started = time.time()
    with subprocess.Popen([sys.executable, "-c", BARE], stdout=subprocess.PIPE, env=environment()) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        taken = time.time() - started
        process.stdout.read()
    assert line == b"up\n" and process.returncode == 0, "the bare script failed"
    return taken


def first_update(milestones: pathlib.Path | None = None) -> float:
    """Wall seconds until the first iteration of a cheap example is on disk."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "-m", "rllib_mamql", "train", "--file", str(EXAMPLE), "--storage-path", folder,
            "--stop", "training_iteration=1", "--eval-episodes", "0", "--seed", "0",
        ]  # fmt: skip
        for setting in SETTINGS:
            command += ["--set", setting]
        started = time.time()
        subprocess.run(command, check=True, capture_output=True, env=environment(milestones))
        (log,) = pathlib.Path(folder).rglob("result.json")
        return log.stat().st_mtime - started


def breakdown() -> list[tuple[float, str, str]]:
    """``(seconds since the command, process, point)`` of one run; the driver's and the trial's processes."""
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "milestones"
        started = time.time()
        first_update(file)
        lines = [line.split("\t", 2) for line in file.read_text().splitlines()]
    driver = lines[0][1]
    trial = next(process for _, process, text in lines if text == "MAMQL.setup begins")
    names = {driver: "driver", trial: "trial"}
    return [(float(at) - started, names[process], text) for at, process, text in lines if process in names]


def measure(quick: bool) -> Result:
    """Both starts, then a breakdown."""
    taken = interleave({"train": first_update, "bare": bare_start}, 1 if quick else 5)
    start = ratio(taken["train"], taken["bare"], higher_is_better=False, target=TARGET, checked=False)
    medians = {name: statistics.median(values) for name, values in taken.items()}
    return Result(
        "Start: from the command to the first update's result",
        {"start/train over bare": start},
        ("rllib train, s", "bare import and ray.init, s", "ratio"),
        [(medians["train"], medians["bare"], start.value)],
        [f"{at:6.2f} s {process}: {PACKAGES.sub('', text)}" for at, process, text in breakdown()],
    )


if __name__ == "__main__":
    sys.exit(run_alone(measure, __doc__))
