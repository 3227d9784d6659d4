"""Checkpoints that lie in a run's folder and that Tune's last snapshot of the run does not know yet."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.result import EXPR_PARAM_FILE

from rllib_mamql import ray_internals
from rllib_mamql.cli.runs import LOG, checkpoints
from rllib_mamql.data.checksums import is_whole
from rllib_mamql.data.places import is_elsewhere
from rllib_mamql.data.untrusted import parse_json
from rllib_mamql.learning.checkpoint import DOCUMENT, TRAINING_ITERATION
from rllib_mamql.learning.counts import lookup


@dataclass(frozen=True)
class Newer:
    """A checkpoint that is newer than the snapshot.

    Attributes:
        path: Its folder.
        iteration: After which it was written.
        result: The trial's result of that iteration.
    """

    path: Path
    iteration: int
    result: Mapping[str, Any]


def newer_checkpoint(trial: Path, known: int | None) -> Newer | None:
    """The newest checkpoint of a trial that is whole, where it was written after a later iteration than is known of.

    Args:
        trial: The trial's folder.
        known: The iteration of the newest checkpoint in Tune's snapshot; None where it has none.
    """
    for path in reversed(checkpoints(trial)):
        try:
            iteration = int(parse_json((path / DOCUMENT).read_text(encoding="utf-8"))[TRAINING_ITERATION])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if known is not None and iteration <= known:
            return None
        result = _result_of(trial, iteration)
        if result is not None and is_whole(path):
            return Newer(path, iteration, result)
    return None


def _result_of(trial: Path, iteration: int) -> dict[str, Any] | None:
    """What a trial logged last of an iteration."""
    found = None
    if not (trial / LOG).is_file():
        return None
    with (trial / LOG).open(encoding="utf-8", errors="replace") as log:
        for line in log:
            try:
                content = parse_json(line)
            except ValueError:
                continue
            if isinstance(content, dict) and content.get("training_iteration") == iteration:
                found = content
    return found


def _newest(trial: Path, known: int | None, searched: Mapping[str, Any]) -> Newer | None:
    """The newest checkpoint in a trial's folder; for a trial that is new, of one like it in its run.

    That is one with the same number, and the same values of what is searched.
    """
    like = [] if known is not None else trial.parent.glob(f"trial_*_{trial.name.rpartition('_')[2]}")
    folders = [trial, *(folder for folder in like if folder != trial and _is_like(folder, searched))]
    found = [newer for folder in folders if folder.is_dir() if (newer := newer_checkpoint(folder, known))]
    return max(found, key=lambda newer: newer.iteration, default=None)


def _is_like(trial: Path, searched: Mapping[str, Any]) -> bool:
    """Whether a trial of the run was made with these values, given by ``/``-separated paths of its config."""
    if not searched:
        return True
    try:
        config = parse_json((trial / EXPR_PARAM_FILE).read_text(encoding="utf-8"))
        return all(lookup(config, path) == json.loads(json.dumps(value)) for path, value in searched.items())
    except (OSError, ValueError, TypeError):
        return False


class Adopt(Callback):
    """Lets trials of a resumed run go on from the newest checkpoints in their folders."""

    def __init__(self) -> None:
        self._started: set[str] = set()

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Before a trial is restored, and for the first time only: later it has gone on from there."""
        if trial.trial_id in self._started:
            return
        self._started.add(trial.trial_id)
        if not trial.path or is_elsewhere(trial.path):
            return
        latest = trial.latest_checkpoint_result
        known = int(latest.metrics.get("training_iteration", 0)) if latest is not None else None
        if newer := _newest(Path(trial.path), known, trial.evaluated_params):
            number = int(re.sub(r"\D", "", newer.path.name))
            ray_internals.adopt_checkpoint(trial, newer.path, number, newer.result)
