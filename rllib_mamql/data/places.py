"""Folders wherever they are: on this machine, or behind a URI that pyarrow knows (``s3://``, ``gs://``).

A folder that is elsewhere is worked on as a copy on this machine; what changes there is copied back. pyarrow is
loaded where it is needed: the command line starts without.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rllib_mamql.errors import ConfigError, one_line

GOOGLE_TRIES_S = 15
"""For so many seconds Google's client repeats what fails."""


def is_elsewhere(place: str | pathlib.Path) -> bool:
    """Whether a place is a URI."""
    return "://" in str(place)


def uri(path: str, like: str) -> str:
    """A path in the file system of another place as a place of its own.

    Args:
        path: As pyarrow has it.
        like: The other place.
    """
    return f"{like.partition('://')[0]}://{path}" if is_elsewhere(like) and not is_elsewhere(path) else path


def located(place: str, filesystem: Any = None) -> tuple[Any, str]:
    """The file system of a place and the path in it.

    Args:
        place: A folder, or a URI of one.
        filesystem: pyarrow's, where ``place`` is one of its paths.
    """
    from pyarrow import fs as pafs

    if filesystem is not None:
        return filesystem, place
    if not is_elsewhere(place):
        return pafs.LocalFileSystem(), place
    return opened(place)


def opened(place: str) -> tuple[Any, str]:
    """The file system of a URI and the path in it, as pyarrow finds them.

    Google's client would go on trying for a quarter of an hour where credentials are missing.
    """
    from pyarrow import fs as pafs

    if place.partition("://")[0] in ("gs", "gcs") and "retry_limit_seconds=" not in place:
        place += f"{'&' if '?' in place else '?'}retry_limit_seconds={GOOGLE_TRIES_S}"
    found: tuple[Any, str] = pafs.FileSystem.from_uri(place)
    return found


@contextmanager
def reaching(place: str) -> Iterator[None]:
    """Turns what a file system raises into a message.

    Raises:
        ConfigError: If the place cannot be read or written.
    """
    from pyarrow import ArrowException

    try:
        yield
    except (OSError, ArrowException) as error:
        what = f"cannot reach {place} ({one_line(error)[:300]})"
        raise ConfigError(f"{what}: check its name and this machine's credentials{_hint(place)}") from error


def _hint(place: str) -> str:
    if place.startswith(("gs://", "gcs://")):
        return ", a file that GOOGLE_APPLICATION_CREDENTIALS names"
    return "; a store of your own is named by AWS_ENDPOINT_URL" if place.startswith("s3://") else ""


def folders_in(place: str) -> list[str]:
    """Names of the folders in one that is elsewhere, none where it does not exist.

    Raises:
        ConfigError: If it cannot be reached.
    """
    from pyarrow import fs as pafs

    with reaching(place):
        filesystem, path = located(place)
        entries = filesystem.get_file_info(pafs.FileSelector(path, allow_not_found=True))
    return [entry.base_name for entry in entries if entry.type == pafs.FileType.Directory]


def has_file(place: str) -> bool:
    """Whether there is a file.

    Raises:
        ConfigError: If the place cannot be reached.
    """
    from pyarrow import fs as pafs

    with reaching(place):
        filesystem, path = located(place)
        return bool(filesystem.get_file_info(path).type == pafs.FileType.File)


def write_text(place: str, text: str) -> None:
    """Writes a file, here or elsewhere, whole or not at all.

    Raises:
        OSError: If it cannot be written here.
        ConfigError: If a place elsewhere cannot be reached.
    """
    if not is_elsewhere(place):
        file = pathlib.Path(place)
        draft = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            draft.write_text(text, encoding="utf-8")
            draft.replace(file)
        finally:
            draft.unlink(missing_ok=True)
        return
    with reaching(place):
        filesystem, path = located(place)
        with filesystem.open_output_stream(path) as file:
            file.write(text.encode())


@dataclass
class Copy:
    """A copy on this machine of files that are elsewhere; only those that were fetched.

    Attributes:
        place: URI of the folder that it copies.
        folder: The copy.
    """

    place: str
    folder: pathlib.Path
    _filesystem: Any = None
    _path: str = ""
    _there: dict[str, Any] = field(default_factory=dict)
    _seen: dict[str, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        from pyarrow import fs as pafs

        with reaching(self.place):
            self._filesystem, self._path = located(self.place)
            self._path = self._path.rstrip("/")
            entries = self._filesystem.get_file_info(
                pafs.FileSelector(self._path, recursive=True, allow_not_found=True)
            )
        inside = len(self._path) + 1
        self._there = {entry.path[inside:]: entry for entry in entries if entry.type == pafs.FileType.File}

    @property
    def files(self) -> list[str]:
        """Files that are there, by their paths in the folder."""
        return sorted(self._there)

    def fetch(self, names: Iterable[str]) -> None:
        """Copies files, with the times when they were written; those that are here already stay as they are.

        Raises:
            ConfigError: If one cannot be read, or leads out of the folder.
        """
        from pyarrow import fs as pafs

        root = self.folder.resolve()
        for name in names:
            if name in self._seen:
                continue
            target = (root / name).resolve()
            if root not in target.parents:
                raise ConfigError(
                    f"{self.place} holds a file called {name!r}, which leads out of the folder: remove it"
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            with reaching(self.place):
                source = f"{self._path}/{name}"
                pafs.copy_files(
                    source,
                    str(target),
                    source_filesystem=self._filesystem,
                    destination_filesystem=pafs.LocalFileSystem(),
                )
            if (written := self._there[name].mtime_ns) is not None:
                os.utime(target, ns=(written, written))
            self._seen[name] = _state(target)

    def give_back(self) -> list[str]:
        """Copies back what is new here or has changed; gives their paths in the folder.

        Raises:
            ConfigError: If something cannot be written.
        """
        from pyarrow import fs as pafs

        here = {str(file.relative_to(self.folder)): file for file in self.folder.rglob("*") if file.is_file()}
        changed = sorted(name for name, file in here.items() if self._seen.get(name) != _state(file))
        for name in changed:
            with reaching(self.place):
                pafs.copy_files(
                    str(here[name]),
                    f"{self._path}/{name}",
                    source_filesystem=pafs.LocalFileSystem(), destination_filesystem=self._filesystem,
                )  # fmt: skip
            self._seen[name] = _state(here[name])
        return changed


def _state(file: pathlib.Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_size, found.st_mtime_ns
