"""Everything that a learner draws from, laid out for a GPU: a minibatch takes a few operations, none on the host."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rllib_mamql.columns import WEIGHT, T
from rllib_mamql.learning.minibatch import ExpertSource, Minibatch, used_columns
from rllib_mamql.learning.replay import JointReplayBuffer, TensorColumns


class RowTable:
    """The expert's rows and behind them the replay buffer, columns of equal form side by side in one tensor.

    It takes the place of the columns of both, which become views of it, so that rows added to the buffer are here too.
    Rows are drawn as ``floor(u n)`` with u uniform in [0, 1) and n in a tensor: the buffer grows, the operations stay.

    Args:
        expert: Demonstrations held in memory.
        replay: Rollouts; None or empty leaves them out.
        agents: All agents.
        expert_rows: Expert rows of a minibatch.
        rollout_rows: Rollout rows of a minibatch.
        with_next: Whether next observations are scored.
        with_starts: Whether a minibatch has as many start states as expert rows.
    """

    def __init__(
        self,
        expert: ExpertSource,
        replay: JointReplayBuffer | None,
        agents: Sequence[str],
        *,
        expert_rows: int,
        rollout_rows: int,
        with_next: bool,
        with_starts: bool,
    ) -> None:
        self._replay = replay if replay is not None and len(replay) > 0 else None
        self._expert_rows, self._with_next = expert_rows, with_next
        self._rows = expert_rows + (0 if self._replay is None else rollout_rows)
        columns = expert.columns
        device = columns[T].device
        sizes, first = [len(expert)] * expert_rows, [0] * expert_rows
        if self._replay is not None:
            sizes += [len(self._replay)] * rollout_rows
            first += [len(expert)] * rollout_rows
        self._starts: Tensor | None = None
        if with_starts:
            self._starts = (columns[T] == 0).nonzero().squeeze(1)
            expert.check_starts()
            sizes += [len(self._starts)] * expert_rows
            first += [0] * expert_rows
        self._sizes = torch.tensor(sizes, dtype=torch.float64, device=device)
        self._first = torch.tensor(first, dtype=torch.long, device=device)
        self._weight = None if WEIGHT in columns else torch.ones(self._rows, device=device)
        self._packs: list[tuple[list[str], Tensor]] = []
        self._pack(expert, used_columns(agents))

    def _pack(self, expert: ExpertSource, names: list[str]) -> None:
        """Copies the columns into tensors ``(rows, columns, ...)``, one for each form, and makes views of them."""
        mine = expert.columns
        theirs = {} if self._replay is None else self._replay.columns
        forms: dict[tuple[torch.dtype, torch.Size], list[str]] = {}
        for name in names:
            dtype = torch.promote_types(mine[name].dtype, theirs[name].dtype) if theirs else mine[name].dtype
            forms.setdefault((dtype, mine[name].shape[1:]), []).append(name)
        if WEIGHT in mine:
            forms.setdefault((torch.float32, mine[WEIGHT].shape[1:]), []).append(WEIGHT)
        length = len(expert) + (0 if self._replay is None else self._replay.capacity)
        views: TensorColumns = {}
        for (dtype, shape), alike in forms.items():
            pack = torch.ones((length, len(alike), *shape), dtype=dtype, device=mine[T].device)
            for index, name in enumerate(alike):
                pack[: len(expert), index] = mine[name]
                mine[name] = pack[: len(expert), index]
                if name in theirs:
                    pack[len(expert) :, index] = theirs[name]
                    views[name] = pack[len(expert) :, index]
            self._packs.append((alike, pack))
        if self._replay is not None:
            self._replay.columns = {**theirs, **views}
            self._views = self._replay.columns

    def serves(self, replay: JointReplayBuffer | None) -> bool:
        """Whether the buffer's rows are those in the table still: they are not after it was filled anew."""
        if replay is None or len(replay) == 0:
            return self._replay is None
        return self._replay is replay and replay.columns is self._views

    def follow(self) -> None:
        """Draws from as many rollouts as there are now."""
        if self._replay is not None:
            self._sizes[self._expert_rows : self._rows].fill_(len(self._replay))

    def draw(self, generator: torch.Generator) -> Minibatch:
        """Draws a minibatch; operations and shapes are the same at every call.

        Args:
            generator: Source of the draws, on the table's device.
        """
        # In float64: float32 has fewer numbers in [0, 1) than there may be rows.
        uniform = torch.rand(self._sizes.shape, dtype=torch.float64, device=self._sizes.device, generator=generator)
        # Rounding cannot lift the product to the size itself: 1 - u is at least 2^-53.
        index = (uniform * self._sizes).long() + self._first
        if self._starts is not None:
            index = torch.cat([index[: self._rows], self._starts.index_select(0, index[self._rows :])])
        columns: TensorColumns = {}
        starts: TensorColumns | None = None if self._starts is None else {}
        for names, pack in self._packs:
            drawn = pack.index_select(0, index)
            for number, name in enumerate(names):
                columns[name] = drawn[: self._rows, number]
                if starts is not None:
                    starts[name] = drawn[self._rows :, number]
        if self._weight is not None:
            columns[WEIGHT] = self._weight
        return Minibatch(columns, self._expert_rows, starts, self._with_next)
