"""A checkpoint whose weights are not those that its document promises is refused, never completed at random."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rllib_mamql.algorithms.registry import read_checkpoint
from rllib_mamql.learning.checkpoint import CheckpointError
from tests.support.command_line import Rllib


@pytest.mark.parametrize("fault", ["none", "one missing", "one too many", "another shape"])
def test_weights_that_do_not_fit_are_refused(fault: str, toy_checkpoint_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(toy_checkpoint_folder, tmp_path / "checkpoint_000000"))
    with np.load(folder / "networks.npz") as stored:
        arrays: dict[str, Any] = {name: stored[name] for name in stored.files}
    last = sorted(arrays)[-1]
    if fault == "none":
        arrays = {}
    elif fault == "one missing":
        del arrays[last]
    elif fault == "one too many":
        arrays["shared/one_more"] = np.zeros(3)
    else:
        arrays[last] = np.zeros((7, 7), np.float32)
    np.savez(folder / "networks.npz", **arrays)
    with pytest.raises(CheckpointError, match=r"networks\.npz does not fit its mamql\.json: module 'shared' wants"):
        read_checkpoint(folder)


def test_a_checkpoint_without_weights_does_not_act(toy_checkpoint_folder: Path, tmp_path: Path, rllib: Rllib) -> None:
    folder = Path(shutil.copytree(toy_checkpoint_folder, tmp_path / "checkpoint_000000"))
    np.savez(folder / "networks.npz")
    done = rllib("evaluate", folder, "--episodes", 2)
    assert done.status == 2 and done.err.startswith("error: ") and len(done.err.splitlines()) == 1
