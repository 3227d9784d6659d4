"""Every bad input ends before any training: one clear line, status 2, nothing written."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from rllib_mamql.cli.main import main
from tests.support.toy_checkpoint import toy_checkpoint
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


@dataclass
class Done:
    status: int
    out: str
    err: str


@pytest.fixture
def rllib(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Runs the command line in this process, from an empty folder: no error needs Ray to be started."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def run(*arguments: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["rllib", *map(str, arguments)])
        before = signal.getsignal(signal.SIGTERM)
        capfd.readouterr()
        try:
            main()
        except SystemExit as done:
            out, err = capfd.readouterr()
            return Done(int(done.code or 0), out, err)
        finally:
            signal.signal(signal.SIGTERM, before)

    return run


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_dataset(tmp_path_factory.mktemp("data") / "toy")


@pytest.fixture
def broken(dataset: Path, tmp_path: Path) -> Path:
    import shutil

    return Path(shutil.copytree(dataset, tmp_path / "broken"))


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
    rllib: Callable[..., Done], dataset: Path, tmp_path: Path, options: tuple[str, ...], says: tuple[str, ...]
) -> None:
    refused(rllib("train", "--file", experiment(tmp_path, dataset), *options), *says)


def test_bad_datasets(rllib: Callable[..., Done], tmp_path: Path, broken: Path) -> None:
    file = experiment(tmp_path, broken)
    replace_cell(broken, "obs.agent_0", 3, float("nan"))
    refused(rllib("train", "--file", file), "nan", "obs.agent_0")
    replace_cell(broken, "obs.agent_0", 3, 0.0)
    replace_cell(broken, "actions.agent_1", 2, 7)
    refused(rllib("train", "--file", file), "agent_1", "7")
    truncate(broken)
    refused(rllib("train", "--file", file), ".parquet")


def test_dataset_of_other_spaces(rllib: Callable[..., Done], tmp_path: Path, dataset: Path) -> None:
    refused(rllib("train", "--file", experiment(tmp_path, dataset), "--set", "env_config.states=5"), "shape")


def test_dataset_of_another_configuration(rllib: Callable[..., Done], tmp_path: Path) -> None:
    data = write_toy_dataset(tmp_path / "short", rows=20, steps=5)
    refused(rllib("train", "--file", experiment(tmp_path, data)), "steps 5", "steps 10")


def test_pickle_is_never_opened(rllib: Callable[..., Done], tmp_path: Path) -> None:
    bomb = write_pickle(tmp_path / "data.pkl")
    refused(rllib("train", "--file", experiment(tmp_path, bomb)), "data.pkl")
    assert not (tmp_path / "unpickled").exists()


def test_other_commands(rllib: Callable[..., Done], tmp_path: Path, dataset: Path) -> None:
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
    toy_checkpoint(tmp_path / "toy")
    refused(rllib("map", tmp_path / "toy", "--plot", tmp_path / "map.png"), "only of overcooked, gems, intersection")
    record = ("record", "--steps", "10", "--out", "new")
    refused(rllib(*record, "--env", "overcoked", "--expert", "random"), "did you mean 'overcooked'?")
    refused(rllib(*record, "--env", TOY, "--expert", "scripted"), "no scripted expert")
    refused(rllib(*record, "--env", TOY, "--expert", "nowhere"), "scripted, random, or a checkpoint's folder")
    refused(rllib(*record, "--env", TOY, "--expert", "random", "--env-config", "stps=3"), "stps")
    refused(rllib("example", "run", "no_such_example"), "no_such_example")


def test_inspect_says_what_is_wrong(rllib: Callable[..., Done], broken: Path) -> None:
    done = rllib("inspect", broken)
    assert (done.status, done.err) == (0, "")
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
