"""Tries malformed inputs of every kind: ``python tests/benchmarks/fuzz.py --inputs 100000 --json FILE``.

Nothing but the errors meant for users may come out, in a line, within 10 seconds and 1 GB of memory; nothing may be
executed, sent or left behind. Inputs follow from a seed and their number: ``--kind KIND --only NUMBER`` makes one again
and shows what it ends in. They are tried in a process of their own, which is watched: where it dies or hangs, that is a
fault too, and the next one goes on. Linux only.
"""

from __future__ import annotations

import argparse
import collections
import faulthandler
import json
import os
import pathlib
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from tests.benchmarks.measuring import ROOT

SLOWEST_S, HANGS_S, MOST_MB, EXTRA_MB = 10.0, 60.0, 1024.0, 4096
WARM_UP = 100
"""Inputs of a kind before memory, files and threads are looked at: what loads lazily is loaded then."""
LOOK_EVERY = 500
MB = 2**20
FOREIGN = (
    "os.system", "os.fork", "os.forkpty", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "pty.spawn",
    "pickle.find_class", "socket.connect", "socket.getaddrinfo", "socket.sendto", "ctypes.dlopen", "webbrowser.open",
)  # fmt: skip
"""What Python tells its auditors of, and no reading of a file may do."""
CHANGES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.truncate", "os.chmod")
SHOWN = 40
"""Faults of a kind that are written out; all are counted."""


class Guard:
    """Notes what is executed, sent or written outside of a folder while it is on."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder, self.on, self.seen = str(folder), False, list[str]()
        sys.addaudithook(self._note)

    def _note(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.on:
            return
        odd = event in FOREIGN or (event == "import" and "canary_module" in str(args[0]))
        if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
            odd = isinstance(args[0], str) and not self._is_inside(args[0])
        elif event in CHANGES:
            odd = isinstance(args[0], str) and not self._is_inside(args[0])
        if odd:
            self.seen.append(f"{event} {ascii(args)[:200]}")

    def _is_inside(self, path: str) -> bool:
        return os.path.abspath(path).startswith(self.folder) or path == os.devnull


class Worker:
    """Tries inputs in this process; tells what came of them in a file.

    Args:
        folder: Its own, where inputs, home and temporary files lie.
        seed: Of the inputs.
    """

    def __init__(self, folder: pathlib.Path, seed: int) -> None:
        import fsspec.asyn  # type: ignore[import-untyped]

        from rllib_mamql.errors import UserError
        from rllib_mamql.export.files import ExportError
        from tests.support.toy_checkpoint import toy_checkpoint
        from tests.support.toy_data import write_toy_dataset

        self.folder, self.seed, self.allowed = folder, seed, (UserError, ExportError)
        self.data = write_toy_dataset(folder / "toy")
        toy_checkpoint(folder / "toy_checkpoint")
        (folder / "cwd" / "canary_module.py").write_text("open('canary', 'w').close()\n")
        sys.path.insert(0, str(folder / "cwd"))
        self.events = (folder / "events").open("a", buffering=1)
        self.current = os.open(folder / "current", os.O_WRONLY | os.O_CREAT)
        fsspec.asyn.get_loop()  # A thread and three files, for the whole process, from the first URI on.
        self.process, self.guard = psutil.Process(), Guard(folder)
        size = self.process.memory_info().vms + EXTRA_MB * MB
        resource.setrlimit(resource.RLIMIT_AS, (size, size))

    def run(self, kind: str, start: int, stop: int, seconds: float | None, shown: bool = False) -> None:
        """Tries the inputs of a kind from a number up to another, or until the time is up."""
        from tests.support.malformed_kinds import KINDS, in_silence

        place = self.folder / f"inputs_{start}_{len(kind)}"
        place.mkdir()
        make = KINDS[kind](place, self.data, self.folder / "toy_checkpoint")
        begun, told = time.monotonic(), time.monotonic()
        part: collections.Counter[str] = collections.Counter()
        base, held, slowest, peak = self._resident(), self._held(), 0.0, 0.0
        for number in range(start, stop):
            if seconds is not None and time.monotonic() - begun > seconds:
                break
            os.pwrite(self.current, f"{number:012d}".encode(), 0)
            rng = random.Random(f"{self.seed} {kind} {number}")
            before = time.monotonic()
            try:
                call = make(rng)
            except Exception as error:
                if shown:
                    raise
                part["not made"] += 1
                self._fault(kind, number, f"the input cannot be made: {type(error).__name__}: {error}")
                continue
            faulthandler.dump_traceback_later(HANGS_S - 5.0)
            self._forget_peak()
            problem, cpu = None, time.process_time()
            self.guard.on = True
            try:
                with in_silence():
                    call()
            except self.allowed as error:
                part["refused"] += 1
                problem = self._wrong_with(str(error))
                if shown:
                    print(ascii(str(error)))
            except BaseException as error:
                problem = f"{type(error).__name__}: {error}\n{traceback.format_exc(limit=-4)}"
            finally:
                self.guard.on = False
            taken = min(time.monotonic() - before, time.process_time() - cpu + 1.0)
            part["tried"] += 1
            slowest = max(slowest, taken)
            more = self._peak() - base
            if number - start < WARM_UP:
                base, held = self._resident(), self._held()
            else:
                peak = max(peak, more)
            if problem is None and taken > SLOWEST_S:
                problem = f"took {taken:.1f} s"
            if problem is None and more > MOST_MB:
                problem = f"took {more:,.0f} MB"
            if self.guard.seen:
                problem = f"did what no input may: {self.guard.seen[:3]}"
                self.guard.seen.clear()
            if ((number + 1) % LOOK_EVERY == 0 or number + 1 == stop) and number - start >= WARM_UP:
                problem = problem or self._left(held)
            if problem is not None:
                part["faults"] += 1
                self._fault(kind, number, problem)
            if time.monotonic() - told > 5.0:
                self._tell(kind, number + 1, part, slowest, peak)
                told = time.monotonic()
        faulthandler.cancel_dump_traceback_later()
        self._tell(kind, stop, part, slowest, peak)
        shutil.rmtree(place, ignore_errors=True)

    def _wrong_with(self, text: str) -> str | None:
        try:
            text.encode()
        except UnicodeEncodeError:
            return f"the message cannot be written: {text!a}"
        return "the message has several lines" if "\n" in text else None

    def _tell(self, kind: str, until: int, part: collections.Counter[str], slowest: float, peak: float) -> None:
        counts = {"tried": 0, "refused": 0, "faults": 0, "not made": 0} | dict(part)
        part.clear()
        self.events.write(json.dumps({"kind": kind, "until": until, "slowest": slowest, "peak": peak, **counts}) + "\n")

    def _fault(self, kind: str, number: int, problem: str) -> None:
        self.events.write(json.dumps({"kind": kind, "number": number, "fault": ascii(problem)[:3000]}) + "\n")

    def _held(self) -> tuple[int, int, int, set[str]]:
        """What could be left behind: open files, threads, child processes, files."""
        written = {str(path) for name in ("tmp", "home", "cwd") for path in (self.folder / name).rglob("*")}
        return self.process.num_fds(), threading.active_count(), len(self.process.children()), written

    def _left(self, before: tuple[int, int, int, set[str]]) -> str | None:
        """What there is more of than before, where that is so."""
        now = self._held()
        files = sorted(path for path in now[3] - before[3] if "__pycache__" not in path)
        names = ("open files", "threads", "child processes")
        grown = [
            f"{now[index]} {name}, {before[index]} before"
            for index, name in enumerate(names)
            if now[index] > before[index] + 2
        ]
        return f"left behind: {files[:5]} {grown}" if files or grown else None

    def _resident(self) -> float:
        return float(self.process.memory_info().rss / MB)

    def _peak(self) -> float:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))

    def _forget_peak(self) -> None:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")


class Watch:
    """Runs workers, starts the next one where one dies or hangs, and adds up what they tell.

    Args:
        arguments: Of the command line.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments, self.seed = arguments, arguments.seed
        self.tally: dict[str, dict[str, Any]] = {}
        self.faults: list[dict[str, Any]] = []

    def kind(self, kind: str, inputs: int, seconds: float | None) -> None:
        """Tries inputs of a kind."""
        self.tally[kind] = {
            "tried": 0, "refused": 0, "faults": 0, "not made": 0, "until": 0,
            "slowest": 0.0, "peak": 0.0, "seconds": 0.0,
        }  # fmt: skip
        begun = time.monotonic()
        while self.tally[kind]["until"] < inputs:
            left = None if seconds is None else seconds - (time.monotonic() - begun)
            if left is not None and left <= 0:
                break
            self._work(kind, inputs, left)
        self.tally[kind]["seconds"] = time.monotonic() - begun

    def _work(self, kind: str, inputs: int, seconds: float | None) -> None:
        folder = pathlib.Path(tempfile.mkdtemp(prefix="fuzz"))
        for name in ("tmp", "home", "cwd"):
            (folder / name).mkdir()
        environ = {
            **os.environ, "TMPDIR": str(folder / "tmp"), "HOME": str(folder / "home"), "OMP_NUM_THREADS": "1",
            "XDG_CONFIG_HOME": str(folder / "home"), "PYTHONPATH": f"{ROOT}:{ROOT / 'envs'}",
            "RAY_USAGE_STATS_ENABLED": "0", "RLLIB_MAMQL_ALLOW_IMPORT": "tests", "PYTHONWARNINGS": "ignore",
        }  # fmt: skip
        words = [sys.executable, __file__, "--kind", kind, "--seed", str(self.seed), "--worker", str(folder)]
        words += ["--start", str(self.tally[kind]["until"]), "--inputs", str(inputs)]
        words += [] if seconds is None else ["--seconds", str(seconds)]
        try:
            with (folder / "log").open("w") as log:
                running = subprocess.Popen(words, cwd=folder / "cwd", env=environ, stdout=log, stderr=log)
            self._follow(kind, running, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _follow(self, kind: str, running: subprocess.Popen[bytes], folder: pathlib.Path) -> None:
        at, read, since, last, told = "", 0, time.monotonic(), 0.0, time.monotonic()
        while True:
            ended = running.poll() is not None
            if (folder / "events").exists():
                with (folder / "events").open() as events:
                    events.seek(read)
                    for line in events:
                        if line.endswith("\n"):
                            read += len(line)
                            self._take(kind, json.loads(line))
            if time.monotonic() - told > 60.0 or ended:
                found = {name: round(value, 2) for name, value in self.tally[kind].items()}
                print(f"{kind}: {found}", file=sys.stderr, flush=True)
                write(self, self.arguments)
                told = time.monotonic()
            if ended:
                break
            now = (folder / "current").read_text() if (folder / "current").exists() else ""
            if now != at:
                at, since = now, time.monotonic()
            if at and time.monotonic() - since > HANGS_S:
                running.send_signal(signal.SIGKILL)
                running.wait()
                last = HANGS_S
            time.sleep(0.2)
        if running.returncode:
            what = f"hung for {last:.0f} s" if last else f"ended the process with status {running.returncode}"
            if not at:
                raise SystemExit(f"the worker did not start:\n{(folder / 'log').read_text()[-3000:]}")
            number = int(at)
            counted = self.tally[kind]
            # What was tried since the last report was not counted: the input itself, and all before it.
            counted["tried"] += number + 1 - counted["until"]
            counted["faults"] += 1
            counted["until"] = number + 1
            tail = (folder / "log").read_text()[-1500:]
            self.faults.append({"kind": kind, "number": number, "fault": f"{what} {tail!a}"})

    def _take(self, kind: str, event: dict[str, Any]) -> None:
        if "fault" in event:
            if sum(fault["kind"] == kind for fault in self.faults) < SHOWN:
                self.faults.append(event)
                print(json.dumps(event)[:1500], file=sys.stderr, flush=True)
            return
        counted = self.tally[kind]
        for name in ("tried", "refused", "faults", "not made"):
            counted[name] += event[name]
        for name in ("slowest", "peak"):
            counted[name] = max(counted[name], event[name])
        counted["until"] = event["until"]


def main() -> int:
    """The command line."""
    from tests.support.malformed_kinds import KINDS

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--inputs", type=int, default=100_000, help="in all; the kinds share them")
    parser.add_argument("--seconds", type=float, help="of each kind, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="kinds at once")
    parser.add_argument("--kind", choices=sorted(KINDS), help="this one alone")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="make this input of --kind, and show what it does")
    parser.add_argument("--json", type=pathlib.Path, help="where the tally goes")
    parser.add_argument("--start", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--worker", type=pathlib.Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker = Worker(arguments.worker, arguments.seed)
        worker.run(arguments.kind, arguments.start, arguments.inputs, arguments.seconds)
        return 0
    if arguments.only is not None:
        show(arguments.kind, arguments.only, arguments.seed)
        return 0
    kinds = [arguments.kind] if arguments.kind else list(KINDS)
    watch = Watch(arguments)

    def tried(index: int) -> None:
        share = arguments.inputs * (index + 1) // len(kinds) - arguments.inputs * index // len(kinds)
        watch.kind(kinds[index], share, arguments.seconds)

    with ThreadPoolExecutor(arguments.workers) as pool:
        list(pool.map(tried, range(len(kinds))))
    write(watch, arguments)
    tell(watch)
    return 1 if any(counted["faults"] for counted in watch.tally.values()) else 0


def show(kind: str, number: int, seed: int) -> None:
    """One input in this process, its traceback and all."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="fuzz"))
    try:
        for name in ("tmp", "home", "cwd"):
            (folder / name).mkdir()
        Worker(folder, seed).run(kind, number, number + 1, None, shown=True)
        print((folder / "events").read_text().replace("\\\\n", "\n"))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def tell(watch: Watch) -> None:
    """The tally as a table."""
    print("| kind | inputs | refused | read | faults | slowest | memory |\n| --- | --- | --- | --- | --- | --- | --- |")
    for kind, counted in watch.tally.items():
        print(
            f"| {kind} | {counted['tried']:,} | {counted['refused']:,} | "
            f"{counted['tried'] - counted['refused'] - counted['faults']:,} | {counted['faults']:,} | "
            f"{counted['slowest']:.2f} s | {counted['peak']:,.0f} MB |"
        )


def write(watch: Watch, arguments: argparse.Namespace) -> None:
    """The tally so far, in the file of ``--json``."""
    if arguments.json is None:
        return
    everything = {name: sum(each[name] for each in [*watch.tally.values()]) for name in ("tried", "refused", "faults")}
    kinds = {kind: {name: round(value, 2) for name, value in each.items()} for kind, each in [*watch.tally.items()]}
    command = f"python tests/benchmarks/fuzz.py --inputs {arguments.inputs} --seed {arguments.seed}"
    found = {"command": command, "all": everything, "kinds": kinds, "faults": watch.faults}
    arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
