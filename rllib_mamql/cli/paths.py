"""Paths that the command line is given: which checkpoint is meant, and whether an output can be written."""

from __future__ import annotations

import os
import re
from pathlib import Path

from rllib_mamql.errors import ConfigError
from rllib_mamql.ray_internals import RLLIB_DOCUMENT

PICTURES = (".png", ".svg", ".pdf")


def newest_checkpoint(path: Path) -> Path:
    """The checkpoint folder itself, or the newest one below a trial's or a run's folder.

    Raises:
        ConfigError: If there is none.
    """
    if (path / RLLIB_DOCUMENT).is_file() or (path / "mamql.json").is_file():
        return path
    if not path.is_dir():
        raise ConfigError(f"{path} is no folder; give a checkpoint, or the folder of a trial or a run")
    found = [*path.glob("checkpoint_*"), *path.glob("*/checkpoint_*")]
    found = [folder for folder in found if re.fullmatch(r"checkpoint_\d+", folder.name) and folder.is_dir()]
    if not found:
        raise ConfigError(f"{path} holds no checkpoint; give a checkpoint, or the folder of a trial or a run")
    return max(found, key=lambda folder: (folder.stat().st_mtime, folder.name))


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
