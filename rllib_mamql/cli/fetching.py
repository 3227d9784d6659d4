"""Runs and checkpoints that are elsewhere (``s3://``, ``gs://``): fetched, worked on here, and given back."""

from __future__ import annotations

import atexit
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from rllib_mamql.cli.runs import EVALUATION, LOG, OURS, checkpoints, trials_of
from rllib_mamql.cli.working import working
from rllib_mamql.data.places import Copy, is_elsewhere
from rllib_mamql.errors import ConfigError
from rllib_mamql.ray_internals import RLLIB_DOCUMENT

DOCUMENTS = (LOG, EVALUATION, "error.txt", OURS, RLLIB_DOCUMENT)
"""Small files by which runs, trials and checkpoints are told apart and compared."""

_COPIES: list[Copy] = []


def fetch_documents(place: str) -> pathlib.Path:
    """What it takes to choose a checkpoint of a run, of a trial, or the checkpoint itself, in a folder like theirs.

    The copy lasts as long as this process.

    Args:
        place: URI of one of them.

    Raises:
        ConfigError: If nothing is there, or it cannot be reached.
    """
    copied = _copy(place)
    if not copied.files:
        raise ConfigError(f"{place} holds no file; give a checkpoint, or the folder of a trial or a run")
    with working(f"looking into {place}"):
        copied.fetch(name for name in copied.files if os.path.basename(name) in DOCUMENTS)
    # Folders are compared by when they were written.
    for trial in [copied.folder, *trials_of(copied.folder)]:
        for folder in checkpoints(trial):
            written = max(file.stat().st_mtime_ns for file in folder.iterdir())
            os.utime(folder, ns=(written, written))
    return copied.folder


def fetch_rest(folder: pathlib.Path) -> None:
    """The files of a checkpoint of which the documents are here; does nothing where it is no copy.

    Raises:
        ConfigError: If it cannot be reached.
    """
    if (found := _copy_of(folder)) is not None:
        inside = folder.relative_to(found.folder)
        names = [name for name in found.files if inside in pathlib.PurePath(name).parents or str(inside) == "."]
        with working(f"fetching {place_of(folder)}"):
            found.fetch(names)


def give_back(folder: pathlib.Path) -> None:
    """Copies what has changed in a copy back to where it is from; does nothing where it is none.

    Raises:
        ConfigError: If something cannot be written there.
    """
    if (found := _copy_of(folder)) is not None:
        found.give_back()


@contextmanager
def at_hand(place: str) -> Iterator[pathlib.Path]:
    """A trial's checkpoint as a folder of this machine; what is changed in it is changed where it is.

    Args:
        place: Its path, or a URI, ``RUN/TRIAL/CHECKPOINT``.
    """
    if not is_elsewhere(place):
        yield pathlib.Path(place)
        return
    run, trial, name = place.rsplit("/", 2)
    folder = (_copy_of_place(run) or _copy(run)).folder / trial / name
    fetch_rest(folder)
    try:
        yield folder
    finally:
        give_back(folder)  # What was made until something failed is kept.


def place_of(path: str | pathlib.Path) -> str:
    """Where a path of a copy is from; any other path as it is."""
    found = _copy_of(pathlib.Path(path)) if not is_elsewhere(path) else None
    if found is None:
        return str(path)
    inside = pathlib.Path(path).relative_to(found.folder).as_posix()
    return found.place if inside == "." else f"{found.place}/{inside}"


def _copy(place: str) -> Copy:
    folder = tempfile.mkdtemp(prefix="rllib-mamql-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    copied = Copy(place.rstrip("/"), pathlib.Path(folder))
    _COPIES.append(copied)
    return copied


def _copy_of(path: pathlib.Path) -> Copy | None:
    return next((each for each in _COPIES if path == each.folder or each.folder in path.parents), None)


def _copy_of_place(place: str) -> Copy | None:
    return next((each for each in _COPIES if each.place == place.rstrip("/")), None)
