"""Reads the data frames of human play that overcooked-ai ships, which are pickles, without trusting them.

A pickle names classes and functions for Python to call. Here eight names are known, those that a data frame of pandas
needs, and each stands for a record of this file that does nothing but keep what it is given: neither pandas nor numpy
nor anything else is called. Any other name ends the reading.
"""

from __future__ import annotations

import io
import math
import pathlib
import pickle
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

NUMBER_FORMATS = {"b1": "?", "i8": "<i8", "f8": "<f8"}
"""Formats of numbers in the frames, and numpy's names of them."""


class FrameError(ValueError):
    """A file is not such a data frame."""


class _Record:
    """Stands for one of the frame's types: keeps the arguments and the state that a pickle gives it."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Frame(_Record): ...


class _Blocks(_Record): ...


class _Index(_Record): ...


class _NewIndex(_Record): ...


class _Array(_Record): ...


class _ArrayType(_Record): ...


class _NumberFormat(_Record): ...


class _FrameUnpickler(pickle.Unpickler):
    known: ClassVar[dict[tuple[str, str], type[_Record]]] = {
        ("pandas.core.frame", "DataFrame"): _Frame,
        ("pandas.core.internals.managers", "BlockManager"): _Blocks,
        ("pandas.core.indexes.base", "Index"): _Index,
        ("pandas.core.indexes.numeric", "Int64Index"): _Index,
        ("pandas.core.indexes.base", "_new_Index"): _NewIndex,
        ("numpy.core.multiarray", "_reconstruct"): _Array,
        ("numpy", "ndarray"): _ArrayType,
        ("numpy", "dtype"): _NumberFormat,
    }

    def find_class(self, module: str, name: str) -> type[_Record]:
        """One of the eight records.

        Raises:
            FrameError: If the pickle asks for anything else.
        """
        if (module, name) not in self.known:
            raise FrameError(f"asks for {module}.{name}, which is no part of a data frame")
        return self.known[module, name]

    def persistent_load(self, pid: Any) -> Any:
        """Refuses what lies outside the file."""
        raise FrameError("asks for what lies outside it")


def read_frame(path: pathlib.Path) -> dict[str, NDArray[Any]]:
    """The columns of a pickled data frame.

    Args:
        path: The file.

    Returns:
        ``{column: (rows,)}`` of numbers, or of objects that are texts.

    Raises:
        FrameError: If the file is missing, or is anything but a data frame of numbers and texts.
    """
    try:
        frame = _FrameUnpickler(io.BytesIO(path.read_bytes())).load()
        return _columns(frame)
    except FrameError as error:
        raise FrameError(f"{path} is not the data frame that overcooked-ai ships, it {error}: reinstall it") from error
    except FileNotFoundError as error:
        raise FrameError(f"{path} is missing: install overcooked-ai 1.1.0 again, which ships it") from error
    except Exception as error:  # A damaged pickle fails in any way.
        raise FrameError(f"{path} is damaged ({type(error).__name__}): install overcooked-ai 1.1.0 again") from error


def _columns(frame: Any) -> dict[str, NDArray[Any]]:
    if not isinstance(frame, _Frame):
        raise FrameError(f"holds a {type(frame).__name__}")
    _axes, blocks, names, *_ = frame.state["_data"].state
    columns: dict[str, NDArray[Any]] = {}
    for block, of_block in zip(blocks, names, strict=True):
        values = _array(block)
        columns.update(zip(_texts(of_block), values, strict=True))
    return columns


def _texts(index: _NewIndex) -> list[str]:
    return [str(name) for name in _array(index.arguments[1]["data"])]


def _array(record: Any) -> NDArray[Any]:
    _version, shape, number_format, in_columns, data = record.state
    kind = number_format.arguments[0]
    if kind == "O8":
        if not all(isinstance(item, str) for item in data):
            raise FrameError("holds objects that are no texts")
        found: NDArray[Any] = np.empty(len(data), object)
        found[:] = data
    elif kind in NUMBER_FORMATS:
        found = np.frombuffer(data, NUMBER_FORMATS[kind])
    else:
        raise FrameError(f"holds numbers of format {kind!r}")
    if math.prod(shape) != len(found):
        raise FrameError(f"holds {len(found)} values in place of {math.prod(shape)}")
    return found.reshape(shape, order="F" if in_columns else "C")
