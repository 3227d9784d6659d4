"""Datasets of Minari, one for each agent: the same episodes, step by step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rllib_mamql.data.episodes import AgentEpisode, Episode
from rllib_mamql.data.frames import import_optional
from rllib_mamql.data.sources.found import Found
from rllib_mamql.errors import DatasetError, one_line


def from_minari(datasets: Mapping[str, Any]) -> Found:
    """The episodes of datasets that Minari keeps on this machine.

    The n-th episodes of all datasets are one episode, and their steps with the same number happened at the same time.
    A shorter one means that the agent left early.

    Args:
        datasets: ``{agent: name of a dataset, or the dataset}``.

    Raises:
        DatasetError: If Minari is not installed, a dataset is unknown, or they have different numbers of episodes.
    """
    minari = import_optional("minari", "reading Minari's datasets")
    opened = {agent: _opened(minari, given) for agent, given in datasets.items()}
    counts = {agent: int(dataset.total_episodes) for agent, dataset in opened.items()}
    if len(set(counts.values())) > 1:
        raise DatasetError(f"the datasets have different numbers of episodes, {counts}: record the agents together")
    found: list[dict[str, AgentEpisode]] = [{} for _ in range(next(iter(counts.values()), 0))]
    for agent, dataset in opened.items():
        for number, episode in enumerate(dataset.iterate_episodes()):
            found[number][agent] = _part(agent, number, episode)
    episodes: list[tuple[str, Episode]] = [(f"eps-{number:06d}", episode) for number, episode in enumerate(found)]
    return Found(episodes, spaces={a: (one.observation_space, one.action_space) for a, one in opened.items()})


def _opened(minari: Any, given: Any) -> Any:
    if not isinstance(given, str):
        return given
    try:
        return minari.load_dataset(given)
    except Exception as error:  # Minari raises what its storage raises.
        text = one_line(error)
        raise DatasetError(
            f"Minari has no dataset {given!r} here ({text}): `minari list local` names those there are"
        ) from error


def _part(agent: str, number: int, episode: Any) -> AgentEpisode:
    if isinstance(episode.observations, Mapping | tuple):
        raise DatasetError(f"episode {number}: observations of '{agent}' are no arrays: flatten them to a Box")
    terminated = bool(np.asarray(episode.terminations)[-1:].any())
    return AgentEpisode(episode.observations, episode.actions, episode.rewards, terminated)
