"""What a dataset says about itself: one JSON document under the Parquet schema key ``rllib_mamql``."""

from __future__ import annotations

import importlib.metadata
import json
import math
import platform
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from gymnasium.spaces import Discrete

from rllib_mamql.columns import MASK, column
from rllib_mamql.data.agent_spaces import AgentSpaces
from rllib_mamql.data.untrusted import MOST_NUMBERS, parse_json
from rllib_mamql.errors import DatasetError

PACKAGES = ("rllib-mamql", "ray", "torch", "numpy", "gymnasium", "pettingzoo")
"""Packages whose versions a result names."""

SCHEMA_VERSION = 1
METADATA_KEY = "rllib_mamql"

_MERGED_IF_EQUAL = ("expert", "seed", "licence", "expert_return", "random_return", "expert_events", "command")


@dataclass(frozen=True)
class ReturnSummary:
    """Mean return over episodes, with 95% confidence intervals.

    Attributes:
        mean: Mean over episodes of the mean over agents.
        ci95: Lower and upper end of its interval (both the mean if there is one episode only).
        per_agent: ``{agent: {"mean": float, "ci95": (low, high)}}``.
        episodes: Number of episodes.
    """

    mean: float
    ci95: tuple[float, float]
    per_agent: Mapping[str, Mapping[str, Any]]
    episodes: int

    def to_json(self) -> dict[str, Any]:
        """The JSON form, with the attribute names as keys."""
        per_agent = {
            agent: {"mean": float(value["mean"]), "ci95": [float(end) for end in value["ci95"]]}
            for agent, value in self.per_agent.items()
        }
        return {
            "mean": float(self.mean),
            "ci95": [float(end) for end in self.ci95],
            "per_agent": per_agent,
            "episodes": int(self.episodes),
        }

    @staticmethod
    def from_json(document: Any) -> ReturnSummary:
        """Reads what :meth:`to_json` wrote.

        Raises:
            DatasetError: If the document is no such summary.
        """
        try:
            per_agent = {
                str(agent): {"mean": float(value["mean"]), "ci95": _interval(value["ci95"])}
                for agent, value in document["per_agent"].items()
            }
            return ReturnSummary(
                float(document["mean"]), _interval(document["ci95"]), per_agent, int(document["episodes"])
            )
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise DatasetError(
                f"a return in the metadata is wrong ({error!r}), expected "
                '{"mean", "ci95": [low, high], "per_agent": {agent: {"mean", "ci95"}}, "episodes"}'
            ) from error


@dataclass(frozen=True)
class DatasetMetadata:
    """What is known of a dataset; only the agents and their spaces are required.

    Attributes:
        agents: Agents in order.
        spaces: Spaces of each agent.
        env: Registered name of the environment.
        env_config: Its keywords.
        expert: How the demonstrations were made.
        seed: Seed that they were made with.
        licence: Licence of the data.
        expert_return: Return of the expert in the environment's own reward.
        random_return: Return of a uniformly random policy.
        expert_events: ``{agent: {kind: count}}``, the expert's reward events, mean an episode.
        command: Command that remakes the files.
        schema_version: Version of this document.
        spaces_inferred: Whether the spaces were guessed from the data: observations have no bounds, and there may be
            more actions than were seen.
    """

    agents: tuple[str, ...]
    spaces: Mapping[str, AgentSpaces]
    env: str | None = None
    env_config: Mapping[str, Any] | None = None
    expert: str | None = None
    seed: int | None = None
    licence: str | None = None
    expert_return: ReturnSummary | None = None
    random_return: ReturnSummary | None = None
    command: str | None = None
    expert_events: Mapping[str, Mapping[str, float]] | None = None
    schema_version: int = SCHEMA_VERSION
    spaces_inferred: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "agents", tuple(self.agents))
        if not self.agents or len(set(self.agents)) != len(self.agents):
            raise DatasetError(f"agents in the metadata are {self.agents}, expected distinct names, at least one")
        if set(self.spaces) != set(self.agents):
            raise DatasetError(
                f"the metadata has spaces for {sorted(self.spaces)}, but its agents are {sorted(self.agents)}"
            )

    def counted_from_zero(self) -> DatasetMetadata:
        """The same with actions from 0 on, whatever they start at in the files."""
        if not any(spaces.start for spaces in self.spaces.values()):
            return self
        spaces = {
            agent: AgentSpaces(each.observation, Discrete(int(each.action.n))) for agent, each in self.spaces.items()
        }
        return replace(self, spaces=spaces)

    def with_masks_of(self, names: Collection[str]) -> DatasetMetadata:
        """The same with masks of the agents for which columns of these names hold them."""
        masked = {agent: each.with_masks() for agent, each in self.spaces.items() if column(MASK, agent) in names}
        return replace(self, spaces={**self.spaces, **masked}) if masked else self

    @property
    def row_bytes(self) -> int:
        """Bytes that one joint step takes in memory."""
        return sum(self.spaces[agent].row_bytes for agent in self.agents) + 64

    def to_json(self) -> str:
        """One JSON document with sorted keys; fields that are None are left out."""
        document: dict[str, Any] = {
            "schema_version": self.schema_version,
            "agents": list(self.agents),
            "spaces": {agent: self.spaces[agent].to_json() for agent in self.agents},
        }
        if self.spaces_inferred:
            document["spaces_inferred"] = True
        for name in ("env", "env_config", "expert", "seed", "licence", "command", "expert_events"):
            if getattr(self, name) is not None:
                document[name] = getattr(self, name)
        for name in ("expert_return", "random_return"):
            if getattr(self, name) is not None:
                document[name] = getattr(self, name).to_json()
        try:
            return json.dumps(document, sort_keys=True, allow_nan=False, default=_plain)
        except (TypeError, ValueError, OverflowError) as error:
            raise DatasetError(f"the metadata cannot be written as JSON ({error}): use plain values") from error

    @staticmethod
    def from_json(text: str | bytes) -> DatasetMetadata:
        """Reads what :meth:`to_json` wrote; keys that are not known are ignored.

        Raises:
            DatasetError: If the text is not JSON, lacks a required key or has a wrong value.
        """
        try:
            document = parse_json(text)
        except (ValueError, UnicodeDecodeError) as error:
            raise DatasetError(f"the metadata '{METADATA_KEY}' is not valid JSON: {error}") from error
        required = ("schema_version", "agents", "spaces")
        missing = [key for key in required if not isinstance(document, dict) or key not in document]
        if missing:
            raise DatasetError(f"the metadata '{METADATA_KEY}' lacks {missing}, required are {list(required)}")
        version, agents, spaces = (document[key] for key in required)
        if version != SCHEMA_VERSION:
            raise DatasetError(
                f"the metadata has schema_version {version!r}, this release reads {SCHEMA_VERSION}: "
                "upgrade rllib-mamql or write the dataset again"
            )
        if not isinstance(agents, list) or not isinstance(spaces, dict):
            raise DatasetError(
                f"in the metadata agents is a {type(agents).__name__} and spaces a {type(spaces).__name__}, "
                "expected a list of names and an object {agent: spaces}"
            )
        if (numbers := _declared_numbers(spaces)) > MOST_NUMBERS:
            raise DatasetError(
                f"the observations in the metadata have {numbers} numbers a joint step, expected at most {MOST_NUMBERS}"
            )
        env_config = document.get("env_config")
        if env_config is not None and not isinstance(env_config, dict):
            raise DatasetError(f"env_config in the metadata is {env_config!r}, expected an object")
        events = _events_from_json(document.get("expert_events"))
        returns = {
            name: ReturnSummary.from_json(document[name])
            for name in ("expert_return", "random_return")
            if document.get(name) is not None
        }
        return DatasetMetadata(
            agents=tuple(str(agent) for agent in agents),
            spaces={str(agent): AgentSpaces.from_json(value, agent) for agent, value in spaces.items()},
            env=document.get("env"),
            env_config=env_config,
            expert=document.get("expert"),
            seed=document.get("seed"),
            licence=document.get("licence"),
            command=document.get("command"),
            expert_events=events,
            expert_return=returns.get("expert_return"),
            random_return=returns.get("random_return"),
            spaces_inferred=document.get("spaces_inferred") is True,
        )


def package_versions(*further: str) -> dict[str, str]:
    """Versions of Python, of ``PACKAGES`` and of further packages; those that are not installed are left out."""
    versions = {"python": platform.python_version()}
    for package in (*PACKAGES, *further):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def merge_metadata(parts: Sequence[tuple[str, DatasetMetadata]]) -> DatasetMetadata:
    """Metadata of several files read together; provenance that differs between them is dropped.

    Args:
        parts: Pairs of file name and metadata, at least one.

    Raises:
        DatasetError: If agents, spaces, environment or its keywords differ.
    """
    first_file, merged = parts[0]
    for file, other in parts[1:]:
        for name in ("agents", "spaces", "env", "env_config"):
            mine, its = getattr(merged, name), getattr(other, name)
            if mine != its:
                raise DatasetError(
                    f"files disagree on {name}: {first_file} has {_brief(mine)}, {file} has {_brief(its)}; "
                    "read them as separate datasets"
                )
        dropped = {name: None for name in _MERGED_IF_EQUAL if getattr(merged, name) != getattr(other, name)}
        merged = replace(merged, **dropped)  # type: ignore[arg-type]
    return merged


def _declared_numbers(spaces: Mapping[str, Any]) -> int:
    """Numbers that the observations of all agents have together, as far as they say; what is no shape counts 0."""
    try:
        return sum(math.prod(int(size) for size in each["observation"]["shape"]) for each in spaces.values())
    except (KeyError, TypeError, ValueError, OverflowError):
        return 0  # The agent's own check says what is wrong.


def _events_from_json(document: Any) -> dict[str, dict[str, float]] | None:
    if document is None:
        return None
    try:
        events = {
            str(agent): {str(kind): float(count) for kind, count in kinds.items()} for agent, kinds in document.items()
        }
        if any(not (math.isfinite(count) and count >= 0) for kinds in events.values() for count in kinds.values()):
            raise ValueError("a count is negative or not finite")
    except (TypeError, ValueError, OverflowError, AttributeError) as error:
        raise DatasetError(
            f"expert_events in the metadata is wrong ({error}), expected {{agent: {{kind: mean count an episode}}}}"
        ) from error
    return events


def _brief(value: Any) -> str:
    return str(value) if len(str(value)) <= 200 else f"{str(value)[:200]}..."


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{value!r} is a {type(value).__name__}")


def _interval(value: Any) -> tuple[float, float]:
    low, high = value
    return float(low), float(high)
