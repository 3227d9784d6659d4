"""Runs that lie in a folder: which trial is meant, what their state is, what becomes of a search, how they go on."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from rllib_mamql.cli.experiment import Experiment, load_experiments
from rllib_mamql.cli.paths import newest_checkpoint
from rllib_mamql.cli.report import TrialReport
from rllib_mamql.cli.resuming import RunPlace, claimed, is_over, longer, places_of
from rllib_mamql.cli.runs import training
from rllib_mamql.cli.trial_tables import best_first, winners
from rllib_mamql.cli.winner import write_winner
from rllib_mamql.errors import ConfigError
from tests.support.command_line import Rllib


def write_trial(
    run: Path, number: int, *, done: bool = True, mean: float = 0.0, evaluated: float | None = None
) -> Path:
    folder = run / f"trial_1a2b3_{number:05d}"
    saved = folder / "checkpoint_000000"
    saved.mkdir(parents=True)
    (saved / "mamql.json").write_text("{}")
    log = {"training_iteration": 3, "done": done, "env_runners": {"return_mean": mean}}
    (folder / "result.json").write_text(json.dumps(log) + '\n{"cut')
    if evaluated is not None:
        found = {"return_mean": evaluated, "normalised_score": 0.5, "iterations": 3}
        (folder / "evaluation.json").write_text(json.dumps(found))
    return folder


def test_a_runs_folder_means_its_best_trial(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "search"
    best, newest = write_trial(run, 0, mean=5.0), write_trial(run, 1, mean=2.0)
    os.utime(best / "checkpoint_000000", (1.0, 1.0))
    assert newest_checkpoint(run) == best / "checkpoint_000000"
    said = capsys.readouterr().err
    assert said == "best of 2 trials: trial_1a2b3_00000, return 5.00 of the last episodes in training\n"
    # A final evaluation tells more than the last episodes in training.
    evaluated = write_trial(run, 2, mean=0.0, evaluated=3.5)
    assert newest_checkpoint(run) == evaluated / "checkpoint_000000"
    assert "return 3.50 in the final evaluation" in capsys.readouterr().err
    # But not where the trial was trained further since.
    (evaluated / "result.json").write_text(json.dumps({"training_iteration": 4, "done": True}))
    assert newest_checkpoint(run) == best / "checkpoint_000000" and "5.00" in capsys.readouterr().err
    assert newest_checkpoint(newest) == newest / "checkpoint_000000" and not capsys.readouterr().err


def test_status_lists_runs(tmp_path: Path, rllib: Rllib, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    results = tmp_path / "results"
    write_trial(results / "first", 0, evaluated=12.5)
    write_trial(results / "second", 0, done=False, mean=3.25)
    failed = write_trial(results / "second", 1, done=False)
    (failed / "error.txt").write_text("it broke")
    monkeypatch.chdir(tmp_path)
    with training(results / "third"):
        write_trial(results / "third", 0, done=False)
        done = rllib("status", "--json", "status.json")
        with pytest.raises(ConfigError, match="by another process"), training(results / "third"):
            pass
    assert done.status == 0, done
    rows = {tuple(line.split()[:3]): line.split()[3:] for line in done.out.splitlines() if "0000" in line}
    assert rows == {
        ("first", "00000", "finished"): ["3", "12.50", "0.500", "checkpoint_000000"],
        ("second", "00000", "interrupted"): ["3", "3.25", "*", "-", "checkpoint_000000"],
        ("second", "00001", "failed"): ["3", "0.00", "*", "-", "checkpoint_000000"],
        ("third", "00000", "running"): ["3", "0.00", "*", "-", "checkpoint_000000"],
    }
    assert done.err.startswith("next: rllib evaluate results/")
    assert json.loads(Path("status.json").read_text())["trials"][0]["return_mean"] == 12.5
    assert [line.split()[2] for line in rllib("status", "results/third").out.splitlines() if "0000" in line] == [
        "interrupted"
    ]
    assert rllib("status", "nowhere").status == 2
    # Policies of RLlib's own are recorded, not evaluated.
    (results / "third" / "trial_1a2b3_00000" / "checkpoint_000000" / "mamql.json").unlink()
    assert rllib("status", "results/third").err.startswith("next: rllib record --env ENV --expert results/third ")


@pytest.mark.parametrize("odd", ['"many"', "{}", "[1]", "true", "NaN", "1e999", "9" * 400, "[" * 20_000])
def test_status_shows_no_number_where_a_log_has_none(rllib: Rllib, tmp_path: Path, odd: str) -> None:
    trial = write_trial(tmp_path / "run", 0)
    log = '{"training_iteration": ODD, "done": true, "return_mean": ODD}\n'.replace("ODD", odd)
    (trial / "result.json").write_text(log)
    (trial / "evaluation.json").write_text(
        '{"return_mean": ODD, "normalised_score": ODD, "iterations": null}'.replace("ODD", odd)
    )
    done = rllib("status", tmp_path)
    assert (
        done.status == 0
        and [word for line in done.out.splitlines() if "0000" in line for word in line.split()][-4:-1] == ["-"] * 3
    ), done


def test_the_best_trials_settings_run_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    file = tmp_path / "search.yaml"
    file.write_text(
        """
        search:
          run: MAMQL
          env: gems
          stop: {training_iteration: 2}
          num_samples: 2
          config:
            input: data
            lambda: 0.9
            lr: {uniform: [0.0001, 0.01]}
            model_config: {fcnet_hiddens: {grid_search: [[8], [16]]}, fcnet_activation: relu}
        """
    )
    (experiment,) = load_experiments(file)
    own = {"lr": np.float64(0.003), "model_config": {"fcnet_hiddens": [16], "vf_share_layers": True}, "seed": 3}
    reports = [report("search", "1", 1.0), replace(report("search", "2", 2.0), config=own, fresh_return_mean=1.75)]
    assert winners(best_first(reports)) == [reports[1]]
    (written,) = load_experiments(Path(write_winner(experiment, reports[1], str(tmp_path))))
    assert (written.name, written.settings.run, written.settings.num_samples) == ("search-best", "MAMQL", 1)
    assert written.settings.stop == {"training_iteration": 2.0}
    assert written.settings.config == {
        "input": str(tmp_path / "data"), "lambda": 0.9, "lr": 0.003, "seed": 3,
        "model_config": {"fcnet_hiddens": [16], "fcnet_activation": "relu"},
    }  # fmt: skip
    text = (tmp_path / "best.yaml").read_text()
    assert "# The best trial of search: 2, return 2.00." in text and "on fresh episodes: 1.75" in text
    assert not winners(best_first(reports[:1])), "one trial is no choice"


# -- training longer ----------------------------------------------------------------------------------------------


def test_a_resumed_run_trains_longer_and_never_shorter() -> None:
    assert longer({"training_iteration": 4.0}, {"training_iteration": 6}) == {"training_iteration": 6}
    assert longer({"training_iteration": 4.0}, {}) == {"training_iteration": 4.0}
    with pytest.raises(ConfigError, match=r"--stop training_iteration=3: the run was started with 4.*at least as long"):
        longer({"training_iteration": 4.0}, {"training_iteration": 3})


def test_a_trial_is_over_where_its_criteria_are_met_or_it_has_ended_by_itself() -> None:
    trial = SimpleNamespace(
        TERMINATED="TERMINATED", status="TERMINATED", last_result={"training_iteration": 4, "done": True},
        stopping_criterion={"training_iteration": 4},
    )  # fmt: skip
    assert is_over(trial, {"training_iteration": 4}) and not is_over(trial, {"training_iteration": 6})
    trial.stopping_criterion = {"training_iteration": 9}
    assert is_over(trial, {"training_iteration": 12}), "a clone that is learned ends by itself"
    trial.last_result["done"] = False
    assert not is_over(trial, {"training_iteration": 12}), "time_budget_s was over"
    trial.status = "PENDING"
    assert not is_over(trial, {"training_iteration": 4})


# -- a search ----------------------------------------------------------------------------------------------------


def report(experiment: str, trial: str, mean: float | None) -> TrialReport:
    return TrialReport(
        experiment=experiment, trial=trial, seed=0, status="finished", config={}, return_mean=mean, return_ci95=None,
        per_agent={}, expert_return=None, random_return=None, normalised_score=None, env_steps=0, updates=0,
        train_time_s=0.0, wall_time_s=0.0, checkpoint=None,
    )  # fmt: skip


def test_a_search_ends_with_its_best_trial_first() -> None:
    given = [report("b", "1", 2.0), report("a", "2", None), report("b", "3", 5.0), report("a", "4", 1.0)]
    found = best_first(given)
    assert [each.trial for each in found] == ["3", "1", "4", "2"]
    # One trial with a return is no choice.
    assert [each.trial for each in winners(found)] == ["3"]


def test_experiments_of_a_file_go_on_with_their_own_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``gems-2`` may be a second run of ``gems``, or a run of an experiment of that name."""
    root, body = tmp_path / "results", {"run": "MAMQL", "env": "gems", "storage_path": str(tmp_path / "results")}
    file = tmp_path / "file.yaml"
    file.write_text(json.dumps({"gems": body, "gems-2": body}))
    both = load_experiments(file)
    with pytest.raises(ConfigError, match="no run of 'gems'"):
        places_of(both, resume=True)

    def start(experiments: list[Experiment]) -> list[str]:
        with claimed(places_of(experiments, resume=False), experiments) as places:
            return [place.name for place in places]

    assert start(both) == ["gems", "gems-2"]
    # Killed while the first one trained: the second has a folder and nothing in it.
    write_trial(root / "gems", 0)
    assert places_of(both, resume=True) == [RunPlace(str(root), "gems", True), RunPlace(str(root), "gems-2-2")]
    assert "gems-2 has no run to resume, and begins" in capsys.readouterr().err
    write_trial(root / "gems-2", 0)
    assert [place.name for place in places_of(both, resume=True)] == ["gems", "gems-2"]
    assert [place.name for place in places_of(both[:1], resume=True)] == ["gems"]
    assert start(both) == ["gems-3", "gems-2-2"]
    for name in ("gems-3", "gems-2-2"):
        write_trial(root / name, 0)
    assert [place.name for place in places_of(both, resume=True)] == ["gems-3", "gems-2-2"]


def test_a_second_run_is_not_taken_for_an_experiment_of_its_name(tmp_path: Path) -> None:
    root, body = tmp_path / "results", {"run": "MAMQL", "env": "gems", "storage_path": str(tmp_path / "results")}
    file = tmp_path / "file.yaml"
    file.write_text(json.dumps({"gems": body, "gems-2": body}))
    both = load_experiments(file)
    for name in ("gems", "gems-2"):
        with claimed(places_of(both[:1], resume=False), both[:1]) as places:
            assert [place.name for place in places] == [name]
        write_trial(root / name, 0)
    assert places_of(both, resume=True) == [RunPlace(str(root), "gems-2", True), RunPlace(str(root), "gems-2-2")]
    # As written before names were noted: the folder's name is the experiment's.
    for name in ("gems", "gems-2"):
        (root / name / ".experiment").unlink()
    assert [place.name for place in places_of(both, resume=True)] == ["gems", "gems-2"]
