"""What happens while trials run: progress lines, timely checkpoints, and an orderly stop on Ctrl-C."""

from __future__ import annotations

import rllib_mamql.startup  # noqa: F401

# isort: split
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, ClassVar

from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.result import SHOULD_CHECKPOINT

from rllib_mamql.cli.results import OPPOSED, bound_shares, latest_return, without_returns
from rllib_mamql.cli.room import Waiting
from rllib_mamql.cli.trial_lines import TrialLines
from rllib_mamql.errors import full_disk, last_line, printable
from rllib_mamql.evaluation.diagnostics import divergence_warnings
from rllib_mamql.learning.metrics import ENVIRONMENT_FAULT, INCIDENTS, RETURN_MEAN

SAVE_EVERY_S = 30.0
"""A checkpoint at least this often, at the next iteration's end, so that a crash loses a minute at most."""

STOP_WITHIN_S = 25.0
"""How long an interrupted run waits for its trials' checkpoints."""


class Interruption:
    """Whether the user has asked the run to stop, and when (monotonic seconds)."""

    def __init__(self) -> None:
        self.at: float | None = None

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Catches SIGINT and SIGTERM; the first asks trials to save and stop, the second stops at once."""
        self.at = None

        def on_signal(number: int, frame: FrameType | None) -> None:
            if self.at is not None:
                raise KeyboardInterrupt
            self.at = time.monotonic()
            print("stopping: waiting for a last checkpoint (again to stop at once)", file=sys.stderr, flush=True)

        before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


INTERRUPTION = Interruption()
"""Of this process: Tune pickles its callbacks, so that they cannot hold it."""


class TrialMonitor(Callback):
    """Shows one line a trial, asks for checkpoints, and ends the run once an interruption's are written.

    Args:
        experiment: Name shown before the lines.
        stop: The experiment's stopping criteria. They hold for its trials, also for those that were started with others
            and are resumed.
        aggregation: How agents' returns combine in the environment: ``mean``, ``sum``, or ``opposed``, not at all.
    """

    wall_s: ClassVar[dict[str, float]] = {}
    """Wall seconds by trial id, of all runs of this process: Tune works on copies of its callbacks."""

    def __init__(self, experiment: str, stop: Mapping[str, float], aggregation: str = "mean") -> None:
        self.experiment = experiment
        self.stop = dict(stop)
        self.aggregation = aggregation
        self._reset()

    def _reset(self) -> None:
        self._lines: TrialLines | None = None
        self._saved: dict[str, float] = {}
        self._last_seen: dict[str, float] = {}
        self._returns: dict[str, float] = {}
        self._waits = Waiting()
        self._warned: set[tuple[str, str]] = set()

    @property
    def lines(self) -> TrialLines:
        """Where trials are shown; made when it is first asked for, in the process that shows them."""
        if self._lines is None:
            self._lines = TrialLines(self.stop)
        return self._lines

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles callbacks into the experiment's folder; a terminal has no place there.
        return {"experiment": self.experiment, "stop": self.stop, "aggregation": self.aggregation}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update({"aggregation": "mean", **state})
        self._reset()

    def get_state(self) -> dict[str, Any] | None:
        """Wall seconds so far, so that a resumed trial goes on counting."""
        return {"wall_s": dict(self.wall_s)}

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes back what ``get_state`` gave."""
        self.wall_s.update(state["wall_s"])

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Holds all trials to the stopping criteria, and says what is waited for, where no trial runs."""
        for trial in trials:
            if trial.stopping_criterion != self.stop:
                trial.stopping_criterion = dict(self.stop)
        pending = [trial for trial in trials if trial.status == Trial.PENDING]
        if any(trial.status == Trial.RUNNING for trial in trials):
            pending = []
        parts = pending[0].placement_group_factory.bundles if pending else []
        if line := self._waits.line(parts, time.monotonic()):
            print(line, file=sys.stderr, flush=True)

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Starts the trial's clock."""
        self._last_seen[trial.trial_id] = self._saved[trial.trial_id] = time.monotonic()
        self.lines.start(trial.trial_id, self._name(trial))

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Shows the result, adds the return for the trial's logs, and has the trial saved where that is due."""
        self._count(trial)
        due = time.monotonic() - self._saved.get(trial.trial_id, 0.0) >= SAVE_EVERY_S
        if due or INTERRUPTION.at is not None:
            result[SHOULD_CHECKPOINT] = True
        mean = latest_return(result, self.aggregation)
        result[RETURN_MEAN] = float("nan") if mean is None else mean
        self._show(trial, result)
        self._warn(trial, result)
        for incident in result.get(INCIDENTS) or ():
            self.lines.warn(f"warning: {self._name(trial)}: {printable(str(incident))}")

    def on_trial_save(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Notes when the trial was last saved."""
        self._count(trial)
        self._saved[trial.trial_id] = time.monotonic()

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Shows the trial's last line."""
        self._count(trial)
        result = trial.last_result or {}
        self._show(trial, result, final="FAILED" if ENVIRONMENT_FAULT in result else "done")

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Shows that the trial failed."""
        self._count(trial)
        self._show(trial, trial.last_result or {}, final="FAILED")

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Says that the trial failed and from where it goes on."""
        saved = trial.checkpoint
        where = f"from {os.path.basename(saved.path)}" if saved is not None else "from its beginning"
        failure = trial.run_metadata.num_failures
        of = "" if trial.max_failures < 0 else f" of {trial.max_failures}"
        error = trial.get_error()
        if isinstance(error, str):  # as Tune has noted it, where the trial's process died before
            error = RuntimeError(error)
        why = full_disk(error, trial.storage.storage_fs_path) or (last_line(error) if error else "its process ended")
        self.lines.warn(f"warning: {self._name(trial)} failed and goes on {where}, restart {failure}{of}: {why}")

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Ends an interrupted run when every running trial is saved, or has taken too long."""
        asked = INTERRUPTION.at
        if asked is None:
            return
        waiting = [t for t in trials if t.status == Trial.RUNNING and self._saved.get(t.trial_id, 0.0) < asked]
        if not waiting or time.monotonic() - asked > STOP_WITHIN_S:
            # Tune ends its loop on this signal and leaves the trials unfinished, which --resume wants.
            os.kill(os.getpid(), signal.SIGUSR1)

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """Leaves the last lines standing."""
        self.close()

    def close(self) -> None:
        """Gives the terminal back."""
        if self._lines is not None:
            self._lines.close()

    def _count(self, trial: Trial) -> None:
        now = time.monotonic()
        since = now - self._last_seen.get(trial.trial_id, now)
        self.wall_s[trial.trial_id] = self.wall_s.get(trial.trial_id, 0.0) + since
        self._last_seen[trial.trial_id] = now

    def _name(self, trial: Trial) -> str:
        return f"{self.experiment} {trial.trial_id.split('_')[-1]}"

    def _show(self, trial: Trial, result: Mapping[str, Any], final: str = "") -> None:
        if self.aggregation == OPPOSED:
            result = without_returns(result)
        if (mean := latest_return(result, self.aggregation)) is not None:
            self._returns[trial.trial_id] = mean
        wall_s, last = self.wall_s.get(trial.trial_id, 0.0), self._returns.get(trial.trial_id)
        self.lines.show(trial.trial_id, self._name(trial), result, wall_s, last, final)

    def _warn(self, trial: Trial, result: Mapping[str, Any]) -> None:
        """Says once a trial what diverges; numbers that go on growing are no news."""
        for agent, shares in bound_shares(result).items():
            for name, share in shares.items():
                for warning in divergence_warnings({agent: {name: share}}):
                    if (trial.trial_id, name) not in self._warned:
                        self._warned.add((trial.trial_id, name))
                        self.lines.warn(f"warning: {self._name(trial)}: {warning}")
