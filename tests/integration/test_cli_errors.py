"""Every bad input ends before any training: one clear line, status 2, nothing written."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command_line import Done, Rllib
from tests.support.toy_data import TOY, replace_cell, truncate, write_pickle, write_toy_dataset

MAMQL = """
toy:
  run: MAMQL
  env: ENV
  stop: {training_iteration: 1}
  config:
    input_: INPUT
    env_config: {steps: 10}
"""


@pytest.fixture(autouse=True)
def empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the commands run: no error needs Ray to be started, and none leaves a file."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)


@pytest.fixture
def broken(toy_dataset: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(toy_dataset, tmp_path / "broken"))


def experiment(tmp_path: Path, data: Path | str, env: str = TOY, more: str = "") -> Path:
    path = tmp_path / "file.yaml"
    path.write_text(MAMQL.replace("ENV", env).replace("INPUT", str(data)) + more)
    return path


def refused(done: Done, *says: str) -> None:
    assert done.status == 2, done
    lines = [line for line in done.err.splitlines() if line.strip()]
    assert len(lines) == 1, done.err
    assert lines[0].startswith("error: ")
    for text in says:
        assert text in lines[0]
    assert "Traceback" not in done.err
    assert not os.listdir(), "something was written"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--set", "gama=0.9"), ("config.gama", "did you mean 'gamma'?")),
        (("--set", "rationalty=1"), ("did you mean 'rationality'?",)),
        (("--set", "gamma=1.2"), ("gamma is 1.2",)),
        (("--set", "rationality=0"), ("rationality is 0",)),
        (("--set", "reward_shrinkage=-0.1"), ("reward_shrinkage is -0.1",)),
        (("--set", "gamma={grid_search: [0.9, 1.2]}"), ("gamma is 1.2",)),
        (("--set", "mode=ofline"), ("did you mean 'offline'?",)),
        (("--set", "env=overcoked"), ("did you mean 'overcooked'?",)),
        (("--set", "env=overcooked", "--set", "env_config={layout: crampd_room}"), ("cramped_room",)),
        (("--set", "env_config.steps=0"), ("give at least 1",)),
        (("--set", "input_=no/such/data"), ("no dataset 'no/such/data'",)),
        (("--set", "input_=null"), ("input_ is not set",)),
        (("--set", "lr"), ("write --set key=value",)),
        (("--stop", "training_iteration=soon"), ("give a number",)),
        (("--resume",), ("no run of 'toy'",)),
        (("--json", "no/such/folder/out.json"), ("does not exist",)),
        (("--seed", "minus"), ("--seed",)),
        (("--sede", "1"), ("--sede", "--seed")),
        (("--ray-address", "127.0.0.1:9"), ("nothing answers there",)),
        (("--set", "num_env_runners=-1"), ("num_env_runners",)),
    ],
)
def test_bad_setting(
    rllib: Rllib, toy_dataset: Path, tmp_path: Path, options: tuple[str, ...], says: tuple[str, ...]
) -> None:
    refused(rllib("train", "--file", experiment(tmp_path, toy_dataset), *options), *says)


def test_bad_datasets(rllib: Rllib, tmp_path: Path, broken: Path) -> None:
    file = experiment(tmp_path, broken)
    replace_cell(broken, "obs.agent_0", 3, float("nan"))
    refused(rllib("train", "--file", file), "nan", "obs.agent_0")
    replace_cell(broken, "obs.agent_0", 3, 0.0)
    replace_cell(broken, "actions.agent_1", 2, 7)
    refused(rllib("train", "--file", file), "agent_1", "7")
    truncate(broken)
    refused(rllib("train", "--file", file), ".parquet")


def test_dataset_of_other_spaces(rllib: Rllib, tmp_path: Path, toy_dataset: Path) -> None:
    refused(rllib("train", "--file", experiment(tmp_path, toy_dataset), "--set", "env_config.states=5"), "shape")


def test_dataset_of_another_configuration(rllib: Rllib, tmp_path: Path) -> None:
    data = write_toy_dataset(tmp_path / "short", rows=20, steps=5)
    refused(rllib("train", "--file", experiment(tmp_path, data)), "steps 5", "steps 10")


def test_pickle_is_never_opened(rllib: Rllib, tmp_path: Path) -> None:
    bomb = write_pickle(tmp_path / "data.pkl")
    refused(rllib("train", "--file", experiment(tmp_path, bomb)), "data.pkl")
    assert not (tmp_path / "unpickled").exists()


def test_other_commands(rllib: Rllib, tmp_path: Path) -> None:
    refused(rllib("train", "--file", "no.yaml"), "no.yaml does not exist")
    refused(rllib("train"), "--file")
    refused(rllib("trian"), "trian")
    refused(rllib("evaluate", "no/such/run"), "no folder")
    refused(rllib("evaluate", tmp_path), "holds no checkpoint")
    refused(rllib("evaluate", tmp_path, "--episodes", "0"), "--episodes")
    refused(rllib("map", tmp_path, "--plot", tmp_path / "map.png"), "holds no checkpoint")
    refused(rllib("map", tmp_path), "--plot")
    refused(rllib("map", tmp_path, "--plot", tmp_path / "map.doc"), "no known ending", ".png, .svg, .pdf")
    refused(rllib("map", tmp_path, "--plot", "no/such/map.png"), "does not exist")
    record = ("record", "--steps", "10", "--out", "new")
    refused(rllib(*record, "--env", "overcoked", "--expert", "random"), "did you mean 'overcooked'?")
    refused(rllib(*record, "--env", TOY, "--expert", "scripted"), "no scripted expert")
    refused(rllib(*record, "--env", TOY, "--expert", "nowhere"), "scripted, random, or a checkpoint's folder")
    refused(rllib(*record, "--env", TOY, "--expert", "random", "--env-config", "stps=3"), "stps")
    refused(rllib("example", "run", "no_such_example"), "no_such_example")


def test_inspect_says_what_is_wrong(rllib: Rllib, broken: Path) -> None:
    done = rllib("inspect", broken)
    assert done.status == 0 and done.err.startswith("next: ") and done.err.count("\n") == 1
    assert "60" in done.out and "agent_1" in done.out
    replace_cell(broken, "actions.agent_1", 2, 7)
    done = rllib("inspect", broken)
    assert done.status == 2
    assert "agent_1" in done.out and "expected 0 to 2" in done.out


def test_help_is_quick_and_needs_no_ray() -> None:
    code = (
        "import sys; sys.argv = ['rllib', '--help']\n"
        "from rllib_mamql.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "assert 'ray' not in sys.modules and 'torch' not in sys.modules\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=20)
    assert "train" in out.stdout
