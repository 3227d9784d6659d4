"""Expert data too large to hold: Parquet files as a stream of Ray Data that lasts for many epochs."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask

from rllib_mamql.columns import JointColumns, concatenate, num_rows
from rllib_mamql.data.files import ParquetFile
from rllib_mamql.errors import DatasetError
from rllib_mamql.learning.nodes import naming_the_node

if TYPE_CHECKING:
    from ray.data import DataIterator

SHUFFLE_ROWS = 4096
"""Rows that a streaming learner mixes at a time: a window, since the whole does not fit in memory."""
TASK_ROWS, BLOCK_ROWS = 8192, 4096
"""Rows that a task of Ray Data reads at least, over several epochs where the dataset is smaller; and reads at once."""
RUN_TASKS = 1024
"""Tasks of one run of Ray Data. Starting the next one takes seconds, in which learners wait."""


def epochs_of_a_run(rows: int) -> int:
    """Epochs that one run of Ray Data reads of a dataset of ``rows`` rows, >= 1."""
    return max(1, RUN_TASKS * TASK_ROWS // max(1, rows))


Piece = tuple[ParquetFile, int]
"""A row group of a file: the file, and which of its groups."""


class JointStepSource(Datasource):
    """Files read over and over.

    Ray's own ``read_parquet`` ends with the epoch, and imports an HTTP client in racing threads.

    Args:
        files: The files.
        epochs: How often to read them, >= 1.
    """

    def __init__(self, files: Sequence[ParquetFile], epochs: int) -> None:
        super().__init__()
        self._pieces = [(file, group) for file in files for group in range(len(file.groups))]
        self._epochs = epochs
        self._row_bytes = max(
            1, max((file.metadata.row_bytes for file in files if file.metadata is not None), default=1)
        )

    def estimate_inmemory_data_size(self) -> int:
        """Bytes of all epochs."""
        return self._epochs * _rows(self._pieces) * self._row_bytes

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[ReadTask]:
        """One task for at least ``TASK_ROWS`` consecutive rows; ``parallelism`` is not asked."""
        tasks: list[list[Piece]] = [[]]
        rows = 0
        for file, group in self._pieces * self._epochs:
            if rows >= TASK_ROWS:
                tasks.append([])
                rows = 0
            tasks[-1].append((file, group))
            rows += file.groups[group]
        return [self._task(pieces) for pieces in tasks]

    def _task(self, pieces: list[Piece]) -> ReadTask:
        rows, names = _rows(pieces), tuple(sorted({file.name for file, _ in pieces}))
        about = BlockMetadata(num_rows=rows, size_bytes=rows * self._row_bytes, exec_stats=None, input_files=names)
        return ReadTask(lambda: _read_here(pieces), about)


def _rows(pieces: Sequence[Piece]) -> int:
    return sum(file.groups[group] for file, group in pieces)


def _read_here(pieces: Sequence[Piece]) -> Iterator[pa.Table]:
    """The same as :func:`_read`; an error says on which node of several it was."""
    with naming_the_node():
        yield from _read(pieces)


def _read(pieces: Sequence[Piece]) -> Iterator[pa.Table]:
    """The rows of the pieces in turn. What is read again in the same task is small, and kept."""
    times = Counter((file.name, group) for file, group in pieces)
    kept: dict[tuple[str, int], pa.Table] = {}
    gathered: list[pa.Table] = []
    for file, group in pieces:
        key = (file.name, group)
        if times[key] > 1 and key not in kept:
            kept[key] = pa.concat_tables(file.read_group(group, BLOCK_ROWS))
        for table in [kept[key]] if key in kept else file.read_group(group, BLOCK_ROWS):
            gathered.append(table)
            if sum(map(len, gathered)) >= BLOCK_ROWS:
                yield pa.concat_tables(gathered)
                gathered = []
    if gathered:
        yield pa.concat_tables(gathered)


def iterate_batches(
    data_iterator: DataIterator, batch_size: int, *, shuffle_rows: int = SHUFFLE_ROWS, seed: int | None = None
) -> Iterator[JointColumns]:
    """Joint batches without end, shuffled in a window; the stream begins anew where it ends.

    Rows left over at the end of the stream begin the next one's first batch, so every batch is full.

    Args:
        data_iterator: One of ``JointOfflineData.streams``.
        batch_size: Rows of each batch, >= 1.
        shuffle_rows: Rows mixed at a time, >= 1.
        seed: Seed of the mixing.

    Yields:
        Columns of ``batch_size`` rows.

    Raises:
        DatasetError: If a block is not valid, or the stream has no rows.
    """
    keep_quiet()
    rest: list[JointColumns] = []
    run = 0
    while True:
        seen = 0
        batches = data_iterator.iter_batches(
            batch_size=batch_size,
            batch_format="numpy",
            local_shuffle_buffer_size=max(shuffle_rows, batch_size),
            local_shuffle_seed=None if seed is None else seed + run,
        )
        for batch in _unwrapped(batches):
            seen += num_rows(batch)
            rest.append(batch)
            while sum(map(num_rows, rest)) >= batch_size:
                joined = concatenate(rest) if len(rest) > 1 else rest[0]
                yield {name: values[:batch_size] for name, values in joined.items()}
                left = {name: values[batch_size:] for name, values in joined.items()}
                rest = [left] if num_rows(left) else []
        if not seen:
            raise DatasetError("the stream of expert data has no rows: use fewer learners or more expert_steps")
        run += 1


def _unwrapped(batches: Any) -> Iterator[JointColumns]:
    """Raises the DatasetError of a remote task as itself; Ray keeps of it only the text."""
    try:
        yield from batches
    except Exception as error:
        found = re.findall(rf"{DatasetError.__name__}: (.*)", str(error))
        if found:
            raise DatasetError(found[-1]) from None
        raise


def keep_quiet() -> None:
    """Keeps Ray Data from announcing every run; its warnings and errors stay."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data._internal.execution.streaming_executor").setLevel(logging.WARNING)
