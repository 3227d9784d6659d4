"""Malformed inputs of every kind that a file can be, each by a seed and a number, so that any can be made again."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

NUMBERS = (
    0, -1, 1, 2, 3, 0.5, 255, 256, 2**31, -(2**31), 2**63, 2**64, 10**9, 10**12, 10**30, 1e400, -1e400, float("nan"),
    -1e12, 5e-324, 1e-3, True, False,
)  # fmt: skip
TEXTS = (
    "", " ", "x", "a.b", "agent_0", "agent_1", "float32", "object", "Discrete", "Box", "*", "**/*", "[", "\x00",
    "\x1b[31mred", "\x07", "\u202eabc", "\ud800", "é", "𝄞", "\n\n", "../..", "/etc/passwd", "~", "%s%n",
    "{0.__class__}", "null", "yes", "1e-3", "canary_module", "pettingzoo:canary_module", "canary_module:parallel_env",
    "pettingzoo:os:system", "tests.support.malformed:values", "__import__('canary_module')",
    "!!python/object/apply:os.system ['touch canary']", "!!python/name:canary_module.x", "&a [*a]", "${HOME}",
    "file:///etc/passwd", "MAMQL", "PPO", "grid_search", "long " * 400,
)  # fmt: skip
"""Among them all that would run, reach out or paint a terminal where somebody took it at its word."""
CANARY = "canary_module"
"""A module that writes a file when it is imported; nothing may."""


def scalar(rng: random.Random) -> Any:
    """A number, a text or nothing."""
    kind = rng.randrange(8)
    if kind == 0:
        return None
    if kind < 3:
        return rng.choice(NUMBERS)
    if kind == 3:
        return rng.randint(-(10**6), 10**6)
    if kind == 4:
        return rng.uniform(-10, 10) * 10 ** rng.randint(-300, 300)
    if kind == 5:
        return "".join(
            chr(rng.choice((rng.randrange(32, 127), rng.randrange(1, 0xD7FF)))) for _ in range(rng.randrange(12))
        )
    return rng.choice(TEXTS)


def value(rng: random.Random, depth: int = 0) -> Any:
    """Anything that JSON can say; now and then deep or long."""
    kind = rng.randrange(12)
    if depth > 3 or kind < 7:
        return scalar(rng)
    if kind < 9:
        return [value(rng, depth + 1) for _ in range(rng.randrange(5))]
    if kind < 11:
        return {str(scalar(rng)): value(rng, depth + 1) for _ in range(rng.randrange(4))}
    if rng.random() < 0.1:
        return deep(rng.choice((60, 300)))
    return [scalar(rng)] * rng.choice((100, 3_000))


def deep(levels: int) -> Any:
    """Lists in lists."""
    found: Any = 0
    for _ in range(levels):
        found = [found]
    return found


def changed(document: Any, rng: random.Random, depth: int = 0) -> Any:
    """A document with one part replaced, dropped, copied or added, anywhere in it."""
    if isinstance(document, dict) and document and depth < 7:
        what = rng.choice(("inside",) * 5 + ("drop", "replace", "add", "swap"))
        key = rng.choice(sorted(document))
        rest = dict(document)
        if what == "inside":
            rest[key] = changed(rest[key], rng, depth + 1)
        elif what == "drop":
            del rest[key]
        elif what == "replace":
            rest[key] = value(rng)
        elif what == "swap":
            rest[key] = rest[rng.choice(sorted(document))]
        else:
            rest[rng.choice((str(scalar(rng)), f"{key}_"))] = value(rng)
        return rest
    if isinstance(document, list) and document and depth < 7:
        index = rng.randrange(len(document))
        if rng.random() < 0.2:
            return document[:index] + document[index:] * rng.randrange(3)
        return [*document[:index], changed(document[index], rng, depth + 1), *document[index + 1 :]]
    return value(rng)


def as_json(document: Any, rng: random.Random) -> str:
    """A document as text, sometimes of a kind that JSON does not know, or deeper than Python can say."""
    if rng.random() < 0.01:
        return rng.choice(
            ("[" * 100_000, "[" * 20_000 + "]" * 20_000, '{"a":' * 20_000, "NaN", "Infinity", "1" * 5_000, "")
        )
    return json.dumps(document)


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Bytes of which some are others, gone, doubled, or more."""
    found = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 5, 30))):
        if not found:
            break
        where, length = rng.randrange(len(found)), rng.randrange(1, 41)
        kind = rng.randrange(7)
        if kind == 0:
            found[where] ^= 1 << rng.randrange(8)
        elif kind == 1:
            found[where : where + length] = rng.randbytes(rng.randrange(41))
        elif kind == 2:
            del found[where : where + length]
        elif kind == 3:
            found[where:where] = found[where : where + length] * rng.choice((1, 2, 50))
        elif kind == 4:
            found[where : where + 8] = rng.choice((b"\xff" * 8, b"\x00" * 8, b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80"))
        elif kind == 5:
            del found[where:]
        else:
            other = rng.randrange(len(found))
            found[where : where + length] = found[other : other + length]
    return bytes(found)


def odd_column(rows: int, rng: random.Random) -> pa.Array | None:
    """A column of whatever type; None where Arrow cannot say it."""
    kinds: Sequence[Callable[[], Any]] = (
        lambda: pa.array([scalar(rng)] * rows),
        lambda: pa.nulls(rows),
        lambda: pa.array([[1.0] * rng.randrange(9) for _ in range(rows)]),
        lambda: pa.array([[float(rng.choice(NUMBERS))] * 8 for _ in range(rows)], pa.list_(pa.float32(), 8)),
        lambda: pa.array([[[1.0, 2.0], [3.0]]] * rows),
        lambda: pa.array([{"a": 1}] * rows),
        lambda: pa.array(["x"] * rows).dictionary_encode(),
        lambda: pa.array([rng.randbytes(3)] * rows, pa.binary()),
        lambda: pa.array([rng.randrange(2**40)] * rows, pa.timestamp("ns")),
        lambda: pa.array([1] * rows, pa.decimal128(30, 2)),
        lambda: pa.array([rng.choice((-1, 0, 1, 2, 3, 127)) for _ in range(rows)], pa.int8()),
        lambda: pa.array([rng.choice((0, 1, 2, 2**64 - 1)) for _ in range(rows)], pa.uint64()),
        lambda: pa.array([rng.choice((0.0, 0.5, 1.0, float("nan"), float("inf"))) for _ in range(rows)]),
        lambda: pa.array([rng.random() < 0.5 for _ in range(rows)]),
        lambda: pa.array([None if rng.random() < 0.2 else 1 for _ in range(rows)]),
        lambda: pa.array(np.zeros(rows, np.float16)),
        lambda: tensor_column(rows, rng),
    )
    try:
        return rng.choice(kinds)()
    except (pa.ArrowException, OverflowError, ValueError, TypeError):
        return None


def tensor_column(rows: int, rng: random.Random) -> pa.Array:
    """Arrow's tensors of another shape or number format."""
    shape = [rng.randrange(1, 5) for _ in range(rng.randrange(1, 4))]
    numbers = np.zeros((rows, *shape), rng.choice((np.float32, np.float64, np.int64, np.uint8)))
    return pa.FixedShapeTensorArray.from_numpy_ndarray(numbers)


def odd_table(table: pa.Table, rng: random.Random) -> pa.Table:
    """A table with a column that is another, gone, twice there or new, or with rows that are."""
    name = rng.choice(table.column_names)
    index = table.column_names.index(name)
    kind = rng.randrange(9)
    if kind < 4 and (column := odd_column(len(table), rng)) is not None:
        return table.set_column(index, name, column)
    if kind == 4 and table.num_columns > 1:
        return table.remove_column(index)
    if kind == 5:
        named = rng.choice([*table.column_names, str(scalar(rng)).encode("utf-8", "replace").decode()])
        return table.rename_columns([named if other == name else other for other in table.column_names])
    if kind == 6:
        return table.append_column(
            rng.choice([*table.column_names, "x", "mask.agent_0", "weight"]), table.column(index)
        )
    if kind == 7:
        start = rng.randrange(len(table) + 1)
        return table.slice(start, rng.choice((0, 1, 5, len(table))))
    rows = [
        rng.randrange(len(table)) for _ in range(rng.choice((1, 10, len(table), 3 * len(table))) if len(table) else 0)
    ]
    return table.take(pa.array(rows, pa.int64()))
