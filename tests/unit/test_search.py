"""Searches from YAML: schedulers, search algorithms, and what is refused of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rllib_mamql.algorithms.mamql.algorithm import MAMQL
from rllib_mamql.algorithms.registry import algorithm_class
from rllib_mamql.cli.experiment import Overrides, load_experiments, to_param_space
from rllib_mamql.cli.searching import check_search, metric_of, scheduler_of, search_of
from rllib_mamql.cli.settings import Prepared
from rllib_mamql.errors import ConfigError

SEARCH = """
toy:
  run: MAMQL
  env: gems
  stop: {training_iteration: 8}
  num_samples: 4
  tune:
    scheduler: asha
    scheduler_options: {grace_period: 2}
    search: optuna
    seed: 3
  config:
    lr: {loguniform: [1e-4, 1e-2]}
"""


def prepared(tmp_path: Path, text: str = SEARCH, **overrides: Any) -> Any:
    file = tmp_path / "file.yaml"
    file.write_text(text)
    (experiment,) = load_experiments(file, Overrides(**overrides))
    space = to_param_space(experiment.settings.config)
    return Prepared(experiment, MAMQL, space, 1, None)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("scheduler: asha", "schedular: asha", "did you mean 'scheduler'?"),
        ("scheduler: asha", "scheduler: ashaa", "did you mean 'asha'?"),
        ("search: optuna", "search: optun", "did you mean 'optuna'?"),
        ("grace_period: 2", "grace_perod: 2", "did you mean 'grace_period'?"),
        ("grace_period: 2", "grace_period: -1", "give a number above 0"),
        ("seed: 3", "seed: x", "tune: seed is 'x'"),
        ("seed: 3", "mode: best", "tune.mode is 'best'"),
    ],
)
def test_unknown_keys_name_the_nearest(tmp_path: Path, old: str, new: str, says: str) -> None:
    with pytest.raises(ConfigError) as error:
        prepared(tmp_path, SEARCH.replace(old, new))
    assert says in str(error.value)


def test_optuna_draws_the_same_again_from_its_own_seed(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    item = prepared(tmp_path)
    check_search(item)
    drawn = []
    for _ in range(2):
        search = search_of(item)
        search.set_search_properties(metric_of(item), "max", item.param_space)
        drawn.append([search.suggest(f"trial{k}")["lr"] for k in range(3)])
        for k, value in enumerate(drawn[-1]):
            search.on_trial_complete(f"trial{k}", {"return_mean": -value, "training_iteration": 1})
        # What it has learned is part of the next draw.
        drawn[-1].append(search.suggest("next")["lr"])
    assert drawn[0] == drawn[1] and len(set(drawn[0])) == 4
    assert all(1e-4 <= value <= 1e-2 for value in drawn[0])


def test_a_result_before_any_episode_has_ended_fails_no_search(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    from ray.tune.schedulers import TrialScheduler

    item = prepared(tmp_path)
    search = search_of(item)
    search.set_search_properties(metric_of(item), "max", item.param_space)
    search.suggest("one")
    search.on_trial_result("one", {"training_iteration": 1})
    search.on_trial_result("one", {"training_iteration": 2, "return_mean": 1.0})
    assert search._ot_trials["one"].study.trials[0].intermediate_values == {2: 1.0}

    text = SEARCH.replace("scheduler: asha", "scheduler: pbt").replace("{grace_period: 2}", "{}")
    population = scheduler_of(prepared(tmp_path, text))
    trial = SimpleNamespace(trial_id="one", config={"lr": 1e-3}, status="RUNNING", stub=True)
    assert population.on_trial_result(None, trial, {"training_iteration": 1}) == TrialScheduler.CONTINUE


def test_optuna_draws_from_no_grid(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    with pytest.raises(ConfigError, match=r"config.lr is a grid_search"):
        check_search(prepared(tmp_path, SEARCH.replace("loguniform", "grid_search")))


def test_asha_ends_the_trial_that_falls_behind(tmp_path: Path) -> None:
    from ray.tune.schedulers import TrialScheduler

    scheduler = scheduler_of(prepared(tmp_path))
    trials = [SimpleNamespace(trial_id=str(k), status="RUNNING", stub=True) for k in range(4)]
    decisions = []
    for rank, trial in enumerate(trials):
        scheduler.on_trial_add(None, trial)
        result = {"training_iteration": 2, "return_mean": -float(rank)}
        decisions.append(scheduler.on_trial_result(None, trial, result))
    assert decisions[0] == TrialScheduler.CONTINUE and decisions[-1] == TrialScheduler.STOP
    # Before an episode has ended there is nothing to compare by.
    assert scheduler.on_trial_result(None, trials[0], {"training_iteration": 4}) == TrialScheduler.CONTINUE


@pytest.mark.parametrize(
    ("name", "kind"), [("pbt", "PopulationBasedTraining"), ("median", "MedianStoppingRule"), ("fifo", "NoneType")]
)
def test_schedulers_by_name(tmp_path: Path, name: str, kind: str) -> None:
    text = SEARCH.replace("scheduler: asha", f"scheduler: {name}").replace("{grace_period: 2}", "{}")
    assert type(scheduler_of(prepared(tmp_path, text))).__name__ == kind


def test_population_based_training_needs_something_to_change(tmp_path: Path) -> None:
    text = SEARCH.replace("scheduler: asha", "scheduler: pbt").replace("{grace_period: 2}", "{}")
    with pytest.raises(ConfigError, match="has nothing to change"):
        check_search(
            prepared(tmp_path, text.replace("{loguniform: [1e-4, 1e-2]}", "0.001").replace("optuna", "random"))
        )


def test_trials_are_compared_by_the_return_and_offline_by_likelihood(tmp_path: Path) -> None:
    assert metric_of(prepared(tmp_path)) == "return_mean"
    assert metric_of(prepared(tmp_path, SEARCH + "    mode: offline\n")) == "expert_log_likelihood"
    assert metric_of(prepared(tmp_path, sets=("tune.metric=time_total_s",))) == "time_total_s"


def test_the_command_line_changes_samples_and_concurrency(tmp_path: Path) -> None:
    settings = prepared(tmp_path, num_samples=9, max_concurrent=2).experiment.settings
    assert (settings.num_samples, settings.tune.max_concurrent, settings.tune.scheduler) == (9, 2, "asha")


def test_random_search_keeps_to_the_trials_at_once(tmp_path: Path) -> None:
    """Tune itself ignores its own limit there."""
    found = search_of(prepared(tmp_path, SEARCH.replace("search: optuna", "search: random"), max_concurrent=2))
    assert found.max_concurrent == 2


def test_a_clone_is_compared_by_likelihood_for_it_learns_offline_by_default(tmp_path: Path) -> None:
    item = dataclasses.replace(prepared(tmp_path), algorithm=algorithm_class("MABC"))
    assert metric_of(item) == "expert_log_likelihood"
