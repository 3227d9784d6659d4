"""People's play in Overcooked as demonstrations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mamql_envs.overcooked_human import read_human_play
from rllib_mamql.data.episodes import AgentEpisode
from rllib_mamql.data.sources.found import Found
from rllib_mamql.environments.registry import resolve_env_config
from rllib_mamql.errors import ConfigError, DatasetError

ENVIRONMENT = "overcooked"
LICENCE = "recordings of people that overcooked-ai ships: for your own use, not to be passed on"
_PLAYED = {"auto_cook": True, "random_starts": 0.0, "reward": "sparse", "reward_split": "team"}
"""Their game, and what they were paid for."""


@dataclass(frozen=True)
class HumanTrials:
    """The trials of a layout, played again.

    Attributes:
        found: Their episodes.
        env_config: Resolved keywords of the environment that replays them.
        trials: How many trials there are.
        recorded: Transitions in them.
        dropped: Those of them that the environment does not replay.
        return_per_400: What the team is paid in 400 steps, 20 for a soup.
    """

    found: Found
    env_config: dict[str, Any]
    trials: int
    recorded: int
    dropped: int
    return_per_400: float


def human_trials(env_config: Mapping[str, Any], trials: str) -> HumanTrials:
    """Reads the trials that the installed package overcooked-ai ships.

    Args:
        env_config: Keywords of ``overcooked``; the layout says which trials, ``observation`` how they are seen.
        trials: ``train`` or ``test``.

    Raises:
        ConfigError: If the trials are of another game than the keywords ask for.
        DatasetError: If the package's file is not what it ships.
    """
    for name, value in _PLAYED.items():
        if env_config.get(name, value) != value:
            raise ConfigError(f"{name} is {env_config[name]!r}, but people played with {value!r}: leave it out")
    config = resolve_env_config(ENVIRONMENT, {**env_config, **_PLAYED})
    try:
        play = read_human_play(config["layout"], trials, observation=config["observation"])
    except ValueError as error:
        raise DatasetError(str(error)) from error
    episodes = [
        (
            stretch.name,
            {
                agent: AgentEpisode(observations, stretch.actions[agent], stretch.rewards)
                for agent, observations in stretch.observations.items()
            },
        )
        for stretch in play.stretches
    ]
    note = f"{play.dropped} of {play.recorded} transitions are not replayed, and left out" if play.dropped else ""
    found = Found(episodes, [note] if note else [])
    return HumanTrials(found, config, play.trials, play.recorded, play.dropped, play.return_per_400)
