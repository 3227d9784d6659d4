"""How long rewards take: ``python tests/benchmarks/recover_times.py gems overcooked intersection --work DIR``.

Trains each tuned example once, without rewards, unless its checkpoint is in ``--work`` already, and recovers them again
and again with the budget that ``rllib train`` gives them, in the example's gauge. Tells the wall and processor seconds
of the whole command, imports included, and what ended the fits. An idle machine is needed for the former.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from rllib_mamql.cli.trial_reports import RECOVERY_BUDGET_S
from tests.benchmarks.measuring import ROOT
from tests.benchmarks.rewards import checkpoint, gauge_of


def timed(folder: pathlib.Path, gauge: str) -> tuple[float, float, str]:
    """Wall seconds, processor seconds, and what ended the fits of one recovery."""
    words = [sys.executable, "-m", "rllib_mamql", "recover", folder, "--gauge", gauge, "--budget", RECOVERY_BUDGET_S]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([*map(str, words)], cwd=ROOT, check=True, capture_output=True)
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    document = json.loads(np.load(folder / "rewards.npz")["document"].tobytes())
    return wall, used, ", ".join(sorted(set(document["ended_by"].values())))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("examples", nargs="+", help="files under tuned_examples, without .yaml")
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--json", type=pathlib.Path, help="where the figures go")
    arguments = parser.parse_args()
    found = {}
    for example in arguments.examples:
        work = arguments.work.resolve() / example
        work.mkdir(parents=True, exist_ok=True)
        gauge = gauge_of(example)
        folder = checkpoint(work, example, 0, [], f"--gauge {gauge} --budget {RECOVERY_BUDGET_S}")
        runs = [timed(folder, gauge) for _ in range(arguments.times)]
        walls, used = [run[0] for run in runs], [run[1] for run in runs]
        found[example] = {
            "gauge": gauge, "wall_s": walls, "processor_s": used, "ended_by": [run[2] for run in runs],
            "load": os.getloadavg()[0],
        }  # fmt: skip
        print(
            f"{example}, gauge {gauge}: wall {statistics.median(walls):.1f} s ({min(walls):.1f} to {max(walls):.1f}), "
            f"processor {statistics.median(used):.1f} s, {arguments.times} times, ended by {runs[0][2]}",
            flush=True,
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
