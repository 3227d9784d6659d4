"""Experiments through Ray Tune, from validation to the final evaluation."""

from __future__ import annotations

import rllib_mamql.startup  # noqa: F401

# isort: split
import errno
import os
import pickle
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rllib_mamql import ray_internals
from rllib_mamql.cli.adopting import Adopt
from rllib_mamql.cli.experiment import Experiment
from rllib_mamql.cli.messages import say
from rllib_mamql.cli.options import RunOptions
from rllib_mamql.cli.paths import shown
from rllib_mamql.cli.progress import INTERRUPTION, TrialMonitor
from rllib_mamql.cli.progress_csv import ProgressTable
from rllib_mamql.cli.report import TrialReport
from rllib_mamql.cli.resuming import RunPlace, claimed, places_of, resumed
from rllib_mamql.cli.room import check_room, largest
from rllib_mamql.cli.runs import training
from rllib_mamql.cli.searching import check_search, scheduler_of, search_of
from rllib_mamql.cli.session import quiet, ray_session
from rllib_mamql.cli.settings import Prepared, prepare
from rllib_mamql.cli.trial_reports import report_trial
from rllib_mamql.cli.winner import crown
from rllib_mamql.cli.working import working
from rllib_mamql.data.places import is_elsewhere, uri
from rllib_mamql.errors import full_disk


class Interrupted(Exception):
    """The user stopped the run; trials were saved where they could be."""


def run_experiments(experiments: Sequence[Experiment], options: RunOptions) -> list[TrialReport]:
    """Checks all experiments, then runs one after the other.

    Raises:
        UserError: If anything about them is wrong; then nothing was started or written.
        Interrupted: If the user stopped the run.
    """
    quiet(options.verbose)
    wanted = places_of(experiments, options.resume)
    with working("checking the experiments"):
        prepared = [prepare(experiment) for experiment in experiments]
        for item in prepared:
            check_search(item)
            scheduler_of(item)
    reports: list[TrialReport] = []
    asked = [parts for item in prepared for parts in item.trials]
    with claimed(wanted, experiments) as places:
        with ray_session(options, largest(asked, "CPU"), largest(asked, "GPU")):
            check_room(options, asked)
            for item, place in zip(prepared, places, strict=True):
                reports += _run(item, place, options)
    return reports


def _run(item: Prepared, place: RunPlace, options: RunOptions) -> list[TrialReport]:
    storage, name = place.storage, place.name
    remote = is_elsewhere(storage)
    with nullcontext() if remote else training(Path(storage) / name):
        tuner = resumed(item, storage, name, options.stop) if place.resumes else None
        if tuner is None:
            tuner = _new(item, storage, name)
        with INTERRUPTION.watch():
            results = _fitted(tuner, storage)
        if INTERRUPTION.at is not None:
            for result in results:
                if result.checkpoint is not None:
                    say(f"last checkpoint: {shown(uri(result.checkpoint.path, storage))}")
            raise Interrupted(f"stopped; the same command with --resume goes on with {shown(f'{storage}/{name}')}")
        trials = ray_internals.trials_of(results)
        alone = len(trials) == 1
        reports = [
            report_trial(item, result, trial, options, storage, alone=alone)
            for result, trial in zip(results, trials, strict=True)
        ]
        configs = {trial.trial_id: trial.config for trial in trials}
        return crown(item, reports, configs, f"{storage}/{name}", options.eval_episodes)


def _new(item: Prepared, storage: str, name: str) -> Any:
    from ray import tune

    settings = item.experiment.settings
    return tune.Tuner(
        item.algorithm,
        param_space=item.param_space,
        tune_config=tune.TuneConfig(
            num_samples=item.num_samples,
            time_budget_s=settings.time_budget_s,
            search_alg=search_of(item),
            scheduler=scheduler_of(item),
            max_concurrent_trials=settings.tune.max_concurrent if settings.tune.search == "optuna" else None,
            trial_dirname_creator=_trial_folder,
        ),
        run_config=tune.RunConfig(
            name=name,
            storage_path=storage,
            stop=dict(settings.stop),
            failure_config=tune.FailureConfig(max_failures=settings.max_failures),
            checkpoint_config=tune.CheckpointConfig(
                checkpoint_frequency=settings.checkpoint_freq,
                checkpoint_at_end=settings.checkpoint_at_end,
                num_to_keep=settings.keep_checkpoints_num,
            ),
            callbacks=[Adopt(), TrialMonitor(name, settings.stop, item.aggregation), ProgressTable()],
            verbose=0,
        ),
    )


def _fitted(tuner: Any, storage: str) -> Any:
    """Tune's results, or that the disk is full: Tune then fails at its own files, which are cut off."""
    try:
        return tuner.fit()
    except (EOFError, pickle.UnpicklingError) as error:
        if full_disk(error, storage):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), storage) from error
        raise RuntimeError(f"a file of Ray Tune's in {shown(storage)} is cut off: start anew") from error


def _trial_folder(trial: Any) -> str:
    return f"trial_{trial.trial_id}"
