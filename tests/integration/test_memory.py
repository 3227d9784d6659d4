"""Policies with a history do what no policy without one can, and go through the whole house."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import rllib_mamql
from rllib_mamql.algorithms.registry import read_checkpoint
from rllib_mamql.columns import OBS, column
from rllib_mamql.data.reading import read_dataset
from rllib_mamql.environments.registry import make_env
from rllib_mamql.errors import ConfigError
from rllib_mamql.evaluation.evaluate import evaluate_checkpoint
from rllib_mamql.evaluation.record import record_dataset
from rllib_mamql.export.read import load
from rllib_mamql.export.write import export_checkpoint
from rllib_mamql.learning.demonstrations import demonstrations_for
from rllib_mamql.rewards.clone import clone_of
from rllib_mamql.rewards.exploration import explore
from rllib_mamql.rewards.maps import reward_maps
from rllib_mamql.rewards.recover import recover
from rllib_mamql.rewards.relearn import check_environments
from rllib_mamql.rewards.settings import RecoverySettings, RelearnSettings
from rllib_mamql.rewards.store import write_rewards
from tests.support.cue_env import CUES

CUE, DELAY = "pettingzoo:tests.support.cue_env", 3


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cue") / "data"
    record_dataset(CUE, {}, "tests.support.cue_env:Remembers", 800, 0, out)
    return out


def config_of(algorithm: str, data: Path, **model: Any) -> Any:
    config = getattr(rllib_mamql, f"{algorithm}Config")().environment(CUE).offline_data(input_=str(data))
    config.debugging(seed=1).training(parameter_sharing="all")
    return config.rl_module(model_config={"fcnet_hiddens": [32], "history_dim": 16, **model})


def trained(config: Any, folder: Path) -> Path:
    folder.mkdir()
    algorithm = config.build_algo()
    try:
        algorithm.train()
        algorithm.save_checkpoint(str(folder))
    finally:
        algorithm.stop()
    return folder


@pytest.mark.slow
def test_what_was_shown_once_is_remembered_with_a_history_and_only_then(
    ray_session: None, data: Path, tmp_path: Path
) -> None:
    """``Cue`` says why 1 / CUES is the best expected return without memory; of 800 draws 0.1 is six deviations."""
    returns = {}
    for history in (0, DELAY):
        model = {"history": history} if history else {"history_dim": 64}
        config = config_of("MAMQL", data, **model)
        config.training(mode="offline", offline_updates=300, lr=5e-3)
        checkpoint = trained(config, tmp_path / f"{history}")
        returns[history] = evaluate_checkpoint(checkpoint, episodes=400, rewards=False).return_mean
    assert returns[DELAY] > 0.9
    assert returns[0] < 1 / CUES + 0.1


@pytest.mark.slow
def test_a_history_goes_through_the_whole_house(ray_session: None, data: Path, tmp_path: Path) -> None:
    config = config_of("MAMQL", data, history=2, history_encoder="gru")
    config.training(mode="offline", offline_updates=5)
    checkpoint = trained(config, tmp_path / "checkpoint")
    stored = read_checkpoint(checkpoint)
    agents = list(stored.module_of)
    # The dataset is told as it was recorded, rows are read with their past.
    recorded, rows = read_dataset(str(data)), demonstrations_for(stored, data)
    assert stored.history == 2 and stored.metadata.spaces == recorded.metadata.spaces
    assert rows[column(OBS, agents[0])].shape[1] == (CUES + 1) + 2 * (1 + CUES + 1 + CUES)
    found = recover(stored, explore(stored, 60, 0.5, seed=0), RecoverySettings(updates=2))
    write_rewards(checkpoint, found, RecoverySettings(updates=2))
    assert np.isfinite(evaluate_checkpoint(checkpoint, episodes=3, data=data).return_mean)
    assert clone_of(stored, data, None, 2, seed=0).updates == 2

    # What is recorded of it is what the environment shows.
    metadata = record_dataset(CUE, {}, str(checkpoint), 20, 0, tmp_path / "again")
    assert metadata.spaces == recorded.metadata.spaces
    assert read_dataset(str(tmp_path / "again")).columns[column(OBS, agents[0])].shape == (20, CUES + 1)

    exported = load(export_checkpoint(checkpoint, tmp_path / "exported"))
    policy = exported.policies[agents[0]]
    memory = policy.memory()
    env, seen = make_env(CUE, {}), make_env(CUE, {}, history=2)
    observations, wide = env.reset(seed=0)[0], seen.reset(seed=0)[0]
    for action in range(3):
        row = memory.see(observations[agents[0]][None])
        np.testing.assert_array_equal(row[0], wide[agents[0]])
        ours = stored.modules[stored.module_of[agents[0]]].average(torch.from_numpy(row))
        np.testing.assert_allclose(policy.q(row), ours.numpy(), rtol=1e-4, atol=1e-5)
        assert exported.rewards[agents[0]](row, [[0]]).shape == (1, CUES)
        memory.did([action])
        observations, wide = (each.step(dict.fromkeys(agents, action))[0] for each in (env, seen))
    with pytest.raises(ValueError, match="expected"):
        policy.q(observations[agents[0]][None])
    with pytest.raises(ConfigError, match="maps ask for the reward of single observations"):
        reward_maps(stored)
    with pytest.raises(ConfigError, match="leave sticky_actions out"):
        check_environments(stored, RelearnSettings(sticky_actions=0.2))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "encoder", "settings"),
    [
        ("MABC", "stack", {"clone_updates": 10}),
        ("IQLearnMA", "attention", {"critic": "joint"}),
        ("SQIL", "stack", {}),
        ("MIFQ", "gru", {}),
        ("MAGAIL", "stack", {"train_batch_size_per_learner": 40, "minibatch_size": 20, "num_epochs": 1}),
        ("MAAIRL", "gru", {"train_batch_size_per_learner": 40, "minibatch_size": 20, "num_epochs": 1}),
    ],
)
def test_every_algorithm_has_it(
    algorithm: str, encoder: str, settings: dict[str, Any], ray_session: None, data: Path, tmp_path: Path
) -> None:
    config = config_of(algorithm, data, history=2, history_encoder=encoder)
    config.training(**settings).env_runners(num_envs_per_env_runner=2)
    config.min_sample_timesteps_per_iteration = 40
    stored = read_checkpoint(trained(config, tmp_path / "checkpoint"))
    assert stored.history == 2
    rows = explore(stored, 20, 0.0, seed=0)[column(OBS, "left")]
    found = stored.modules["shared"].logits(torch.from_numpy(rows), explore=False)
    assert found.shape == (len(rows), CUES) and torch.isfinite(found).all()
