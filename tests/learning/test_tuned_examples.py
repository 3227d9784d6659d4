"""The tuned examples reach their scores: each through the command line, as a user runs it, one seed here.

The headers of the files state what several seeds reach; ``tests/benchmarks/scores.py`` measures those.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]


def train(example: str, tmp_path: pathlib.Path, *options: str) -> dict[str, object]:
    out = tmp_path / "result.json"
    command = [
        sys.executable, "-m", "rllib_mamql", "train", "--file", f"tuned_examples/{example}.yaml",
        "--storage-path", str(tmp_path / "results"), "--json", str(out), "--seed", "0", *options,
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    (trial,) = json.loads(out.read_text())["trials"]
    return trial


@pytest.mark.learning
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("example", "score"),
    [
        ("overcooked", 0.85),
        ("overcooked_asymmetric_advantages", 0.85),
        ("overcooked_offline", 0.5),
    ],
)
def test_overcooked_reaches_its_score(example: str, score: float, tmp_path: pathlib.Path) -> None:
    trial = train(example, tmp_path)
    assert trial["normalised_score"] >= score, trial
    assert trial["train_time_s"] <= 360, trial
    if "offline" in example:
        assert trial["env_steps"] == 0


@pytest.mark.learning
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("example", "least"), [("gems", 11.5), ("intersection", 1.8)])
def test_entities_reach_their_returns(example: str, least: float, tmp_path: pathlib.Path) -> None:
    trial = train(example, tmp_path, "--eval-episodes", "200")
    assert trial["return_mean"] >= least, trial
    assert not [text for text in trial["warnings"] if "collapsed" in text or "diverges" in text], trial
