"""RLlib's offline input for joint steps: held in memory where small, streamed through Ray Data where large.

RLlib's own ``OfflineData`` and ``OfflinePreLearner`` raise NotImplementedError for multi-agent data. These give joint
rows instead (see :mod:`rllib_mamql.columns`), so that a batch holds all agents at the same time steps.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
from ray.rllib.offline.offline_data import OfflineData
from ray.rllib.offline.offline_prelearner import OfflinePreLearner

from rllib_mamql.columns import EPS_ID, JointColumns, T, num_rows, take
from rllib_mamql.data.files import find_files, stamp_of
from rllib_mamql.data.history_rows import with_history
from rllib_mamql.data.metadata import DatasetMetadata
from rllib_mamql.data.places import is_elsewhere
from rllib_mamql.data.reading import (
    JointDataset,
    read_files,
    read_metadata,
    read_structure,
    select_episodes,
    select_steps,
    size_of_files,
    stated_metadata,
)
from rllib_mamql.data.selection import hold_out
from rllib_mamql.data.tables import count_from_zero, from_table
from rllib_mamql.data.validation import check_form, check_values
from rllib_mamql.environments.spaces import data_spaces
from rllib_mamql.errors import ConfigError, nearest
from rllib_mamql.learning.nodes import naming_the_node
from rllib_mamql.learning.streaming import JointStepSource, epochs_of_a_run, iterate_batches, keep_quiet

if TYPE_CHECKING:
    from ray.data import DataIterator, Dataset

MEMORY_LIMIT = 2 * 1024**3
"""Bytes up to which ``expert_in_memory: auto`` holds a dataset in memory, unless ``expert_memory_limit`` says else."""


def metadata_of(config: Any) -> DatasetMetadata:
    """What the dataset of a config says about itself; files are looked into once, and anew where they have changed.

    Raises:
        DatasetError: If there is no such dataset, or it is not valid.
        ConfigError: If the filesystem is not supported.
    """
    given = config.input_ if isinstance(config.input_, (list, tuple)) else (config.input_,)
    paths = tuple(map(str, given))
    filesystem, keywords = config.input_filesystem, config.input_filesystem_kwargs or {}
    # A remote dataset would be listed each time that a config is validated.
    with naming_the_node():
        stamp = stamp_of(paths) if filesystem is None and not any(map(is_elsewhere, paths)) else ()
        return _metadata_at(paths, filesystem, tuple(sorted(keywords.items())), stamp)


@functools.lru_cache(maxsize=16)
def _metadata_at(
    paths: tuple[str, ...],
    filesystem: Any,
    keywords: tuple[tuple[str, Any], ...],
    stamp: tuple[tuple[str, int, int], ...],
) -> DatasetMetadata:
    return read_metadata(paths, _filesystem(filesystem, dict(keywords)))


class JointOfflinePreLearner(OfflinePreLearner):
    """Validates blocks of a streamed dataset and turns them into joint columns.

    Runs inside Ray Data's ``map_batches``; needs no RLModule, so RLlib's constructor is not called.

    Args:
        config: The algorithm's config; kept for subclasses.
        spaces: Unused; RLlib passes it.
        module_state: Unused; RLlib passes it.
        metadata: What the files say about themselves.
        selection: ``{eps_id: first steps}`` to keep, or None to keep all rows.
        **kwargs: Unused; RLlib passes ``module_spec``.
    """

    def __init__(
        self,
        *,
        config: Any = None,
        spaces: Any = None,
        module_state: Any = None,
        metadata: DatasetMetadata,
        selection: Mapping[str, int] | None = None,
        **kwargs: Any,
    ) -> None:
        self.config = config
        self.metadata = metadata
        self.selection = selection

    def __call__(self, batch: pa.Table) -> JointColumns:
        """Joint columns of a block.

        Args:
            batch: Rows of the joint layout.

        Returns:
            Columns in the schema's dtypes, with no rows where the selection has none in this block.

        Raises:
            DatasetError: If the block does not fit the metadata.
        """
        columns = from_table(batch, self.metadata, "streamed block")
        if num_rows(columns):
            check_form(columns, self.metadata)
            check_values(columns, self.metadata)
            columns = count_from_zero(columns, self.metadata)
        if self.selection is not None:
            names, inverse = np.unique(columns[EPS_ID], return_inverse=True)
            limits = np.array([self.selection.get(str(name), 0) for name in names], np.int64)
            columns = take(columns, columns[T].astype(np.int64) < limits[inverse])
        return columns


def _prepare_block(batch: pa.Table, prelearner: JointOfflinePreLearner) -> JointColumns:
    return prelearner(batch)


class JointOfflineData(OfflineData):
    """Expert data of an algorithm from demonstrations.

    Reads ``input_``, ``input_filesystem`` and ``input_filesystem_kwargs`` as RLlib does, and ``expert_steps``,
    ``seed``, ``expert_in_memory`` (``"auto"``, True or False) and ``expert_memory_limit`` (bytes).
    RLlib's constructor is not called: it starts Ray Data and would break URIs.

    Attributes:
        in_memory: Whether :attr:`dataset` holds the data.
        dataset: The data after selecting ``expert_steps``, without what is held out where there is no environment; or
            None where it is streamed.
        metadata: What the dataset says about itself, with ``expert_return`` of the whole dataset.
        num_steps: Joint steps, after selection.

    Raises:
        DatasetError: If the dataset cannot be read or is not valid.
        ConfigError: If a setting is not supported.
    """

    def __init__(self, config: Any) -> None:
        self.config = config
        self.path = config.input_
        _refuse_unsupported(config)
        self.filesystem = getattr(config, "input_filesystem", None)
        self.filesystem_object = _filesystem(self.filesystem, getattr(config, "input_filesystem_kwargs", None) or {})
        # RLlib's Algorithm sets these after the learners are built.
        self.locality_hints: list[str] | None = None
        self.learner_handles: list[Any] | None = None
        self.module_spec: Any = None
        self.spaces: Any = None
        self.is_multi_agent = True

        self.seed: int | None = getattr(config, "seed", None)
        steps: int | None = getattr(config, "expert_steps", None)
        in_memory = getattr(config, "expert_in_memory", "auto")
        limit = getattr(config, "expert_memory_limit", MEMORY_LIMIT)
        with naming_the_node():
            self._files = find_files(self.path, self.filesystem_object)
        history = int(getattr(config, "history", 0))
        size = (1 + history) * size_of_files(self._files)
        self.in_memory = bool(in_memory) if in_memory != "auto" else size <= limit
        if history and not self.in_memory:
            raise ConfigError(
                f"the demonstrations take {size:,} bytes with a history of {history}, more than expert_memory_limit "
                f"{limit:,}, and rows with a history cannot be streamed: raise it, or lower history"
            )
        self.dataset: JointDataset | None = None
        self.metadata: DatasetMetadata
        self._selection: dict[str, int] | None = None
        self._rng = np.random.default_rng(self.seed)
        self._batches: dict[int, Iterator[JointColumns]] = {}
        seed = self.seed or 0
        if self.in_memory:
            with naming_the_node():
                dataset = read_files(self._files)
            columns = dataset.columns
            if history:
                # Actions of the environment, of which demonstrations of inferred spaces need not have all.
                actions = {agent: space for agent, (_, space) in config.agent_spaces().items()}
                seen = {agent: (space, actions[agent]) for agent, (space, _) in data_spaces(dataset.metadata).items()}
                columns = with_history(columns, seen, history)
            if steps is not None:
                self._selection = select_episodes(columns, steps, seed)
                columns = select_steps(columns, steps, seed)
            if share := getattr(config, "held_out_share", 0.0):
                columns, _ = hold_out(columns, share, seed)
            self.metadata = dataset.metadata
            self.num_steps = num_rows(columns)
            self.dataset = JointDataset(columns, dataset.metadata, dataset.files)
        else:
            with naming_the_node():
                structure, self.metadata = read_structure(self._files)
            self.num_steps = num_rows(structure) if steps is None else steps
            if steps is not None:
                self._selection = select_episodes(structure, steps, seed)

    def streams(self, num_shards: int = 1, epochs: int | None = None) -> list[DataIterator]:
        """Iterators over the dataset, one a learner, to be read with ``streaming.iterate_batches``.

        With more than one shard, rows are dealt out equally (the remainder is dropped, so that no learner waits for
        the others), and an iterator that has ended begins anew when all have.

        Args:
            num_shards: Number of learners, >= 1.
            epochs: How often a stream goes through the dataset before it ends, >= 1; None: often enough that beginning
                anew, which takes seconds, costs little.

        Returns:
            ``num_shards`` iterators; they can be sent to other processes.
        """
        data = self._stream(epochs or epochs_of_a_run(sum(file.rows for file in self._files)))
        if num_shards <= 1:
            return [data.iterator()]
        return list(data.streaming_split(num_shards, equal=True, locality_hints=self.locality_hints))

    def sample(
        self, num_samples: int, return_iterator: bool = False, num_shards: int = 1, module_state: Any = None
    ) -> JointColumns | list[DataIterator]:
        """One batch, or the iterators of :meth:`streams`.

        Args:
            num_samples: Rows of the batch.
            return_iterator: Whether to return iterators.
            num_shards: Number of iterators.
            module_state: Unused; RLlib passes it.

        Returns:
            Joint columns, drawn uniformly with replacement in memory and from a shuffled window where streamed; or
            iterators.
        """
        if return_iterator:
            return self.streams(num_shards)
        if self.dataset is not None:
            return take(self.dataset.columns, self._rng.integers(self.num_steps, size=num_samples))
        if num_samples not in self._batches:
            self._batches[num_samples] = iterate_batches(self.streams()[0], num_samples, seed=self.seed)
        return next(self._batches[num_samples])

    def _stream(self, epochs: int) -> Dataset:
        import ray.data

        keep_quiet()
        if self.in_memory:
            read_structure(self._files)  # refuses what can be read in memory only
        stated = stated_metadata(self._files) or self.metadata
        prelearner = self._prelearner_class()(config=self.config, metadata=stated, selection=self._selection)
        batch_size = getattr(self.config, "input_read_batch_size", None) or 1024
        source = JointStepSource(self._files, epochs)
        return ray.data.read_datasource(source, **self._read_kwargs()).map_batches(
            _prepare_block,
            # Tasks, not actors as RLlib's: they hold no CPU between blocks, and validation keeps no state.
            fn_kwargs={"prelearner": prelearner},
            **({"batch_size": batch_size} | (getattr(self.config, "map_batches_kwargs", None) or {})),
            batch_format="pyarrow",
        )

    def _read_kwargs(self) -> dict[str, Any]:
        """What RLlib's setting asks of the read; Ray ignores what it does not know."""
        import ray.data

        given = dict(getattr(self.config, "input_read_method_kwargs", None) or {})
        known = set(inspect.signature(ray.data.read_datasource).parameters) - {"datasource", "parallelism", "read_args"}
        for name in given:
            if name not in known:
                raise ConfigError(
                    f"input_read_method_kwargs has {name!r}, which changes nothing; {nearest(name, known)}"
                )
        return given

    def _prelearner_class(self) -> type[JointOfflinePreLearner]:
        chosen = getattr(self.config, "prelearner_class", None) or JointOfflinePreLearner
        if not issubclass(chosen, JointOfflinePreLearner):
            raise ConfigError(
                f"prelearner_class is {chosen.__name__}, which gives single-agent episodes: "
                "derive it from JointOfflinePreLearner"
            )
        return chosen


def _refuse_unsupported(config: Any) -> None:
    supported: tuple[tuple[str, tuple[Any, ...]], ...] = (
        ("input_read_method", ("read_parquet",)),
        ("input_read_episodes", (False,)),
        ("input_read_sample_batches", (False,)),
        ("input_read_schema", ({}, None)),
    )
    for name, expected in supported:
        value = getattr(config, name, expected[0])
        if value not in expected:
            raise ConfigError(
                f"{name} is {value!r}, demonstrations are read as Parquet joint steps only: leave it at {expected[0]!r}"
            )


def _filesystem(filesystem: Any, kwargs: dict[str, Any]) -> Any:
    """RLlib's names of filesystems, a pyarrow or an fsspec filesystem, or None."""
    if filesystem is None or isinstance(filesystem, pafs.FileSystem) or hasattr(filesystem, "protocol"):
        return filesystem
    try:
        if filesystem == "s3":
            return pafs.S3FileSystem(**kwargs)
        if filesystem == "gcs":
            import gcsfs  # type: ignore[import-not-found]

            return gcsfs.GCSFileSystem(**kwargs)
        if filesystem == "abs":
            import adlfs  # type: ignore[import-not-found]

            return adlfs.AzureBlobFileSystem(**kwargs)
    except ImportError as error:
        raise ConfigError(f"input_filesystem '{filesystem}' needs the package {error.name}: install it") from error
    raise ConfigError(
        f"input_filesystem is {filesystem!r}, expected None, 's3', 'gcs', 'abs', or a pyarrow or fsspec filesystem"
    )
