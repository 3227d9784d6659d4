"""Files of an exported folder: reading them, checking them, and opening the networks in them. No Ray, no Gymnasium."""

from __future__ import annotations

import hashlib
import json
import math
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from rllib_mamql.data.memory import width
from rllib_mamql.data.untrusted import LARGEST_OBSERVATION, MOST_ACTIONS, parse_json
from rllib_mamql.errors import UserError, one_line
from rllib_mamql.export.programs import Program, ProgramError, from_bytes

SCHEMA_VERSION = 1
FORMAT = "rllib-mamql export"
METADATA = "metadata.json"

Array: TypeAlias = npt.NDArray[Any]
Network: TypeAlias = Callable[..., Array]
"""A network on arrays: observations ``(B, *shape)``, and for a reward the others' actions ``(B, K, m)``."""


DAMAGE = (
    ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, OSError, RuntimeError, TypeError,
    ValueError,
)  # fmt: skip
"""What json, numpy and torch raise at documents and arrays that are not as they were written."""


class ExportError(UserError):
    """An exported folder is missing, damaged or of another format, or is asked for what it cannot do."""


def metadata_digest(metadata: Mapping[str, Any]) -> str:
    """SHA-256 of the metadata without its own checksum, in a form that white space does not change."""
    content = {key: value for key, value in metadata.items() if key != "metadata_sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_metadata(folder: pathlib.Path) -> dict[str, Any]:
    """The metadata of a folder, checked against its own checksum.

    Raises:
        ExportError: If it is missing, damaged, edited, or of another format or schema version.
    """
    file = folder / METADATA
    if not file.is_file():
        raise ExportError(f"{folder} is not an exported folder: it holds no {METADATA}; write one with `rllib export`")
    try:
        metadata = parse_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExportError(f"{file} is damaged ({one_line(error)[:300]}): export anew with `rllib export`") from error
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise ExportError(f"{file} is not of format {FORMAT!r}: name a folder that `rllib export` wrote")
    if metadata.get("schema_version") != SCHEMA_VERSION:
        raise ExportError(
            f"{file} has schema version {metadata.get('schema_version')!r}, this package reads {SCHEMA_VERSION}: "
            "use the release that wrote it, or export anew"
        )
    try:
        found = metadata_digest(metadata)
    except DAMAGE as error:
        raise ExportError(f"{file} is damaged ({one_line(error)[:300]}): export anew with `rllib export`") from error
    if found != metadata.get("metadata_sha256"):
        raise ExportError(
            f"{file} is damaged or was edited: its SHA-256 is {found}, expected {metadata.get('metadata_sha256')}: "
            "copy the folder again, or export anew"
        )
    return metadata


def read_file(folder: pathlib.Path, name: str, digest: str) -> bytes:
    """The content of a file, checked against its SHA-256 (hexadecimal).

    Raises:
        ExportError: If it is missing or another.
    """
    if pathlib.PurePath(name).name != name or not name.isprintable():
        raise ExportError(f"{folder / METADATA} names file {name!r}, which is not in the folder itself: export anew")
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        raise ExportError(
            f"{folder} is incomplete: {name} cannot be read ({error.strerror}): copy the folder again, or export anew"
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise ExportError(
            f"{folder / name} is damaged: its SHA-256 is {found}, expected {digest}: copy the folder again, or export "
            "anew"
        )
    return content


def check_sizes(agent: str, seen: tuple[Any, ...], actions: Any, steps: Any) -> None:
    """Refuses what no agent has.

    Args:
        agent: Its name.
        seen: Shape of an observation.
        actions: How many it has.
        steps: How many back its policy sees.

    Raises:
        ValueError: If one is no whole number, or too large.
    """
    if not all(type(size) is int and size >= 0 for size in (*seen, actions, steps)):
        raise ValueError(f"{agent}: sizes are {seen}, {actions} and {steps}, not whole numbers")
    if not 1 <= actions <= MOST_ACTIONS or width(math.prod(seen), actions, steps) > LARGEST_OBSERVATION:
        raise ValueError(f"{agent}: shape {seen} with {actions} actions and a history of {steps} is larger than may be")


def above_zero(value: Any) -> float:
    """A rationality.

    Raises:
        ValueError: If it is not above 0.
    """
    number = float(value)
    if not (number > 0 and math.isfinite(number)):
        raise ValueError(f"a rationality is {value!r}, not a number above 0")
    return number


def open_program(folder: pathlib.Path, entry: Mapping[str, Any], contents: Mapping[str, bytes]) -> Network:
    """A network that torch runs.

    Args:
        folder: For messages.
        entry: The network's files, ``{"program": name, "onnx": name or None}``.
        contents: Checked contents by file name.

    Raises:
        ExportError: If the file holds no program; the network raises it where the program fails.
    """
    file = folder / entry["program"]
    try:
        program: Program = from_bytes(contents[entry["program"]])
    except ProgramError as error:
        raise ExportError(f"{file}: {error}; export anew") from error

    def run(*inputs: Array) -> Array:
        try:
            # A copy: torch wants arrays that it may write to, and a broadcast one is not.
            return program(*(torch.from_numpy(np.array(values)) for values in inputs)).numpy()
        except DAMAGE as error:
            raise ExportError(f"{file} cannot be run ({one_line(error)[:300]}): export anew") from error

    return run


def open_onnx(folder: pathlib.Path, entry: Mapping[str, Any], contents: Mapping[str, bytes]) -> Network:
    """A network that onnxruntime runs; arguments as of :func:`open_program`.

    Raises:
        ExportError: If the folder has no ONNX files, or onnxruntime is not installed.
    """
    if entry.get("onnx") is None:
        raise ExportError(f"{folder} holds no ONNX files: write it with `rllib export --onnx`, or use backend 'torch'")
    try:
        import onnxruntime
    except ImportError as error:
        raise ExportError("backend 'onnx' needs onnxruntime: `pip install onnxruntime`, or use 'torch'") from error
    names = ("observations", entry.get("second", "others"))
    content = contents[entry["onnx"]]
    try:
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own are of no common kind
        raise ExportError(f"{folder / entry['onnx']} is no network ({one_line(error)[:300]}): export anew") from error
    wanted = {node.name for node in session.get_inputs()}

    def run(*inputs: Array) -> Array:
        # An input that a network does not look at (the others' actions, where there are none) is not in its graph.
        named = dict(zip(names, inputs, strict=False))
        return session.run(None, {name: values for name, values in named.items() if name in wanted})[0]

    return run
