"""Whether a folder's files are all there and as they were written: a list of sizes and hashes, written last."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
from collections.abc import Mapping, Sequence

from rllib_mamql.data.untrusted import parse_json

CHECKSUMS = "checksums.json"
"""File in a checkpoint: ``{path in the folder: [bytes, SHA-256]}``."""


def write_checksums(folder: pathlib.Path) -> None:
    """Lists all files of a folder; call it when everything else is written."""
    _write(folder, _sums(folder, [str(file.relative_to(folder)) for file in _files(folder)]))


def renew_checksum(folder: pathlib.Path, name: str) -> None:
    """Lists a file as it is now, which was replaced; others as they were. Does nothing where there is no list."""
    if (folder / CHECKSUMS).is_file():
        listed = parse_json((folder / CHECKSUMS).read_text(encoding="utf-8"))
        _write(folder, listed | _sums(folder, [name]))


def _sums(folder: pathlib.Path, names: Sequence[str]) -> dict[str, list[int | str]]:
    return {name: [(folder / name).stat().st_size, _hash(folder / name)] for name in names}


def _write(folder: pathlib.Path, listed: Mapping[str, Sequence[int | str]]) -> None:
    draft = folder / f".{CHECKSUMS}.{os.getpid()}"
    draft.write_text(json.dumps(listed, indent=1), encoding="utf-8")
    draft.replace(folder / CHECKSUMS)


def is_whole(folder: pathlib.Path) -> bool:
    """Whether every file on a folder's list is there and unchanged; False where there is no list.

    Files that were added later are not on it and do not matter.
    """
    try:
        listed = parse_json((folder / CHECKSUMS).read_text(encoding="utf-8"))
        return bool(listed) and all(
            not (folder / name).is_symlink()
            and (folder / name).stat().st_size == size
            and _hash(folder / name) == value
            for name, (size, value) in listed.items()
        )
    except (OSError, ValueError, TypeError, AttributeError):
        return False


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
    found = (file for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
    return sorted(file for file in found if file.name != CHECKSUMS and not file.name.startswith("."))


def _hash(file: pathlib.Path) -> str:
    value = hashlib.sha256()
    with file.open("rb") as content:
        while part := content.read(2**20):
            value.update(part)
    return value.hexdigest()
