"""Every tuned example and every README snippet runs, on a tiny budget."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest
import yaml

from tests.support.command_line import ROOT, Rllib, run

EXAMPLES = sorted(path.relative_to(ROOT) for path in (ROOT / "tuned_examples").rglob("*.yaml"))


def test_list_is_of_whole_sentences(rllib: Rllib) -> None:
    lines = [line.split("\t") for line in rllib("example", "list").out.splitlines()]
    assert [name for name, _ in lines] == [str(path.relative_to("tuned_examples").with_suffix("")) for path in EXAMPLES]
    assert all(sentence.endswith(".") for _, sentence in lines)


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_tuned_example(example: pathlib.Path, tmp_path: pathlib.Path) -> None:
    experiment = next(iter(yaml.safe_load((ROOT / example).read_text()).values()))
    config, ours = experiment["config"], experiment["run"] == "MAMQL"
    out = tmp_path / "out.json"
    options = ["--stop", "training_iteration=1", "--eval-episodes", "2", "--storage-path", str(tmp_path)]
    settings = {"min_sample_timesteps_per_iteration": 160, "offline_updates": 10}
    if not ours:
        settings = {"train_batch_size_per_learner": 200, "minibatch_size": 100}
    # One point of a search is enough here.
    settings |= {
        key: value["grid_search"][0]
        for key, value in config.items()
        if isinstance(value, dict) and "grid_search" in value
    }
    for key, value in settings.items():
        options += ["--set", f"{key}={value}"]
    done = run("train", "--file", str(example), "--json", str(out), *options)
    assert done.returncode == 0, done.stdout + done.stderr
    trials = json.loads(out.read_text())["trials"]
    assert [trial["status"] for trial in trials] == ["finished"]
    assert trials[0]["updates"] > 0 or not ours


def test_readme_dataset_snippet_is_a_sound_dataset(tmp_path: pathlib.Path, rllib: Rllib) -> None:
    snippets = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    (snippet,) = [text for text in snippets if "pq.write_table" in text]
    subprocess.run([sys.executable, "-c", snippet], check=True, cwd=tmp_path)
    done = rllib("inspect", tmp_path / "my_data.parquet")
    assert done.status == 0, done


def test_readme_python_snippet_trains() -> None:
    snippets = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    (snippet,) = [text for text in snippets if "build_algo" in text]
    done = subprocess.run(
        [sys.executable, "-c", snippet], cwd=ROOT, capture_output=True, text=True, timeout=200,
        env={**os.environ, "RAY_ADDRESS": "local"},
    )  # fmt: skip
    assert done.returncode == 0 and float(done.stdout.split()[-1]) >= 2000, done.stdout + done.stderr
