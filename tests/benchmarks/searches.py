"""Does a search improve its tuned example: ``python tests/benchmarks/searches.py gems --seeds 3``.

Runs ``tuned_examples/search/NAME.yaml`` with eight samples, kills it with all of its processes once half of its trials
have ended (``--kill``) and resumes it; no trial may be repeated. Then the winner's settings and those of the tuned
example, with as many demonstrated steps and iterations as the search has, are trained anew with seeds that the search
did not see. The difference of their mean returns is what the search gained. The wall time is told with the machine's
load. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import psutil
import yaml

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from tests.benchmarks.measuring import ROOT

FIRST_SEED = 101
RLLIB = (sys.executable, "-m", "rllib_mamql", "train", "--file")


def ended(run: pathlib.Path) -> dict[str, int]:
    """Trials that have ended, and the lines of their logs."""
    logs = {log.parent.name: log.read_text().splitlines() for log in run.glob("trial_*/result.json")}
    return {name: len(lines) for name, lines in logs.items() if lines and '"done": true' in lines[-1]}


def search(file: pathlib.Path, folder: pathlib.Path, samples: int, kill: bool) -> dict[str, Any]:
    """Runs the search; gives its trials, its wall time, and what was seen of the kill."""
    name, body = next(iter(yaml.safe_load(file.read_text()).items()))
    report, run, began = folder / "search.json", folder / "results" / name, time.monotonic()
    words = [*RLLIB, file, "--num-samples", samples, "--storage-path", folder / "results", "--json", report]
    running = subprocess.Popen([*map(str, words)], cwd=ROOT)
    before: dict[str, int] = {}
    while kill and running.poll() is None:
        before = ended(run)
        if len(before) >= samples // 2:
            processes = [psutil.Process(running.pid), *psutil.Process(running.pid).children(recursive=True)]
            for process in processes:
                process.send_signal(signal.SIGKILL)
            psutil.wait_procs(processes, 10.0)
            running = subprocess.Popen([*map(str, [*words, "--resume"])], cwd=ROOT)
            break
        time.sleep(0.5)
    if running.wait():
        raise SystemExit(f"the search ended with status {running.returncode}")
    took = time.monotonic() - began
    after = ended(run)
    trials = json.loads(report.read_text())["trials"]
    return {
        "trials": len(trials), "seconds": round(took), "load": os.getloadavg()[0], "body": body, "run": run,
        "ended before the kill": len(before), "repeated": [one for one, lines in before.items() if after[one] != lines],
    }  # fmt: skip


def returns(file: pathlib.Path, folder: pathlib.Path, seeds: int, *options: str) -> list[float]:
    """Returns of the final evaluation of a file's experiment, by seed."""
    report = folder / f"{file.stem}.json"
    grid = f"seed={{grid_search: {list(range(FIRST_SEED, FIRST_SEED + seeds))}}}"
    words = [*RLLIB, file, "--set", grid, *options, "--set", "reward_gauge=none", "--json", report]
    subprocess.run([*map(str, words), "--storage-path", str(folder / "again")], cwd=ROOT, check=True)
    return [trial["return_mean"] for trial in json.loads(report.read_text())["trials"]]


def main() -> None:
    """The command line."""
    names = sorted(file.stem for file in (ROOT / "tuned_examples" / "search").glob("*.yaml"))
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", choices=names)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=3, help="trainings of the winner and of the tuned example")
    parser.add_argument("--kill", action="store_true", help="half-way, and resume")
    parser.add_argument("--json", type=pathlib.Path, help="where the figures go")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        found = search(
            ROOT / "tuned_examples" / "search" / f"{arguments.name}.yaml", folder, arguments.samples, arguments.kill
        )
        body, run = found.pop("body"), found.pop("run")
        same = [f"--set=expert_steps={body['config']['expert_steps']}"]
        same += [f"--stop=training_iteration={body['stop']['training_iteration']}"]
        found["winner"] = returns(run / "best.yaml", folder, arguments.seeds)
        found["tuned example"] = returns(
            ROOT / "tuned_examples" / f"{arguments.name}.yaml", folder, arguments.seeds, *same
        )
    means = {of: statistics.mean(found[of]) for of in ("winner", "tuned example")}
    found["gain"] = means["winner"] - means["tuned example"]
    print(json.dumps(found, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps({"search": arguments.name, **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
