"""Transitions that rewards are fitted to: every state is kept once, rows point at the state before and after them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rllib_mamql.columns import ACTIONS, ALIVE, EPS_ID, NEXT_OBS, OBS, TERMINATEDS, Array, JointColumns, T, column, take
from rllib_mamql.errors import ConfigError
from rllib_mamql.learning.checkpoint import Checkpoint
from rllib_mamql.networks.tensors import rows_at_once, to_tensor
from rllib_mamql.play.actors import agents_by_module
from rllib_mamql.rewards.marginal import policy_of

Flags = NDArray[np.bool_]

HELD_OUT_SHARE = 0.1
"""Share of the episodes that fits are judged by."""
MOST_JUDGED = 2048
"""Rows of these that are looked at, at most; fewer of large images."""
BLOCKS = 10
"""Into so many parts a single episode is cut, to hold out one."""


@dataclass(frozen=True)
class Transitions:
    """One module's transitions, all its agents' in a row, each agent's in the order of its episodes.

    Attributes:
        states: Observations ``(S, *obs)``.
        policy: The agent's own policy at each of them, ``(S, A)``.
        other_policies: Each other agent's there, ``(S, A_j)``.
        now: Index of the state of each row ``(N,)``.
        after: Index of the state that follows it ``(N,)``.
        action: The agent's ``(N,)``.
        others: The others' actions ``(N, m)``.
        terminated: Whether the agent's task ended there ``(N,)``.
        train: Rows to fit on.
        judged: Rows to judge a fit by, of other episodes.
    """

    states: Tensor
    policy: Tensor
    other_policies: list[Tensor]
    now: Tensor
    after: Tensor
    action: Tensor
    others: Tensor
    terminated: Tensor
    train: Tensor
    judged: Tensor

    @property
    def other_actions(self) -> tuple[int, ...]:
        """How many actions each other agent has."""
        return tuple(policy.shape[1] for policy in self.other_policies)

    def segments(self, rows: int, length: int, generator: torch.Generator) -> Tensor:
        """About so many rows to fit on, ``(B,)``: stretches of successive ones, which share half of their states."""
        length = min(length, len(self.train), rows)
        starts = torch.randint(len(self.train) - length + 1, (max(1, rows // length), 1), generator=generator)
        return self.train[(starts + torch.arange(length)).flatten()]


def transitions_of(stored: Checkpoint, columns: JointColumns, seed: int) -> dict[str, Transitions]:
    """Each module's transitions in joint steps.

    Args:
        stored: The checkpoint, whose policies are asked once at every state.
        columns: Joint steps.
        seed: Seed of which episodes are held out.

    Raises:
        ConfigError: If agents of a module never act.
    """
    order, columns = _in_order(columns)
    follows = _follows(stored, columns)
    ends = np.flatnonzero(~follows)
    count = len(follows)
    after = np.arange(1, count + 1)
    after[ends] = count + np.arange(len(ends))
    judged = _held_out(columns, seed)
    states: dict[str, Array] = {}
    policies: dict[str, Tensor] = {}
    for agent in stored.module_of:
        alive = _flags(columns, ALIVE, agent)
        going = alive & ~_flags(columns, TERMINATEDS, agent)
        seen, then = columns[column(OBS, agent)], columns[column(NEXT_OBS, agent)]
        states[agent] = np.concatenate([seen[order], then[order[ends]]])
        policies[agent] = policy_of(stored, agent, states[agent], np.concatenate([alive, going[ends]]))
    found = {}
    for module_id, agents in agents_by_module(stored.module_of).items():
        found[module_id] = _join([_of_agent(agent, columns, states, policies, after, judged) for agent in agents])
        if not len(found[module_id].now):
            raise ConfigError(
                f"agents of module {module_id!r} ({', '.join(agents)}) never act in {count} joint steps: there is no "
                "reward to recover; play more (--steps), or name demonstrations (--data)"
            )
    return found


def _in_order(columns: JointColumns) -> tuple[NDArray[np.intp], JointColumns]:
    """Where the joint steps are by episode and time, and all but their observations in that order."""
    episodes = np.unique(columns[EPS_ID].astype(str), return_inverse=True)[1]
    order = np.lexsort((columns[T], episodes))
    seen = {name: values for name, values in columns.items() if name.startswith((f"{OBS}.", f"{NEXT_OBS}."))}
    return order, take({name: values for name, values in columns.items() if name not in seen}, order) | seen


def _follows(stored: Checkpoint, columns: JointColumns) -> Flags:
    """Whether the next row holds the state after each row, of all agents that go on."""
    episodes, times = columns[EPS_ID].astype(str), np.asarray(columns[T], dtype=np.int64)
    follows = np.zeros(len(times), dtype=bool)
    follows[:-1] = (episodes[1:] == episodes[:-1]) & (times[1:] == times[:-1] + 1)
    for agent in stored.module_of:
        alive = _flags(columns, ALIVE, agent)
        # An agent that is cut off alone left its last observation in its own row.
        goes = alive[:-1] & ~_flags(columns, TERMINATEDS, agent)[:-1]
        follows[:-1] &= ~goes | alive[1:]
    return follows


def _held_out(columns: JointColumns, seed: int) -> Flags:
    """Which rows are of held-out episodes, or of a held-out part where there is one episode only."""
    episodes = np.unique(columns[EPS_ID].astype(str), return_inverse=True)[1]
    count = int(episodes.max()) + 1
    if count == 1:
        episodes, count = np.arange(len(episodes)) * BLOCKS // len(episodes), BLOCKS
    chosen = np.random.default_rng(seed).permutation(count)[: max(1, round(HELD_OUT_SHARE * count))]
    return np.isin(episodes, chosen)


def _of_agent(
    agent: str,
    columns: JointColumns,
    states: Mapping[str, Array],
    policies: Mapping[str, Tensor],
    after: NDArray[np.int64],
    judged: Flags,
) -> Transitions:
    rows = np.flatnonzero(_flags(columns, ALIVE, agent))
    others = [other for other in states if other != agent]
    taken = [torch.as_tensor(np.asarray(columns[column(ACTIONS, other)])[rows]).long() for other in others]
    held = torch.as_tensor(judged[rows])
    if not len(rows) or held.all():  # Too few to hold anything out.
        held = torch.zeros(len(rows), dtype=torch.bool)
    return Transitions(
        to_tensor(states[agent]),
        policies[agent],
        [policies[other] for other in others],
        torch.as_tensor(rows),
        torch.as_tensor(after[rows]),
        torch.as_tensor(np.asarray(columns[column(ACTIONS, agent)])[rows]).long(),
        torch.stack(taken, dim=-1) if taken else torch.zeros(len(rows), 0, dtype=torch.long),
        torch.as_tensor(_flags(columns, TERMINATEDS, agent)[rows]),
        torch.nonzero(~held)[:, 0],
        torch.nonzero(held)[:, 0],
    )


def _join(parts: list[Transitions]) -> Transitions:
    """Those of agents that share a module."""
    first_states = np.cumsum([0, *(len(part.states) for part in parts)])[:-1].tolist()
    first_rows = np.cumsum([0, *(len(part.now) for part in parts)])[:-1].tolist()
    judged = torch.cat([part.judged + first for part, first in zip(parts, first_rows, strict=True)])
    train = torch.cat([part.train + first for part, first in zip(parts, first_rows, strict=True)])
    if not len(judged):
        judged = train
    states = torch.cat([part.states for part in parts]) if len(parts) > 1 else parts[0].states
    spread = torch.linspace(0, len(judged) - 1, min(len(judged), rows_at_once(states, MOST_JUDGED))).long()
    return Transitions(
        states,
        torch.cat([part.policy for part in parts]),
        [torch.cat(pieces) for pieces in zip(*(part.other_policies for part in parts), strict=True)],
        torch.cat([part.now + first for part, first in zip(parts, first_states, strict=True)]),
        torch.cat([part.after + first for part, first in zip(parts, first_states, strict=True)]),
        torch.cat([part.action for part in parts]),
        torch.cat([part.others for part in parts]),
        torch.cat([part.terminated for part in parts]),
        train,
        judged[spread],
    )


def _flags(columns: JointColumns, prefix: str, agent: str) -> Flags:
    return np.asarray(columns[column(prefix, agent)], dtype=bool)
