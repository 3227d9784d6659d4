"""What becomes of a trial when it has ended: rewards are recovered, policies evaluated, and both reported."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rllib_mamql import ray_internals
from rllib_mamql.algorithms.mamql.chosen import MULTIPLE
from rllib_mamql.algorithms.registry import is_ours, read_checkpoint
from rllib_mamql.cli.fetching import at_hand
from rllib_mamql.cli.messages import say
from rllib_mamql.cli.numbers import number
from rllib_mamql.cli.options import RunOptions
from rllib_mamql.cli.paths import shown
from rllib_mamql.cli.progress import TrialMonitor
from rllib_mamql.cli.report import TrialReport, document, to_json
from rllib_mamql.cli.runs import EVALUATION
from rllib_mamql.cli.settings import Prepared, agents_of
from rllib_mamql.cli.tables import in_words
from rllib_mamql.cli.working import working
from rllib_mamql.data.places import is_elsewhere, uri, write_text
from rllib_mamql.errors import ConfigError, UserError, last_line, no_space, one_line
from rllib_mamql.learning.counts import env_steps, updates
from rllib_mamql.learning.metrics import ENVIRONMENT_FAULT
from rllib_mamql.networks.choices import NO_GAUGE
from rllib_mamql.play.returns import normalised_score

if TYPE_CHECKING:
    from rllib_mamql.evaluation.evaluate import EvaluationResult


RECOVERY_BUDGET_S = 48.0
"""Processor seconds that recovering rewards may take at the end of training: half a minute on two idle cores."""


def report_trial(
    item: Prepared, result: Any, tune_trial: Any, options: RunOptions, storage: str, *, alone: bool = True
) -> TrialReport:
    """Recovers rewards and evaluates, where the trial asks for it, and writes what was found into the trial's folder.

    Args:
        item: The experiment.
        result: Tune's result of the trial.
        tune_trial: The trial.
        options: How the command runs.
        storage: Where results go.
        alone: Whether it is the only trial; of several only the best one's rewards are recovered, in the end.
    """
    metrics, trial, config = result.metrics or {}, tune_trial.trial_id, dict(tune_trial.config)
    error = metrics.get(ENVIRONMENT_FAULT)
    if result.error is not None:
        error = no_space(result.error) or last_line(result.error)
    place = None if result.checkpoint is None else uri(result.checkpoint.path, storage)
    evaluation = as_trained = likelihood = None
    gauge = NO_GAUGE
    try:
        with at_hand(place) if error is None and place is not None else nullcontext() as checkpoint:
            if checkpoint is not None and is_ours(item.algorithm):
                _decide(checkpoint, config)
            if checkpoint is not None and not config.get("env"):
                if alone and recover_rewards(item, checkpoint, config):
                    gauge = wanted_gauge(item, config)
                likelihood = _likelihood(checkpoint)
            elif checkpoint is not None and options.eval_episodes:
                rewards = alone and recover_rewards(item, checkpoint, config)
                evaluation = evaluate_trial(item, config, checkpoint, options.eval_episodes, rewards=rewards)
                if evaluation.chosen.get(MULTIPLE, 1.0) != 1.0 and not evaluation.teams:
                    as_trained = _return_as_trained(checkpoint, options.eval_episodes, config.get("seed") or 0)
            elif checkpoint is not None and wanted_gauge(item, config) != NO_GAUGE:
                say("rewards are recovered along with an evaluation, and none was asked for: `rllib recover` does it")
    except Exception as fault:
        # What the other trials came to is not lost with it.
        error = one_line(fault)
        if not isinstance(fault, UserError):
            error = f"{type(fault).__name__}: {error}"
    teams = evaluation.teams if evaluation else {}
    expert, random = (None, None) if teams else known_returns(item.metadata)
    mean = evaluation.return_mean if evaluation else None
    train_time = float(metrics.get("time_total_s", 0.0))
    report = TrialReport(
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
        checkpoint=place,
        events=evaluation.events if evaluation else {},
        events_per_agent=evaluation.events_per_agent if evaluation else {},
        expert_events=evaluation.expert_events if evaluation else {},
        event_ratio=evaluation.event_ratio if evaluation else {},
        metrics=evaluation.metrics if evaluation else {},
        rationality=evaluation.rationality if evaluation else {},
        chosen=evaluation.chosen if evaluation else {},
        return_as_trained=as_trained,
        warnings=evaluation.warnings if evaluation else (),
        diagnostics=evaluation.diagnostics if evaluation else {},
        recovered_rewards=evaluation.recovered_rewards if evaluation else {},
        reward_gauge=evaluation.reward_gauge if evaluation else gauge,
        undetermined=evaluation.undetermined if evaluation else (),
        unscaled=evaluation.unscaled if evaluation else (),
        iterations=int(metrics.get("training_iteration", 0)),
        error=error,
        held_out_likelihood=likelihood,
        teams=teams,
    )
    folder = uri(result.path, storage)
    if is_elsewhere(folder) or Path(folder).is_dir():
        try:
            write_text(f"{folder}/{EVALUATION}", to_json(document("train", **report.to_json())))
        except (OSError, ConfigError) as fault:
            say(f"warning: {Path(result.path).name}: its evaluation is not written: {no_space(fault) or fault}")
    return report


def wanted_gauge(item: Prepared, config: Mapping[str, Any]) -> str:
    """The gauge that a trial's rewards are recovered in; ``none`` also where the algorithm has no rewards."""
    return str(item.setting("reward_gauge", config) or NO_GAUGE)


def recover_rewards(item: Prepared, folder: Path, config: Mapping[str, Any]) -> bool:
    """Recovers rewards in the gauge that a trial asked for; whatever goes wrong costs the rewards and nothing else.

    Args:
        item: The trial's experiment.
        folder: The trial's checkpoint.
        config: The trial's; gauge ``none`` keeps what training regressed, where the algorithm has rewards at all.

    Returns:
        Whether there are rewards to tell of; false after a failure, which is said.
    """
    gauge = wanted_gauge(item, config)
    if gauge == NO_GAUGE:
        return True
    if not folder.is_dir():
        say(f"rewards are not recovered in a gauge, {folder} is not on this machine: copy it, then `rllib recover`")
        return False
    from rllib_mamql.rewards.recover import TOTAL, recover_checkpoint, trained_settings

    try:
        with working(f"recovering rewards in gauge {gauge}", TOTAL) as watch:
            stored = read_checkpoint(folder)
            settings = trained_settings(stored, seed=config.get("seed") or 0, budget_s=RECOVERY_BUDGET_S)
            recovered = recover_checkpoint(stored, settings, watch=watch)
    except Exception as error:
        # The policies are trained: an environment or a network that fails here must not cost their score.
        say(f"rewards are not recovered: {one_line(error)}; `rllib recover {shown(folder.parent.parent)}` tries again")
        return False
    say(f"{folder.parent.name}: rewards recovered in gauge {gauge} ({recovered.seconds:.0f} s)")
    return True


def _decide(folder: Path, config: Mapping[str, Any]) -> None:
    """Chooses how decidedly to act, where that is left open."""
    if not folder.is_dir():
        return
    from rllib_mamql.evaluation.decided import act_decidedly, is_left_open

    stored = read_checkpoint(folder)
    if not is_left_open(stored):
        return
    with working("choosing from play how decidedly to act"):
        found = act_decidedly(stored, seed=config.get("seed") or 0)
    say(f"{folder.parent.name}: acts at {found.multiple:g} times the rationality of training")


def _likelihood(folder: Path) -> dict[str, Any] | None:
    """How likely held-out demonstrations are: there is no environment to play in."""
    from rllib_mamql.evaluation.likelihood import held_out_likelihood

    found = held_out_likelihood(read_checkpoint(folder)) if folder.is_dir() else None
    if found is None:
        say(f"{folder.parent.name}: no held-out likelihood, demonstrations are streamed or not on this machine")
        return None
    say(f"{folder.parent.name}: {in_words(found)}")
    return vars(found)


def _return_as_trained(checkpoint: Path, episodes: int, seed: int) -> float:
    from rllib_mamql.evaluation.decided import return_as_trained

    with working("evaluating at the rationality of training"):
        found = return_as_trained(read_checkpoint(checkpoint), episodes=episodes, seed=seed)
    say(f"{checkpoint.parent.name}: return {number(found)} at the rationality of training")
    return found


def evaluate_trial(
    item: Prepared,
    config: Mapping[str, Any],
    checkpoint: Path,
    episodes: int,
    *,
    seed_offset: int = 0,
    rewards: bool = True,
) -> EvaluationResult:
    """Plays a trial's policies, and says the return.

    Args:
        item: The experiment.
        config: The trial's.
        checkpoint: Its checkpoint.
        episodes: How many to play.
        seed_offset: Added to the trial's seed, for episodes of other starts.
        rewards: Whether to tell what its rewards pay for.
    """
    from rllib_mamql.evaluation.evaluate import evaluate_baseline, evaluate_checkpoint

    started = time.monotonic()
    seed = (config.get("seed") or 0) + seed_offset
    with working(f"evaluating {shown(checkpoint)}", episodes) as watch:
        if is_ours(item.algorithm):
            evaluation = evaluate_checkpoint(checkpoint, episodes=episodes, seed=seed, watch=watch, rewards=rewards)
        else:
            env, env_config = config["env"], config.get("env_config") or {}
            mapping = config["policy_mapping_fn"]
            module_of = {agent: mapping(agent) for agent in agents_of(env, env_config)}
            evaluation = evaluate_baseline(
                checkpoint, env, env_config, module_of, episodes=episodes, seed=seed, watch=watch
            )
    name = checkpoint.parent.name
    found = {"": evaluation.return_mean} | {f" of {team}": one.mean for team, one in evaluation.teams.items()}
    returns = ", ".join(f"return{whose} {number(mean)}" for whose, mean in found.items() if mean is not None)
    say(f"{name}: {returns}, {episodes} episodes ({time.monotonic() - started:.0f} s)")
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
