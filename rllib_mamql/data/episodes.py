"""Episodes as each agent lived them, and how they become joint steps.

Every source of demonstrations comes down to this: an agent enters an episode at some step, sees and acts without a gap,
and leaves. Agents that are not there are padded here, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rllib_mamql.columns import (
    ACTIONS,
    ALIVE,
    EPS_ID,
    IDLE_ACTION,
    NEXT_OBS,
    OBS,
    REWARDS,
    TERMINATEDS,
    TRUNCATEDS,
    Array,
    JointColumns,
    T,
    column,
)
from rllib_mamql.data.agent_spaces import AgentSpaces
from rllib_mamql.data.metadata import DatasetMetadata
from rllib_mamql.data.tables import cast_numbers
from rllib_mamql.errors import DatasetError, nearest


@dataclass(frozen=True)
class AgentEpisode:
    """What one agent saw and did, from when it entered an episode until it left.

    Attributes:
        observations: ``(L + 1, *obs)``: before each action, and after the last.
        actions: ``(L,)``, whole numbers from 0.
        rewards: ``(L,)``, or None where there are none.
        terminated: Whether the task ended for the agent at its last step; if not, its part was cut there.
        start: Step of the episode at which it first acts, >= 0.
    """

    observations: Any
    actions: Any
    rewards: Any = None
    terminated: bool = False
    start: int = 0


Episode = Mapping[str, AgentEpisode]
"""``{agent: what it saw and did}``; agents that are not there are left out."""


def without_last(
    observations: Any, actions: Any, rewards: Any = None, *, terminated: bool = False, start: int = 0
) -> AgentEpisode:
    """An agent's part of an episode whose last observation is not known.

    What follows a terminal state counts for nothing, so the last observation stands for it. Where the recording was
    cut, values are bootstrapped from what follows: the last step is left out, its observation ends the one before.

    Args:
        observations: ``(L, *obs)``, before each action.
        actions: ``(L,)``.
        rewards: ``(L,)`` or None.
        terminated: As in :class:`AgentEpisode`.
        start: As in :class:`AgentEpisode`.
    """
    seen = np.asarray(observations)
    if terminated:
        return AgentEpisode(np.concatenate([seen, seen[-1:]]), actions, rewards, True, start)
    return AgentEpisode(seen, actions[:-1], None if rewards is None else rewards[:-1], False, start)


def begun_at_zero(episode: Episode) -> Episode:
    """The same episode with its steps counted from where the first agent enters."""
    first = min((part.start for part in episode.values()), default=0)
    return {agent: replace(part, start=part.start - first) for agent, part in episode.items()}


def joint_steps(eps_id: str, episode: Episode, metadata: DatasetMetadata) -> JointColumns:
    """An episode as joint steps, one row for each.

    Args:
        eps_id: Its name.
        episode: What each agent saw and did.
        metadata: Agents and spaces.

    Returns:
        Columns of the schema; ``rewards`` where the agents have them. No rows where nobody acts.

    Raises:
        DatasetError: If an agent is unknown, an array does not fit its space or the other arrays, some agents have
            rewards and others not, or nobody acts at some step.
    """
    try:
        parts = {agent: _checked(agent, part, metadata) for agent, part in episode.items()}
        parts = {agent: part for agent, part in parts.items() if len(part.actions)}
        paid = {part.rewards is not None for part in parts.values()}
        if len(paid) > 1:
            without = sorted(agent for agent, part in parts.items() if part.rewards is None)
            raise DatasetError(f"{without} have no rewards and other agents have: give all of them rewards, or none")
        steps = max((part.start + len(part.actions) for part in parts.values()), default=0)
        columns: JointColumns = {EPS_ID: np.full(steps, eps_id), T: np.arange(steps, dtype=np.int32)}
        for agent in metadata.agents:
            columns |= _padded(agent, parts.get(agent), metadata.spaces[agent], steps, paid != {False})
        idle = ~np.any([columns[column(ALIVE, agent)] for agent in metadata.agents], axis=0)
        if steps and idle.any():
            raise DatasetError(
                f"no agent acts at t={int(idle.argmax())}: count each agent's start from the first action"
            )
    except DatasetError as error:
        raise DatasetError(f"episode '{eps_id}': {error}") from error
    return columns


def _checked(agent: str, part: AgentEpisode, metadata: DatasetMetadata) -> AgentEpisode:
    """The same in the space's dtypes."""
    if agent not in metadata.agents:
        raise DatasetError(f"agent '{agent}' is not among {list(metadata.agents)}: {nearest(agent, metadata.agents)}")
    spaces = metadata.spaces[agent]
    actions = _array(part.actions, f"actions of '{agent}'")
    count = len(actions)
    observations = _array(part.observations, f"observations of '{agent}'")
    rewards = None if part.rewards is None else _array(part.rewards, f"rewards of '{agent}'")
    shape = (count + 1, *spaces.observation.shape)
    if observations.shape != shape:
        raise DatasetError(
            f"observations of '{agent}' have shape {observations.shape}, expected {shape}: one before each of the "
            f"{count} actions and one after the last, each of shape {spaces.observation.shape}"
        )
    for name, values in (("actions", actions), ("rewards", rewards)):
        if values is not None and values.shape != (count,):
            raise DatasetError(f"{name} of '{agent}' have shape {values.shape}, expected {(count,)}: one number a step")
    if part.start < 0:
        raise DatasetError(f"'{agent}' starts at t={part.start}, expected 0 or later")
    return AgentEpisode(
        cast_numbers(observations, spaces.observation.dtype, f"observations of '{agent}'"),
        cast_numbers(actions, np.int64, f"actions of '{agent}'"),
        None if rewards is None else cast_numbers(rewards, np.float32, f"rewards of '{agent}'"),
        bool(part.terminated),
        int(part.start),
    )


def _array(values: Any, what: str) -> Array:
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise DatasetError(f"{what} differ in shape ({error}): give arrays of one shape") from error
    if array.dtype.kind not in "fiub" and array.size:
        raise DatasetError(f"{what} are of type {array.dtype}, expected numbers: nothing is decoded or unpickled")
    return array


def _padded(agent: str, part: AgentEpisode | None, spaces: AgentSpaces, steps: int, paid: bool) -> JointColumns:
    box = spaces.observation
    obs, following = np.zeros((2, steps, *box.shape), box.dtype)
    actions, rewards = np.full(steps, IDLE_ACTION, np.int64), np.zeros(steps, np.float32)
    terminateds, truncateds, alive = np.zeros((3, steps), np.bool_)
    if part is not None:
        rows = slice(part.start, part.start + len(part.actions))
        obs[rows], following[rows] = part.observations[:-1], part.observations[1:]
        actions[rows], alive[rows] = part.actions, True
        (terminateds if part.terminated else truncateds)[rows.stop - 1] = True
        if part.rewards is not None:
            rewards[rows] = part.rewards
    padded = {
        OBS: obs, NEXT_OBS: following, ACTIONS: actions, REWARDS: rewards,
        TERMINATEDS: terminateds, TRUNCATEDS: truncateds, ALIVE: alive,
    }  # fmt: skip
    return {column(name, agent): values for name, values in padded.items() if name != REWARDS or paid}
