"""The command line takes its defaults and choices from the settings that Python users get."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import click
import pytest

from rllib_mamql.cli.main import cli
from rllib_mamql.cli.options import RunOptions
from rllib_mamql.errors import ConfigError
from rllib_mamql.networks.choices import REWARD_GAUGES, REWARD_INPUTS, REWARD_NETWORKS
from rllib_mamql.rewards.recover import trained_settings
from rllib_mamql.rewards.settings import (
    REWARD_KINDS,
    MapSettings,
    RecoverySettings,
    RelearnSettings,
    ScoringSettings,
)


def options(command: str) -> dict[str, click.Parameter]:
    return {str(parameter.name): parameter for parameter in cli.commands[command].params}


@pytest.mark.parametrize(
    ("command", "settings"),
    [
        ("recover", RecoverySettings()),
        ("reward", ScoringSettings()),
        ("map", MapSettings()),
        ("relearn", RelearnSettings()),
        ("train", RunOptions()),
    ],
)
def test_defaults_are_those_of_the_settings(command: str, settings: Any) -> None:
    given, own = options(command), dataclasses.asdict(settings)
    # An option without a default of its own leaves the choice to training's settings.
    shared = [name for name in own if name in given and isinstance(given[name].default, (int, float, str))]
    assert shared
    assert {name: given[name].default for name in shared} == {name: own[name] for name in shared}


@pytest.mark.parametrize(
    ("command", "option", "choices"),
    [
        ("recover", "gauge", REWARD_GAUGES),
        ("recover", "network", REWARD_NETWORKS),
        ("recover", "inputs", REWARD_INPUTS),
        ("relearn", "reward", REWARD_KINDS),
    ],
)
def test_choices_are_those_of_the_settings(command: str, option: str, choices: tuple[str, ...]) -> None:
    assert tuple(options(command)[option].type.choices) == choices  # type: ignore[attr-defined]


def test_what_training_was_told_holds_until_the_command_says_otherwise() -> None:
    trained: dict[str, Any] = {"reward_gauge": "state_only", "reward_gauge_strength": 0.3, "reward_inputs": "state"}
    stored: Any = SimpleNamespace(settings=trained)
    settings = trained_settings(stored, strength=0.5, network=None, seed=7)
    assert settings == RecoverySettings(gauge="state_only", strength=0.5, inputs="state", seed=7)
    stored.settings = {"reward_gauge": "none", "reward_gauge_strength": 0.3}
    assert trained_settings(stored).gauge == RecoverySettings.gauge
    assert trained_settings(stored, gauge="none").gauge == "none"


@pytest.mark.parametrize(
    ("settings", "change"),
    [
        (RecoverySettings(), {"network": "plane"}),
        (RecoverySettings(), {"inputs": "states"}),
        (ScoringSettings(), {"steps": 0}),
        (ScoringSettings(), {"resamples": -1}),
        (MapSettings(), {"steps": 0}),
        (RelearnSettings(), {"iterations": 0}),
        (RelearnSettings(), {"episodes": 0.5}),
    ],
)
def test_impossible_settings_are_named(settings: Any, change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(change))} is {next(iter(change.values()))!r}"):
        dataclasses.replace(settings, **change)
