"""Learning from demonstrations alone: an experiment without `env`, from its file to what can be done with it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from rllib_mamql.algorithms.registry import read_checkpoint
from rllib_mamql.data.reading import read_dataset
from rllib_mamql.data.selection import hold_out
from rllib_mamql.evaluation.likelihood import held_out_likelihood, likelihood_of
from rllib_mamql.export.read import load
from tests.support.command_line import Rllib

EXPERIMENT = """
alone:
  run: MAMQL
  stop: {training_iteration: 2}
  config:
    mode: offline
    input_: DATA
    offline_updates: 20
    model_config: {fcnet_hiddens: [16]}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "alone.yaml"
    path.write_text(text)
    return path


@pytest.mark.slow
def test_trains_recovers_exports_and_resumes(
    long_toy_dataset: Path, tmp_path: Path, rllib_on_ray: Rllib, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def rllib(*words: object) -> str:
        done = rllib_on_ray(*words)
        assert done.status == 0, done
        return done.out + done.err

    file, out = written(tmp_path, EXPERIMENT.replace("DATA", str(long_toy_dataset))), tmp_path / "out.json"
    printed = rllib("train", "--file", file, "--json", out)
    assert "held-out nats a step" in printed
    (trial,) = json.loads(out.read_text())["trials"]
    assert trial["return_mean"] is None and trial["env_steps"] == 0 and trial["updates"] == 40
    likelihood = trial["held_out_likelihood"]
    assert likelihood["mean"] < 0 and set(likelihood["per_agent"]) == {"agent_0", "agent_1"}

    run = tmp_path / "results" / "alone"
    rllib("train", "--file", file, "--resume", "--stop", "training_iteration=3", "--json", out)
    (trial,) = json.loads(out.read_text())["trials"]
    assert trial["iterations"] == 3 and trial["updates"] == 60

    # What was held out is what training never drew from.
    stored = read_checkpoint(trial["checkpoint"])
    columns = read_dataset(str(long_toy_dataset)).columns
    _, held = hold_out(columns, 0.1, 0)
    assert held_out_likelihood(stored) == likelihood_of(stored, held)
    assert stored.settings["held_out"] == {"share": 0.1, "steps": None, "seed": 0}

    rllib("evaluate", run, "--json", out)
    found = json.loads(out.read_text())["held_out_likelihood"]
    assert found["mean"] == pytest.approx(trial["held_out_likelihood"]["mean"])
    rllib("evaluate", run, "--data", long_toy_dataset, "--json", out)
    assert json.loads(out.read_text())["held_out_likelihood"]["steps"] == len(columns["t"])
    assert "rewards.npz" in rllib("recover", run, "--updates", 5, "--regression", 0)
    rllib("export", run, "--out", tmp_path / "policies")
    assert np.isfinite(load(tmp_path / "policies").policies["agent_0"].probabilities(held["obs.agent_0"])).all()
    for words in (
        ["reward", run],
        ["map", run, "--plot", "m.png"],
        ["relearn", run, "--out", "new"],
        ["evaluate", run, "--video", "x.gif"],
    ):
        done = rllib_on_ray(*words)
        assert done.status == 2 and "this needs an environment" in done.err and len(done.err.splitlines()) <= 2, done


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("mode: offline", "mode: online"), "key 'env' is missing"),
        (("mode: offline", "mode: {grid_search: [offline, online]}"), "key 'env' is missing"),
        (("run: MAMQL", "run: PPO"), "key 'env' is missing"),
        (
            ("mode: off", "env_config: {size: 3}\n    mode: off"),
            "env_config is {'size': 3}, but there is no environment",
        ),
        (
            ("mode: off", "evaluation_interval: 2\n    mode: off"),
            "evaluation_interval is 2, but there is no environment",
        ),
        (("mode: off", "num_env_runners: 1\n    mode: off"), "num_env_runners is 1, but there is no environment"),
    ],
)
def test_what_an_environment_is_missing_for_is_named(
    toy_dataset: Path, tmp_path: Path, rllib: Rllib, change: tuple[str, str], said: str
) -> None:
    text = EXPERIMENT.replace("DATA", str(toy_dataset)).replace(*change)
    if "PPO" in text:
        text = text.replace("mode: offline", "lr: 0.1").replace("offline_updates: 20", "gamma: 0.9")
    done = rllib("train", "--file", written(tmp_path, text))
    assert done.status == 2 and said in done.err, done


def test_the_likelihood_is_of_the_actions_of_those_who_act(toy_checkpoint_folder: Path, toy_dataset: Path) -> None:
    stored, columns = read_checkpoint(toy_checkpoint_folder), read_dataset(str(toy_dataset)).columns
    # Agent 1 acts in the first ten steps only; what it is said to have done later must not count.
    columns["alive.agent_1"] = np.arange(len(columns["t"])) < 10
    found = likelihood_of(stored, columns)
    nats, uniform = [], []
    for agent, count in (("agent_0", len(columns["t"])), ("agent_1", 10)):
        module = stored.modules[stored.module_of[agent]]
        q = module.average(torch.as_tensor(columns[f"obs.{agent}"][:count])).detach().numpy().astype(np.float64)
        exponent = module.evaluation_rationality * q
        log_policy = exponent - np.log(np.exp(exponent).sum(1, keepdims=True))
        nats.append(log_policy[np.arange(count), columns[f"actions.{agent}"][:count]])
        uniform += [-np.log(q.shape[1])] * count
        assert found.per_agent[agent] == pytest.approx(nats[-1].mean(), abs=1e-5)
    assert found.mean == pytest.approx(np.concatenate(nats).mean(), abs=1e-5)
    assert found.uniform == pytest.approx(np.mean(uniform)) and found.steps == len(columns["t"])
