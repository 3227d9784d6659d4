"""Every shipped dataset is sound, and remade byte for byte by the command in its provenance.

The play of a trained expert is remade from its actions alone: its policy is not shipped, or takes minutes to act.
"""

from __future__ import annotations

import hashlib
import itertools
import pathlib
import shlex
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from rllib_mamql.columns import ACTIONS, TRUNCATEDS, Array, column, num_rows, take
from rllib_mamql.data.reading import JointDataset, read_dataset
from rllib_mamql.data.validation import episode_order
from rllib_mamql.environments.registry import make_batch, make_env
from rllib_mamql.evaluation.evaluate import random_returns
from rllib_mamql.play.batched import BatchedRollout
from rllib_mamql.play.rollout import ColumnarRollout
from tests.benchmarks.soft_cooks import KITCHENS
from tests.support.command_line import ROOT, Rllib

FOLDERS = sorted({path.parent.relative_to(ROOT) for path in (ROOT / "offline_data").rglob("*.parquet")})
TRAINED = [folder for folder in FOLDERS if folder.parts[1] in ("mpe", "sisl") or folder.name == "soft_optimal"]
PLANNED = [folder for folder in FOLDERS if folder.name in ("soft_pair", "soft_starts")]
LONG = {"intersection", "entities", "soft_optimal", "pursuit", "simple_spread"}
"""Domains and datasets that take long to make again."""
SCRIPTED = [
    pytest.param(folder, marks=[pytest.mark.slow] if LONG & {folder.parts[1], folder.name} else [], id=str(folder))
    for folder in FOLDERS
    if folder not in TRAINED + PLANNED
]


def digests(folder: pathlib.Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.parquet"))}


@pytest.mark.parametrize("folder", SCRIPTED)
def test_remade_by_its_command(
    folder: pathlib.Path, tmp_path: pathlib.Path, rllib: Rllib, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = read_dataset(str(ROOT / folder)).metadata
    assert metadata.licence and metadata.expert_return and metadata.random_return
    command = metadata.command
    assert command is not None and command.endswith("--out DIR")
    words = shlex.split(command)
    assert words[:2] == ["rllib", "record"]
    words = [str(tmp_path / "again") if word == "DIR" else word for word in words[1:]]
    monkeypatch.chdir(ROOT)  # A checkpoint that plays is named from there.
    assert rllib(*words).status == 0
    assert digests(tmp_path / "again") == digests(ROOT / folder)


def played(folder: pathlib.Path) -> tuple[JointDataset, str, dict[str, Any], int]:
    """The dataset, and the environment, its configuration and the seed that its actions were played in."""
    dataset = read_dataset(str(ROOT / folder))
    metadata = dataset.metadata
    assert metadata.licence and metadata.expert_return and metadata.random_return
    assert metadata.env and metadata.env_config is not None and metadata.seed is not None
    return dataset, metadata.env, metadata.env_config, metadata.seed


@pytest.mark.parametrize(
    "folder",
    [pytest.param(folder, marks=[pytest.mark.slow] if folder.name in LONG else []) for folder in TRAINED],
    ids=str,
)
def test_remade_by_its_actions(folder: pathlib.Path) -> None:
    dataset, env, config, seed = played(folder)
    metadata, columns = dataset.metadata, dataset.columns
    assert metadata.expert_return and metadata.random_return
    assert metadata.command and "--expert scripted" not in metadata.command
    rollout = ColumnarRollout(lambda: make_env(env, config), 1, seed)
    rows = num_rows(columns)
    steps = itertools.count()

    def act(observations: Mapping[str, Array], alive: Mapping[str, Array]) -> dict[str, Array]:
        row = min(next(steps), rows - 1)  # The last episode may have been cut.
        return {agent: columns[column(ACTIONS, agent)][row : row + 1] for agent in metadata.agents}

    # The recorder starts every environment anew for each episode.
    parts = [rollout.run(act, num_episodes=1)[0] for _ in range(metadata.expert_return.episodes)]
    rollout.close()
    for name in parts[0]:
        again = np.concatenate([part[name] for part in parts])[:rows]
        compared = slice(-1) if name.startswith(TRUNCATEDS) else slice(None)
        np.testing.assert_array_equal(again[compared], columns[name][compared], err_msg=name)
    random = random_returns(env, config, episodes=metadata.random_return.episodes, seed=seed)
    assert (random.mean, random.ci95) == (metadata.random_return.mean, metadata.random_return.ci95)


@pytest.mark.parametrize("folder", PLANNED, ids=str)
def test_remade_by_its_actions_in_a_batch(folder: pathlib.Path) -> None:
    """The plan is that of floating-point sweeps, which processors round differently; kitchens are exact."""
    dataset, env, config, seed = played(folder)
    columns, rows, horizon = dataset.columns, num_rows(dataset.columns), int(config["horizon"])
    rollout = BatchedRollout(lambda: make_env(env, config), make_batch(env, config, KITCHENS), seed)
    steps = itertools.count()

    def act(observations: Mapping[str, Array], alive: Mapping[str, Array]) -> dict[str, Array]:
        played, now = divmod(next(steps), horizon)
        where = (played * KITCHENS + np.arange(KITCHENS)) * horizon + now
        return {
            agent: columns[column(ACTIONS, agent)][np.minimum(where, rows - 1)] for agent in dataset.metadata.agents
        }

    again, _ = rollout.run(act, num_episodes=rows // horizon)
    rollout.close()
    again = take(again, episode_order(again)[0][:rows])
    for name in again:
        np.testing.assert_array_equal(again[name], columns[name], err_msg=name)
