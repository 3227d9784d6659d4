"""From a trained checkpoint to rewards in a gauge, their scores, and new agents, through the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from rllib_mamql.algorithms.registry import read_checkpoint
from rllib_mamql.rewards.exploration import explore
from rllib_mamql.rewards.recover import RecoverySettings, recover
from rllib_mamql.rewards.store import write_rewards
from tests.support.command_line import Rllib
from tests.support.toy_data import TOY


def test_recover_reward_and_relearn(
    toy_checkpoint_folder: Path, toy_dataset: Path, tmp_path: Path, rllib_on_ray: Rllib
) -> None:
    folder, data = Path(shutil.copytree(toy_checkpoint_folder, tmp_path / "toy")), toy_dataset

    def rllib(*words: object) -> str:
        done = rllib_on_ray(*words)
        assert done.status == 0, done
        return done.out + done.err

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

    printed = rllib(
        "relearn", folder, "--rounds", 2, "--iterations", 3, "--episodes", 5, *sets, "--out", tmp_path / "rounds",
        "--json", result,
    )  # fmt: skip
    document = json.loads(result.read_text())
    assert "round 1 of 2: rewards fitted to this play too" in printed and "rewards.npz: the rewards that" in printed
    assert document["rounds"] == 2
    assert document["env_steps"] >= 300, "the learner goes on where it was"
    assert (tmp_path / "rounds" / "rewards.npz").is_file()


@pytest.fixture(scope="module")
def recovered(toy_checkpoint_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with rewards and potentials of hardly any training."""
    folder = Path(shutil.copytree(toy_checkpoint_folder, tmp_path_factory.mktemp("toy") / "checkpoint_000000"))
    stored, settings = read_checkpoint(folder), RecoverySettings(updates=2)
    write_rewards(folder, recover(stored, explore(stored, 100, 0.5, seed=0), settings), settings)
    return folder


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
        (["relearn", "{}", "--rounds", "2", "--reward", "implied", "--out", "{out}"], "--reward recovered"),
        (["relearn", "{}", "--rounds", "9", "--iterations", "3", "--out", "{out}"], "rounds is 9"),
        (["relearn", "{}", "--rounds", "2", "--sticky-actions", "0.1", "--out", "{out}"], "sticky_actions 0.1"),
        (["recover", "{out}"], "no folder"),
    ],
)
def test_bad_input_is_named_and_leaves_nothing(
    recovered: Path, tmp_path: Path, rllib: Rllib, words: list[str], said: str
) -> None:
    out = tmp_path / "out"
    done = rllib(*(word.format(recovered, out=out) for word in words))
    assert done.status == 2
    assert said in done.err
    assert not out.exists()
