"""The demonstrations that a checkpoint learned from, found again or named anew."""

from __future__ import annotations

import pathlib
from typing import Any

from rllib_mamql.columns import JointColumns
from rllib_mamql.data.history_rows import with_history
from rllib_mamql.data.reading import JointDataset, read_dataset
from rllib_mamql.environments.spaces import data_spaces
from rllib_mamql.errors import ConfigError, UserError
from rllib_mamql.learning.checkpoint import Checkpoint

LARGEST_BYTES = 512 * 1024**2
"""Demonstrations of training are looked at again up to this size."""


def find_demonstrations(stored: Checkpoint, data: str | pathlib.Path | None = None) -> JointColumns | None:
    """The demonstrations that a checkpoint learned from.

    Args:
        stored: The checkpoint.
        data: Where they are; None looks where they were in training.

    Returns:
        Their joint steps, with the history that the checkpoint's policies see; None if ``data`` is None and they are
        not on this machine any more, or have changed.

    Raises:
        DatasetError: If ``data`` is no dataset.
        ConfigError: If ``data`` is of other agents or observations.
    """
    if data is not None:
        return demonstrations_for(stored, data)
    paths = stored.settings.get("input") or []
    if not paths or not all(pathlib.Path(path).exists() for path in paths):
        return None
    files = [file for path in paths for file in (pathlib.Path(path), *pathlib.Path(path).glob("**/*.parquet"))]
    if sum(file.stat().st_size for file in files if file.is_file()) > LARGEST_BYTES:
        return None
    try:
        found = read_dataset(paths)
    except UserError:
        return None
    return _as_seen(stored, found) if _fits(stored, found.metadata) else None


def demonstrations_for(stored: Checkpoint, data: str | pathlib.Path) -> JointColumns:
    """The joint steps of a dataset of a checkpoint's agents and observations, with the history that its policies see.

    Raises:
        DatasetError: If ``data`` is no dataset.
        ConfigError: If it is of other agents or observations.
    """
    found = read_dataset(str(data))
    if not _fits(stored, found.metadata):
        raise ConfigError(
            f"--data {data} is of other agents or observations than the checkpoint: "
            "name a dataset of the same environment and configuration"
        )
    return _as_seen(stored, found)


def _as_seen(stored: Checkpoint, found: JointDataset) -> JointColumns:
    seen = {
        agent: (space, stored.modules[stored.module_of[agent]].action_space)
        for agent, (space, _) in data_spaces(found.metadata).items()
        if agent in stored.module_of
    }
    return with_history(found.columns, seen, stored.history)


def _fits(stored: Checkpoint, metadata: Any) -> bool:
    trained = stored.metadata
    return list(metadata.agents) == list(trained.agents) and all(
        metadata.spaces[agent].observation.shape == trained.spaces[agent].observation.shape
        and metadata.spaces[agent].masked == trained.spaces[agent].masked
        for agent in trained.agents
    )
