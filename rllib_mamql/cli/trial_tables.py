"""Tables of trials: of those that have just ended, and of those that lie in a folder of results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rllib_mamql.cli.layout import fits, show, table_of, tell
from rllib_mamql.cli.numbers import clock, interval, number
from rllib_mamql.cli.paths import shown
from rllib_mamql.cli.report import TrialReport, flatten
from rllib_mamql.cli.runs import Trial
from rllib_mamql.cli.tables import print_play, print_rewards, print_teams, unscored


def print_trials(reports: Sequence[TrialReport]) -> None:
    """The tables at the end of training, one an experiment, and below them what the trials' folders and errors are."""
    reports = best_first(reports)
    for experiment in dict.fromkeys(report.experiment for report in reports):
        _print_experiment([report for report in reports if report.experiment == experiment])
    best = winners(reports)
    for report in reports:
        # Of a search the best trial is told of; the evaluations of all are in their folders.
        if report in best or report.experiment not in {each.experiment for each in best}:
            print_play(report, f"What happens in an episode of {name_of(report)}", f"{name_of(report)}: ")
            print_rewards(report, name_of(report))
    for report in reports:
        if report.checkpoint:
            tell(f"checkpoint of {name_of(report)}: {shown(report.checkpoint)}")
        if report.error:
            tell(f"error of {name_of(report)}: {report.error}")


def _print_experiment(reports: Sequence[TrialReport]) -> None:
    first, varied = reports[0], _varied(reports)
    offline = any(report.held_out_likelihood for report in reports)
    headings = ("held-out nats a step", "random", "wall time") if offline else ("return [95% CI]", "score", "wall time")
    settings = [[str(flatten(report.config).get(key)) for key in varied] for report in reports]
    scored = [
        [
            *(("failed", *["-"] * (len(headings) - 2)) if report.error is not None else _judged(report)),
            clock(report.wall_time_s),
        ]
        for report in reports
    ]
    numbers = [report.trial.split("_")[-1] for report in reports]
    title = f"{first.experiment}: final evaluation of the last checkpoint" + ("s" if len(reports) > 1 else "")
    known = {"expert": first.expert_return, "random play": first.random_return}
    caption = ", ".join(f"{who} {number(value)}" for who, value in known.items() if value is not None)
    short = [key.rpartition(".")[2] for key in varied]
    columns = short if len(set(short)) == len(short) else varied
    rows = [[name, *values, *cells] for name, values, cells in zip(numbers, settings, scored, strict=True)]
    table = table_of(("trial", *columns, *headings), rows, words=range(1 + len(varied)))
    if fits(table) or not varied:
        show(table, title, caption)
    else:
        # Beside many settings there is no room for the numbers.
        rows = [[name, *cells] for name, cells in zip(numbers, scored, strict=True)]
        show(table_of(("trial", *headings), rows), title, caption)
        for name, values in zip(numbers, settings, strict=True):
            tell(f"{name}: {_in_words(varied, values)}")
    for report in reports:
        if report.teams:
            print_teams(report.teams, f"Returns by team, {name_of(report)}")
    if first.return_mean is not None and "input_" in first.config:
        if text := unscored(first.expert_return, first.random_return):
            tell(text)
    for best in winners(reports):
        found = _in_words(varied, [str(flatten(best.config).get(key)) for key in varied])
        tell(f"best: {name_of(best)}" + (f" ({found})" if found else ""))
        if best.fresh_return_mean is not None:
            again = interval(best.fresh_return_mean, best.fresh_return_ci95)
            tell(f"on fresh episodes it returns {again}; the return in the table chose it, and flatters it")
        if best.settings:
            tell(f"its settings, ready to run: {shown(best.settings)}")


def _judged(report: TrialReport) -> tuple[str, str]:
    """A trial's return and score, or how likely held-out demonstrations are where there was no environment."""
    if report.held_out_likelihood:
        found = report.held_out_likelihood
        return number(found["mean"], 3), number(found["uniform"], 3)
    return interval(report.return_mean, report.return_ci95), number(report.normalised_score, 3)


def _in_words(names: Sequence[str], values: Sequence[str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in zip(names, values, strict=True))


def name_of(report: TrialReport) -> str:
    """What a trial is called: its experiment and its number there."""
    return f"{report.experiment} {report.trial.split('_')[-1]}"


def best_first(reports: Sequence[TrialReport]) -> list[TrialReport]:
    """Trials by experiment, in the order of the file; within one by return, those without one last."""
    experiments = list(dict.fromkeys(report.experiment for report in reports))

    def place(report: TrialReport) -> tuple[int, bool, float]:
        return experiments.index(report.experiment), report.return_mean is None, -(report.return_mean or 0.0)

    return sorted(reports, key=place)


def winners(reports: Sequence[TrialReport]) -> list[TrialReport]:
    """The best trial of each experiment that has several with a return, of trials that are sorted already."""
    scored: dict[str, list[TrialReport]] = {}
    for report in reports:
        if report.return_mean is not None:
            scored.setdefault(report.experiment, []).append(report)
    return [found[0] for found in scored.values() if len(found) > 1]


def _varied(reports: Sequence[TrialReport]) -> list[str]:
    """Dotted names of the settings that are not the same in all trials."""
    flat = [flatten(report.config) for report in reports]
    names = sorted({name for config in flat for name in config})
    return [name for name in names if len({repr(config.get(name)) for config in flat}) > 1]


def print_runs(trials: Sequence[tuple[str, Trial]]) -> None:
    """Trials as they lie in a folder.

    Args:
        trials: Each with its run's name, in the order to print.
    """
    rows = [
        [
            run,
            trial.path.name.rpartition("_")[2],
            trial.state,
            "-" if trial.iteration is None else f"{trial.iteration:,}",
            number(trial.return_mean) + ("" if trial.evaluated or trial.return_mean is None else " *"),
            number(trial.score, 3),
            "-" if trial.checkpoint is None else trial.checkpoint.name,
        ]
        for run, trial in trials
    ]
    headings = ("run", "trial", "state", "iteration", "return", "score", "checkpoint")
    training = any(not trial.evaluated and trial.return_mean is not None for _, trial in trials)
    caption = "* of the last episodes in training; the others of the final evaluation" if training else ""
    show(table_of(headings, rows), caption=caption)


def run_to_json(run: str, trial: Trial) -> dict[str, Any]:
    """A trial of ``rllib status --json``."""
    return {"run": run, "trial": trial.path.name, **{key: value for key, value in vars(trial).items() if key != "path"}}
