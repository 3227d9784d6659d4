"""Files that anybody may have written: what they declare is checked before memory is taken for it."""

from __future__ import annotations

import json
import os
import pathlib
import tokenize
import zipfile
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from rllib_mamql.columns import Array

LARGEST_OBSERVATION = 2**24
"""Numbers that an agent's observation may have: an image of 4096 x 4096."""
MOST_NUMBERS = 2**26
"""Numbers that the observations of all agents together may have."""
MOST_ACTIONS = 2**16
"""Actions that an agent may have."""
LITTLE = 2**26
"""Bytes of arrays that a file may hold whatever its own size; beyond, no more than it has: ours are not compressed."""


def parse_json(text: str | bytes) -> Any:
    """Parses JSON of any depth that Python can take.

    Raises:
        ValueError: If the text is no JSON, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


class StoredArrays:
    """The arrays of an ``.npz`` file, of which only those that are asked for are read. Nothing is unpickled.

    Attributes:
        shapes: What the file declares of each array, without reading it.

    Raises:
        ValueError, OSError, zipfile.BadZipFile: If the file is damaged or holds what is no array of numbers.
    """

    def __init__(self, file: pathlib.Path | BinaryIO) -> None:
        self._file = file
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._bytes: dict[str, int] = {}
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                with archive.open(info) as member:
                    shape, dtype = _header(member)
                    if dtype.hasobject:
                        raise ValueError(f"{info.filename} holds Python objects, which are never loaded")
                    size = int(np.prod(shape, dtype=object)) * dtype.itemsize
                    if size > info.file_size:
                        raise ValueError(f"{info.filename} declares {size} bytes and has {info.file_size}")
                self.shapes[info.filename.removesuffix(".npy")] = shape
                self._bytes[info.filename.removesuffix(".npy")] = size

    def read(self, wanted: Callable[[str], bool] = lambda name: True) -> dict[str, Array]:
        """Reads the arrays whose names are wanted.

        Raises:
            ValueError: If they have far more bytes than the file.
        """
        total = sum(size for name, size in self._bytes.items() if wanted(name))
        if total > max(LITTLE, self._size()):
            raise ValueError(f"its arrays have {total} bytes, the file {self._size()}")
        if not isinstance(self._file, pathlib.Path):
            self._file.seek(0)
        with np.load(self._file, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files if wanted(name)}

    def _size(self) -> int:
        return self._file.stat().st_size if isinstance(self._file, pathlib.Path) else self._file.seek(0, os.SEEK_END)


def _header(member: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(member)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"its arrays have format {version}, expected 1.0 or 2.0")
    try:
        shape, _, dtype = readers[version](member)
    except (SyntaxError, tokenize.TokenError) as error:  # numpy reads headers as Python reads literals
        raise ValueError(f"an array's header cannot be read ({error})") from None
    return shape, dtype
