"""Algorithms' own losses on tables in place of networks: all steps of a solved game at once, exactly weighted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from rllib_mamql.columns import ACTIONS, ALIVE, NEXT_OBS, OBS, TERMINATEDS, WEIGHT, column
from rllib_mamql.learning.losses import Losses
from rllib_mamql.learning.minibatch import Minibatch
from rllib_mamql.solvable import Game, Steps, all_rows
from rllib_mamql.solvable.fitting import minimise
from rllib_mamql.solvable.game import Array

Tables = Mapping[str, Tensor]
"""By agent, which is its own module: scores of each state, ``(S, A)``."""


def agents_of(game: Game) -> list[str]:
    return [f"agent_{index}" for index in range(game.agents)]


def uniform(game: Game) -> list[Array]:
    return [np.full((game.states, count), 1.0 / count) for count in game.actions]


def minibatch(game: Game, expert: Steps, rollouts: Steps | None = None, with_next: bool = True) -> Minibatch:
    """The expert's steps, then rollouts; observations are states, one-hot, and the same for all agents."""
    parts = [expert] if rollouts is None else [expert, rollouts]
    states, following = (
        torch.as_tensor(np.concatenate([getattr(part, name) for part in parts])) for name in ("states", "next_states")
    )
    actions = torch.as_tensor(np.concatenate([part.actions for part in parts], -1))
    eye, rows = torch.eye(game.states, dtype=torch.float64), len(states)
    columns = {WEIGHT: torch.as_tensor(np.concatenate([part.weights for part in parts]))}
    for index, agent in enumerate(agents_of(game)):
        columns |= {column(OBS, agent): eye[states], column(NEXT_OBS, agent): eye[following]}
        columns |= {column(ACTIONS, agent): actions[index], column(ALIVE, agent): torch.ones(rows, dtype=torch.bool)}
        columns[column(TERMINATEDS, agent)] = torch.zeros(rows, dtype=torch.bool)
    return Minibatch(columns, len(expert.states), None, with_next)


def expert_minibatch(
    game: Game, policies: Sequence[Array], rollouts: Sequence[Array] | None = None, with_next: bool = True
) -> Minibatch:
    """Every step of the experts with its probability, and of rollouts by other policies where there are any."""
    played = None if rollouts is None else all_rows(game, rollouts)
    return minibatch(game, all_rows(game, policies), played, with_next)


def scores_of(tables: Tables, batch: Minibatch) -> dict[str, Tensor]:
    """What a learner would give the losses: each agent's table at observations and next observations."""
    places = (OBS, NEXT_OBS) if batch.with_next else (OBS,)
    return {
        agent: torch.cat([batch.columns[column(place, agent)] @ table for place in places]).unsqueeze(0)
        for agent, table in tables.items()
    }


def fit(losses: Losses, tables: Tables, batch: Minibatch, *, more: Sequence[Tensor] = (), iterations: int = 60) -> None:
    """Minimises the sum of the losses over the tables, and over further parameters, by full-batch L-BFGS."""

    def total() -> Tensor:
        scores = scores_of(tables, batch)
        return torch.stack(list(losses(batch, scores, update=0, report=False).values())).sum()

    minimise(total, [*tables.values(), *more], iterations)
