"""A behaviour clone of a dataset, as a baseline for policies and rewards: it sees the observation and nothing else."""

from __future__ import annotations

import math
import pathlib
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from rllib_mamql.columns import ACTIONS, ALIVE, EPS_ID, OBS, JointColumns, column, num_rows
from rllib_mamql.data.selection import hold_out, select_steps
from rllib_mamql.errors import DatasetError
from rllib_mamql.learning.checkpoint import Checkpoint
from rllib_mamql.learning.demonstrations import read_demonstrations
from rllib_mamql.networks.encoders import build_encoder
from rllib_mamql.networks.heads import MarginalCritic
from rllib_mamql.play.actors import agents_by_module

HELD_OUT_SHARE = 0.1
"""Share of the episodes by whose likelihood the number of updates is chosen."""
ENOUGH, SPLITS = 1000, 3
"""Joint steps to hold out: where the share is fewer, so many random splits are judged, until they are enough or 3."""
FEWEST, MOST = 200, 25600
"""Numbers of updates that are tried: the first, doubled up to the last for as long as the likelihood rises."""

Rows = dict[str, tuple[Tensor, Tensor]]
"""By module: observations ``(B, *obs)`` and actions ``(B,)`` of all its agents."""


@dataclass(frozen=True)
class Clone:
    """A behaviour clone; call it as ``(agent, observations (B, *obs)) -> log-probabilities (B, A)``.

    Attributes:
        networks: By module.
        module_of: ``{agent: module}``.
        updates: Gradient steps that it learned for.
        held_out: Mean negative log-likelihood of held-out episodes, in nats an agent's step, for each number of
            updates that was tried; empty where the number was given.
    """

    networks: Mapping[str, nn.Module]
    module_of: Mapping[str, str]
    updates: int
    held_out: Mapping[int, float]

    def __call__(self, agent: str, observations: Tensor) -> Tensor:
        """Log-probabilities of an agent's actions."""
        return torch.log_softmax(self.networks[self.module_of[agent]](observations), dim=-1)

    def summary(self) -> str:
        """One line on how long it learned, and why."""
        if not self.held_out:
            return f"clone: {self.updates:,} updates, as asked"
        found = ", ".join(f"{loss:.3f} after {updates:,}" for updates, loss in self.held_out.items())
        return f"clone: {self.updates:,} updates, for held-out episodes' negative log-likelihood was {found}"


def fit_clone(
    stored: Checkpoint,
    columns: JointColumns,
    *,
    updates: int | None = None,
    rows: int = 256,
    lr: float = 1e-3,
    seed: int = 0,
) -> Clone:
    """Maximum likelihood of the dataset's actions, with the checkpoint's encoder and parameter sharing.

    Args:
        stored: Says which agents share a network, and its encoder.
        columns: Joint steps of the expert.
        updates: Gradient steps, at a learning rate that falls to zero. None chooses by the likelihood of a tenth of
            the episodes (of several tenths in turn, where there are few steps), which are then learned from as well:
            twice as many for as long as that helps.
        rows: Rows a gradient step.
        lr: First learning rate.
        seed: Seed of held-out episodes, initial weights and draws.

    Raises:
        DatasetError: If the number of updates is to be chosen, and there is one episode only.
    """
    held_out: dict[int, float] = {}
    if updates is None:
        if len(np.unique(columns[EPS_ID].astype(str))) < 2:
            raise DatasetError(
                "how long a clone learns is chosen on held-out episodes, but the demonstrations are of one episode: "
                "give --clone-updates"
            )
        splits = min(SPLITS, math.ceil(ENOUGH / (HELD_OUT_SHARE * num_rows(columns))))
        parts = [
            tuple(_rows(stored, part) for part in hold_out(columns, HELD_OUT_SHARE, seed + split))
            for split in range(splits)
        ]
        updates = FEWEST
        while updates <= MOST:
            held_out[updates] = statistics.mean(
                _loss(_fit(stored, kept, updates, rows, lr, seed), judged) for kept, judged in parts
            )
            if held_out[updates] > min(held_out.values()):
                break
            updates *= 2
        updates = min(held_out, key=held_out.__getitem__)
    return Clone(
        _fit(stored, _rows(stored, columns), updates, rows, lr, seed), dict(stored.module_of), updates, held_out
    )


def clone_of(stored: Checkpoint, data: str | pathlib.Path, steps: int | None, updates: int | None, seed: int) -> Clone:
    """The clone of a dataset on disk.

    Args:
        stored: As for :func:`fit_clone`.
        data: The dataset.
        steps: Joint steps of it to use, drawn as training draws ``expert_steps`` at the same seed; None uses all.
        updates: As for :func:`fit_clone`.
        seed: Seed of everything.

    Raises:
        DatasetError: If ``data`` is no dataset or has fewer steps.
        ConfigError: If it is of other agents or observations.
    """
    columns = read_demonstrations(stored, data)
    # All of them stay in the dataset's order, so that asking for all changes no draw.
    if steps is not None and steps != num_rows(columns):
        columns = select_steps(columns, steps, seed)
    return fit_clone(stored, columns, updates=updates, seed=seed)


def _rows(stored: Checkpoint, columns: JointColumns) -> Rows:
    result = {}
    for module_id, agents in agents_by_module(stored.module_of).items():
        alive = [columns[column(ALIVE, agent)].astype(bool) for agent in agents]
        observations, actions = (
            np.concatenate([columns[column(part, a)][kept] for a, kept in zip(agents, alive, strict=True)])
            for part in (OBS, ACTIONS)
        )
        result[module_id] = (torch.from_numpy(observations), torch.from_numpy(actions.astype(np.int64)))
    return result


def _fit(stored: Checkpoint, data: Rows, updates: int, rows: int, lr: float, seed: int) -> dict[str, nn.Module]:
    torch.manual_seed(seed)
    networks: dict[str, nn.Module] = {}
    for module_id, (inputs, targets) in data.items():
        module = stored.modules[module_id]
        encoder = build_encoder(module.observation_space, module.action_space, dict(module.model_config))
        network = MarginalCritic(encoder, encoder.out_features, int(module.action_space.n))
        optimiser = torch.optim.AdamW(network.parameters(), lr=lr, weight_decay=0.1)
        for update in range(updates):
            for group in optimiser.param_groups:
                group["lr"] = lr * (1.0 - update / updates)
            index = torch.randint(len(targets), (rows,))
            loss = nn.functional.cross_entropy(network(inputs[index]), targets[index])
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
        networks[module_id] = network.requires_grad_(False)
    return networks


@torch.no_grad()
def _loss(networks: Mapping[str, nn.Module], data: Rows, part: int = 4096) -> float:
    """Mean negative log-likelihood over the rows of all modules, in nats."""
    total, count = 0.0, 0
    for module_id, (inputs, targets) in data.items():
        for some, wanted in zip(torch.split(inputs, part), torch.split(targets, part), strict=True):
            total += float(nn.functional.cross_entropy(networks[module_id](some), wanted, reduction="sum"))
        count += len(targets)
    return total / count
