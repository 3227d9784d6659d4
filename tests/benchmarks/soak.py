"""Does a long training lose anything where its runners are killed all the time: ``python tests/benchmarks/soak.py``.

Runs ``rllib train`` on Gems with two env runners in processes of their own, and kills one of them every 20 seconds, or
as soon as there are two again. Every five seconds it looks at all processes: memory, threads, open files, runners, the
files of Ray's session; of Ray's own processes each by its name, so that growth can be put down to one. In the
end the trial must have finished and been scored. ``--kill-every 0`` is the same without kills, to compare with. Linux
only.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

import psutil

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from tests.benchmarks.measuring import ROOT

LOOK_EVERY_S = 5.0
MB = 2**20
TOLD = ("status", "return_mean", "return_ci95", "env_steps", "updates", "iterations")
"""Of the trial's report."""
OF_RAY = {
    "raylet": "raylet", "gcs_server": "GCS", "log_monitor": "log monitor", "monitor": "monitor",
    "dashboard": "dashboard", "agent": "agent", "main": "agent",
}  # fmt: skip
"""Ray's own processes by the file that they run."""
COME_AND_GO = ("runner", "other worker", "Ray's log monitor")
"""What is not counted among that which lasts: killed runners' successors, and what keeps their logs open."""
EVERY = 12
"""Of the looks one in so many is kept in the results file."""


def kind_of(process: psutil.Process) -> str:
    """``command``, ``trial``, ``runner``, or which of Ray's own; workers call themselves after what they do."""
    words = process.cmdline()
    title = " ".join(words)
    if "rllib_mamql train" in title:
        return "command"
    if not title.startswith("ray::"):
        paths = [pathlib.PurePath(word) for word in words[:4]]
        named = [OF_RAY[path.stem] for path in paths if path.stem in OF_RAY]
        agent = "runtime_env" if any("runtime_env" in path.parts for path in paths) else "dashboard"
        return f"Ray's {named[0] if named else 'rest'}".replace("agent", f"{agent} agent")
    return "runner" if "EnvRunner" in title else "trial" if "MAMQL" in title else "other worker"


def by_kind(root: psutil.Process) -> dict[str, list[psutil.Process]]:
    """All living processes of a command by what they are."""
    found: dict[str, list[psutil.Process]] = {}
    for process in [root, *root.children(recursive=True)]:
        try:
            if process.status() != psutil.STATUS_ZOMBIE:
                found.setdefault(kind_of(process), []).append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def look(root: psutil.Process, session: pathlib.Path) -> dict[str, float]:
    """What there is of everything that could leak; memory in MB, of what a process shares with nobody."""
    seen: dict[str, float] = {"runners": 0, "processes": 0}
    for kind, processes in by_kind(root).items():
        for process in processes:
            try:
                memory = process.memory_full_info().uss / MB
                threads, files = process.num_threads(), process.num_fds()
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
            seen["runners"] += kind == "runner"
            seen["processes"] += 1
            for what, amount in (("MB", memory), ("threads", threads), ("open files", files)):
                seen[f"{kind}, {what}"] = seen.get(f"{kind}, {what}", 0.0) + amount
                if kind not in COME_AND_GO:
                    lasting = f"all that last but the log monitor, {what}"
                    seen[lasting] = seen.get(lasting, 0.0) + amount
    seen["a runner, MB"] = seen.get("runner, MB", 0.0) / max(1, seen["runners"])
    seen["session folders"] = len(list(session.glob("ray/session_2*")))
    seen["session files"] = sum(1 for _ in session.rglob("*"))
    return seen


def iterations_of(results: pathlib.Path) -> int:
    """How many iterations the trial has logged."""
    return sum(len(log.read_bytes().splitlines()) for log in results.glob("*/trial_*/result.json"))


def soak(arguments: argparse.Namespace, folder: pathlib.Path) -> dict[str, Any]:
    """Trains, kills and looks; gives what was seen."""
    results, session, report = folder / "results", folder / "t", folder / "report.json"
    session.mkdir()
    stops = ("training_iteration=1000000", f"time_total_s={arguments.seconds}")
    sets = ("replay_capacity=2000", "min_sample_timesteps_per_iteration=200", "reward_gauge=none")
    command = [
        sys.executable, "-m", "rllib_mamql", "train", "--file", "tuned_examples/gems.yaml", "--name", "soak",
        "--num-env-runners", "2", *(word for stop in stops for word in ("--stop", stop)),
        *(word for setting in sets for word in ("--set", setting)), "--eval-episodes", str(arguments.episodes),
        "--storage-path", str(results), "--json", str(report),
    ]  # fmt: skip
    log = (folder / "log").open("w+")
    began = time.monotonic()
    running = subprocess.Popen(
        command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, "RAY_TMPDIR": str(session)}
    )
    root, chance, samples, kills = psutil.Process(running.pid), random.Random(0), [], 0
    next_kill: float | None = None
    while running.poll() is None:
        time.sleep(min(LOOK_EVERY_S, arguments.kill_every or LOOK_EVERY_S))
        done, now = iterations_of(results), time.monotonic() - began
        seen = look(root, session)
        if not done or "trial, MB" not in seen or report.exists():
            continue
        samples.append({"t": now, "iterations": done, "kills": kills, **seen})
        if len(samples) % 6 == 1:
            print({name: round(value) for name, value in samples[-1].items()}, file=sys.stderr, flush=True)
        if next_kill is None:
            next_kill = now + arguments.kill_every
        if arguments.kill_every and now >= next_kill and now - samples[0]["t"] < arguments.seconds:
            # One is left to go on with: on a busy machine the next one takes longer to start than until the next kill.
            if len(runners := by_kind(root).get("runner", [])) > 1:
                chance.choice(runners).send_signal(signal.SIGKILL)
                kills, next_kill = kills + 1, now + arguments.kill_every
    log.seek(0)
    text = log.read()
    if running.returncode:
        raise SystemExit(f"rllib train ended with status {running.returncode}:\n{text[-3000:]}")
    (trial,) = json.loads(report.read_text())["trials"]
    return {
        "seconds": arguments.seconds, "kill_every": arguments.kill_every, "kills": kills, "samples": samples,
        "deaths that were told": text.count("env runners died"), "left behind": left_behind(root, session),
        **{name: trial[name] for name in TOLD},
    }  # fmt: skip


def left_behind(root: psutil.Process, session: pathlib.Path) -> int:
    """Processes that outlive the command: those that write into its session."""
    return sum(1 for process in psutil.process_iter() if any(str(session) in word for word in words_of(process)))


def words_of(process: psutil.Process) -> list[str]:
    """A process's command line; empty where it has gone."""
    try:
        return list(process.cmdline())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return []


def growth(samples: Sequence[dict[str, float]]) -> Iterator[tuple[str, list[float]]]:
    """Of each figure the medians over the second and the last sixth, and the most: what is before is warm-up."""
    part = max(1, len(samples) // 6)
    early, late = samples[part : 2 * part] or samples, samples[-part:]
    for name in sorted({name for sample in samples for name in sample} - {"t", "iterations", "kills"}):
        medians = [statistics.median(sample.get(name, 0.0) for sample in some) for some in (early, late)]
        yield name, [*medians, max(sample.get(name, 0.0) for sample in samples[part:])]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600.0, help="of training")
    parser.add_argument("--kill-every", type=float, default=20.0, help="seconds; 0: never")
    parser.add_argument("--episodes", type=int, default=100, help="of the final evaluation")
    parser.add_argument("--json", type=pathlib.Path, help="where all that was seen goes")
    arguments = parser.parse_args()
    # A short path: Ray's sockets lie below it.
    folder = pathlib.Path(tempfile.mkdtemp(prefix="soak", dir="/tmp"))
    try:
        found = soak(arguments, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    grown = list(growth(found["samples"]))
    if arguments.json:
        kept = [{name: round(value, 1) for name, value in sample.items()} for sample in found["samples"][::EVERY]]
        table = {name: [round(value, 1) for value in values] for name, values in grown}
        arguments.json.write_text(json.dumps({**found, "growth": table, "samples": kept}) + "\n")
    print(f"| {'':<45} | after warm-up | in the end | most |\n| --- | --- | --- | --- |")
    for name, values in grown:
        print(f"| {name:<45} | {' | '.join(f'{value:,.0f}' for value in values)} |")
    print({name: value for name, value in found.items() if name != "samples"})


if __name__ == "__main__":
    main()
