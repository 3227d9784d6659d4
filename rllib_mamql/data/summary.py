"""What is in a dataset, in numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_mamql.columns import ACTIONS, ALIVE, EPS_ID, JointColumns, T, column, num_rows
from rllib_mamql.data.agent_spaces import AgentSpaces
from rllib_mamql.data.reading import JointDataset
from rllib_mamql.data.returns import recorded_return


def summarise(dataset: JointDataset) -> dict[str, Any]:
    """What is in a valid dataset, as ``inspect --json`` says it.

    Returns:
        ``episodes``, ``steps``, ``agents``, ``spaces``, ``return_mean`` (of agents and episodes) and
        ``return_per_agent``, both None where no rewards are recorded, ``action_shares``
        (``{agent: share of each action}``), ``episode_lengths`` (``min``, ``mean``, ``max`` in joint steps),
        ``presence`` (see below), and ``problems``, of which there are none.

        ``presence`` says in how many episodes an agent never acts (``absent``), enters after the first step (``late``)
        and leaves before the last (``early``).
    """
    columns, metadata = dataset.columns, dataset.metadata
    _, number_of = np.unique(np.asarray(columns[EPS_ID]).astype(str), return_inverse=True)
    lengths = np.bincount(number_of)
    returns = recorded_return(columns, metadata.agents)
    return {
        "episodes": len(lengths),
        "steps": num_rows(columns),
        "agents": list(metadata.agents),
        "spaces": {agent: metadata.spaces[agent].to_json() for agent in metadata.agents},
        "return_mean": None if returns is None else returns.mean,
        "return_per_agent": None if returns is None else {a: one["mean"] for a, one in returns.per_agent.items()},
        "action_shares": {agent: _shares(columns, agent, metadata.spaces[agent]) for agent in metadata.agents},
        "episode_lengths": {"min": int(lengths.min()), "mean": float(lengths.mean()), "max": int(lengths.max())},
        "presence": {agent: _presence(columns, agent, number_of, lengths) for agent in metadata.agents},
        "problems": [],
    }


def _alive(columns: JointColumns, agent: str) -> npt.NDArray[np.bool_]:
    return np.asarray(columns[column(ALIVE, agent)], dtype=bool)


def _shares(columns: JointColumns, agent: str, spaces: AgentSpaces) -> list[float]:
    actions = np.asarray(columns[column(ACTIONS, agent)])[_alive(columns, agent)]
    counts = np.bincount(actions.astype(np.int64), minlength=int(spaces.action.n))
    return (counts / max(counts.sum(), 1)).tolist()


def _presence(
    columns: JointColumns, agent: str, episode: npt.NDArray[np.intp], lengths: npt.NDArray[np.intp]
) -> dict[str, int]:
    alive, time = _alive(columns, agent), np.asarray(columns[T]).astype(np.int64)
    first, last = np.full(len(lengths), np.iinfo(np.int64).max), np.full(len(lengths), -1)
    np.minimum.at(first, episode[alive], time[alive])
    np.maximum.at(last, episode[alive], time[alive])
    present = last >= 0
    return {
        "absent": int((~present).sum()),
        "late": int((present & (first > 0)).sum()),
        "early": int((present & (last < lengths - 1)).sum()),
    }
