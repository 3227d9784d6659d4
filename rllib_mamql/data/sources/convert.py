"""From any source of demonstrations to a dataset."""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from rllib_mamql.data.frames import is_table, to_arrow
from rllib_mamql.data.sources.found import Found, inferred_metadata
from rllib_mamql.data.sources.rllib_episodes import from_rllib
from rllib_mamql.data.sources.tables import from_arrays, from_table
from rllib_mamql.data.writer import DemonstrationWriter
from rllib_mamql.errors import DatasetError, nearest

logger = logging.getLogger("rllib_mamql.data")


def write_demonstrations(
    path: str | pathlib.Path,
    demonstrations: Any,
    env: Any = None,
    *,
    columns: Mapping[str, str] | None = None,
    agents: Mapping[str, str] | None = None,
    **about: Any,
) -> pathlib.Path:
    """Writes demonstrations that are at hand as a dataset.

    ::

        ann = AgentEpisode(observations, actions, terminated=True)  # shapes (L + 1, *obs) and (L,)
        write_demonstrations("my_data", [{"ann": ann, "bob": bob}], env)
        write_demonstrations("my_data", frame, env, columns={"agent_id": "player", "obs": "x,y", "actions": "move"})

    Args:
        path: Folder to create; may exist if it is empty.
        demonstrations: A list of episodes, each ``{agent: AgentEpisode}`` or one of RLlib's; a table of pandas, Polars,
            DuckDB or Arrow with one row for each step of an agent, or for each joint step as ``read_demonstrations``
            gives it; or ``{name: array}`` of such columns.
        env: The environment, or ``{agent: (observation space, action space)}``. None takes the shapes that are found,
            without bounds, and as many actions as were seen.
        columns: Of a table: ``{meaning: column}`` where a column is not called by its meaning (``eps_id``,
            ``agent_id``, ``t``, ``obs``, ``actions``, ``rewards``, ``terminateds``, ``truncateds``, ``next_obs``).
        agents: ``{agent of the environment: its name in the demonstrations}``, where they differ.
        **about: Keywords of :class:`DemonstrationWriter`, such as ``name`` and ``licence``.

    Returns:
        The folder.

    Raises:
        DatasetError: If the demonstrations do not hold together or do not fit the spaces, or the folder is in use.
    """
    found = renamed(find_episodes(demonstrations, columns), agents or {})
    for note in found.notes:
        logger.warning("%s", note)
    return write_found(found, path, env, **about)


def find_episodes(demonstrations: Any, columns: Mapping[str, str] | None = None) -> Found:
    """The episodes of what :func:`write_demonstrations` takes."""
    if isinstance(demonstrations, Mapping):
        return from_arrays(demonstrations, columns)
    if is_table(demonstrations):
        return from_table(to_arrow(demonstrations), columns)
    if columns:
        raise DatasetError(f"columns are given, but the demonstrations are a {type(demonstrations).__name__}: no table")
    if not isinstance(demonstrations, Iterable) or isinstance(demonstrations, str | bytes):
        raise DatasetError(
            f"the demonstrations are a {type(demonstrations).__name__}, expected a list of episodes, a table or arrays"
        )
    listed = list(demonstrations)
    if all(isinstance(episode, Mapping) and "id_" not in episode for episode in listed):
        return Found([(f"eps-{number:06d}", episode) for number, episode in enumerate(listed)])
    return from_rllib(listed)


def renamed(found: Found, agents: Mapping[str, str]) -> Found:
    """The same episodes with other names of agents, ``{new: old}``; agents that are not named keep theirs.

    Raises:
        DatasetError: If an agent is renamed that is not there, or two get one name.
    """
    if not agents:
        return found
    known = list(dict.fromkeys(str(agent) for _, episode in found.episodes for agent in episode))
    for new, old in agents.items():
        if old not in known:
            raise DatasetError(f"agent '{new}' is to be '{old}', which is not there: {nearest(old, known)}")
    names = {old: new for new, old in agents.items()}
    taken = [names.get(old, old) for old in known]
    if len(names) < len(agents) or len(set(taken)) < len(taken):
        raise DatasetError(f"agents {known} cannot become {taken}: give every agent its own name")

    def rename(each: Mapping[str, Any]) -> dict[str, Any]:
        return {names.get(str(agent), str(agent)): value for agent, value in each.items()}

    episodes = [(eps_id, rename(episode)) for eps_id, episode in found.episodes]
    return Found(episodes, found.notes, None if found.spaces is None else rename(found.spaces))


def write_found(found: Found, path: str | pathlib.Path, env: Any = None, **about: Any) -> pathlib.Path:
    """Writes the episodes of a source.

    Args:
        found: The episodes.
        path: Folder to create.
        env: As in :func:`write_demonstrations`.
        **about: Keywords of :class:`DemonstrationWriter`.
    """
    if env is None:
        env = found.spaces or inferred_metadata(found.episodes)
    with DemonstrationWriter(env, path, **about) as writer:
        for eps_id, episode in found.episodes:
            writer.add_episode(episode, eps_id)
    return writer.path
