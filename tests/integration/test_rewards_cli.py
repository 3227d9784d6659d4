"""From a trained checkpoint to rewards in a gauge, their scores, and new agents, through the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rllib_mamql.cli.main import main
from tests.support.toy_checkpoint import toy_checkpoint
from tests.support.toy_data import TOY, write_toy_dataset

ROOT = Path(__file__).parents[2]


def rllib(*words: object) -> str:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'envs'}"}
    done = subprocess.run(
        [sys.executable, "-m", "rllib_mamql", *map(str, words)], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("toy") / "checkpoint_000000"
    toy_checkpoint(path)
    return path


def test_recover_reward_and_relearn(folder: Path, tmp_path: Path) -> None:
    data = write_toy_dataset(tmp_path / "data")
    assert "rewards.npz" in rllib("recover", folder, "--updates", 20, "--steps", 200, "--gauge", "state_only")
    out, plot = tmp_path / "out.json", tmp_path / "out.png"
    options = ["--data", data, "--clone-updates", 20, "--steps", 60, "--resamples", 20]
    printed = rllib("reward", folder, *options, "--json", out, "--plot", plot)
    assert "gauge state_only" in printed and "reward 1 is paid" in printed
    document: dict[str, Any] = json.loads(out.read_text())
    assert document["recovery"]["settings"]["gauge"] == "state_only" and document["clone_updates"] == 20
    scores = document["states"]["exploring"]["agent_1"]
    assert set(scores) == {"recovered", "implied", "cloning", "constant", "zero"}
    assert set(scores["recovered"]) >= {"mse_affine", "pearson", "spearman", "epic", "ranking_accuracy", "pearson_ci95"}
    assert scores["zero"]["pearson"] is None
    assert set(document["mean_where_paid"]["policy"]["agent_0"]) == {"reward 0", "reward 1"}
    assert plot.stat().st_size > 10_000

    sets = ["--set", "train_batch_size_per_learner=100", "--set", "minibatch_size=50", "--set", "num_epochs=1"]
    result = tmp_path / "relearn.json"
    rllib(
        "relearn", folder, "--reward", "cloning", "--data", data, "--clone-updates", 30, "--sticky-actions", 0.1,
        "--iterations", 2, "--episodes", 5, *sets, "--out", tmp_path / "new", "--json", result,
    )  # fmt: skip
    document = json.loads(result.read_text())
    assert document["reward"] == "cloning" and document["clone_updates"] == 30 and document["env"] == TOY
    # The dynamics are not those of the demonstrations: a normalised score would compare what cannot be compared.
    assert document["normalised_score"] is None and document["env_steps"] >= 200
    assert (tmp_path / "new" / "checkpoint" / "rllib_checkpoint.json").is_file()

    rllib(
        "relearn", folder, "--shaped", "--env-config", "steps=7", "--judged-in", "steps=10", "--reference", data,
        "--iterations", 1, "--episodes", 5, *sets, "--out", tmp_path / "shaped", "--json", result,
    )  # fmt: skip
    document = json.loads(result.read_text())
    assert document["shaped"] and document["env_config"]["steps"] == 7 and document["judged_in"]["steps"] == 10


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["reward", "{}", "--plot", "nowhere/x.png"], "--plot"),
        (["reward", "{}", "--plot", "x.pgn"], ".png"),
        (["relearn", "{}", "--algo", "PP0", "--out", "{out}"], "PPO"),
        (["relearn", "{}", "--algo", "MAMQL", "--out", "{out}"], "learns from demonstrations"),
        (["relearn", "{}", "--set", "lrr=1", "--out", "{out}"], "'--set.lrr'"),
        (["relearn", "{}", "--reward", "cloning", "--out", "{out}"], "--data"),
        (["relearn", "{}", "--out", "{}"], "not an empty folder"),
        (["relearn", "{}", "--env-config", "stepps=3", "--out", "{out}"], "stepps"),
        (["relearn", "{}", "--judged-in", "stepps=3", "--out", "{out}"], "stepps"),
        (["relearn", "{}", "--shaped", "--reward", "implied", "--out", "{out}"], "potential"),
        (["relearn", "{}", "--reference", "nowhere", "--out", "{out}"], "nowhere"),
        (["recover", "{out}"], "no folder"),
    ],
)
def test_bad_input_is_named_and_leaves_nothing(
    folder: Path, tmp_path: Path, words: list[str], said: str, monkeypatch: Any, capsys: Any
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["rllib", *(word.format(folder, out=out) for word in words)])
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as stopped:
            main()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err
    assert not out.exists()
