"""Environments of other packages, by YAML alone."""

from __future__ import annotations

import json
import pathlib

import pytest

from tests.support.command_line import ROOT, Rllib


@pytest.mark.slow
def test_joint_critic_over_agents_with_different_spaces(tmp_path: pathlib.Path, rllib_on_ray: Rllib) -> None:
    out = tmp_path / "out.json"
    options = ["--stop", "training_iteration=1", "--eval-episodes", "2", "--storage-path", str(tmp_path)]
    options += [
        "--set",
        "critic=joint",
        "--set",
        "min_sample_timesteps_per_iteration=160",
        "--set",
        "reward_gauge=none",
        "--json",
        str(out),
    ]
    done = rllib_on_ray("train", "--file", ROOT / "tuned_examples/speaker_listener.yaml", *options)
    assert done.status == 0, done
    (trial,) = json.loads(out.read_text())["trials"]
    assert trial["status"] == "finished" and trial["updates"] > 0
    assert set(trial["per_agent"]) == {"speaker_0", "listener_0"}
    # Both are paid the same: the return is their mean, not their sum.
    assert trial["return_mean"] == pytest.approx(trial["per_agent"]["listener_0"]["mean"])
