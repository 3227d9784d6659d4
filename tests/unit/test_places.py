"""Runs, checkpoints and datasets in an object store: fetched by pyarrow's own S3 client, and given back."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import pytest

from rllib_mamql.cli.experiment import Experiment, ExperimentSettings
from rllib_mamql.cli.fetching import at_hand, place_of
from rllib_mamql.cli.paths import newest_checkpoint, shown
from rllib_mamql.cli.resuming import results_folder
from rllib_mamql.data.places import Copy, folders_in, write_text
from rllib_mamql.data.reading import read_dataset
from rllib_mamql.errors import ConfigError
from tests.support.command_line import Rllib
from tests.support.object_store import Store


def put(store: Store, folder: Path, place: str) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            store.objects[f"{place}/{file.relative_to(folder).as_posix()}"] = file.read_bytes()


def put_run(store: Store, checkpoint: Path) -> str:
    """A run of two trials, of which the first scores higher; its second checkpoint is the newer."""
    run = "bucket/results/toy"
    for trial, mean in (("trial_a_00000", 5.0), ("trial_a_00001", 3.0)):
        last = json.dumps({"training_iteration": 2, "done": True, "return_mean": mean})
        store.objects[f"{run}/{trial}/result.json"] = f"{last}\n".encode()
        for number in range(2):
            put(store, checkpoint, f"{run}/{trial}/checkpoint_{number:06d}")
    return f"s3://{run}"


def test_the_best_trials_newest_checkpoint_is_fetched_and_nothing_else(
    store: Store, toy_checkpoint_folder: Path
) -> None:
    run = put_run(store, toy_checkpoint_folder)
    folder = newest_checkpoint(run)
    assert place_of(folder) == shown(folder) == f"{run}/trial_a_00000/checkpoint_000001"
    assert (folder / "networks.npz").read_bytes() == (toy_checkpoint_folder / "networks.npz").read_bytes()
    assert not (folder.parent / "checkpoint_000000" / "networks.npz").exists()
    with pytest.raises(ConfigError, match="s3://bucket/results/none holds no file; give a checkpoint"):
        newest_checkpoint("s3://bucket/results/none")


def test_what_changes_in_a_fetched_checkpoint_changes_where_it_is(store: Store, toy_checkpoint_folder: Path) -> None:
    place = "bucket/toy/trial_a_00000/checkpoint_000000"
    put(store, toy_checkpoint_folder, place)
    before = dict(store.objects)
    with at_hand(f"s3://{place}") as folder:
        assert folder.parent.name == "trial_a_00000"
        (folder / "rewards.npz").write_bytes(b"found")
        (folder / "mamql.json").write_text("{}")
    changed = {name for name, content in store.objects.items() if before.get(name) != content}
    assert changed == {f"{place}/rewards.npz", f"{place}/mamql.json"}


def test_commands_take_uris(store: Store, toy_checkpoint_folder: Path, rllib: Rllib, tmp_path: Path) -> None:
    run = put_run(store, toy_checkpoint_folder)
    done = rllib("evaluate", run, "--episodes", 2, "--json", tmp_path / "found.json")
    assert done.status == 0, done.err
    checkpoint = f"{run}/trial_a_00000/checkpoint_000001"
    assert f"{checkpoint}: 2 episodes of" in done.out and str(tmp_path) not in done.out
    assert json.loads((tmp_path / "found.json").read_text())["checkpoint"] == checkpoint
    assert f"next: rllib recover {run}" in done.out + done.err
    done = rllib("recover", run, "--updates", 2, "--steps", 50, "--regression", 0)
    assert done.status == 0 and f"{checkpoint}/rewards.npz" in done.out, done.err
    assert f"{checkpoint}/rewards.npz".removeprefix("s3://") in store.objects
    done = rllib("export", run, "--out", tmp_path / "policies")
    assert done.status == 0 and list((tmp_path / "policies").iterdir()), done.err


def test_datasets_are_read_where_they_are(store: Store, toy_dataset: Path, rllib: Rllib) -> None:
    put(store, toy_dataset, "bucket/demos")
    assert len(read_dataset("s3://bucket/demos").columns["t"]) == 60
    done = rllib("inspect", "s3://bucket/demos")
    assert done.status == 0 and "s3://bucket/demos" in done.out


def test_runs_in_a_store_have_folders_of_their_own(store: Store) -> None:
    def of(resume: bool) -> tuple[str, str]:
        settings = ExperimentSettings(run="MAMQL", storage_path="s3://bucket/results/")
        return results_folder(Experiment("toy", settings, Path()), resume)

    assert of(resume=False) == ("s3://bucket/results", "toy")
    write_text("s3://bucket/results/toy/tuner.pkl", "")
    write_text("s3://bucket/results/toy-2/trial/result.json", "")
    assert of(resume=False) == ("s3://bucket/results", "toy-3")
    assert of(resume=True) == ("s3://bucket/results", "toy")
    store.broken = True
    with pytest.raises(ConfigError, match=r"cannot reach s3://bucket/results.*ACCESS_DENIED.*credentials"):
        of(resume=False)


def test_names_that_lead_out_of_the_folder_are_refused(store: Store, tmp_path: Path) -> None:
    copied = Copy("s3://bucket/run", tmp_path / "copy")
    (tmp_path / "copy").mkdir()
    with pytest.raises(ConfigError, match="leads out of the folder"):
        copied.fetch(["../outside"])
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder that stands for Google's store: its buckets are folders."""
    root = tmp_path / "google"
    (root / "bucket").mkdir(parents=True)

    def opened(uri: str) -> tuple[Any, str]:
        scheme, _, path = uri.partition("://")
        assert scheme == "gs"
        return pafs.SubTreeFileSystem(str(root), pafs.LocalFileSystem()), path

    for module in ("places", "files"):
        monkeypatch.setattr(f"rllib_mamql.data.{module}.opened", opened)
    return root / "bucket"


def test_gs_is_read_and_written_as_s3_is(google: Path, toy_checkpoint_folder: Path) -> None:
    run = google / "results" / "toy"
    for number in range(2):
        folder = shutil.copytree(toy_checkpoint_folder, run / "trial_a_00000" / f"checkpoint_{number:06d}")
        os.utime(folder / "mamql.json", (number, number))
    (run / "trial_a_00000" / "result.json").write_text('{"training_iteration": 2, "done": true}\n')
    place = "gs://bucket/results/toy"
    folder = newest_checkpoint(place)
    assert place_of(folder) == f"{place}/trial_a_00000/checkpoint_000001"
    with at_hand(place_of(folder)) as copy:
        (copy / "rewards.npz").write_bytes(b"found")
    assert (run / "trial_a_00000" / "checkpoint_000001" / "rewards.npz").read_bytes() == b"found"
    write_text(f"{place}/best.yaml", "toy: {}")
    assert (run / "best.yaml").read_text() == "toy: {}"
    settings = ExperimentSettings(run="MAMQL", storage_path="gs://bucket/results")
    assert results_folder(Experiment("toy", settings, Path()), False) == ("gs://bucket/results", "toy-2")


@pytest.mark.parametrize("pattern", ["", "/*.parquet", "/part-*"])
def test_datasets_are_read_from_gs(google: Path, toy_dataset: Path, pattern: str) -> None:
    shutil.copytree(toy_dataset, google / "demos")
    read = read_dataset(f"gs://bucket/demos{pattern}")
    assert len(read.columns["t"]) == 60 and read.files[0].startswith("gs://bucket/demos/")


def test_without_credentials_google_is_not_tried_for_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/key.json")
    monkeypatch.setattr("rllib_mamql.data.places.GOOGLE_TRIES_S", 1)
    begun = time.monotonic()
    with pytest.raises(ConfigError, match=r"cannot reach gs://bucket/results .*GOOGLE_APPLICATION_CREDENTIALS names"):
        folders_in("gs://bucket/results")
    assert time.monotonic() - begun < 10.0
