"""A tiny suite through the real command: what has a result is not run again, what is half done goes on."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from rllib_mamql.evaluation.benchmark_table import Results
from tests.integration.test_cli_train import Command, wait_for
from tests.support.command_line import Rllib
from tests.support.toy_data import TOY

EXPERIMENT = f"""
toy:
  run: MAMQL
  env: {TOY}
  stop: {{training_iteration: 3}}
  config:
    input_: DATA
    parameter_sharing: all
    num_envs_per_env_runner: 2
    min_sample_timesteps_per_iteration: 40
    model_config: {{fcnet_hiddens: [8]}}
"""
SUITE = """
tiny:
  seeds: 2
  episodes: 4
  curve: {points: 3, episodes: 4}
  methods:
    MABC: {run: MABC, config: {clone_updates: 10}}
    SQIL: {run: SQIL, config: {rollout_fragment_length: 10}}
  problems:
    toy: {file: toy.yaml, expert_steps: [30, 60]}
"""


@pytest.fixture
def suite(toy_dataset: Path, tmp_path: Path) -> Path:
    (tmp_path / "toy.yaml").write_text(EXPERIMENT.replace("DATA", str(toy_dataset)))
    file = tmp_path / "tiny.yaml"
    file.write_text(SUITE)
    return file


def rows(folder: Path) -> dict[tuple[Any, ...], dict[str, Any]]:
    return {(row["expert_steps"], row["method"], row["seed"]): row for row in Results(folder).rows}


@pytest.mark.slow
def test_finished_cells_are_not_run_again(suite: Path, tmp_path: Path, rllib_on_ray: Rllib) -> None:
    words = ("benchmark", "--suite", suite, "--out", tmp_path / "out", "--storage-path", tmp_path / "storage")
    first = rllib_on_ray(*words, "--method", "MABC", "--seeds", "1")
    assert first.status == 0 and "2 cells, 0 of them have a result: 2 to run" in first.err, first.err
    assert first.err.count("toy, 30 steps, MABC, seed 0: begins") == 1
    before = rows(tmp_path / "out")
    second = rllib_on_ray(*words, "--seeds", "1")
    assert second.status == 0 and "4 cells, 2 of them have a result: 2 to run" in second.err, second.err
    after = rows(tmp_path / "out")
    assert len(after) == 4 and {key: after[key] for key in before} == before
    online = after[60, "SQIL", 0]
    assert online["env_steps"] == 240 and online["updates"] == 120 and online["acts_at"] == 1.0
    assert after[60, "MABC", 0]["env_steps"] == 0 and after[60, "MABC", 0]["updates"] == 10
    curve = [
        (row["iteration"], row["env_steps"]) for row in Results(tmp_path / "out").curves if row["method"] == "SQIL"
    ]
    assert curve == [(1, 80), (2, 160), (3, 240)] * 2
    assert "| toy     | 30    |" in (tmp_path / "out/README.md").read_text()
    assert json.loads(online["versions"])["ray"]
    third = rllib_on_ray(*words, "--seeds", "1")
    assert third.status == 0 and "4 cells, 4 of them have a result: 0 to run" in third.err


@pytest.mark.slow
def test_a_half_done_cell_goes_on_where_it_was(
    suite: Path, tmp_path: Path, ray_session: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rllib_mamql.cli.benchmark_jobs import jobs_of, made_ready
    from rllib_mamql.cli.suite import load_suite
    from rllib_mamql.evaluation.benchmark_trial import CURVE, ITERATIONS, NUMBER, ROW, CellTrial

    monkeypatch.setattr("rllib_mamql.evaluation.benchmark_trial.SAVE_EVERY_S", 0.0)
    chosen = load_suite(suite).only(["SQIL"], [], 1)
    jobs = made_ready(chosen, jobs_of(chosen, tmp_path)[:1], tmp_path)
    asked = jobs[0].algorithm.default_resource_request(dict(jobs[0].overrides))
    assert list(jobs[0].resources) == asked.bundles

    def trial() -> CellTrial:
        made = CellTrial.__new__(CellTrial)
        made._storage = None
        made.setup({NUMBER: 0}, jobs)
        return made

    killed = trial()
    killed.step()
    killed.cleanup()
    again = trial()
    assert again.iterations == 1 and len(again.curve) == 1
    assert again.step() == {"done": False, ITERATIONS: 2}
    last = again.step()
    again.cleanup()
    assert last["done"] and last[ROW]["env_steps"] == 240 and last[ROW]["updates"] == 120
    assert [each["iteration"] for each in last[CURVE]] == [1, 2, 3]
    assert last[ROW]["train_s"] > last[CURVE][0]["train_s"] > 0


@pytest.mark.slow
def test_a_run_that_is_killed_repeats_nothing(suite: Path, tmp_path: Path) -> None:
    command = Command(tmp_path)
    out = command.folder / "out"
    words = ("benchmark", "--suite", suite, "--out", out, "--method", "MABC")
    killed = command.start(*words)
    wait_for(lambda: (out / "results.parquet").exists(), killed, timeout_s=200)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    command.sweep()
    before = rows(out)
    assert 1 <= len(before) < 4, "killed too late"
    status, output = command.run(*words)
    assert status == 0, output
    assert f"4 cells, {len(before)} of them have a result: {4 - len(before)} to run" in output
    after = rows(out)
    assert len(after) == 4 and {key: after[key] for key in before} == before
    assert not command.left_behind()
