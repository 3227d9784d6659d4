"""What lies in a folder of results: runs, their trials, how far these are and what they score. Loads no Ray.

A run is a folder of trials, a trial a folder with Tune's logs and checkpoints. Nothing here is unpickled.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rllib_mamql.data.untrusted import parse_json
from rllib_mamql.errors import ConfigError
from rllib_mamql.ray_internals import RLLIB_DOCUMENT

EVALUATION = "evaluation.json"
"""File in a trial's folder: what the final evaluation of ``rllib train`` found, as ``--json`` has it."""
LOCK = ".training"
"""File in a run's folder: locked for as long as a process trains the run, whatever becomes of that process."""
OURS = "mamql.json"
"""File by which this package's checkpoints are known."""
LOG = "result.json"
"""Tune's log in a trial's folder, a line of JSON a result."""
TAIL_BYTES = 2**20
"""The last result is looked for in so many bytes at the end of the log."""


@dataclass(frozen=True)
class Trial:
    """A trial's folder, as it is now.

    Attributes:
        path: The folder.
        state: ``running``, ``finished``, ``failed`` or ``interrupted``.
        iteration: Iterations so far; None before the first result.
        return_mean: Of the final evaluation, or before that of the last episodes while training; None if unknown.
        evaluated: Whether it is that of the final evaluation.
        score: The normalised score of the final evaluation.
        checkpoint: The newest one.
    """

    path: Path
    state: str
    iteration: int | None
    return_mean: float | None
    evaluated: bool
    score: float | None
    checkpoint: Path | None


@contextmanager
def training(run: Path) -> Iterator[None]:
    """Marks a run's folder as being trained by this process.

    Raises:
        ConfigError: If another process trains it.
    """
    run.mkdir(parents=True, exist_ok=True)
    with (run / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"{run} is being trained by another process; wait for it, or give another --name"
            ) from None
        yield


def is_being_trained(run: Path) -> bool:
    """Whether a process on this machine trains a run."""
    try:
        with (run / LOCK).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def is_of_this_package(checkpoint: Path | None) -> bool:
    """Whether a checkpoint is one that ``rllib evaluate`` plays: those of RLlib's own algorithms it does not."""
    return checkpoint is not None and (checkpoint / OURS).is_file()


def is_checkpoint(path: Path) -> bool:
    """Whether a folder is a checkpoint, of this package or of RLlib's own."""
    return (path / RLLIB_DOCUMENT).is_file() or is_of_this_package(path)


def checkpoints(trial: Path) -> list[Path]:
    """Checkpoints of a trial, the newest last."""
    found = [
        path for path in trial.glob("checkpoint_*") if re.fullmatch(r"checkpoint_\d+", path.name) and path.is_dir()
    ]
    return sorted(found, key=lambda path: (path.stat().st_mtime, path.name))


def trials_of(run: Path) -> list[Path]:
    """Folders of a run's trials, in the order in which Tune numbered them."""
    found = [path for path in run.iterdir() if path.is_dir() and ((path / LOG).is_file() or checkpoints(path))]
    return sorted(found, key=lambda path: (path.name.rpartition("_")[2], path.name))


def runs_in(folder: Path) -> list[Path]:
    """Folders of runs in a folder of results, the newest last; the folder itself where it is a run.

    Raises:
        ConfigError: If there is none.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder; give the folder of results (rllib train --storage-path), or a run's")
    if trials_of(folder):
        return [folder]
    found = [path for path in folder.iterdir() if path.is_dir() and ((path / LOCK).is_file() or trials_of(path))]
    if not found:
        raise ConfigError(f"{folder} holds no run; give the folder of results (rllib train --storage-path), or a run's")
    return sorted(found, key=lambda path: path.stat().st_mtime)


def read_trial(path: Path, being_trained: bool = False) -> Trial:
    """Reads a trial's folder.

    Args:
        path: The folder.
        being_trained: Whether a process trains its run.
    """
    last = last_result(path) or {}
    if last.get("done"):
        state = "finished"
    elif being_trained:
        state = "running"
    else:
        state = "failed" if (path / "error.txt").is_file() else "interrupted"
    iteration = last.get("training_iteration")
    iteration = iteration if type(iteration) is int and 0 <= iteration < 2**63 else None
    evaluation = read_evaluation(path, iteration)
    mean = _number(evaluation.get("return_mean"))
    evaluated = mean is not None
    if not evaluated:
        mean = next((value for value in map(_number, _returns(last)) if value is not None), None)
    saved = checkpoints(path)
    return Trial(
        path, state, iteration, mean, evaluated, _number(evaluation.get("normalised_score")),
        saved[-1] if saved else None,
    )  # fmt: skip


def read_evaluation(trial: Path, iteration: int | None) -> dict[str, Any]:
    """The final evaluation of a trial; empty where there is none, or only one of fewer iterations than it has now."""
    try:
        content = parse_json((trial / EVALUATION).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) and content.get("iterations") == iteration else {}


def last_result(trial: Path) -> dict[str, Any] | None:
    """The last whole line of Tune's log."""
    try:
        with (trial / LOG).open("rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - TAIL_BYTES))
            lines = log.read().splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        try:
            content = parse_json(line)
        except ValueError:
            continue
        return content if isinstance(content, dict) else None
    return None


def best_trial(trials: Sequence[Trial]) -> Trial | None:
    """The trial with the highest return, of those that have a checkpoint.

    Final evaluations are not compared with returns of training: where a trial has the first, only such trials count.
    """
    known = [trial for trial in trials if trial.checkpoint is not None and trial.return_mean is not None]
    known = [trial for trial in known if trial.evaluated] or known
    return max(known, key=lambda trial: trial.return_mean or 0.0) if known else None


def _number(value: Any) -> float | None:
    """A value out of a file, if it is a number."""
    return value if type(value) in (int, float) and abs(value) < 1e300 else None


def _returns(result: dict[str, Any]) -> tuple[Any, Any]:
    sampled = result.get("env_runners")
    return result.get("return_mean"), sampled.get("return_mean") if isinstance(sampled, dict) else None
