"""What a gradient step sees: expert rows, rollout rows and start states, drawn on the learner's own device."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rllib_mamql.columns import ACTIONS, ALIVE, NEXT_OBS, OBS, TERMINATEDS, WEIGHT, JointColumns, T, column
from rllib_mamql.errors import ConfigError
from rllib_mamql.learning.replay import JointReplayBuffer, TensorColumns, draw_rows, to_tensors

_USED = (OBS, NEXT_OBS, ACTIONS, TERMINATEDS, ALIVE)


class ExpertSource:
    """A learner's share of the expert data: held as tensors, or streamed.

    Args:
        columns: Joint steps to hold, or None to stream.
        stream: Endless batches of joint steps, each as large as the batches asked for, where ``columns`` is None.
        device: Where the tensors live.
    """

    def __init__(
        self, columns: JointColumns | None, stream: Iterator[JointColumns] | None, device: torch.device
    ) -> None:
        self._device = device
        self._stream = stream
        self.columns: TensorColumns = {} if columns is None else to_tensors(columns, device, staged=False)
        first = self.columns[T] == 0 if self.columns else None
        self._starts = {} if first is None else {name: values[first] for name, values in self.columns.items()}

    def __len__(self) -> int:
        """Joint steps held; 0 while streaming."""
        return len(self.columns[T]) if self.columns else 0

    def sample(self, rows: int, generator: torch.Generator, names: Collection[str] | None = None) -> TensorColumns:
        """Expert rows, uniformly with replacement (held) or as they come (streamed); ``names`` says which columns.

        Raises:
            ConfigError: If there is no expert data.
        """
        if self.columns:
            return draw_rows(self.columns, len(self), rows, generator, names)
        if self._stream is None:
            raise ConfigError("the learner has no expert data: set config.offline_data(input_=...)")
        return to_tensors(next(self._stream), self._device)

    def sample_starts(self, rows: int, generator: torch.Generator) -> TensorColumns:
        """Rows at t = 0.

        Raises:
            ConfigError: If none are held.
        """
        self.check_starts()
        return draw_rows(self._starts, len(self._starts[T]), rows, generator)

    @property
    def has_starts(self) -> bool:
        """Whether rows at t = 0 are held."""
        return bool(self._starts) and len(self._starts[T]) > 0

    def check_starts(self) -> None:
        """Raises ConfigError where no rows at t = 0 are held."""
        if not self.has_starts:
            raise ConfigError(
                "value_term 'initial' needs start states (t = 0) in memory, and the expert data has none here: "
                "use value_term 'expert' or 'rollout'"
            )

    def close(self) -> None:
        """Ends the stream, if there is one."""
        close = getattr(self._stream, "close", None)
        self._stream = None
        if close is not None:
            close()


@dataclass(frozen=True)
class Minibatch:
    """Joint rows of one gradient step: the expert's first, then rollouts.

    Attributes:
        columns: Per-agent columns and ``weight``, each ``(R, ...)``.
        expert_rows: How many of the rows are the expert's.
        starts: Per-agent columns at t = 0, ``(S, ...)``, or None where the losses need none.
        with_next: Whether the losses need scores at the next observations.
    """

    columns: TensorColumns
    expert_rows: int
    starts: TensorColumns | None
    with_next: bool = True

    @property
    def rows(self) -> int:
        """Number of joint rows R, without start states."""
        return len(self.columns[WEIGHT])

    @property
    def next_rows(self) -> int:
        """Number of next observations that are scored, R or 0."""
        return self.rows if self.with_next else 0

    @property
    def start_rows(self) -> int:
        """Number of start states S."""
        return 0 if self.starts is None else len(next(iter(self.starts.values())))

    def observations(self, agents: list[str]) -> Tensor:
        """Everything a module must score: for each of its agents obs, next obs and starts, stacked."""
        parts = []
        for agent in agents:
            parts.append(self.columns[column(OBS, agent)])
            if self.with_next:
                parts.append(self.columns[column(NEXT_OBS, agent)])
            if self.starts is not None:
                parts.append(self.starts[column(OBS, agent)])
        return torch.cat(parts)

    def by_agent(self, scores: Tensor, agents: list[str]) -> Tensor:
        """Scores of what :meth:`observations` stacked, one agent after the other, as ``(n, R + N + S, A)``."""
        return scores.view(len(agents), self.rows + self.next_rows + self.start_rows, scores.shape[-1])

    def places(self, scores: Tensor) -> tuple[Tensor, ...]:
        """Splits scores ``(n, R + N + S, A)`` into those at observations, next observations and start states."""
        return torch.split(scores, [self.rows, self.next_rows, self.start_rows], dim=1)


@dataclass(frozen=True)
class AgentRows:
    """What n agents did in a minibatch, without what they saw.

    Attributes:
        actions: ``(n, R)``.
        terminated: ``(n, R)``, bool.
        weights: ``(n, R)``, >= 0; 0 where the agent was not alive.
        start_weights: The same at the start states, ``(n, S)``, or None where there are none.
        expert_rows: How many of the R rows, from the first on, are the expert's.
    """

    actions: Tensor
    terminated: Tensor
    weights: Tensor
    start_weights: Tensor | None
    expert_rows: int

    @classmethod
    def of(cls, batch: Minibatch, agents: Sequence[str]) -> AgentRows:
        """Stacks the agents' columns of a minibatch."""
        return cls(
            actions=_stack(batch.columns, ACTIONS, agents),
            terminated=_stack(batch.columns, TERMINATEDS, agents),
            weights=batch.columns[WEIGHT] * _stack(batch.columns, ALIVE, agents),
            start_weights=None if batch.starts is None else _stack(batch.starts, ALIVE, agents).float(),
            expert_rows=batch.expert_rows,
        )


def _stack(columns: TensorColumns, prefix: str, agents: Sequence[str]) -> Tensor:
    return torch.stack([columns[column(prefix, agent)] for agent in agents])


def used_columns(agents: Sequence[str]) -> list[str]:
    """Names of the agents' columns that minibatches have."""
    return [column(prefix, agent) for agent in agents for prefix in _USED]


def draw_minibatch(
    expert: ExpertSource,
    replay: JointReplayBuffer | None,
    agents: list[str],
    *,
    expert_rows: int,
    rollout_rows: int,
    with_next: bool,
    with_starts: bool,
    generator: torch.Generator,
    apart: Sequence[list[str]] = (),
) -> Minibatch:
    """Draws a minibatch.

    Args:
        expert: The expert data.
        replay: Rollouts; None or empty leaves them out.
        agents: All agents.
        expert_rows: Expert rows to draw.
        rollout_rows: Rollout rows to draw.
        with_next: Whether next observations are to be scored.
        with_starts: Whether to draw as many start states as expert rows.
        generator: Source of the draws.
        apart: Groups of agents whose expert rows need not be the same, where rows are held and have no weights.
    """
    names = used_columns(agents)
    if len(apart) > 1 and expert.columns and WEIGHT not in expert.columns:
        parts: list[TensorColumns] = [{}]
        for group in apart:
            parts[0] |= expert.sample(expert_rows, generator, used_columns(group))
    else:
        parts = [expert.sample(expert_rows, generator, [*names, WEIGHT])]
    if replay is not None and len(replay) > 0:
        parts.append(replay.sample(rollout_rows, generator, names))
    joint = {name: torch.cat([part[name] for part in parts]) for name in names}
    weight = torch.ones(len(joint[names[0]]), device=joint[names[0]].device)
    if WEIGHT in parts[0]:
        weight[:expert_rows] = parts[0][WEIGHT].float()
    joint[WEIGHT] = weight
    starts = expert.sample_starts(expert_rows, generator) if with_starts else None
    return Minibatch(joint, expert_rows, starts, with_next)
