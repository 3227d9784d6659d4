"""Rows of an agent, one for each step, in any order and of many episodes: what tables and archives of arrays hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_mamql.columns import Array
from rllib_mamql.data.episodes import AgentEpisode, begun_at_zero, without_last
from rllib_mamql.data.sources.found import Found
from rllib_mamql.errors import DatasetError

Index = npt.NDArray[np.intp]


@dataclass(frozen=True)
class AgentRows:
    """The steps of one agent.

    Attributes:
        eps_id: ``(N,)``, the episode.
        t: ``(N,)``, the time in it; None: rows are in order of time.
        obs: ``(N, *obs)``, before the action.
        actions: ``(N,)``.
        acts: ``(N,)``, False in the last row of an episode that holds an observation and no action.
        next_obs: ``(N, *obs)``, after the action, or None.
        rewards: ``(N,)`` or None.
        terminateds: ``(N,)`` or None: never.
        truncateds: ``(N,)`` or None: where the rows of an episode end.
    """

    eps_id: Array
    t: Array | None
    obs: Array
    actions: Array
    acts: npt.NDArray[np.bool_]
    next_obs: Array | None = None
    rewards: Array | None = None
    terminateds: Array | None = None
    truncateds: Array | None = None


def episodes_of(agents: Mapping[str, AgentRows]) -> Found:
    """Sorts rows into episodes, and sees whether each agent's hold together.

    An agent whose rows begin after those of others enters late; one whose rows end before leaves early.

    Args:
        agents: ``{agent: rows}``.

    Returns:
        The episodes in the order in which they appear.

    Raises:
        DatasetError: If an agent's steps have a gap or come twice, an action is missing, or a flag stands before the
            last step.
    """
    parts: dict[str, dict[str, AgentEpisode]] = {}
    notes: Counter[str] = Counter()
    for agent, rows in agents.items():
        for eps_id, index in _groups(rows):
            where = f"eps_id '{eps_id}', agent '{agent}'"
            times = _times(rows, index, where)
            parts.setdefault(eps_id, {})
            part = _part(rows, index, times, where, notes)
            if part is not None:
                parts[eps_id][agent] = replace(part, start=int(times[0]))
    episodes = [(eps_id, begun_at_zero(present)) for eps_id, present in parts.items() if present]
    return Found(episodes, [f"{text} ({count} times)" for text, count in notes.items()])


def _groups(rows: AgentRows) -> Iterator[tuple[str, Index]]:
    """Each episode's rows in order of time, episodes as they appear."""
    if not len(rows.eps_id):
        return
    names, firsts, codes = np.unique(rows.eps_id, return_index=True, return_inverse=True)
    order = np.lexsort((codes,)) if rows.t is None else np.lexsort((rows.t, codes))
    pieces = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)
    for code in np.argsort(firsts):
        yield str(names[code]), pieces[code]


def _times(rows: AgentRows, index: Index, where: str) -> npt.NDArray[np.int64]:
    if rows.t is None:
        return np.arange(len(index))
    times = rows.t[index].astype(np.int64)
    steps = np.diff(times)
    if (steps != 1).any():
        at = int((steps != 1).argmax())
        if steps[at] == 0:
            raise DatasetError(f"{where}: t={times[at]} has two rows, expected one: give every episode its own eps_id")
        raise DatasetError(
            f"{where}: t jumps from {times[at]} to {times[at + 1]}, expected every step: an agent takes part once"
        )
    return times


def _part(rows: AgentRows, index: Index, times: Any, where: str, notes: Counter[str]) -> AgentEpisode | None:
    """What the agent saw and did; None where no step is left."""
    acts = rows.acts[index]
    if not acts[:-1].all():
        raise DatasetError(
            f"{where}: there is no action at t={times[int(acts.argmin())]}, only an episode's last row may be without"
        )
    acting = index[acts]
    if not len(acting):
        return None
    terminated = _ends(rows.terminateds, index, acting, times, where, "terminateds")
    _ends(rows.truncateds, index, acting, times, where, "truncateds")
    actions, obs = rows.actions[acting], rows.obs[index]
    rewards = None if rows.rewards is None else rows.rewards[acting]
    if len(acting) < len(index):
        return AgentEpisode(obs, actions, rewards, terminated)
    if rows.next_obs is not None:
        return AgentEpisode(np.concatenate([obs, rows.next_obs[index[-1:]]]), actions, rewards, terminated)
    if not terminated:
        notes["an episode is cut and its last observation is not there: an agent's last step is left out"] += 1
        if len(acting) == 1:
            return None
    return without_last(obs, actions, rewards, terminated=terminated)


def _ends(flags: Array | None, index: Index, acting: Index, times: Any, where: str, name: str) -> bool:
    """Whether the flag is set at the last step, or in the row that only holds the observation after it."""
    if flags is None:
        return False
    set_ = flags[index].astype(bool)
    early = set_[: len(acting) - 1]
    if early.any():
        at = int(early.argmax())
        raise DatasetError(
            f"{where}: '{name}' is set at t={times[at]}, but the agent's rows go on to t={times[-1]}: "
            "start a new eps_id, or fix the flag"
        )
    return bool(set_[len(acting) - 1 :].any())
