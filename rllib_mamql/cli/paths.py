"""Paths that the command line is given: which checkpoint is meant, and whether an output can be written."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from rllib_mamql.cli.fetching import fetch_documents, fetch_rest, place_of
from rllib_mamql.cli.messages import say
from rllib_mamql.cli.runs import best_trial, checkpoints, is_checkpoint, read_trial, trials_of
from rllib_mamql.data.places import is_elsewhere
from rllib_mamql.errors import ConfigError

PICTURES = (".png", ".svg", ".pdf")


def newest_checkpoint(place: str | Path) -> Path:
    """A folder with the checkpoint itself, or the newest one of a trial.

    Of a run with several trials it is that of the best, and says so.

    Args:
        place: A path, or a URI, from which the checkpoint is fetched.

    Raises:
        ConfigError: If there is none.
    """
    path = fetch_documents(str(place)) if is_elsewhere(place) else Path(place)
    found = _newest(path, str(place))
    fetch_rest(found)
    return found


def _newest(path: Path, place: str) -> Path:
    if is_checkpoint(path):
        return path
    if not path.is_dir():
        raise ConfigError(f"{place} is no folder; give a checkpoint, or the folder of a trial or a run")
    if found := checkpoints(path):
        return found[-1]
    trials = [read_trial(folder) for folder in trials_of(path)]
    saved = [trial.checkpoint for trial in trials if trial.checkpoint is not None]
    if not saved:
        raise ConfigError(f"{place} holds no checkpoint; give a checkpoint, or the folder of a trial or a run")
    best = best_trial(trials) if len(saved) > 1 else None
    if best is None or best.checkpoint is None:
        return max(saved, key=lambda folder: (folder.stat().st_mtime, folder.name))
    where = "in the final evaluation" if best.evaluated else "of the last episodes in training"
    say(f"best of {len(trials)} trials: {best.path.name}, return {best.return_mean:.2f} {where}")
    return best.checkpoint


def shown(path: str | Path) -> str:
    """A path as short as it can be written from here, ready for a shell; of what was fetched, where it is from."""
    place = place_of(path)
    text = place if is_elsewhere(place) else os.path.relpath(place)
    return shlex.quote(place if text.startswith("..") else text)


def check_output(path: Path | None, option: str) -> None:
    """Refuses an output file that could not be written, before the work is done.

    Raises:
        ConfigError: If the folder does not exist or is not writable, or the path is a folder.
    """
    if path is None:
        return
    if path.is_dir():
        raise ConfigError(f"{option} {path} is a folder; give a file's path")
    folder = path.resolve().parent
    if not folder.is_dir():
        raise ConfigError(f"{option} {path}: folder {folder} does not exist; create it first")
    if not os.access(folder, os.W_OK):
        raise ConfigError(f"{option} {path}: folder {folder} is not writable")


def check_picture(path: Path | None, option: str) -> None:
    """Refuses a picture that could not be written, or whose ending says no known format.

    Raises:
        ConfigError: If it could not.
    """
    check_output(path, option)
    if path is not None and path.suffix not in PICTURES:
        raise ConfigError(f"{option} {str(path)!r} has no known ending: use one of {', '.join(PICTURES)}")


def check_new_folder(path: Path) -> None:
    """Refuses an output folder that holds something.

    Raises:
        ConfigError: If it does, or if it is a file.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ConfigError(f"--out {path} exists and is not an empty folder; choose another name or remove it")
