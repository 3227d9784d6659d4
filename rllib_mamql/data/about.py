"""What a dataset says about itself, from what its writer has: an environment, or spaces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rllib_mamql.data.agent_spaces import spaces_from_gym
from rllib_mamql.data.metadata import DatasetMetadata
from rllib_mamql.errors import DatasetError


def metadata_of(env: Any, *, name: str | None = None, **about: Any) -> DatasetMetadata:
    """What a dataset says about itself, with the agents and spaces of an environment.

    Args:
        env: An environment with ``possible_agents`` and spaces, ``{agent: (observation space, action space)}``, or
            metadata to take agents and spaces of.
        name: Registered name of the environment.
        **about: Other fields of :class:`DatasetMetadata`.

    Raises:
        DatasetError: If it is none of these, or the spaces are not Box and Discrete.
    """
    if isinstance(env, DatasetMetadata):
        return DatasetMetadata(env.agents, env.spaces, env=name, spaces_inferred=env.spaces_inferred, **about)
    if isinstance(env, Mapping):
        pairs = dict(env)
        wrong = [agent for agent, pair in pairs.items() if not isinstance(pair, tuple | list) or len(pair) != 2]
        if wrong:
            raise DatasetError(
                f"the spaces of '{wrong[0]}' are {pairs[wrong[0]]!r}, expected (observation space, action space)"
            )
    elif hasattr(env, "possible_agents"):
        agents = list(env.possible_agents)
        pairs = {agent: (_space(env, "observation", agent), _space(env, "action", agent)) for agent in agents}
    else:
        raise DatasetError(
            f"the environment is a {type(env).__name__}, expected one with possible_agents, or "
            "{agent: (observation space, action space)}"
        )
    spaces = spaces_from_gym(
        list(pairs),
        {agent: pair[0] for agent, pair in pairs.items()},
        {agent: pair[1] for agent, pair in pairs.items()},
    )
    return DatasetMetadata(tuple(pairs), spaces, env=name, **about)


def _space(env: Any, kind: str, agent: str) -> Any:
    """PettingZoo's method, or the dictionary that RLlib's environments have."""
    method = getattr(env, f"{kind}_space", None)
    if callable(method):
        return method(agent)
    spaces = getattr(env, f"{kind}_spaces", None) or {}
    if agent not in spaces:
        raise DatasetError(f"the environment has no {kind} space of '{agent}': give {{agent: (observation, action)}}")
    return spaces[agent]
