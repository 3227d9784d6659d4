"""Reading expert data against bare pyarrow: ``python tests/benchmarks/bench_data.py``.

Bare pyarrow reads the same files into an Arrow table and goes no further; ours also joins, orders and validates every
row and gives arrays. Bytes are those of the arrays that a learner then holds.
"""

from __future__ import annotations

import contextlib
import functools
import io
import pathlib
import statistics
import sys
import tempfile
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from rllib_mamql.columns import EPS_ID, num_rows
from rllib_mamql.data.reading import read_dataset
from rllib_mamql.evaluation.record import record_dataset
from tests.benchmarks.measuring import ROOT, Result, interleave, ratio, run_alone, seconds

LARGE_ROWS = 200_000


def read_bare(folder: pathlib.Path) -> list[pa.Table]:
    """The tables of all files."""
    return [pq.read_table(file, use_threads=False) for file in sorted(folder.glob("*.parquet"))]


def shipped() -> dict[str, pathlib.Path]:
    """Folders of the shipped datasets by name."""
    root = ROOT / "offline_data"
    return {str(file.parent.relative_to(root)): file.parent for file in sorted(root.rglob("*.parquet"))}


def compare(folder: pathlib.Path, repetitions: int) -> dict[str, list[float]]:
    """CPU seconds of reading, ours and bare, in turns."""
    return interleave(
        {
            "ours": functools.partial(seconds, lambda: read_dataset(str(folder))),
            "bare": functools.partial(seconds, lambda: read_bare(folder)),
        },
        repetitions,
    )


def measure(quick: bool) -> Result:
    """Shipped datasets, and a large one of random play of Gems."""
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    ratios, rows = {}, []
    with tempfile.TemporaryDirectory() as scratch:
        folders = shipped()
        if quick:
            folders = {name: folders[name] for name in ("gems/entities", "overcooked/cramped_room")}
        else:
            folders["large"] = pathlib.Path(scratch) / "large"
            with contextlib.redirect_stdout(io.StringIO()):
                record_dataset("gems", {"observation": "vector"}, "random", LARGE_ROWS, 0, folders["large"])
        for name, folder in folders.items():
            taken = compare(folder, 3 if name == "large" else 7)
            columns: dict[str, Any] = read_dataset(str(folder)).columns
            held = sum(values.nbytes for key, values in columns.items() if key != EPS_ID)
            on_disk = sum(file.stat().st_size for file in folder.glob("*.parquet"))
            key = f"data/{name}"
            ratios[key] = ratio(taken["ours"], taken["bare"], higher_is_better=False)
            ours, bare = (1e3 * statistics.median(taken[who]) for who in ("ours", "bare"))
            rows.append((name, num_rows(columns), on_disk / 2**20, held / 2**20, ours, bare, ratios[key].value))
    return Result(
        "Data: reading into memory",
        ratios,
        ("dataset", "rows", "MiB on disk", "MiB held", "ours, ms", "bare pyarrow, ms", "ours / bare"),
        rows,
    )


if __name__ == "__main__":
    sys.exit(run_alone(measure, __doc__))
