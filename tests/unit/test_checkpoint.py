"""A checkpoint whose weights are not those that its document promises is refused, never completed at random."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from gymnasium.spaces import Discrete

from rllib_mamql.algorithms.registry import read_checkpoint
from rllib_mamql.errors import ConfigError
from rllib_mamql.learning.checkpoint import DOCUMENT, CheckpointError
from rllib_mamql.play.named import checkpoint_env
from tests.support.command_line import Rllib
from tests.support.toy_data import TOY


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


@pytest.mark.parametrize("command", ["evaluate", "recover"])
@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            {"states": 5},
            r"sees observations \(10,\) float32, its policy was trained on .*\(8,\) float32",
        ),
        ({"form": "float64"}, r"sees observations \(8,\) float64"),
    ],
)
def test_an_environment_that_has_changed_since_is_named(
    command: str, changed: dict[str, Any], words: str, toy_checkpoint_folder: Path, tmp_path: Path, rllib: Rllib
) -> None:
    folder = Path(shutil.copytree(toy_checkpoint_folder, tmp_path / "checkpoint_000000"))
    document = json.loads((folder / DOCUMENT).read_text())
    document["env_config"] |= changed
    (folder / DOCUMENT).write_text(json.dumps(document))
    done = rllib(command, folder, *(["--episodes", 2] if command == "evaluate" else ["--steps", 20]))
    assert done.status == 2 and re.search(rf"error: environment '{TOY}': .*{words}.*train anew", done.err), done.err


def test_agents_and_actions_that_have_changed_are_named(toy_checkpoint_folder: Path) -> None:
    stored = read_checkpoint(toy_checkpoint_folder)
    fewer = dataclasses.replace(stored, module_of={"agent_0": "shared"})
    with pytest.raises(ConfigError, match=r"has agents \['agent_0', 'agent_1'\], the checkpoint's policies are of"):
        checkpoint_env(fewer)
    other_module = SimpleNamespace(
        observation_space=stored.modules["shared"].observation_space, action_space=Discrete(7)
    )
    other = SimpleNamespace(**{name: getattr(stored, name) for name in ("env", "env_config", "history", "module_of")})
    other.modules = {"shared": other_module}
    with pytest.raises(ConfigError, match="'agent_0' has 3 actions, its policy was trained on 7 actions"):
        checkpoint_env(other)
