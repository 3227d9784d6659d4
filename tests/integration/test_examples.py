"""Every tuned example that no learning test trains, and the snippets of README and docs, run on a tiny budget."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest
import yaml

from rllib_mamql.algorithms.registry import ALGORITHMS
from tests.learning.test_readme_scores import ROWS
from tests.support.command_line import ROOT, Rllib

EXAMPLES = sorted(
    path.relative_to(ROOT)
    for path in (ROOT / "tuned_examples").rglob("*.yaml")
    if path.parent.name not in ("suites", "cluster")
)


def test_list_is_of_whole_sentences(rllib: Rllib) -> None:
    lines = [line.split("\t") for line in rllib("example", "list").out.splitlines()]
    assert [name for name, _ in lines] == [str(path.relative_to("tuned_examples").with_suffix("")) for path in EXAMPLES]
    assert all(sentence.endswith(".") for _, sentence in lines)


IN_FULL = {row.example for row in ROWS}
"""Examples that the learning tests train, and judge."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "example", [each for each in EXAMPLES if each.parent.name == "search" or each.stem not in IN_FULL], ids=str
)
def test_tuned_example(example: pathlib.Path, tmp_path: pathlib.Path, rllib_on_ray: Rllib) -> None:
    experiment = next(iter(yaml.safe_load((ROOT / example).read_text()).values()))
    config, ours = experiment["config"], experiment["run"] in ALGORITHMS
    out = tmp_path / "out.json"
    options = ["--stop", "training_iteration=1", "--eval-episodes", "2", "--storage-path", str(tmp_path)]
    settings = {"min_sample_timesteps_per_iteration": 160, "offline_updates": 10}
    if not ours:
        # The tests' Ray has two CPUs: one for the learner, and one runner.
        settings = {"train_batch_size_per_learner": 200, "minibatch_size": 100, "num_env_runners": 1}
    if experiment["run"] == "MAMQL":
        settings["reward_gauge"] = "none"
    # One point of a search is enough here.
    settings |= {
        key: value["grid_search"][0]
        for key, value in config.items()
        if isinstance(value, dict) and "grid_search" in value
    }
    for key, value in settings.items():
        options += ["--set", f"{key}={value}"]
    if experiment.get("num_samples", 1) > 1:
        options += ["--num-samples", "1"]
    done = rllib_on_ray("train", "--file", ROOT / example, "--json", out, *options)
    assert done.status == 0, done.out + done.err
    trials = json.loads(out.read_text())["trials"]
    assert [trial["status"] for trial in trials] == ["finished"]
    assert trials[0]["updates"] > 0 or not ours


def snippets(*words: str) -> list[str]:
    """Python blocks of the documentation that contain all of these words."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    found = [text for page in pages for text in re.findall(r"```python\n(.*?)```", page.read_text(), re.S)]
    return [text for text in found if all(word in text for word in words)]


def test_pyarrow_snippet_is_a_sound_dataset(tmp_path: pathlib.Path, rllib: Rllib) -> None:
    (snippet,) = snippets("pq.write_table")
    subprocess.run([sys.executable, "-c", snippet], check=True, cwd=tmp_path)
    done = rllib("inspect", tmp_path / "other_data.parquet")
    assert done.status == 0, done


@pytest.mark.slow
def test_readme_python_snippet_trains() -> None:
    (snippet,) = snippets("build_algo")
    done = subprocess.run(
        [sys.executable, "-c", snippet], cwd=ROOT, capture_output=True, text=True, timeout=200,
        env={**os.environ, "RAY_ADDRESS": "local"},
    )  # fmt: skip
    assert done.returncode == 0 and float(done.stdout.split()[-1]) >= 2000, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_guide_to_an_own_environment_works(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "your_environment.md").read_text()
    (environment,) = snippets("class Meeting(")
    (tmp_path / "meeting.py").write_text(environment)
    for text in re.findall(r"```yaml\n(meeting-.*?)```", page, re.S):
        name = "meeting_ppo" if "run: PPO" in text else "meeting"
        (tmp_path / f"{name}.yaml").write_text(text)
    (tmp_path / "meeting_play.py").write_text(*snippets("from meeting import", "DemonstrationWriter"))
    for name, words in {"my_rllib": 'register_environment("meeting"', "meeting_expert": "class MeetingExpert"}.items():
        (tmp_path / f"{name}.py").write_text(*snippets(words))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")

    def do(command: str) -> None:
        words = [sys.executable, *command.split()]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=250)
        assert done.returncode == 0, done.stdout + done.stderr

    train = "-m rllib_mamql train --stop training_iteration=1 --eval-episodes 2"
    do(f"{train} --file meeting_ppo.yaml --set train_batch_size_per_learner=400")
    do("-m rllib_mamql record --env pettingzoo:meeting --expert results/meeting-ppo --steps 200 --out ppo_data")
    do("meeting_play.py")
    do(f"{train} --file meeting.yaml --set min_sample_timesteps_per_iteration=160 --set reward_gauge=none")
    do("-m rllib_mamql recover results/meeting-mamql --steps 200 --updates 20")
    do("-m rllib_mamql reward results/meeting-mamql --data meeting_data --steps 40 --clone-updates 20 --resamples 0")
    do("my_rllib.py record --env meeting --expert scripted --steps 40 --out scripted_data")
