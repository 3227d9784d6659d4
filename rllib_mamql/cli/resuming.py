"""Which folder a run is in, and how a run goes on that has stopped or is to train longer."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rllib_mamql import ray_internals
from rllib_mamql.cli.adopting import Adopt, newer_checkpoint
from rllib_mamql.cli.experiment import Experiment
from rllib_mamql.cli.messages import say
from rllib_mamql.cli.options import DEFAULT_STORAGE
from rllib_mamql.cli.paths import shown
from rllib_mamql.cli.progress import TrialMonitor
from rllib_mamql.cli.progress_csv import ProgressTable
from rllib_mamql.cli.results import nearness
from rllib_mamql.cli.runs import LOCK, checkpoints, trials_of
from rllib_mamql.cli.settings import Prepared
from rllib_mamql.data.places import folders_in, has_file, is_elsewhere
from rllib_mamql.errors import ConfigError, UserError, no_space, one_line

WHOSE = ".experiment"
"""File in a run's folder on this machine: the experiment's name."""
LEAST_SPACE = 2**20
"""Bytes that must be free where results go."""


@dataclass(frozen=True)
class RunPlace:
    """Where a run is.

    Attributes:
        storage: Storage path.
        name: The run's folder there.
        resumes: Whether it goes on, or is new.
    """

    storage: str
    name: str
    resumes: bool = False


def places_of(experiments: Sequence[Experiment], resume: bool) -> list[RunPlace]:
    """Where each experiment of a file runs: with ``resume`` those go on that have a run, and the others begin.

    Raises:
        ConfigError: If all are to be resumed and none has a run.
    """
    names = {experiment.name for experiment in experiments}
    if not resume:
        return [RunPlace(*results_folder(each, False, names - {each.name})) for each in experiments]
    found, missing = [], []
    for each in experiments:
        try:
            found.append(RunPlace(*results_folder(each, True, names - {each.name}), resumes=True))
        except NoRun as error:
            missing.append(error)
            found.append(RunPlace(*results_folder(each, False, names - {each.name})))
    if len(missing) == len(experiments):
        raise missing[0]
    for place, each in zip(found, experiments, strict=True):
        if not place.resumes:
            say(f"{each.name} has no run to resume, and begins")
    return found


class NoRun(ConfigError):
    """An experiment has no run that could go on."""


def results_folder(experiment: Experiment, resume: bool, others: Collection[str] = ()) -> tuple[str, str]:
    """Storage path and folder name: the newest run to resume, else a name that is not taken yet.

    Args:
        experiment: Whose run it is.
        resume: Whether it is to go on.
        others: Names of the experiments beside it: a folder ``gems-2`` is a second run of ``gems``, or a run of
            ``gems-2``, as is written in it; where nothing is, it is the latter's.

    Raises:
        NoRun: If there is none to resume.
        ConfigError: If the storage path is a file, or a bucket cannot be reached.
    """
    storage = experiment.settings.storage_path or DEFAULT_STORAGE
    name = experiment.name
    if is_elsewhere(storage):
        root, folders = storage.rstrip("/"), folders_in(storage)
    else:
        local = Path(storage).expanduser().resolve()
        if local.exists() and not local.is_dir():
            raise ConfigError(f"--storage-path {storage} is a file; give a folder")
        root, folders = str(local), [path.name for path in local.iterdir()] if local.is_dir() else []
    pattern = re.compile(re.escape(name) + r"(-(\d+))?")
    runs = {int(match.group(2) or 1): found for found in folders if (match := pattern.fullmatch(found))}
    if not resume:
        number = max(runs, default=0) + 1
        while number > 1 and f"{name}-{number}" in others:
            number += 1
        return root, name if number == 1 else f"{name}-{number}"
    for _, found in sorted(runs.items(), reverse=True):
        run = f"{root}/{found}"
        if not _is_run_of(run, name, found in others):
            continue
        if has_file(f"{run}/{ray_internals.TUNER_FILE}") or has_checkpoints(run):
            return root, found
    raise NoRun(f"--resume: no run of {name!r} in {root}; leave --resume out, or correct --storage-path")


def _is_run_of(run: str, name: str, is_name_of_another: bool) -> bool:
    """Whether a folder holds a run of an experiment: as is written in it, or as its name says."""
    file = Path(run) / WHOSE
    try:
        return file.read_text(encoding="utf-8") == name
    except (OSError, UnicodeDecodeError):
        return not is_name_of_another


def has_checkpoints(run: str) -> bool:
    """Whether a run on this machine has checkpoints to go on from, where Tune's record of it is lost."""
    folder = Path(run)
    return not is_elsewhere(run) and folder.is_dir() and any(checkpoints(trial) for trial in trials_of(folder))


@contextmanager
def claimed(places: Sequence[RunPlace], experiments: Sequence[Experiment]) -> Iterator[list[RunPlace]]:
    """Makes the folders of new runs, which no other process then takes; those in buckets are left as they are.

    Where the user's input then turns out to be wrong, nothing is left of them.

    Args:
        places: Of each run, as :func:`places_of` found them.
        experiments: Likewise.

    Yields:
        The same, with the names of the folders that were made.
    """
    here = [place for place in places if not place.resumes and not is_elsewhere(place.storage)]
    new_roots = [Path(place.storage) for place in here if not Path(place.storage).exists()]
    made = [
        replace(place, name=claim_folder(place.storage, experiment.name, place.name)) if place in here else place
        for place, experiment in zip(places, experiments, strict=True)
    ]
    try:
        yield made
    except UserError:
        new = (Path(now.storage) / now.name for now, place in zip(made, places, strict=True) if place in here)
        for folder in (*new, *new_roots):
            _drop_unused(folder)
        raise


def _drop_unused(folder: Path) -> None:
    """Removes a new run's folder, or the results' own, in which no run has written."""
    if folder.is_dir() and {path.name for path in folder.iterdir()} <= {LOCK, WHOSE}:
        for name in (LOCK, WHOSE):
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()


def claim_folder(storage: str, stem: str, name: str) -> str:
    """Makes a new run's folder; where its name was taken meanwhile, one with the next number.

    Args:
        storage: Where results go.
        stem: The experiment's name.
        name: The folder's name, as :func:`results_folder` found it: the stem, and a number or none.

    Returns:
        The name of the folder that was made.

    Raises:
        ConfigError: If nothing can be written there.
    """
    root = Path(storage)
    try:
        root.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                (root / name).mkdir()
                break
            except FileExistsError:
                name = f"{stem}-{int(name[len(stem) + 1 :] or 1) + 1}"
        (root / name / WHOSE).write_text(stem, encoding="utf-8")
        probe = root / name / ".probe"
        try:
            with probe.open("wb") as file:
                file.write(bytes(LEAST_SPACE))
                os.fsync(file.fileno())
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        _drop_unused(root / name)
        why = no_space(error) or f"it cannot be written to ({error.strerror})"
        raise ConfigError(f"--storage-path {storage}: {why}; nothing was started") from error
    return name


def resumed(item: Prepared, storage: str, name: str, asked: Mapping[str, float]) -> Any:
    """The tuner of a run that goes on, with what it was started with, but for stopping criteria that are longer.

    None where Tune's record of the run is damaged or holds no trial.

    Args:
        item: The experiment.
        storage: Where results lie.
        name: The run's folder there.
        asked: Criteria of ``--stop``.

    Raises:
        ConfigError: If one of them is shorter than the run's.
    """
    path = f"{storage}/{name}"
    if not is_elsewhere(path):
        drop_half_lines(Path(path))
    try:
        restored = ray_internals.restore(path, item.algorithm)
        trials, results = restored.trials, list(restored.tuner.get_results())
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
        say(f"Tune's record of {shown(path)} is damaged ({one_line(error)[:200]})")
        trials = results = []
    if not trials:
        say("all trials begin with the settings of this command, from their checkpoints where there are whole ones")
        return None
    started_with = dict(trials[0].stopping_criterion)
    stop = longer(started_with, asked)
    say(f"resuming {shown(path)} with the settings that it was started with" + _until(started_with, stop))
    ended = [trial for trial in trials if is_over(trial, stop)]
    if any(trial.status == trial.TERMINATED for trial in trials if trial not in ended):
        restored.train_finished_trials()
    for trial, result in zip(trials, results, strict=True):
        say(f"{name} {trial.trial_id.split('_')[-1]}: " + _where(trial, result, stop, over=trial in ended))
    if len(ended) == len(trials):
        say("no trial has anything left to do; to train longer, add for example --stop training_iteration=N")
    restored.change(stop, [Adopt(), TrialMonitor(name, stop, item.aggregation), ProgressTable()])
    return restored.tuner


def longer(started_with: Mapping[str, float], asked: Mapping[str, float]) -> dict[str, float]:
    """Stopping criteria of a resumed run.

    Args:
        started_with: Those that it has.
        asked: Those of ``--stop``.

    Raises:
        ConfigError: If one is shorter than before.
    """
    for key, value in asked.items():
        if value < started_with.get(key, value):
            raise ConfigError(
                f"--stop {key}={value:g}: the run was started with {started_with[key]:g}, and --resume trains at least "
                "as long; leave --resume out to start anew"
            )
    return {**started_with, **asked}


def is_over(trial: Any, stop: Mapping[str, float]) -> bool:
    """Whether a trial has nothing left to do: it has met the criteria, or come to its algorithm's own end."""
    if trial.status != trial.TERMINATED:
        return False
    last = trial.last_result or {}
    by_itself = bool(last.get("done")) and nearness(last, trial.stopping_criterion) < 1.0
    return by_itself or nearness(last, stop) >= 1.0


def drop_half_lines(folder: Path) -> None:
    """Cuts the line that a killed driver was writing off its trials' logs, to which Tune then appends."""
    for log in (*folder.glob("*/result.json"), *folder.glob("*/progress.csv")):
        with log.open("r+b") as file:
            content = file.read()
            whole = content.rfind(b"\n") + 1
            if whole < len(content):
                file.truncate(whole)


def _until(before: Mapping[str, float], stop: Mapping[str, float]) -> str:
    changed = [f"{key} {value:g}" for key, value in stop.items() if before.get(key) != value]
    return f", until {' or '.join(changed)}" if changed else ""


def _where(trial: Any, result: Any, stop: Mapping[str, float], over: bool) -> str:
    """Where a trial goes on."""
    limit = stop.get("training_iteration")
    of = f" of {limit:,.0f}" if limit else ""
    if over:
        return f"has ended after iteration {(trial.last_result or {}).get('training_iteration', 0):,}"
    done = iteration_saved(result.checkpoint, result.best_checkpoints)
    if newer := newer_checkpoint(Path(result.path), done) if Path(result.path).is_dir() else None:
        return f"goes on with iteration {newer.iteration + 1:,}{of}, from {newer.path.name}"
    if done is None:
        return "starts anew at iteration 1, since it has no whole checkpoint"
    return f"goes on with iteration {done + 1:,}{of}, from {Path(result.checkpoint.path).name}"


def iteration_saved(checkpoint: Any, saved: Sequence[tuple[Any, Mapping[str, Any]]]) -> int | None:
    """After which iteration a checkpoint was written; None where there is none.

    Args:
        checkpoint: A trial's newest checkpoint.
        saved: All that it keeps, each with the result that it was written with.
    """
    for found, metrics in saved or ():
        if checkpoint is not None and found.path == checkpoint.path:
            return int(metrics.get("training_iteration", 0))
    return None
