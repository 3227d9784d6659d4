"""What happens while trials run: progress lines, timely checkpoints, and an orderly stop on Ctrl-C."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from numbers import Real
from types import FrameType
from typing import Any, ClassVar

import ray
from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.result import SHOULD_CHECKPOINT
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from rllib_mamql.columns import Q_SHARE, REWARD_SHARE
from rllib_mamql.evaluation.diagnostics import divergence_warnings
from rllib_mamql.learning.metrics import ENVIRONMENT_FAULT, EXPERT_LOG_LIKELIHOOD, NUM_GRADIENT_STEPS_LIFETIME

SAVE_EVERY_S = 30.0
"""A checkpoint at least this often, at the next iteration's end, so that a crash loses a minute at most."""

PLAIN_EVERY_S = 10.0
"""Least time between two lines of a trial where the output is no terminal."""

BAR_WIDTH, NARROWEST = 12, 24
"""Characters of a trial's bar, and the fewest that its line is shortened to."""

WAITING_S, WAITING_AGAIN_S = 8.0, 60.0
"""How long a trial that cannot fit waits before a line says so; how long one that can does, and until the next line."""

STOP_WITHIN_S = 60.0
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


class Waiting:
    """Notices that trials wait for CPUs and GPUs that are not there."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._said: float | None = None

    def line(self, asked: Mapping[str, float], now: float) -> str | None:
        """What to tell the user now, or None.

        Args:
            asked: Resources that the next trial needs; none where no trial waits.
            now: Seconds, monotonic.
        """
        if not asked:
            self._since = self._said = None
            return None
        self._since = now if self._since is None else self._since
        if now < (self._since + WAITING_S if self._said is None else self._said + WAITING_AGAIN_S):
            return None
        there, free = ray.cluster_resources(), ray.available_resources()
        names = [name for name in asked if asked[name]]
        fits = all(asked[name] <= there.get(name, 0.0) for name in names)
        if fits and now < self._since + WAITING_AGAIN_S:
            return None  # Its process is starting: that takes a while too, and looks alike.
        self._said = now
        wanted = ", ".join(f"{asked[name]:g} {name}" for name in names)
        found = ", ".join(f"{there.get(name, 0.0):g} {name} ({free.get(name, 0.0):g} free)" for name in names)
        if fits:
            remedy = "it starts when other work ends"
        else:
            remedy = (
                "it starts when nodes are added; else lower num_env_runners, num_learners, or what each of them takes "
                "(num_cpus_per_env_runner, num_cpus_per_learner, num_gpus_per_learner)"
            )
        return f"waiting: a trial asks for {wanted}, the cluster has {found}; {remedy}"


class TrialMonitor(Callback):
    """Shows one line a trial, asks for checkpoints, and ends the run once an interruption's are written.

    Args:
        experiment: Name shown before the lines.
        stop: The experiment's stopping criteria; how near they are is the bar.
    """

    wall_s: ClassVar[dict[str, float]] = {}
    """Wall seconds by trial id, of all runs of this process: Tune works on copies of its callbacks."""

    def __init__(self, experiment: str, stop: Mapping[str, float]) -> None:
        self.experiment = experiment
        self.stop = dict(stop)
        self._reset()

    def _reset(self) -> None:
        self._console: Console | None = None
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._printed: dict[str, float] = {}
        self._saved: dict[str, float] = {}
        self._last_seen: dict[str, float] = {}
        self._returns: dict[str, float] = {}
        self._waits = Waiting()
        self._warned: set[tuple[str, str]] = set()

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles callbacks into the experiment's folder; a terminal has no place there.
        return {"experiment": self.experiment, "stop": self.stop}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def get_state(self) -> dict[str, Any] | None:
        """Wall seconds so far, so that a resumed trial goes on counting."""
        return {"wall_s": dict(self.wall_s)}

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes back what ``get_state`` gave."""
        self.wall_s.update(state["wall_s"])

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Says what is waited for, where no trial runs."""
        pending = [trial for trial in trials if trial.status == Trial.PENDING]
        if any(trial.status == Trial.RUNNING for trial in trials):
            pending = []
        asked = pending[0].placement_group_factory.required_resources if pending else {}
        if line := self._waits.line(asked, time.monotonic()):
            print(line, file=sys.stderr, flush=True)

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Starts the trial's clock."""
        self._last_seen[trial.trial_id] = self._saved[trial.trial_id] = time.monotonic()

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Shows the result, and has the trial saved where that is due."""
        self._count(trial)
        due = time.monotonic() - self._saved.get(trial.trial_id, 0.0) >= SAVE_EVERY_S
        if due or INTERRUPTION.at is not None:
            result[SHOULD_CHECKPOINT] = True
        self._show(trials, trial, result)
        self._warn(trial, result)

    def on_trial_save(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Notes when the trial was last saved."""
        self._count(trial)
        self._saved[trial.trial_id] = time.monotonic()

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Shows the trial's last line."""
        self._count(trial)
        result = trial.last_result or {}
        self._show(trials, trial, result, final="FAILED" if ENVIRONMENT_FAULT in result else "done")

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Shows that the trial failed."""
        self._count(trial)
        self._show(trials, trial, trial.last_result or {}, final="FAILED")

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
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _count(self, trial: Trial) -> None:
        now = time.monotonic()
        since = now - self._last_seen.get(trial.trial_id, now)
        self.wall_s[trial.trial_id] = self.wall_s.get(trial.trial_id, 0.0) + since
        self._last_seen[trial.trial_id] = now

    def _show(self, trials: list[Trial], trial: Trial, result: Mapping[str, Any], final: str = "") -> None:
        if self._console is None:
            self._console = Console(stderr=True)
        if (mean := latest_return(result)) is not None:
            self._returns[trial.trial_id] = mean
        name = f"{self.experiment} {trial.trial_id.split('_')[-1]}"
        width = max(NARROWEST, self._console.width - len(name) - BAR_WIDTH - 2) if self._console.is_terminal else None
        line = progress_line(
            result,
            self.wall_s.get(trial.trial_id, 0.0),
            self.stop,
            last_return=self._returns.get(trial.trial_id),
            final=final,
            width=width,
        )
        if not self._console.is_terminal:
            now = time.monotonic()
            if final or now - self._printed.get(trial.trial_id, 0.0) >= PLAIN_EVERY_S:
                self._printed[trial.trial_id] = now
                print(f"{name}  {line}", file=sys.stderr, flush=True)
            return
        if self._progress is None:
            self._progress = Progress(
                TextColumn("{task.fields[name]}"),
                BarColumn(bar_width=BAR_WIDTH),
                TextColumn("{task.description}"),
                console=self._console,
            )
            self._progress.start()
        if trial.trial_id not in self._tasks:
            self._tasks[trial.trial_id] = self._progress.add_task("", total=1.0, name=name)
        done = 1.0 if final == "done" else nearness(result, self.stop)
        self._progress.update(self._tasks[trial.trial_id], description=line, completed=done)

    def _warn(self, trial: Trial, result: Mapping[str, Any]) -> None:
        """Says once a trial what diverges; numbers that go on growing are no news."""
        for agent, shares in bound_shares(result).items():
            for name, share in shares.items():
                for warning in divergence_warnings({agent: {name: share}}):
                    if (trial.trial_id, name) in self._warned:
                        continue
                    self._warned.add((trial.trial_id, name))
                    line = f"warning: {self.experiment} {trial.trial_id.split('_')[-1]}: {warning}"
                    if self._progress is None:
                        print(line, file=sys.stderr, flush=True)
                    else:
                        self._progress.console.print(line, style="bold yellow", markup=False, highlight=False)


def bound_shares(result: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """What learners report of rewards and action values in their bounds, ``{agent: {metric: share}}``."""
    found: dict[str, dict[str, float]] = {}
    for module in (result.get("learners") or {}).values():
        for agent, metrics in module.items() if isinstance(module, Mapping) else ():
            if isinstance(metrics, Mapping):
                shares = {name: float(metrics[name]) for name in (REWARD_SHARE, Q_SHARE) if name in metrics}
                found |= {agent: shares} if shares else {}
    return found


def lookup(result: Mapping[str, Any], path: str) -> Any:
    """Value at a ``/``-separated path of a nested result, or None."""
    value: Any = result
    for key in path.split("/"):
        if not isinstance(value, Mapping) or key not in value:
            return None
        value = value[key]
    return value


def nearness(result: Mapping[str, Any], stop: Mapping[str, float]) -> float:
    """How near a trial is to its end, from 0 to 1: the greatest share of any stopping criterion."""
    shares = [
        float(value) / limit
        for key, limit in stop.items()
        if limit > 0 and isinstance(value := lookup(result, key), Real)
    ]
    return min(max(shares, default=0.0), 1.0)


def env_steps(result: Mapping[str, Any]) -> int:
    """Joint environment steps taken so far."""
    for path in ("env_runners/num_env_steps_sampled_lifetime", "num_env_steps_sampled_lifetime"):
        value = lookup(result, path)
        if isinstance(value, Real):
            return int(float(value))
    return 0


def updates(result: Mapping[str, Any]) -> int:
    """Gradient steps taken so far; 0 where the algorithm does not count them."""
    return int(max(_found(result.get("learners"), NUM_GRADIENT_STEPS_LIFETIME), default=0))


def expert_log_likelihood(result: Mapping[str, Any]) -> float | None:
    """Mean over the agents of the expert actions' log-likelihood, or None where there is none."""
    values = list(_found(result.get("learners"), EXPERT_LOG_LIKELIHOOD))
    return sum(values) / len(values) if values else None


def _found(value: Any, name: str) -> Iterator[float]:
    """Numbers under the key ``name``, at any depth."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key == name and isinstance(item, Real):
                yield float(item)
            else:
                yield from _found(item, name)


def latest_return(result: Mapping[str, Any]) -> float | None:
    """Mean return of the episodes that ended lately, or None where none has."""
    # RLlib's own algorithms report only the sum over agents.
    for path in ("env_runners/return_mean", "env_runners/episode_return_mean"):
        mean = lookup(result, path)
        if isinstance(mean, Real) and mean == mean:
            return float(mean)
    return None


def progress_line(
    result: Mapping[str, Any],
    wall_s: float,
    stop: Mapping[str, float],
    *,
    last_return: float | None = None,
    final: str = "",
    width: int | None = None,
) -> str:
    """A trial's state in one line.

    Args:
        result: Its latest result.
        wall_s: Seconds that it has run for.
        stop: Its stopping criteria, from which the time left follows.
        last_return: What to show where the result has no return.
        final: ``done`` or ``FAILED`` where the trial has ended.
        width: Characters that there is room for; what tells least is left out first. None leaves out nothing.
    """
    iteration, limit = result.get("training_iteration", 0), stop.get("training_iteration")
    told = {"iteration": f"iteration {iteration}" + (f" of {limit:,.0f}" if limit else "")}
    if (mean := latest_return(result)) is not None or (mean := last_return) is not None:
        told["return"] = f"return {mean:.2f}"
    told["steps"] = f"{env_steps(result):,} env steps"
    if count := updates(result):
        told["updates"] = f"{count:,} updates"
    if (likelihood := expert_log_likelihood(result)) is not None:
        told["likelihood"] = f"expert log-likelihood {likelihood:.3f}"
    told["clock"] = clock(wall_s)
    share = nearness(result, stop)
    if final:
        told["left"] = final
    elif 0.0 < share < 1.0:
        told["left"] = f"{clock(wall_s * (1.0 - share) / share)} left"
    for name in ("likelihood", "updates", "steps", "clock", "return"):
        if width is None or len(", ".join(told.values())) <= width:
            break
        told.pop(name, None)
    return ", ".join(told.values())


def clock(seconds: float) -> str:
    """Seconds as ``1:02:03`` or ``2:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
