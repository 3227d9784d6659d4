"""Demonstrations as rows that carry their own past, and rollouts of policies with a history as they are recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rllib_mamql.columns import ACTIONS, ALIVE, NEXT_OBS, OBS, Array, JointColumns, column
from rllib_mamql.data.history import Spaces, history_of, remembering
from rllib_mamql.data.masks import MaskedBox
from rllib_mamql.data.memory import past_step
from rllib_mamql.data.validation import episode_order


def with_history(columns: JointColumns, spaces: Spaces, steps: int) -> JointColumns:
    """Joint steps whose observations have a history, as rollouts of such policies give them.

    Args:
        columns: Whole joint steps of episodes from their start on, in any order; actions count from 0.
        spaces: By agent, without history.
        steps: How many steps back, >= 0; with 0 nothing changes.

    Returns:
        The same rows with longer ``obs`` and ``next_obs``; both are 0 where the agent did not act.
    """
    if not steps:
        return columns
    order, episode = episode_order(columns)
    follows = [episode[back:] == episode[:-back] for back in range(1, min(steps + 1, len(order)))]
    result = dict(columns)
    for agent, (space, done) in spaces.items():
        obs, after, taken, alive = (columns[column(name, agent)][order] for name in (OBS, NEXT_OBS, ACTIONS, ALIVE))
        seen = space.split(obs)[0] if isinstance(space, MaskedBox) else obs
        lived = past_step(seen, taken, int(done.n)) * alive.astype(bool)[:, None]
        past = np.zeros((len(order), steps, lived.shape[1]), lived.dtype)
        for back, same in enumerate(follows, 1):
            past[back:, back - 1] = lived[:-back] * same[:, None]
        since = np.concatenate([lived[:, None], past[:, :-1]], axis=1)
        for name, values, before in ((OBS, obs, past), (NEXT_OBS, after, since)):
            wide = _joined(space, values, before, int(done.n), steps) * alive.astype(bool)[:, None]
            given = np.empty_like(wide)
            given[order] = wide
            result[column(name, agent)] = given
    return result


def _joined(space: Any, observations: Array, past: Array, actions: int, steps: int) -> Array:
    """Observations ``(N, *obs)``, which may carry masks, with a past ``(N, k, 1 + F + A)``."""
    flat = past.reshape(len(past), -1)
    if not isinstance(space, MaskedBox):
        return np.concatenate([observations.reshape(len(flat), -1), flat], axis=1)
    seen, legal = space.split(observations)
    wide = np.concatenate([seen.reshape(len(flat), -1), flat], axis=1)
    return np.asarray(remembering(space, actions, steps).join(wide, legal))


def without_history(columns: JointColumns, spaces: Mapping[str, Any]) -> tuple[JointColumns, dict[str, Any]]:
    """Joint steps and spaces as the environment shows them: the present observation of each row.

    Args:
        columns: As rollouts give them.
        spaces: Of observations, by agent, with or without history.
    """
    result, shown = dict(columns), dict(spaces)
    for agent, space in spaces.items():
        box = history_of(space)
        if box is None:
            continue
        shown[agent] = MaskedBox(box.observation, space.actions) if isinstance(space, MaskedBox) else box.observation
        for name in (column(OBS, agent), column(NEXT_OBS, agent)):
            seen, legal = space.split(columns[name]) if isinstance(space, MaskedBox) else (columns[name], None)
            now = seen[:, : box.size].reshape(len(seen), *box.observation.shape)
            result[name] = now if legal is None else shown[agent].join(now, legal)
    return result, shown
