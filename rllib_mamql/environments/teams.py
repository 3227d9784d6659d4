"""Which agents are on one side, where agents have opponents: a mean over opponents says nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rllib_mamql.errors import ConfigError, nearest

Teams = Mapping[str, Sequence[str]]
"""By team, agents, or their names without the number: ``agent`` stands for ``agent_0``, ``agent_1`` and so on."""


def split(env: str, teams: Teams | None, agents: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Agents by team; empty where all are on one side.

    Args:
        env: The environment's name, for messages.
        teams: As declared; None where nothing is.
        agents: All agents.

    Raises:
        ConfigError: If the environment's teams leave an agent out, or hold one twice.
    """
    if not teams:
        return {}
    found = {team: tuple(agent for agent in agents if _is_named(agent, names)) for team, names in teams.items()}
    for agent in agents:
        its = [team for team, members in found.items() if agent in members]
        if len(its) != 1:
            raise ConfigError(
                f"environment {env!r}: agent {agent!r} is in {len(its)} teams of {dict(teams)}: it must be in "
                f"one ({nearest(agent, [name for names in teams.values() for name in names])})"
            )
    present = {team: members for team, members in found.items() if members}
    return present if len(present) > 1 else {}


def check_teams(name: str, teams: Any) -> None:
    """Refuses what is no mapping of teams to agents, with a ConfigError."""
    if teams is None:
        return
    listed = isinstance(teams, Mapping) and all(
        isinstance(team, str)
        and not isinstance(names, str)
        and isinstance(names, Sequence)
        and all(isinstance(one, str) for one in names)
        for team, names in teams.items()
    )
    if not listed:
        raise ConfigError(f"environment {name!r}: teams is {teams!r}: give {{'red': ['red_0'], 'blue': ['blue_0']}}")


def _is_named(agent: str, names: Sequence[str]) -> bool:
    return agent in names or re.sub(r"_\d+$", "", agent) in names
