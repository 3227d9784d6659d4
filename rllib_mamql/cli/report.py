"""Results for programs: the JSON that ``--json`` writes; and how numbers are written for people."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rllib_mamql.data.metadata import package_versions

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
    chosen: Mapping[str, float] = field(default_factory=dict)
    return_as_trained: float | None = None
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


def number(value: float | None, digits: int = 2) -> str:
    """A number for a table, ``-`` where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def interval(mean: float | None, ci95: tuple[float, float] | None) -> str:
    """A mean with its 95% interval, ``12.30 [11.90, 12.70]``."""
    if mean is None:
        return "-"
    return f"{mean:.2f}" if ci95 is None else f"{mean:.2f} [{ci95[0]:.2f}, {ci95[1]:.2f}]"


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
