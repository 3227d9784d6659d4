"""The benchmark without training: suites, statistics, results, the page and its pictures."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib import image

from rllib_mamql.cli.suite import load_suite, parts_of, settings_text
from rllib_mamql.errors import ConfigError, DatasetError
from rllib_mamql.evaluation.benchmark_cells import Cell, Job, in_order
from rllib_mamql.evaluation.benchmark_groups import Groups
from rllib_mamql.evaluation.benchmark_page import PICTURES
from rllib_mamql.evaluation.benchmark_report import write_report
from rllib_mamql.evaluation.benchmark_statistics import aggregate, improvement, interquartile_mean, profile
from rllib_mamql.evaluation.benchmark_table import CURVES, RESULTS, Results
from tests.support.command_line import ROOT, Rllib

SUITES = sorted((ROOT / "tuned_examples/suites").glob("*.yaml"))


# -- suites -------------------------------------------------------------------------------------------------------


def write(folder: Path, *lines: str, **changed: str) -> Path:
    keys = {
        "seeds": "2",
        "methods": "{MAMQL: {run: MAMQL}}",
        "problems": "{gems: {file: gems.yaml, expert_steps: [9]}}",
    }
    file = folder / "suite.yaml"
    file.write_text("mine:\n" + "".join(f"  {key}: {value}\n" for key, value in (keys | changed).items()))
    return file


@pytest.mark.parametrize("file", SUITES, ids=lambda file: file.stem)
def test_shipped_suites_name_files_and_methods_that_exist(file: Path, tmp_path: Path) -> None:
    suite = load_suite(file)
    assert suite.name == file.stem
    parts = parts_of(suite, tmp_path)
    assert {part.method for part in parts} == set(suite.methods)
    assert {part.problem for part in parts} == set(suite.problems)
    for part in parts:
        assert list(part.sizes) == sorted(part.sizes)
        if part.recording is not None:
            assert max(part.sizes) <= part.recording.steps
        # What decides a result is said without a path of this machine.
        assert str(ROOT) not in settings_text(part) and str(tmp_path) not in settings_text(part)


def test_every_method_gets_the_same_data_encoder_and_budget_and_nothing_else_of_the_example(tmp_path: Path) -> None:
    parts = parts_of(load_suite(ROOT / "tuned_examples/suites/small-data.yaml"), tmp_path)
    of = {part.method: part for part in parts if part.problem == "intersection-6"}
    budget = {"updates_per_step", "min_sample_timesteps_per_iteration"}
    shared = {"env_config", "input_", "parameter_sharing", "model_config"}
    assert set(of["MAMQL"].experiment.settings.config) == budget | shared
    assert of["SQIL"].experiment.settings.config == of["MAMQL"].experiment.settings.config
    clone = of["MABC"].experiment.settings.config
    assert clone == {key: of["MAMQL"].experiment.settings.config[key] for key in shared}
    assert of["MAMQL"].seeds == 10 and of["SQIL"].seeds == 5


def test_a_method_of_ones_own_joins_at_its_defaults(tmp_path: Path) -> None:
    suite = load_suite(ROOT / "tuned_examples/suites/quick.yaml").only(["MIFQ", "MAMQL"], ["gems"], 1)
    parts = parts_of(suite, tmp_path)
    assert [(part.method, part.experiment.settings.run, part.seeds) for part in parts] == [
        ("MIFQ", "MIFQ", 1),
        ("MAMQL", "MAMQL", 1),
    ]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"seedz": "2"}, ("unknown key 'seedz'", "did you mean 'seeds'?")),
        ({"seeds": "0"}, ("seeds is 0", "greater than or equal to 1")),
        ({"methods": "{A: {rnu: MAMQL}}"}, ("methods.A", "unknown key 'rnu'", "did you mean 'run'?")),
        ({"methods": "{A: {}}"}, ("methods.A: key 'run' is missing", "run: MAMQL")),
        ({"methods": "[MAMQL]"}, ("methods is ['MAMQL']",)),
        ({"methods": "{A: {run: MAMQL, problems: [gem]}}"}, ("methods.A names problem 'gem'", "did you mean 'gems'?")),
        ({"problems": "{gems: {file: nothing.yaml, expert_steps: [9]}}"}, ("nothing.yaml does not exist",)),
        ({"problems": "{gems: {file: gems.yaml, expert_steps: []}}"}, ("problems.gems: expert_steps is []",)),
        ({"problems": "{gems: {file: gems.yaml, expert_steps: [9], record: {}}}"}, ("problems.gems.record", "steps")),
        ({"methods": "{A: {run: MAMQQL}}"}, ("unknown algorithm 'MAMQQL'", "did you mean 'MAMQL'?")),
        ({"methods": "{A: {run: PPO}}"}, ("methods.A: run 'PPO' learns from no demonstrations", "MABC")),
        ({"curve": "{point: 3}"}, ("curve: unknown key 'point'",)),
    ],
)
def test_what_is_wrong_in_a_suite_is_one_line(
    changed: dict[str, str], says: tuple[str, ...], tmp_path: Path, rllib: Rllib, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gems.yaml").write_text((ROOT / "tuned_examples/gems.yaml").read_text())
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)
    done = rllib("benchmark", "--suite", write(tmp_path, **changed))
    lines = [line for line in done.err.splitlines() if not line.startswith("loading")]
    assert done.status == 2 and len(lines) == 1 and lines[0].startswith("error: ")
    assert all(text in lines[0] for text in says), lines[0]
    assert not os.listdir(), "something was written"


def test_opponents_are_refused_before_anything_is_recorded(
    tmp_path: Path, rllib: Rllib, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = "pettingzoo:pettingzoo.classic.connect_four_v3"
    experiment = {"run": "MAMQL", "env": env, "stop": {"training_iteration": 1}}
    (tmp_path / "gems.yaml").write_text(json.dumps({"four": experiment}))
    monkeypatch.chdir(tmp_path)
    asked = "{four: {file: gems.yaml, expert_steps: [9], record: {steps: 1000000}}}"
    done = rllib("benchmark", "--suite", write(tmp_path, problems=asked), "--out", tmp_path / "out")
    assert done.status == 2 and "problems.four: agents of" in done.err and "have opponents" in done.err
    assert "choose others by --problem" in done.err and "recording" not in done.err


# -- statistics ---------------------------------------------------------------------------------------------------


def test_the_interquartile_mean_leaves_out_a_quarter_at_either_end_over_all_problems() -> None:
    scores = [np.array([0.0, 1.0, 2.0, 100.0]), np.array([3.0, 4.0, 5.0, -7.0])]
    # Sorted: -7, 0 | 1, 2, 3, 4 | 5, 100.
    assert aggregate(scores).value == interquartile_mean(np.concatenate(scores)) == 2.5
    assert interquartile_mean(np.array([1.0, 2.0, 6.0])) == 3.0  # Of three runs nothing is left out.


def test_runs_are_drawn_within_their_problem() -> None:
    # Every resample has as many runs of each problem as there are: problems without spread give no interval.
    found = aggregate([np.full(5, 0.2), np.full(5, 0.8)])
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))
    spread = aggregate([np.array([0.0, 1.0] * 10)])
    assert spread.low < 0.4 and spread.high > 0.6
    alone = aggregate([np.array([3.0])])
    assert (alone.value, alone.low, alone.high) == (3.0, 3.0, 3.0)


def test_the_probability_of_improvement_counts_pairs_and_ties_for_half() -> None:
    better, worse = [np.array([1.0, 2.0]), np.array([0.0])], [np.array([0.0, 1.0, 3.0]), np.array([1.0])]
    # On the first problem 1 > 0, 1 = 1, 2 > 0, 2 > 1 of six pairs; on the second none of one.
    assert improvement(better, worse).value == pytest.approx((3.5 / 6 + 0.0) / 2)
    assert improvement(worse, better).value == pytest.approx(1 - 3.5 / 12)


def test_a_profile_is_the_share_of_runs_above_each_threshold() -> None:
    shares, low, high = profile([np.array([0.1, 0.5]), np.array([0.5, 0.9])], np.array([0.0, 0.1, 0.5, 1.0]))
    assert shares.tolist() == [1.0, 0.75, 0.25, 0.0]
    assert (low <= shares).all() and (shares <= high).all()


# -- results ------------------------------------------------------------------------------------------------------


def cell(method: str = "MAMQL", seed: int = 0, steps: int = 100, problem: str = "gems", settings: str = "{}") -> Cell:
    return Cell(problem, steps, method, seed, settings)


def job(of: Cell, **changed: Any) -> Job:
    made = Job(of, "MAMQL", None, object, {}, 10, 50, 4, 5, "half")
    return dataclasses.replace(made, **changed)


def row(of: Cell, value: float = 1.0, **changed: Any) -> dict[str, Any]:
    known: dict[str, Any] = {field.name: None for field in RESULTS}
    known |= {"problem": of.problem, "expert_steps": of.expert_steps, "method": of.method, "seed": of.seed}
    known |= {"run": of.method, "env": "gems", "agents": 2, "return_mean": value, "score": value / 2, "episodes": 50}
    known |= {"return_as_trained": value, "score_as_trained": value / 2, "expert_return": 2.0, "random_return": 0.0}
    known |= {"env_steps": 1000, "updates": 500, "train_s": 3.0, "wall_s": 4.0, "settings": of.settings}
    return known | {"versions": json.dumps({"python": "3"}), "day": "2030-01-01"} | changed


def point(iteration: int, value: float) -> dict[str, Any]:
    known: dict[str, Any] = {"iteration": iteration, "env_steps": 100 * iteration, "updates": 50 * iteration}
    return known | {"train_s": 1.0, "return_mean": value, "score": value / 2}


def test_what_has_a_result_is_not_missing_and_other_settings_are_an_error(tmp_path: Path) -> None:
    jobs = [job(cell(seed=seed)) for seed in range(3)]
    assert Results(tmp_path).missing(jobs) == jobs
    Results(tmp_path).add(row(jobs[1].cell), [point(1, 0.5), point(2, 1.0)])
    read = Results(tmp_path)
    assert read.missing(jobs) == [jobs[0], jobs[2]]
    assert [each["return_mean"] for each in read.curves] == [0.5, 1.0]
    with pytest.raises(ConfigError, match="gems, 100 steps, MAMQL, seed 1 with other settings"):
        read.missing([job(cell(seed=1, settings='{"lr": 1}'))])


def test_points_of_a_cell_whose_row_was_not_written_are_dropped(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.add(row(cell()), [point(1, 1.0)])
    results.curves.append({"problem": "gems", "expert_steps": 100, "method": "MABC", "seed": 0, **point(1, 9.0)})
    results.add(row(cell(seed=1)), [])
    assert {each["method"] for each in Results(tmp_path).curves} == {"MAMQL"}


def test_a_file_that_is_no_table_of_results_is_named(tmp_path: Path) -> None:
    (tmp_path / "results.parquet").write_text("no")
    with pytest.raises(DatasetError, match=r"results.parquet is no table of results"):
        Results(tmp_path)


def test_a_seed_of_everything_comes_first_and_the_last_iterate_is_evaluated_once() -> None:
    jobs = [job(cell(method, seed)) for method in ("A", "B") for seed in range(2)]
    assert [(each.cell.method, each.cell.seed) for each in in_order(jobs)] == [("A", 0), ("B", 0), ("A", 1), ("B", 1)]
    assert job(cell()).evaluated_at == {3, 5, 8}
    assert job(cell(), iterations=2).evaluated_at == {1}
    assert job(cell(), iterations=None).evaluated_at == job(cell(), curve_points=1).evaluated_at == frozenset()


def test_a_cell_that_goes_on_is_told_of_where_nothing_was_said_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rllib_mamql.evaluation import benchmark_run
    from rllib_mamql.evaluation.benchmark_trial import ITERATIONS, NUMBER

    lines: list[str] = []
    recorder = benchmark_run.Recorder([job(cell())], tmp_path, lambda row: None, lines.append)
    trial = SimpleNamespace(config={NUMBER: 0})
    recorder.on_trial_start(0, [], trial)
    recorder.on_trial_result(0, [], trial, {ITERATIONS: 1})
    assert lines == ["gems, 100 steps, MAMQL, seed 0: begins"]
    monkeypatch.setattr(benchmark_run, "NOTED_EVERY_S", 0.0)
    recorder.on_trial_result(0, [], trial, {ITERATIONS: 4})
    assert lines[1:] == ["gems, 100 steps, MAMQL, seed 0: iteration 4 of 10"]


# -- the page -----------------------------------------------------------------------------------------------------


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """Results of two methods on two problems, one of them at two sizes; the clone ends by itself."""
    results = Results(tmp_path)
    for problem, steps in (("gems", 100), ("gems", 400), ("spread", 50)):
        for seed in range(4):
            good, poor = 1.5 + 0.1 * seed + steps / 1000, 1.0 + 0.1 * seed
            results.rows.append(row(cell("MABC", seed, steps, problem), poor))
            results.curves.append(results.rows[-1] | point(seed + 3, poor))
            results.rows.append(row(cell("MAMQL", seed, steps, problem), good))
            results.curves += [results.rows[-1] | point(each, good * each / 3) for each in (1, 2, 3)]
    last = results.rows.pop()
    results.add(last, [])
    return tmp_path


def test_the_page_has_returns_scores_and_who_is_better(filled: Path) -> None:
    command = f"rllib benchmark --suite mine.yaml --out {'out' * 15} --method MAMQL --method MABC"
    file = write_report(filled, "mine", command, ["spread", "gems"], ["MAMQL", "MABC"])
    text = file.read_text()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:2] == "| "]
    (spread,) = (number for number, row in enumerate(rows) if row[0] == "spread")
    assert rows[spread] == ["spread", "50", "expert", "2.00", ""]
    assert rows[spread + 1][:3] == ["", "", "MAMQL"] and rows[spread + 1][4] == "4"
    assert rows[spread + 2][:3] == ["", "", "MABC"] and rows[spread + 2][4] == "4"
    assert rows[spread + 1][3].startswith("**1.70** [") and rows[spread + 2][3].startswith("1.15 [")
    assert [row[:2] for row in rows if row[0] in ("spread", "gems")] == [
        ["spread", "50"],
        ["gems", "100"],
        ["gems", "400"],
    ]
    better = {tuple(row[:3]) for row in rows}
    assert {("fewest", "MABC", "1.00"), ("all", "MABC", "1.00")} <= better
    assert ["MAMQL", "1,000", "500", "3", "4"] in rows
    assert " ".join(text.replace("\\\n", " ").split()).count(command) == 1
    assert max(map(len, (line for line in text.splitlines() if line[:1] != "!"))) <= 80, "a terminal's width"
    named = ["MAMQL", "MABC", "MAMQL"]  # as `--method MAMQL` on the command line adds to the suite's own
    write_report(filled, "mine", command, ["spread", "gems"], named)
    assert file.read_text() == text
    for name in PICTURES:
        assert f"({name})" in text
        assert min(image.imread(filled / name).shape[:2]) > 200


def test_points_of_a_method_that_ends_by_itself_are_one(filled: Path) -> None:
    results = Results(filled)
    groups = Groups(results.rows, results.curves)
    assert [len(rows) for rows in groups.points(("gems", 100), "MABC")] == [4]
    assert [len(rows) for rows in groups.points(("gems", 100), "MAMQL")] == [4, 4, 4]


def test_methods_are_compared_where_both_have_runs(filled: Path) -> None:
    rows = [each for each in Results(filled).rows if (each["problem"], each["method"]) != ("spread", "MABC")]
    groups = Groups(rows)
    mine, theirs = groups.scores(groups.tasks(), ["MAMQL", "MABC"])
    assert len(mine) == len(theirs) == 2


def test_a_page_without_results_says_what_to_do(tmp_path: Path, rllib: Rllib, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = rllib("benchmark", "--suite", SUITES[0], "--page")
    assert done.status == 2 and "has no results yet: run the suite without --page first" in done.err


def test_columns_of_both_tables_have_the_cell_first() -> None:
    assert RESULTS.names[:4] == CURVES.names[:4] == ["problem", "expert_steps", "method", "seed"]
