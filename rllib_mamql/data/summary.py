"""What is in a dataset, in numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from rllib_mamql.columns import ACTIONS, ALIVE, EPS_ID, REWARDS, column, num_rows
from rllib_mamql.data.reading import JointDataset


def summarise(dataset: JointDataset) -> dict[str, Any]:
    """What is in a valid dataset, as ``inspect --json`` says it.

    Returns:
        ``episodes``, ``steps``, ``agents``, ``spaces``, ``return_mean`` (of agents and episodes), ``return_per_agent``,
        ``action_shares`` (``{agent: share of each action}``) and ``problems``, of which there are none.
    """
    columns, metadata = dataset.columns, dataset.metadata
    episodes, number_of = np.unique(np.asarray(columns[EPS_ID]).astype(str), return_inverse=True)
    returns, shares = {}, {}
    for agent in metadata.agents:
        alive = np.asarray(columns[column(ALIVE, agent)], dtype=bool)
        rewards = np.where(alive, columns[column(REWARDS, agent)], 0.0)
        returns[agent] = float(np.bincount(number_of, rewards, minlength=len(episodes)).mean())
        actions = np.asarray(columns[column(ACTIONS, agent)])[alive]
        counts = np.bincount(actions.astype(np.int64), minlength=int(metadata.spaces[agent].action.n))
        shares[agent] = (counts / max(counts.sum(), 1)).tolist()
    return {
        "episodes": len(episodes),
        "steps": num_rows(columns),
        "agents": list(metadata.agents),
        "spaces": {agent: metadata.spaces[agent].to_json() for agent in metadata.agents},
        "return_mean": float(np.mean(list(returns.values()))),
        "return_per_agent": returns,
        "action_shares": shares,
        "problems": [],
    }
