"""Demonstrations of one's own, without rewards: inspected, trained on, evaluated, and rewards recovered from them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rllib_mamql import AgentEpisode, DemonstrationWriter, write_demonstrations
from rllib_mamql.data.reading import read_dataset
from rllib_mamql.errors import DatasetError
from tests.support.command_line import Rllib
from tests.support.joint_data import assert_equal
from tests.support.toy_data import TOY
from tests.toy_env import ToyEnv

MAMQL = f"""
toy:
  run: MAMQL
  env: {TOY}
  stop: {{training_iteration: 1}}
  config:
    input_: data
    num_envs_per_env_runner: 2
    rollout_fragment_length: 10
    min_sample_timesteps_per_iteration: 50
    model_config: {{fcnet_hiddens: [16]}}
"""


def record(folder: Path, steps: int = 60) -> None:
    """What agents that go to the right see and do, and nothing of what they are paid."""
    env = ToyEnv()
    with DemonstrationWriter(env, folder) as writer:
        while writer.steps < steps:
            writer.reset(env.reset()[0])
            while env.agents:
                actions = {agent: 2 for agent in env.agents}
                observations, _, terminateds, truncateds, _ = env.step(actions)
                writer.step(actions, observations, None, terminateds, truncateds)


def test_inspect_says_that_there_are_no_rewards(tmp_path: Path, rllib: Rllib) -> None:
    record(tmp_path / "data")
    done = rllib("inspect", tmp_path / "data", "--json", tmp_path / "found.json")
    assert done.status == 0 and "no rewards recorded" in done.out and "10 to 10, mean 10.0" in done.out
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["return_mean"] is None and found["return_per_agent"] is None and found["problems"] == []


def test_inspect_says_who_enters_late_and_what_is_outside_its_space(tmp_path: Path, rllib: Rllib) -> None:
    env, walk = ToyEnv(), np.zeros((5, 8), np.float32)
    episode = {
        "agent_0": AgentEpisode(walk, [0] * 4),
        "agent_1": AgentEpisode(walk[:2] * 0, [1], terminated=True, start=2),
    }
    write_demonstrations(tmp_path / "data", [episode], env)
    out = " ".join(rllib("inspect", tmp_path / "data").out.split())
    assert "enters late in 1 of 1 episodes, leaves early in 1 of 1 episodes" in out
    walk[2:4, 0] = 3.0
    with pytest.raises(DatasetError, match=r"t=2: 'obs.agent_0' holds 3\.0 at index 0, outside its space's"):
        write_demonstrations(tmp_path / "wrong", [episode], env)


@pytest.mark.slow
def test_from_demonstrations_without_rewards_to_policies_and_rewards(
    tmp_path: Path, rllib_on_ray: Rllib, monkeypatch: pytest.MonkeyPatch
) -> None:
    rllib = rllib_on_ray
    record(tmp_path / "data")
    (tmp_path / "toy.yaml").write_text(MAMQL)
    monkeypatch.chdir(tmp_path)
    done = rllib("train", "--file", "toy.yaml", "--eval-episodes", 2, "--json", "trained.json")
    assert done.status == 0, done.out + done.err
    assert "no normalised score, for lack of the expert's return (the demonstrations have no rewards" in done.out
    (trial,) = json.loads((tmp_path / "trained.json").read_text())["trials"]
    assert trial["expert_return"] is None and trial["normalised_score"] is None and trial["return_mean"] is not None
    done = rllib("evaluate", "results/toy", "--episodes", 2)
    assert done.status == 0 and "no normalised score" in done.out, done.out + done.err
    done = rllib("recover", "results/toy", "--data", "data", "--updates", 20)
    assert done.status == 0, done.out + done.err
    done = rllib("reward", "results/toy", "--data", "data", "--steps", 40, "--clone-updates", 5)
    assert done.status == 0, done.out + done.err


@pytest.mark.slow
def test_rows_without_rewards_stream(tmp_path: Path, ray_session: None) -> None:
    from rllib_mamql.learning.offline_input import JointOfflineData
    from rllib_mamql.learning.streaming import iterate_batches
    from tests.integration.test_offline_data import config, one_epoch, ordered

    record(tmp_path / "data")

    data = JointOfflineData(config(tmp_path / "data", expert_in_memory=False))
    assert data.metadata.expert_return is None
    streamed = one_epoch(iterate_batches(data.streams(epochs=1)[0], 20), 60, 20)
    assert_equal(ordered(streamed), ordered(read_dataset(str(tmp_path / "data")).columns))


def test_what_is_converted_is_checked_against_the_environment(tmp_path: Path, rllib: Rllib) -> None:
    walk = np.eye(8, dtype=np.float32)[:4]
    arrays = {f"obs.agent_{i}": walk for i in range(2)} | {
        f"actions.agent_{i}": np.array([0, 1, 2, i]) for i in range(2)
    }
    np.savez(tmp_path / "play.npz", **arrays)
    words = ("convert", tmp_path / "play.npz", "--env", TOY, "--env-config", "steps=7", "--random-episodes", 2)
    done = rllib(*words, "--out", tmp_path / "data")
    assert done.status == 0 and "3 joint steps, 1 episodes, no rewards" in done.out, done.err
    assert "an agent's last step is left out (2 times)" in done.err
    metadata = read_dataset(str(tmp_path / "data")).metadata
    assert metadata.env == TOY and metadata.env_config is not None and metadata.env_config["steps"] == 7
    assert metadata.random_return is not None and metadata.random_return.episodes == 2
    assert not metadata.spaces_inferred and int(metadata.spaces["agent_0"].action.n) == 3
    done = rllib(*words, "--out", tmp_path / "other", "--agent", "anna=agent_0")
    assert done.status == 2 and "agent 'anna' is not among" in done.err and not (tmp_path / "other").exists()
