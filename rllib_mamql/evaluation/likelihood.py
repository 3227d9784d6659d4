"""How well policies predict demonstrations that they have not learned from: what there is to say without playing."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from rllib_mamql.algorithms.mamql.objective import take_actions
from rllib_mamql.columns import ACTIONS, ALIVE, OBS, JointColumns, column, num_rows
from rllib_mamql.data.selection import hold_out, select_steps
from rllib_mamql.learning.checkpoint import Checkpoint
from rllib_mamql.learning.demonstrations import find_demonstrations
from rllib_mamql.networks.masks import log_count
from rllib_mamql.networks.tensors import in_parts, to_tensor

HELD_OUT = "held_out"
"""Recorded setting of a checkpoint: what of its demonstrations was kept from training."""


@dataclass(frozen=True)
class HeldOutLikelihood:
    """Of the demonstrators' actions, in nats a step of an agent.

    Attributes:
        mean: Over all steps of all agents.
        per_agent: Over those of each agent.
        uniform: The same of actions drawn with equal probabilities: what to compare ``mean`` with.
        steps: Joint steps.
    """

    mean: float
    per_agent: Mapping[str, float]
    uniform: float
    steps: int


def held_out_likelihood(stored: Checkpoint, data: str | pathlib.Path | None = None) -> HeldOutLikelihood | None:
    """The mean log-likelihood of demonstrations, as the policies act without exploration.

    Args:
        stored: The checkpoint.
        data: Other demonstrations; None takes those that training was kept from.

    Returns:
        What was found; None where nothing was held out (demonstrations that are streamed are learned from as a whole),
        or the demonstrations are not there any more.

    Raises:
        DatasetError: If ``data`` is no dataset.
        ConfigError: If ``data`` is of other agents or observations.
    """
    columns = find_demonstrations(stored, data)
    if columns is None:
        return None
    if data is None:
        kept = stored.settings.get(HELD_OUT)
        if kept is None:
            return None
        if kept["steps"] is not None:
            columns = select_steps(columns, kept["steps"], kept["seed"])
        _, columns = hold_out(columns, kept["share"], kept["seed"])
    return likelihood_of(stored, columns)


@torch.no_grad()
def likelihood_of(stored: Checkpoint, columns: JointColumns) -> HeldOutLikelihood:
    """The same of joint steps at hand; agents that do not act in any are left out."""
    found: dict[str, tuple[float, float, int]] = {}
    for agent, module_id in stored.module_of.items():
        rows = np.flatnonzero(columns[column(ALIVE, agent)])
        if len(rows):
            logits_of = functools.partial(stored.modules[module_id].logits, explore=False)
            logits = in_parts(logits_of, columns[column(OBS, agent)][rows]).double()
            actions = to_tensor(columns[column(ACTIONS, agent)][rows]).long()
            total = float(take_actions(logits.log_softmax(dim=-1), actions).sum())
            found[agent] = total, -float(log_count(logits).sum()), len(rows)
    total, uniform, count = (float(sum(values)) for values in zip(*found.values(), strict=True))
    per_agent = {agent: total / steps for agent, (total, _, steps) in found.items()}
    return HeldOutLikelihood(total / count, per_agent, uniform / count, num_rows(columns))
