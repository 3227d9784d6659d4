"""Experiments through Ray Tune, from validation to the final evaluation."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rllib_mamql import ray_internals
from rllib_mamql.algorithms.registry import is_ours, read_checkpoint
from rllib_mamql.cli.experiment import Experiment
from rllib_mamql.cli.options import DEFAULT_STORAGE, RunOptions
from rllib_mamql.cli.report import TrialReport, number
from rllib_mamql.cli.session import quiet, ray_session, say
from rllib_mamql.cli.settings import Prepared, agents_of, prepare
from rllib_mamql.errors import ConfigError, EnvironmentFault


class Interrupted(Exception):
    """The user stopped the run; trials were saved where they could be."""


def run_experiments(experiments: Sequence[Experiment], options: RunOptions) -> list[TrialReport]:
    """Checks all experiments, then runs one after the other.

    Raises:
        UserError: If anything about them is wrong; then nothing was started or written.
        Interrupted: If the user stopped the run.
    """
    quiet(options.verbose)
    folders = [results_folder(experiment, options.resume) for experiment in experiments]
    prepared = [prepare(experiment) for experiment in experiments]
    reports: list[TrialReport] = []
    largest = {of: max((getattr(item, of) for item in prepared), default=0.0) for of in ("cpus", "gpus")}
    with ray_session(options, **largest):
        for item, (storage, name) in zip(prepared, folders, strict=True):
            reports += _run(item, storage, name, options)
    return reports


def results_folder(experiment: Experiment, resume: bool) -> tuple[str, str]:
    """Storage path and folder name: the newest run to resume, else a name that is not taken yet."""
    storage = experiment.settings.storage_path or DEFAULT_STORAGE
    name = experiment.name
    if "://" in storage:
        return storage, name
    root = Path(storage).expanduser().resolve()
    if root.exists() and not root.is_dir():
        raise ConfigError(f"--storage-path {storage} is a file; give a folder")
    pattern = re.compile(re.escape(name) + r"(-(\d+))?")
    runs = {
        int(match.group(2) or 1): path.name
        for path in (root.iterdir() if root.is_dir() else ())
        if (match := pattern.fullmatch(path.name))
    }
    if not resume:
        return str(root), name if not runs else f"{name}-{max(runs) + 1}"
    for _, found in sorted(runs.items(), reverse=True):
        if (root / found / ray_internals.TUNER_FILE).exists():
            return str(root), found
    raise ConfigError(f"--resume: no run of {name!r} in {root}; leave --resume out, or correct --storage-path")


def _run(item: Prepared, storage: str, name: str, options: RunOptions) -> list[TrialReport]:
    from rllib_mamql.cli.progress import INTERRUPTION

    tuner = _resumed(item, storage, name) if options.resume else _new(item, storage, name)
    with INTERRUPTION.watch():
        results = tuner.fit()
    if INTERRUPTION.at is not None:
        for result in results:
            if result.checkpoint is not None:
                say(f"last checkpoint: {result.checkpoint.path}")
        raise Interrupted(f"stopped; the same command with --resume goes on with {storage}/{name}")
    trials = ray_internals.trials_of(results)
    return [_report(item, result, trial, options) for result, trial in zip(results, trials, strict=True)]


def _new(item: Prepared, storage: str, name: str) -> Any:
    from ray import tune

    from rllib_mamql.cli.progress import TrialMonitor

    settings = item.experiment.settings
    return tune.Tuner(
        item.algorithm,
        param_space=item.param_space,
        tune_config=tune.TuneConfig(
            num_samples=item.num_samples,
            time_budget_s=settings.time_budget_s,
            search_alg=_search(item.param_space),
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
            callbacks=[TrialMonitor(name, settings.stop)],
            verbose=0,
        ),
    )


def _resumed(item: Prepared, storage: str, name: str) -> Any:
    from ray import tune

    say(f"resuming {storage}/{name} with the settings that it was started with")
    path = f"{storage}/{name}"
    drop_half_lines(Path(path))
    return tune.Tuner.restore(path, trainable=item.algorithm, resume_unfinished=True, resume_errored=True)


def drop_half_lines(folder: Path) -> None:
    """Cuts the line that a killed driver was writing off its trials' logs, to which Tune then appends."""
    for log in (*folder.glob("*/result.json"), *folder.glob("*/progress.csv")):
        with log.open("r+b") as file:
            content = file.read()
            file.truncate(content.rfind(b"\n") + 1)


def _search(space: dict[str, Any]) -> Any:
    """Tune's own search, with samples that follow from the experiment's seed."""
    from ray.tune.search import BasicVariantGenerator

    seed = space.get("seed")
    if isinstance(seed, dict):
        seed = seed["grid_search"][0]
    return BasicVariantGenerator(random_state=seed if isinstance(seed, int) else None)


def _trial_folder(trial: Any) -> str:
    return f"trial_{trial.trial_id}"


def _report(item: Prepared, result: Any, tune_trial: Any, options: RunOptions) -> TrialReport:
    from rllib_mamql.cli.progress import TrialMonitor, env_steps, updates
    from rllib_mamql.evaluation.evaluate import NoEnd
    from rllib_mamql.learning.metrics import ENVIRONMENT_FAULT
    from rllib_mamql.play.returns import normalised_score

    metrics, trial, config = result.metrics or {}, tune_trial.trial_id, dict(tune_trial.config)
    error = last_line(result.error) if result.error is not None else metrics.get(ENVIRONMENT_FAULT)
    checkpoint = result.checkpoint.path if result.checkpoint is not None else None
    if error is None and checkpoint is not None and is_ours(item.algorithm):
        _recover(checkpoint, config)
    evaluation = None
    if error is None and checkpoint is not None and options.eval_episodes:
        try:
            evaluation = _evaluate(item, config, checkpoint, options.eval_episodes)
        except (EnvironmentFault, NoEnd) as fault:
            # What the other trials came to is not lost with it.
            error = str(fault)
    expert, random = known_returns(item.metadata)
    mean = evaluation.return_mean if evaluation else None
    train_time = float(metrics.get("time_total_s", 0.0))
    return TrialReport(
        experiment=item.experiment.name,
        trial=trial,
        seed=config.get("seed"),
        status="finished" if error is None else "error",
        config=readable(config),
        return_mean=mean,
        return_ci95=evaluation.return_ci95 if evaluation else None,
        per_agent=evaluation.per_agent if evaluation else {},
        expert_return=expert,
        random_return=random,
        normalised_score=None if mean is None else normalised_score(mean, expert, random),
        env_steps=env_steps(metrics),
        updates=updates(metrics),
        train_time_s=train_time,
        wall_time_s=max(TrialMonitor.wall_s.get(trial, 0.0), train_time),
        checkpoint=checkpoint,
        events=evaluation.events if evaluation else {},
        events_per_agent=evaluation.events_per_agent if evaluation else {},
        expert_events=evaluation.expert_events if evaluation else {},
        event_ratio=evaluation.event_ratio if evaluation else {},
        metrics=evaluation.metrics if evaluation else {},
        rationality=evaluation.rationality if evaluation else {},
        chosen=evaluation.chosen if evaluation else {},
        warnings=evaluation.warnings if evaluation else (),
        diagnostics=evaluation.diagnostics if evaluation else {},
        recovered_rewards=evaluation.recovered_rewards if evaluation else {},
        error=error,
    )


def _recover(checkpoint: str, config: Mapping[str, Any]) -> None:
    """Recovers rewards in the gauge that the trial asked for; ``none`` keeps what training regressed."""
    if config.get("reward_gauge", "none") == "none":
        return
    folder = Path(checkpoint)
    if not folder.is_dir():
        say(f"rewards are not recovered in a gauge, {checkpoint} is not on this machine: copy it, then `rllib recover`")
        return
    from rllib_mamql.rewards.recover import recover_checkpoint, trained_settings

    stored = read_checkpoint(folder)
    settings = trained_settings(stored, seed=config.get("seed") or 0)
    say(f"recovering rewards of {checkpoint}: gauge {settings.gauge}, {settings.updates} updates")
    recovered = recover_checkpoint(stored, settings)
    say(f"rewards recovered ({recovered.seconds:.0f} s)")


def _evaluate(item: Prepared, config: dict[str, Any], checkpoint: str, episodes: int) -> Any:
    from rllib_mamql.evaluation.evaluate import evaluate_baseline, evaluate_checkpoint

    started = time.monotonic()
    say(f"evaluating {checkpoint}: {episodes} episodes")
    seed = config.get("seed") or 0
    if is_ours(item.algorithm):
        evaluation = evaluate_checkpoint(checkpoint, episodes=episodes, seed=seed)
    else:
        env, env_config = config["env"], config.get("env_config") or {}
        mapping = config["policy_mapping_fn"]
        module_of = {agent: mapping(agent) for agent in agents_of(env, env_config)}
        evaluation = evaluate_baseline(checkpoint, env, env_config, module_of, episodes=episodes, seed=seed)
    say(f"return {number(evaluation.return_mean)} ({time.monotonic() - started:.0f} s)")
    return evaluation


def readable(config: Mapping[str, Any]) -> dict[str, Any]:
    """A trial's config under the names of the experiment file, without the environment and its agents."""
    names = {ray_internals.MODEL_CONFIG: "model_config"}
    left_out = ("env", "policies", "policy_mapping_fn")
    return {names.get(key, key): value for key, value in config.items() if key not in left_out}


def known_returns(metadata: Any) -> tuple[float | None, float | None]:
    """The expert's and random play's mean return, where the dataset says them."""
    expert, random = getattr(metadata, "expert_return", None), getattr(metadata, "random_return", None)
    return (expert.mean if expert is not None else None, random.mean if random is not None else None)


def last_line(error: BaseException) -> str:
    """The line of a remote traceback that says what went wrong.

    RLlib raises some errors anew without their text, so a bare class name gives way to the cause above it.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if re.match(r"[A-Za-z_][\w.]*(Error|Exception|Exit|Interrupt): \S", line)]
    if not lines:
        return type(error).__name__
    return telling[-1] if telling and re.fullmatch(r"[\w.]+", lines[-1]) else lines[-1]
