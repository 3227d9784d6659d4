"""Results for programs: the JSON that ``--json`` writes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

from rllib_mamql.data.metadata import package_versions
from rllib_mamql.data.places import write_text

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class TrialReport:
    """One trial's row; the fields are those of the JSON document.

    A search's winner has three more: the file of its ``settings``, and its return and interval on fresh episodes. A
    trial without an environment has ``held_out_likelihood`` in place of a return.
    """

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
    chosen: Mapping[str, float] = field(default_factory=dict)
    return_as_trained: float | None = None
    warnings: Sequence[str] = ()
    diagnostics: Mapping[str, Any] = field(default_factory=dict)
    recovered_rewards: Mapping[str, Any] = field(default_factory=dict)
    reward_gauge: str = "none"
    undetermined: Sequence[str] = ()
    unscaled: Sequence[str] = ()
    iterations: int = 0
    error: str | None = None
    settings: str | None = None
    fresh_return_mean: float | None = None
    fresh_return_ci95: tuple[float, float] | None = None
    held_out_likelihood: Mapping[str, Any] | None = None
    teams: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The JSON record; what only some trials have is left out where there is none."""
        rare = ("error", "settings", "fresh_return_mean", "fresh_return_ci95", "held_out_likelihood")
        return {key: value for key, value in vars(self).items() if value is not None or key not in rare}


def document(command: str, **content: Any) -> dict[str, Any]:
    """A machine-readable result: schema version, command and package versions, then the content."""
    return {"schema_version": SCHEMA_VERSION, "command": command, "versions": package_versions(), **content}


def with_teams(summary: dict[str, Any], env: str | None) -> None:
    """Replaces a dataset's mean return by each team's, ``return_per_team``, where agents have opponents.

    Args:
        summary: Of :func:`~rllib_mamql.data.summary.summarise`; is changed.
        env: The dataset's environment; None or empty where unknown.
    """
    from rllib_mamql.environments.registry import opposed_teams

    teams = opposed_teams(env, summary["agents"]) if env else {}
    returns = summary["return_per_agent"]
    if teams and returns is not None:
        summary["return_mean"] = None
        summary["return_per_team"] = {
            team: sum(returns[agent] for agent in agents) / len(agents) for team, agents in teams.items()
        }


def write_json(path: Path | None, content: Mapping[str, Any]) -> None:
    """Writes the document whole or not at all; does nothing without a path."""
    if path is not None:
        write_text(str(path), to_json(content))


def to_json(content: Mapping[str, Any]) -> str:
    """The document as a file has it."""
    return json.dumps(plain(content), indent=2, allow_nan=False) + "\n"


def flatten(value: Mapping[str, Any], prefix: str = "", separator: str = ".") -> dict[str, Any]:
    """A nested mapping with one key for each value, ``{"a.b": value}``."""
    flat: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, Mapping):
            flat.update(flatten(item, f"{prefix}{key}{separator}", separator))
        else:
            flat[f"{prefix}{key}"] = item
    return flat


def plain(value: Any) -> Any:
    """A value for JSON and YAML, which have neither NaN nor numpy numbers, paths or classes."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, bool | int | str) or value is None:
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return plain(vars(value))
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if value - value == 0 else None
    return str(value)
