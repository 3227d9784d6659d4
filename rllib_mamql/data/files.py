"""Finds a dataset's files, local or remote, and opens them; nothing but Parquet is ever read."""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from rllib_mamql.data.metadata import METADATA_KEY, DatasetMetadata
from rllib_mamql.data.places import is_elsewhere, opened
from rllib_mamql.errors import DatasetError, one_line

DAMAGE = (OSError, pa.ArrowException, UnicodeDecodeError)
"""What pyarrow raises at files that are not as they were written."""
SUFFIXES = (".parquet", ".pq", ".parq")

_GLOB = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class ParquetFile:
    """One file of a dataset.

    Attributes:
        name: As messages show it.
        path: Inside the filesystem.
        filesystem: Where it lies.
        schema: Arrow schema.
        metadata: What the file says about itself, or None.
        groups: Number of rows of each row group.
    """

    name: str
    path: str
    filesystem: pafs.FileSystem
    schema: pa.Schema
    metadata: DatasetMetadata | None
    groups: tuple[int, ...]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return sum(self.groups)

    def read_group(self, group: int, rows: int) -> Iterator[pa.Table]:
        """The rows of a row group, up to ``rows`` at a time.

        Raises:
            DatasetError: If the file is gone, or damaged.
        """
        try:
            with self.filesystem.open_input_file(self.path) as source:
                for batch in pq.ParquetFile(source).iter_batches(rows, row_groups=[group]):
                    yield pa.Table.from_batches([batch])
        except FileNotFoundError as error:
            raise DatasetError(f"{self.name} is gone: leave the dataset where it is until training ends") from error
        except DAMAGE as error:
            raise self._damaged(error) from error

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The table, or the given columns of it.

        Raises:
            DatasetError: If the file is damaged.
        """
        try:
            with self.filesystem.open_input_file(self.path) as source:
                return pq.read_table(source, columns=columns)
        except DAMAGE as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> DatasetError:
        return DatasetError(f"{self.name} is damaged ({one_line(error)}): copy or record it again")


def find_files(path: str | Sequence[str], filesystem: Any = None) -> list[ParquetFile]:
    """Opens all Parquet files of a dataset, in the order of their names.

    Args:
        path: Folder, file, glob, or URI of one (``s3://``, ``gs://``, any that pyarrow or fsspec knows), or a list.
        filesystem: A pyarrow or fsspec filesystem that ``path`` lies in, or None to tell from the path.

    Returns:
        The files, at least one, each checked to be Parquet.

    Raises:
        DatasetError: If nothing is there, or a file is not Parquet, truncated or corrupt.
    """
    return [_open(name, file, where) for name, (where, file) in sorted(_found(path, filesystem).items())]


def stamp_of(path: str | Sequence[str], filesystem: Any = None) -> tuple[tuple[str, int, int], ...]:
    """Names, sizes and times of a dataset's files, which tell one that was written anew; remote files are not asked.

    Args:
        path: As :func:`find_files`.
        filesystem: Likewise.

    Raises:
        DatasetError: If nothing is there.
    """
    local = [file for where, file in _found(path, filesystem).values() if isinstance(where, pafs.LocalFileSystem)]
    infos = pafs.LocalFileSystem().get_file_info(sorted(local))
    return tuple((info.path, info.size or 0, info.mtime_ns or 0) for info in infos)


def _found(path: str | Sequence[str], filesystem: Any) -> dict[str, tuple[pafs.FileSystem, str]]:
    """The files of a dataset, by name, and where they lie."""
    paths = [path] if isinstance(path, str | pathlib.Path) else list(path)
    if not paths:
        raise DatasetError("no path of a dataset is given, expected a folder, file or glob: set input_")
    found: dict[str, tuple[pafs.FileSystem, str]] = {}
    for one in map(str, paths):
        if not one.isascii() and one.encode(errors="replace").decode() != one:
            raise DatasetError(f"{one!r} cannot be a path: it holds characters that no file's name has")
        where, inside, prefix = _locate(one, filesystem)
        try:
            for file in _expand(where, inside, one):
                found[prefix + file] = (where, file)
        except DatasetError:
            raise
        except (*DAMAGE, ValueError) as error:
            raise DatasetError(f"cannot read {one}: {one_line(error)}") from error
    return found


def _locate(path: str, filesystem: Any) -> tuple[pafs.FileSystem, str, str]:
    """Filesystem, path in it, and what to put before that path in messages."""
    if filesystem is not None:
        if not isinstance(filesystem, pafs.FileSystem):
            filesystem = pafs.PyFileSystem(pafs.FSSpecHandler(filesystem))
        scheme, separator, rest = path.partition("://")
        inside = rest if separator else path
        return filesystem, inside.rstrip("/"), f"{scheme}://" if separator else ""
    if not is_elsewhere(path):
        return pafs.LocalFileSystem(), str(pathlib.Path(path).expanduser().absolute()), ""
    scheme = path.partition("://")[0]
    # A glob's characters are not valid in a URI: resolve the folder before them.
    glob = _GLOB.search(path)
    cut = path.rfind("/", 0, glob.start()) if glob else len(path)
    base, tail = path[:cut], path[cut:]
    try:
        where, inside = opened(base)
    except (pa.ArrowException, OSError, ValueError) as first:
        try:
            import fsspec  # type: ignore[import-untyped]

            handler, inside = fsspec.core.url_to_fs(base)
            where = pafs.PyFileSystem(pafs.FSSpecHandler(handler))
        except (ImportError, OSError, ValueError) as second:
            raise DatasetError(f"cannot open {path}: {one_line(first)}; {one_line(second)}") from second
    return where, inside.rstrip("/") + tail.rstrip("/"), "" if scheme == "file" else f"{scheme}://"


def _expand(where: pafs.FileSystem, path: str, shown: str) -> list[str]:
    info = where.get_file_info(path)
    if info.type == pafs.FileType.File:
        return [path]
    if info.type == pafs.FileType.Directory:
        return _folder(where, path, shown)
    if not _GLOB.search(path):
        raise DatasetError(f"{shown} does not exist, expected a folder, file or glob of Parquet files: check the path")
    matches = _glob(where, path)
    files = [one.path for one in matches if one.type == pafs.FileType.File and _is_data(one.path)]
    for one in matches:
        if one.type == pafs.FileType.Directory:
            files += [file.path for file in _list(where, one.path) if _is_data(file.path)]
    if not files:
        raise DatasetError(f"{shown} matches no Parquet file ({len(matches)} other matches): check the pattern")
    return files


def _folder(where: pafs.FileSystem, path: str, shown: str) -> list[str]:
    entries = _list(where, path)
    files = [one.path for one in entries if one.type == pafs.FileType.File and _is_data(one.path)]
    if files:
        return files
    others = sorted(one.base_name for one in entries if one.type == pafs.FileType.File)
    folders = sorted(one.base_name for one in entries if one.type == pafs.FileType.Directory)
    found = f"found {others[:5]}" if others else "it has no files"
    if folders:
        found += f", and the folders {folders[:10]}: did you mean one of them?"
    raise DatasetError(
        f"{shown} holds no Parquet file ({found}), expected *.parquet; pickles and other formats are never loaded: "
        "record the dataset or check the path"
    )


def _list(where: pafs.FileSystem, path: str) -> list[pafs.FileInfo]:
    return list(where.get_file_info(pafs.FileSelector(path, recursive=False)))


def _is_data(path: str) -> bool:
    name = path.rsplit("/", 1)[-1]
    return name.lower().endswith(SUFFIXES) and not name.startswith((".", "_"))


def _glob(where: pafs.FileSystem, pattern: str) -> list[pafs.FileInfo]:
    cut = pattern.rfind("/", 0, _GLOB.search(pattern).start())  # type: ignore[union-attr]
    try:
        tokens = [_token(text) for text in _TOKENS.findall(pattern)]
    except re.error as error:
        raise DatasetError(f"{pattern} is no glob ({error}): check what stands in brackets") from error
    levels = None if "**" in pattern else pattern.count("/", cut + 1)
    return [one for one in _below(where, pattern[:cut] or "/", levels) if _matches(tokens, one.path)]


def _below(where: pafs.FileSystem, base: str, levels: int | None) -> Iterator[pafs.FileInfo]:
    """What lies below a folder, so many levels down; None: all of it, but not what links lead to.

    Links may lead back up, or to the whole machine.
    """
    if levels == 0 or not isinstance(where, pafs.LocalFileSystem):
        yield from where.get_file_info(pafs.FileSelector(base, recursive=levels != 0, allow_not_found=True))
        return
    waiting = [(base, 0)]
    while waiting:
        folder, level = waiting.pop()
        for one in where.get_file_info(pafs.FileSelector(folder, recursive=False, allow_not_found=True)):
            yield one
            further = not os.path.islink(one.path) if levels is None else level < levels
            if one.type == pafs.FileType.Directory and further:
                waiting.append((one.path, level + 1))


_TOKENS = re.compile(r"\*\*/|\*\*|\*|\?|\[!?[^\]]+\]|.", re.DOTALL)


def _token(text: str) -> str | re.Pattern[str]:
    """A part of a glob: stars and single characters as they are, the rest as what one character has to match."""
    if text == "?":
        return re.compile("[^/]")
    if len(text) == 1 or text[0] != "[":
        return text
    inside = text[2:-1] if text[1] == "!" else text[1:-1]
    plain = "".join(char if char in "-^" or char.isalnum() else f"\\{char}" for char in inside)
    return re.compile(f"[{'^' if text[1] == '!' else ''}{plain}]")


def _matches(tokens: Sequence[str | re.Pattern[str]], path: str) -> bool:
    """Whether a glob is a whole path; ``*`` stops at a slash, ``**/`` does not.

    All ways to match go on side by side: a regular expression would try them one by one, of which a few stars have more
    than there is time for.
    """
    at = _skipped(tokens, {0})
    for char in path:
        further: set[int] = set()
        for index in at:
            token = tokens[index] if index < len(tokens) else None
            if token in ("**", "**/") or (token == "*" and char != "/"):
                further.add(index)
            if token == "**/" and char == "/":
                further.add(index + 1)
            elif isinstance(token, re.Pattern):
                further |= {index + 1} if token.fullmatch(char) else set()
            elif token == char and char != "*":
                further.add(index + 1)
        at = _skipped(tokens, further)
    return len(tokens) in at


def _skipped(tokens: Sequence[str | re.Pattern[str]], at: set[int]) -> set[int]:
    """Places in a glob, and those behind its stars, which may be empty."""
    waiting = list(at)
    while waiting:
        index = waiting.pop()
        if index < len(tokens) and tokens[index] in ("*", "**", "**/") and index + 1 not in at:
            at.add(index + 1)
            waiting.append(index + 1)
    return at


def _open(name: str, path: str, where: pafs.FileSystem) -> ParquetFile:
    try:
        with where.open_input_file(path) as source:
            _check_magic(name, source)
            source.seek(0)
            file = pq.ParquetFile(source)
            schema, footer = file.schema_arrow, file.metadata
            # Of a footer's columns pyarrow cannot be asked: where they are damaged it ends the process.
            groups = tuple(footer.row_group(group).num_rows for group in range(footer.num_row_groups))
    except FileNotFoundError as error:
        raise DatasetError(f"{name} does not exist: check the path") from error
    except DAMAGE as error:
        raise DatasetError(f"{name} is corrupt ({one_line(error)}): copy or record it again") from error
    document = (schema.metadata or {}).get(METADATA_KEY.encode())
    try:
        metadata = DatasetMetadata.from_json(document) if document is not None else None
    except DatasetError as error:
        raise DatasetError(f"{name}: {error}") from error
    return ParquetFile(name, path, where, schema, metadata, groups)


def _check_magic(name: str, source: Any) -> None:
    size = source.size()
    head = source.read(min(4, size))
    if size == 0:
        raise DatasetError(f"{name} is empty (0 bytes), expected Parquet: copy or record it again")
    if head != b"PAR1":
        pickle = head[:1] == b"\x80" or name.lower().endswith((".pkl", ".pickle"))
        what = "looks like a pickle, which is never loaded" if pickle else f"is not Parquet (starts with {head!r})"
        raise DatasetError(f"{name} {what}, expected a Parquet file: convert it with pyarrow or record it again")
    source.seek(max(0, size - 4))
    if size < 12 or source.read(4) != b"PAR1":
        raise DatasetError(f"{name} is truncated ({size} bytes, no Parquet footer): copy or record it again")
