"""All of mpe2, of PettingZoo's sisl, butterfly and classic, and awkward environments, through the whole command line.

Each is recorded with random play, inspected, trained for an iteration, evaluated, its rewards recovered, and exported.
A row says that it works, or the one line with which it is refused; a traceback anywhere is a fault of this package. ::

    python tests/benchmarks/sweep.py                          # what has no row yet, and the page
    python tests/benchmarks/sweep.py --only simple_spread_v3,habits --again
    python tests/benchmarks/sweep.py --only mpe2 --rows /tmp/rows.jsonl --page /tmp/page.md

Rows are kept as they come, so that a sweep may be stopped and goes on where it was. Cases share a process and Ray,
which start anew after one that crashes or hangs.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "envs")]

from tests.support.all_the_way import STEPS, Case, Row, cases, read_rows, run  # noqa: E402

ROWS = ROOT / "docs/results/environments.jsonl"
PAGE = ROOT / "docs/results/environments.md"
TIMEOUT_S = 900.0
"""Seconds that a case may take, unless told otherwise."""
PACKAGES = ("gymnasium", "pettingzoo", "mpe2", "box2d", "pymunk", "rlcard", "chess", "open_spiel", "shimmy")


@dataclass
class Worker:
    """A process that takes one case after the other, and tells what came of each."""

    process: subprocess.Popen[str]
    rows: int

    @classmethod
    def start(cls) -> Worker:
        """Starts one, in a session of its own, so that nothing of it is left when it is stopped."""
        read, write = os.pipe()
        python_path = os.pathsep.join([str(ROOT), str(ROOT / "envs"), os.environ.get("PYTHONPATH", "")])
        process = subprocess.Popen(
            [sys.executable, __file__, "--worker", str(write)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": python_path, "SDL_VIDEODRIVER": "dummy"},
            stdin=subprocess.PIPE,
            pass_fds=[write],
            start_new_session=True,
            text=True,
        )
        os.close(write)
        return cls(process, read)

    def take(self, case: Case, timeout_s: float = TIMEOUT_S) -> Row:
        """What came of a case; afterwards the process may be no more."""
        assert self.process.stdin is not None
        begun = time.monotonic()
        self.process.stdin.write(json.dumps(asdict(case)) + "\n")
        self.process.stdin.flush()
        told = b""
        while not told.endswith(b"\n"):
            left = begun + timeout_s - time.monotonic()
            if not select.select([self.rows], [], [], max(0.0, left))[0]:
                self.stop()
                return Row(case, [], f"nothing came of it within {timeout_s:g} s", True, timeout_s)
            part = os.read(self.rows, 65536)
            if not part:
                status = self.process.wait()
                return Row(case, [], f"the process ended with status {status}", True, time.monotonic() - begun)
            told += part
        return Row(case, **json.loads(told))

    def stop(self) -> None:
        """Ends the process and all that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def called(words: list[str]) -> tuple[Any, str]:
    """The exit status of an ``rllib`` command, and all that this process and those that it starts say meanwhile."""
    from rllib_mamql.cli.main import main

    status: Any = 0
    kept = {1: os.dup(1), 2: os.dup(2)}
    sys.argv = ["rllib", *words]
    with tempfile.TemporaryFile() as file:
        for number in kept:
            os.dup2(file.fileno(), number)
        try:
            main()
        except SystemExit as end:
            status = end.code
        except BaseException:
            traceback.print_exc()
            status = 1
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, before in kept.items():
                os.dup2(before, number)
                os.close(before)
        file.seek(0)
        return status, file.read().decode(errors="replace")


def work(rows: int) -> None:
    """Takes the cases that come by standard input; ``rows`` is the file descriptor to tell what came of them by."""
    import ray

    # An error that no check has foreseen is to show where it comes from.
    os.environ["RLLIB_MAMQL_TRACEBACK"] = "1"
    start, stop, running = ray.init, ray.shutdown, False

    def start_once(**settings: object) -> None:
        nonlocal running
        if not running:
            start(**settings)  # type: ignore[arg-type]
        running = True

    ray.init, ray.shutdown = start_once, lambda: None
    for line in sys.stdin:
        row = asdict(run(Case(**json.loads(line)), called))
        del row["case"]
        os.write(rows, (json.dumps(row) + "\n").encode())
    stop()


def page(rows: list[Row]) -> str:
    """The page: a table a suite."""
    count = {kind: sum(row.kind == kind for row in rows) for kind in ("works", "refused", "not installed", "fault")}
    text = [
        "# Environments from elsewhere",
        "",
        f"Each was recorded with random play ({STEPS} steps), inspected, trained for an iteration, evaluated for",
        "two episodes, its rewards recovered, and exported, by the command line. A row says `works`, or the line with",
        "which the environment is refused, and after which phase. Wrong on purpose are those of `habits`, most of",
        "`actions` and some of `observations` (`tests/support/awkward_env.py`). What learns well is another question.",
        "",
        f"{len(rows)} environments: {count['works']} work, {count['refused']} are refused in one line, "
        f"{count['not installed']} need a package that was not installed, {count['fault']} end in a traceback or hang.",
        "",
        f"Packages: {', '.join(installed())}.",
        "Where one of the last six is missing, which this project does not ask for, the line says which to install.",
        "",
        "Remade by `python tests/benchmarks/sweep.py --again`; rows in `environments.jsonl`, with the seconds of each.",
    ]
    for suite in dict.fromkeys(row.case.suite for row in rows):
        text += ["", f"## {suite}", "", "| environment | keywords | outcome |", "| --- | --- | --- |"]
        for row in rows:
            if row.case.suite == suite:
                keywords = ", ".join(f"{key}: {value}" for key, value in row.case.env_config.items())
                where = f" (after {row.phases[-1]})" if row.phases and row.line else ""
                outcome = f"{'FAULT: ' if row.fault else ''}{row.line}{where}" if row.line else "works"
                text.append(f"| {row.case.name} | {keywords} | {outcome.replace('|', chr(92) + '|')} |")
    return "\n".join(text) + "\n"


def installed() -> Iterator[str]:
    """Packages that environments come from or need, with their versions."""
    from importlib import metadata

    for package in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            yield f"{package} {metadata.version(package)}"


def main() -> None:
    """Runs the cases asked for, keeps their rows, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="names, or suites, with commas between")
    parser.add_argument("--again", action="store_true", help="cases that have a row already, too")
    parser.add_argument("--most", type=int, help="end after so many cases")
    parser.add_argument("--timeout", type=float, default=TIMEOUT_S, help="seconds that a case may take")
    parser.add_argument("--rows", type=pathlib.Path, default=ROWS, help="where rows are kept")
    parser.add_argument("--page", type=pathlib.Path, default=PAGE, help="page to write")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker is not None:
        work(options.worker)
        return
    wanted = set(options.only.split(",")) if options.only else None
    kept, every = read_rows(options.rows), list(cases())
    todo = [case for case in every if wanted is None or wanted & {case.name, case.suite}]
    todo = [case for case in todo if options.again or case.key not in kept][: options.most]
    worker: Worker | None = None
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # The worker is to end, too.
    try:
        for case in todo:
            if worker is None or worker.process.poll() is not None:
                worker = Worker.start()
            row = kept[case.key] = worker.take(case, options.timeout)
            print(f"{case.suite} {case.name}: {row.seconds:.0f} s, {row.kind}, {row.line}", file=sys.stderr, flush=True)
            options.rows.write_text(
                "".join(json.dumps(asdict(kept[case.key])) + "\n" for case in every if case.key in kept)
            )
        if worker is not None and worker.process.stdin is not None:
            worker.process.stdin.close()  # It has time to end Ray.
            with suppress(subprocess.TimeoutExpired):
                worker.process.wait(30)
    finally:
        if worker is not None:
            worker.stop()
    options.page.write_text(page([kept[case.key] for case in every if case.key in kept]), encoding="utf-8")


if __name__ == "__main__":
    main()
