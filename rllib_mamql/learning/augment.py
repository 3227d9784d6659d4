"""Minibatches as they would be in mirrored or turned worlds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from rllib_mamql.columns import ACTIONS, NEXT_OBS, OBS, column
from rllib_mamql.environments.symmetry import Symmetries, Symmetry
from rllib_mamql.learning.minibatch import Minibatch
from rllib_mamql.learning.replay import TensorColumns


class Augmentation:
    """Puts each joint row of a minibatch through a symmetry drawn at random, the identity among them.

    Args:
        symmetries: Of every agent.
        device: Where minibatches are.
    """

    def __init__(self, symmetries: Symmetries, device: torch.device) -> None:
        self._device = device
        self._of = {agent: _Tables(each, device) for agent, each in symmetries.items()}
        self.count = 1 + len(next(iter(symmetries.values())))

    def __call__(self, batch: Minibatch, generator: torch.Generator) -> Minibatch:
        """The minibatch, other agents' actions and next observations turned with the row; draws on ``generator``."""
        return replace(
            batch,
            columns=self._turned(batch.columns, batch.rows, generator),
            starts=None if batch.starts is None else self._turned(batch.starts, batch.start_rows, generator),
        )

    def _turned(self, columns: TensorColumns, rows: int, generator: torch.Generator) -> TensorColumns:
        # The generator may be the host's, the rows a device's.
        which = torch.randint(self.count, (rows,), generator=generator, device=generator.device).to(self._device)
        turned = dict(columns)
        for agent, tables in self._of.items():
            for part in (OBS, NEXT_OBS):
                name = column(part, agent)
                if name in turned:
                    turned[name] = tables.observations(turned[name], which)
            name = column(ACTIONS, agent)
            if name in turned:
                turned[name] = tables.actions[which, turned[name].long()].to(turned[name].dtype)
        return turned


class _Tables:
    """The symmetries of one agent, the identity first, as tensors ``(G, F)`` and ``(G, A)``."""

    def __init__(self, symmetries: Sequence[Symmetry], device: torch.device) -> None:
        size, actions = len(symmetries[0].index), len(symmetries[0].actions)
        flags = symmetries[0].flags
        identity = Symmetry(np.arange(size), np.ones(size), np.zeros(size), np.arange(actions), flags)
        every = [identity, *symmetries]
        self._flags = None if flags is None else torch.from_numpy(flags).to(device)
        self._index = torch.from_numpy(np.stack([each.index for each in every])).to(device)
        self._sign = torch.from_numpy(np.stack([each.sign for each in every])).float().to(device)
        self._offset = torch.from_numpy(np.stack([each.offset for each in every])).float().to(device)
        self.actions = torch.from_numpy(np.stack([each.actions for each in every])).to(device)

    def observations(self, observations: Tensor, which: Tensor) -> Tensor:
        """Transforms ``(R, *obs)``, each row by the symmetry of its number in ``which`` ``(R,)``."""
        flat = observations.flatten(1)
        moved = flat.gather(1, self._index[which])
        offset = self._offset[which]
        if self._flags is not None:
            # What never was keeps its zeros. The flag of the present, -1, is 1.
            offset = offset * torch.where(self._flags < 0, 1.0, flat[:, self._flags.clamp_min(0)].float())
        turned = torch.addcmul(offset, self._sign[which], moved.float())
        return turned.to(observations.dtype).view(observations.shape)
