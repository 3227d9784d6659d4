"""Rollouts as RLlib's episodes, paid by others than the environment: what PPO learns from."""

from __future__ import annotations

import numpy as np
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from rllib_mamql.columns import (
    ACTIONS,
    ALIVE,
    EPS_ID,
    NEXT_OBS,
    OBS,
    TERMINATEDS,
    TRUNCATEDS,
    Array,
    JointColumns,
    T,
    column,
)


def stretches(columns: JointColumns, agent: str) -> list[Array]:
    """Rows of an agent, by stretches of an episode in which it is alive at every step.

    Args:
        columns: Joint steps in any order, as a batch of environments gives them.
        agent: Whose.

    Returns:
        Numbers of rows, in the order of time within each stretch; rows in which the agent is dead are in none.
    """
    alive = np.flatnonzero(columns[column(ALIVE, agent)])
    _, episode = np.unique(columns[EPS_ID][alive].astype(str), return_inverse=True)
    time = columns[T][alive].astype(np.int64)
    order = np.lexsort((time, episode))
    broken = (np.diff(episode[order]) != 0) | (np.diff(time[order]) != 1)
    return [rows for rows in np.split(alive[order], np.flatnonzero(broken) + 1) if len(rows)]


def paid_episodes(
    columns: JointColumns, agent: str, module_id: str, rewards: Array, log_policies: Array
) -> list[SingleAgentEpisode]:
    """An agent's part of rollouts, with other rewards than the environment's.

    Args:
        columns: Joint steps, N of them.
        agent: Whose.
        module_id: The module that plays for it.
        rewards: What it is paid ``(N,)``; rows in which it is dead are passed over.
        log_policies: Log-probabilities of all actions by the policy that chose ``(N, A)``.

    Returns:
        One for each of the :func:`stretches`; of one that was cut neither ``is_terminated`` nor ``is_truncated``.
    """
    obs, next_obs, actions = (columns[column(name, agent)] for name in (OBS, NEXT_OBS, ACTIONS))
    terminated, truncated = columns[column(TERMINATEDS, agent)], columns[column(TRUNCATEDS, agent)]
    log_taken = np.take_along_axis(log_policies, actions[:, None].astype(np.int64), 1)[:, 0]
    episodes = []
    for index, rows in enumerate(stretches(columns, agent)):
        last = rows[-1]
        episode = SingleAgentEpisode(
            # RLlib's connectors tell stretches apart by the second.
            id_=f"{agent}/{index}",
            multi_agent_episode_id=f"{agent}/{index}",
            agent_id=agent,
            module_id=module_id,
            observations=[*obs[rows], next_obs[last]],
            actions=list(actions[rows]),
            rewards=list(rewards[rows]),
            extra_model_outputs={
                Columns.ACTION_DIST_INPUTS: list(log_policies[rows]),
                Columns.ACTION_LOGP: list(log_taken[rows]),
            },
            terminated=bool(terminated[last]),
            truncated=bool(truncated[last]),
            len_lookback_buffer=0,
        )
        episodes.append(episode.to_numpy())
    return episodes
