"""The best trial of a search: judged again on fresh episodes, and its settings as an experiment file, ready to run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import yaml

from rllib_mamql.algorithms.registry import is_ours
from rllib_mamql.cli.experiment import Experiment, fill_searches
from rllib_mamql.cli.fetching import at_hand
from rllib_mamql.cli.messages import say
from rllib_mamql.cli.numbers import interval
from rllib_mamql.cli.report import TrialReport, plain
from rllib_mamql.cli.settings import ALIASES, Prepared, resolve_input
from rllib_mamql.cli.trial_reports import evaluate_trial, recover_rewards, wanted_gauge
from rllib_mamql.cli.trial_tables import best_first, winners
from rllib_mamql.data.places import write_text
from rllib_mamql.errors import ConfigError, no_space, one_line
from rllib_mamql.networks.choices import NO_GAUGE

if TYPE_CHECKING:
    from rllib_mamql.evaluation.evaluate import EvaluationResult

WINNER = "best.yaml"
"""File in a run's folder."""

FRESH_SEEDS = 2**20
"""Added to the seed of the evaluation by which a trial was chosen."""
REWARD_FIELDS = ("recovered_rewards", "reward_gauge", "undetermined", "unscaled")
"""Of an evaluation and a report alike."""


def crown(
    item: Prepared,
    reports: Sequence[TrialReport],
    configs: Mapping[str, Mapping[str, Any]],
    run: str,
    episodes: int,
) -> list[TrialReport]:
    """Recovers the rewards of a search's best trial, judges it again and writes its settings.

    That is where several trials have a return.

    Args:
        item: The search.
        reports: Of its trials.
        configs: Tune's configs by trial.
        run: The run's folder, or its URI.
        episodes: How many to play again.

    Returns:
        The reports; the best trial's has what was found.
    """
    best = next(iter(winners(best_first(reports))), None)
    scored = [report for report in reports if report.return_mean is not None]
    # One of several trials may be left: there is no search to win, but there are rewards to tell of.
    chosen = best if best is not None or len(reports) < 2 or len(scored) != 1 else scored[0]
    if chosen is None or chosen.checkpoint is None:
        saved = [configs[report.trial] for report in reports if report.checkpoint]
        played = episodes or not item.setting("env")
        if len(reports) > 1 and saved and played and wanted_gauge(item, saved[0]) != NO_GAUGE:
            say("no trial is the best by a return, so that no rewards are recovered: `rllib recover TRIAL` does it")
        return list(reports)
    found = chosen
    try:
        # Of several scores the best is high by luck as well: episodes that did not choose it have no part in that.
        seeds = 0 if best is None else FRESH_SEEDS
        fresh, told = _told_rewards(item, configs[chosen.trial], chosen.checkpoint, episodes, seeds)
        found = dataclasses.replace(found, **told)
        if best is not None:
            found = dataclasses.replace(found, fresh_return_mean=fresh.return_mean, fresh_return_ci95=fresh.return_ci95)
    except Exception as error:  # What the trials came to is not lost with it.
        say(f"warning: the best trial is not evaluated on fresh episodes: {one_line(error)}")
    if best is not None:
        try:
            found = dataclasses.replace(found, settings=write_winner(item.experiment, found, run))
        except (OSError, ConfigError) as error:
            say(f"warning: the best trial's settings are not written: {no_space(error) or one_line(error)}")
    return [found if report is chosen else report for report in reports]


def _told_rewards(
    item: Prepared, config: Mapping[str, Any], checkpoint: str, episodes: int, seed_offset: int
) -> tuple[EvaluationResult, dict[str, Any]]:
    """Recovers a trial's rewards and evaluates it; gives the evaluation, and of it what speaks of rewards."""
    with at_hand(checkpoint) as folder:
        rewards = is_ours(item.algorithm) and recover_rewards(item, folder, config)
        found = evaluate_trial(item, config, folder, episodes, seed_offset=seed_offset, rewards=rewards)
    return found, {name: getattr(found, name) for name in REWARD_FIELDS}


def write_winner(experiment: Experiment, best: TrialReport, run: str) -> str:
    """Writes a search's best trial as an experiment of its own; gives the file."""
    file = f"{run}/{WINNER}"
    fresh = interval(best.fresh_return_mean, best.fresh_return_ci95)
    header = (
        f"# The best trial of {experiment.name}: {best.trial}, return {interval(best.return_mean, best.return_ci95)}.\n"
        f"# That return chose it and flatters it; on fresh episodes: {fresh}.\n"
    )
    body = yaml.safe_dump({f"{experiment.name}-best": settings_of(experiment, best.config)}, sort_keys=False)
    write_text(file, header + body)
    return file


def settings_of(experiment: Experiment, config: Mapping[str, Any]) -> dict[str, Any]:
    """An experiment's keys as in its file, with a trial's values in place of searches, for a single trial.

    Args:
        experiment: The search.
        config: The trial's, under the names of the experiment file.
    """
    given = experiment.settings.model_dump(exclude_unset=True)
    given.pop("num_samples", None)
    given.pop("tune", None)
    written = given.get("config", {})
    filled = fill_searches(written, {key: config.get(ALIASES.get(key, key)) for key in written})
    for key in ("input", "input_"):
        if key in filled:
            filled[key] = resolve_input(filled[key], experiment.folder)
    if config.get("seed") is not None:
        filled["seed"] = config["seed"]
    settings: dict[str, Any] = plain({**given, "config": filled})
    return settings
