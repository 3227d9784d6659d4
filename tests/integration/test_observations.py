"""Observations in any number format go all the way: recorded, learned from, evaluated, explained, exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rllib_mamql import MAMQLConfig, register_environment
from rllib_mamql.algorithms.registry import read_checkpoint
from rllib_mamql.columns import OBS, column
from rllib_mamql.data.reading import read_dataset
from rllib_mamql.errors import EnvironmentFault
from rllib_mamql.evaluation.evaluate import evaluate_checkpoint
from rllib_mamql.evaluation.record import record_dataset
from rllib_mamql.export.read import load
from rllib_mamql.export.write import export_checkpoint
from rllib_mamql.learning.metrics import ENVIRONMENT_FAULT
from rllib_mamql.rewards.exploration import explore
from rllib_mamql.rewards.recover import RecoverySettings, recover
from rllib_mamql.startup import COMMAND_LINE
from tests.support.toy_data import TOY

PICTURE = {"conv_filters": [[4, 3, 2], [8, 3, 2]]}


AWKWARD = "pettingzoo:tests.support.awkward_env"


def small(env: str, env_config: dict[str, Any], data: Path) -> MAMQLConfig:
    """A config of which an iteration takes 40 steps."""
    config = MAMQLConfig().environment(env, env_config=env_config).offline_data(input_=str(data)).debugging(seed=1)
    config.training(expert_batch_size=16, rollout_batch_size=16)
    config.env_runners(num_envs_per_env_runner=2, rollout_fragment_length=10)
    config.reporting(min_sample_timesteps_per_iteration=40)
    return config


def trained(form: str, folder: Path) -> tuple[Any, Path]:
    """What was recorded, and the checkpoint of a short training on it."""
    env_config, data = {"form": form}, folder / "data"
    record_dataset(TOY, env_config, "random", 100, 0, data)
    config = MAMQLConfig().environment(TOY, env_config=env_config).offline_data(input_=str(data)).debugging(seed=1)
    config.training(expert_batch_size=16, rollout_batch_size=16)
    config.reporting(min_sample_timesteps_per_iteration=40)
    config.rl_module(model_config=PICTURE if form == "picture" else {"fcnet_hiddens": [16]})
    algorithm = config.build_algo()
    try:
        assert np.isfinite(algorithm.train()["learners"]["agent_0"]["agent_0"]["critic_loss"])
        algorithm.save_checkpoint(str(folder / "checkpoint"))
    finally:
        algorithm.stop()
    return read_dataset(str(data)), folder / "checkpoint"


@pytest.mark.parametrize(
    "form",
    ["float64", *(pytest.param(form, marks=pytest.mark.slow) for form in ("float16", "int64", "uint8", "picture"))],
)
def test_observations_of_any_format_go_all_the_way(form: str, ray_session: None, tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    dataset, checkpoint = trained(form, tmp_path)
    seen = dataset.columns[column(OBS, "agent_0")]
    assert seen.dtype == ("uint8" if form == "picture" else form)
    assert np.isfinite(evaluate_checkpoint(checkpoint, episodes=3).return_mean)
    stored = read_checkpoint(checkpoint)
    found = recover(stored, explore(stored, 60, 0.5, seed=0), RecoverySettings(updates=2))
    assert set(found.rewards) == {"agent_0", "agent_1"}
    exported = load(export_checkpoint(checkpoint, tmp_path / "exported"))
    ours = stored.modules["agent_0"].logits(torch.as_tensor(seen[:5]), explore=False).softmax(-1)
    theirs = exported.policies["agent_0"].probabilities(seen[:5])
    np.testing.assert_allclose(theirs, ours.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("observations", "actions", "habit"), [("nested", "several", "late"), ("image", "from_one", "leaves")]
)
def test_an_awkward_environment_goes_all_the_way(
    observations: str, actions: str, habit: str, ray_session: None, tmp_path: Path
) -> None:
    env_config, data = {"observations": observations, "actions": actions, "habit": habit}, tmp_path / "data"
    record_dataset(AWKWARD, env_config, "random", 60, 0, data)
    algorithm = small(AWKWARD, env_config, data).build_algo()
    try:
        assert np.isfinite(algorithm.train()["learners"]["bot1"]["bot1"]["critic_loss"])
        (tmp_path / "checkpoint").mkdir()
        algorithm.save_checkpoint(str(tmp_path / "checkpoint"))
    finally:
        algorithm.stop()
    assert np.isfinite(evaluate_checkpoint(tmp_path / "checkpoint", episodes=3).return_mean)
    exported = load(export_checkpoint(tmp_path / "checkpoint", tmp_path / "exported"))
    seen = read_dataset(str(data)).columns[column(OBS, "bot0")]
    np.testing.assert_allclose(exported.policies["bot0"].probabilities(seen[:5]).sum(-1), 1.0)


@pytest.mark.slow
def test_a_fault_while_training_says_agent_step_and_value_and_spares_the_networks(
    ray_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register_environment("failing", "tests.support.awkward_env", ignored_in_data=["habit", "steps", "at"])
    record_dataset("failing", {}, "random", 60, 0, tmp_path / "data")
    # Sound for an iteration of 40 steps, of episodes in two environments; then not.
    algorithm = small("failing", {"habit": "nan", "steps": 200, "at": 30}, tmp_path / "data").build_algo()
    try:
        algorithm.train()
        with pytest.raises(EnvironmentFault, match=r"step 30 of episode .*agent 'bot0' holds nan at index 1"):
            algorithm.train()
        monkeypatch.setenv(COMMAND_LINE, "1")
        result = algorithm.step()
        assert result["done"] and "holds nan" in result[ENVIRONMENT_FAULT]
        weights = algorithm.learner_group.get_weights()
        assert all(np.isfinite(value).all() for module in weights.values() for value in module.values())
    finally:
        algorithm.stop()


def flat_encoder(flat: Any) -> Any:
    """An encoder without weights."""
    flat.out_features = 12 * 12 * 3
    return flat


def test_a_picture_in_bytes_is_brought_into_the_unit_interval() -> None:
    import gymnasium as gym

    from rllib_mamql.networks.encoders import CastEncoder, build_encoder

    space, actions = gym.spaces.Box(0, 255, (12, 12, 3), np.uint8), gym.spaces.Discrete(3)
    built = build_encoder(space, actions, PICTURE)
    assert isinstance(built, CastEncoder)
    pictures = torch.randint(0, 256, (4, 12, 12, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(built(pictures), built.encoder(pictures.float() / 255.0))
    flat = torch.nn.Flatten()
    torch.testing.assert_close(CastEncoder(flat_encoder(flat), 1.0)(pictures), pictures.float().flatten(1))
    assert not isinstance(build_encoder(gym.spaces.Box(0, 1, (4,), np.float32), actions, {}), CastEncoder)
