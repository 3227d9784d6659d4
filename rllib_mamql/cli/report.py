"""Results for people (tables) and for programs (JSON)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rllib_mamql.data.metadata import package_versions
from rllib_mamql.errors import ConfigError
from rllib_mamql.evaluation.diagnostics import over_agents

if TYPE_CHECKING:
    from rllib_mamql.evaluation.evaluate import EvaluationResult

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class TrialReport:
    """One trial's row; the fields are those of the JSON document."""

    experiment: str
    trial: str
    seed: int | None
    status: str
    config: Mapping[str, Any]
    return_mean: float | None
    return_ci95: tuple[float, float] | None
    per_agent: Mapping[str, Any]
    expert_return: float | None
    random_return: float | None
    normalised_score: float | None
    env_steps: int
    updates: int
    train_time_s: float
    wall_time_s: float
    checkpoint: str | None
    events: Mapping[str, float] = field(default_factory=dict)
    events_per_agent: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    expert_events: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    event_ratio: Mapping[str, float | None] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    rationality: Mapping[str, float] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    diagnostics: Mapping[str, Any] = field(default_factory=dict)
    recovered_rewards: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The JSON record; ``error`` only where there is one."""
        record = dict(vars(self))
        if self.error is None:
            del record["error"]
        return record


def document(command: str, **content: Any) -> dict[str, Any]:
    """A machine-readable result: schema version, command and package versions, then the content."""
    return {"schema_version": SCHEMA_VERSION, "command": command, "versions": package_versions(), **content}


def check_output(path: Path | None, option: str) -> None:
    """Refuses an output file that could not be written, before the work is done.

    Raises:
        ConfigError: If the folder does not exist or is not writable, or the path is a folder.
    """
    if path is None:
        return
    if path.is_dir():
        raise ConfigError(f"{option} {path} is a folder; give a file's path")
    folder = path.resolve().parent
    if not folder.is_dir():
        raise ConfigError(f"{option} {path}: folder {folder} does not exist; create it first")
    if not os.access(folder, os.W_OK):
        raise ConfigError(f"{option} {path}: folder {folder} is not writable")


def write_json(path: Path | None, content: Mapping[str, Any]) -> None:
    """Writes the document whole or not at all; does nothing without a path."""
    if path is None:
        return
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_text(json.dumps(_plain(content), indent=2, allow_nan=False) + "\n", encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def print_trials(reports: Sequence[TrialReport], console: Console) -> None:
    """The table at the end of training, and below it what the trials' folders and errors are."""
    from rllib_mamql.cli.progress import clock

    table = Table(title="Final evaluation of the last checkpoints", title_justify="left", box=SIMPLE_HEAD)
    varied = _varied([report.config for report in reports])
    table.add_column("trial", overflow="fold")
    for heading in varied:
        table.add_column(heading, overflow="fold")
    for heading in ("return [95% CI]", "expert", "random", "score", "wall time"):
        table.add_column(heading, justify="right", no_wrap=True)
    for report in reports:
        table.add_row(
            _name(report) + ("" if report.error is None else " (failed)"),
            *(str(_flatten(report.config).get(key)) for key in varied),
            interval(report.return_mean, report.return_ci95),
            number(report.expert_return),
            number(report.random_return),
            number(report.normalised_score, 3),
            clock(report.wall_time_s),
        )
    console.print(table)
    for report in reports:
        print_play(report, f"What happens in an episode of {_name(report)}", console)
    for report in reports:
        if report.recovered_rewards:
            console.print(
                rewards_table(report.recovered_rewards, f"What the recovered rewards of {_name(report)} pay for")
            )
    for report in reports:
        name = _name(report)
        if report.checkpoint:
            print(f"checkpoint of {name}: {report.checkpoint}")
        if report.error:
            print(f"error of {name}: {report.error}")


def print_play(play: TrialReport | EvaluationResult, title: str, console: Console) -> None:
    """Reward events against the expert's, the environment's own numbers, and warnings."""
    expert = over_agents(play.expert_events)
    kinds = list(dict.fromkeys([*play.events, *expert]))
    if kinds or play.metrics:
        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
        for heading in ("", "learned", "expert", "ratio"):
            table.add_column(heading, justify="left" if not heading else "right")
        for kind in kinds:
            ratio = play.event_ratio.get(kind)
            table.add_row(
                kind,
                number(play.events.get(kind, 0.0)),
                number(expert.get(kind)),
                "-" if ratio is None else f"{ratio:.0%}",
            )
        for name, value in play.metrics.items():
            table.add_row(name, number(value), "-", "-")
        if kinds:
            table.caption = "reward events, all agents together"
        console.print(table)
    if play.rationality:
        shown = {name: f"{value:.3g}" for name, value in play.rationality.items()}
        same = len(set(shown.values())) == 1
        text = next(iter(shown.values())) if same else ", ".join(f"{name} {value}" for name, value in shown.items())
        console.print(f"acting at rationality {text}")
    for warning in play.warnings:
        console.print(f"[bold yellow]warning:[/] {escape(warning)}")


def rewards_table(recovered: Mapping[str, Mapping[str, Any]], title: str) -> Table:
    """Mean recovered reward by kind of event and agent."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("at steps with")
    for agent in recovered:
        table.add_column(agent, justify="right")
    kinds = dict.fromkeys(kind for rows in recovered.values() for kind in rows)
    for kind in kinds:
        cells = []
        for rows in recovered.values():
            row = rows.get(kind)
            cells.append("" if row is None else f"{row['mean']:+.3f} (x {row['an_episode']:.1f})")
        table.add_row(kind, *cells)
    table.caption = "mean recovered reward (x how often an episode); rewards are known up to potential shaping"
    return table


def number(value: float | None, digits: int = 2) -> str:
    """A number for a table, ``-`` where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def interval(mean: float | None, ci95: tuple[float, float] | None) -> str:
    """A mean with its 95% interval, ``12.30 [11.90, 12.70]``."""
    if mean is None:
        return "-"
    return f"{mean:.2f}" if ci95 is None else f"{mean:.2f} [{ci95[0]:.2f}, {ci95[1]:.2f}]"


def _name(report: TrialReport) -> str:
    return f"{report.experiment} {report.trial.split('_')[-1]}"


def _varied(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Dotted names of the settings that are not the same in all trials."""
    flat = [_flatten(config) for config in configs]
    names = sorted({name for config in flat for name in config})
    return [name for name in names if len({repr(config.get(name)) for config in flat}) > 1]


def _flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, Mapping):
            flat.update(_flatten(item, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = item
    return flat


def _plain(value: Any) -> Any:
    """JSON has neither NaN nor numpy numbers, paths or classes."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bool | int | str) or value is None:
        return value
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if value - value == 0 else None
    return str(value)
