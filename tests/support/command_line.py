"""The ``rllib`` command: in this process, or in one of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Done:
    """What a command left: exit status, standard output and standard error."""

    status: int
    out: str
    err: str


class Rllib:
    """The command line in this process: for all that does not depend on a fresh one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capfd = monkeypatch, capfd
        # The command adds the current folder.
        monkeypatch.setattr(sys, "path", [*sys.path])

    def __call__(self, *words: object) -> Done:
        from rllib_mamql.cli.main import main

        self.monkeypatch.setattr(sys, "argv", ["rllib", *map(str, words)])
        before = signal.getsignal(signal.SIGTERM)
        self.capfd.readouterr()
        try:
            main()
        except SystemExit as done:
            return Done(int(done.code or 0), *self.capfd.readouterr())
        finally:
            signal.signal(signal.SIGTERM, before)


def run(*words: object, timeout: int = 250) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, from the root of the project."""
    return subprocess.run(
        [sys.executable, "-m", "rllib_mamql", *map(str, words)],
        cwd=ROOT, capture_output=True, text=True, timeout=timeout,
    )  # fmt: skip
