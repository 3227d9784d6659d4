"""How much of what experts visited the policies visit too, by which rollouts are weighed and rewards are bounded.

With the expert's rows in the value term MAMQL's objective is the log-likelihood of a behaviour clone. Rollouts add
one thing: the difference of ``V(s) - gamma V(s')`` between what experts and what policies visit, which the critic is
asked to enlarge. Where policies come upon demonstrated states again and again, as chefs in one kitchen do, values
that are higher there lead a policy that has strayed back to them, which no clone can do. Where no state is seen
twice, as with gems in random cells, the critic can only learn the demonstrations by heart to tell them from rollouts,
and its policy gets worse: measured in docs/results/rollouts.md.

That difference knows no bounds but those of chi^2, whereas the likelihood needs none: the chi^2 penalty is strong
where rollouts weigh much, and weak where they weigh nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rllib_mamql.columns import OBS, column
from rllib_mamql.learning.replay import TensorColumns

REACHED = "demonstrated_states_reached"
"""Metric: share of the demonstrated states that rollouts came upon."""
EXPERT_ROWS, ROLLOUT_ROWS = 4096, 40_000
"""Rows compared at most."""
BIN = 0.5
"""States are the same where all numbers of all observations fall into the same bins, of so many standard deviations."""
ENOUGH = 0.1
"""Share of demonstrated states from which on rollouts have their full weight."""
NEGLIGIBLE = 0.005
"""Share below which they have none: random play comes upon 3% and more in Overcooked's kitchens, and 0.1% on Gems."""
STRONG, WEAK = 3.0, 90.0
"""Products of chi^2's scale c and the rationality where rollouts have their full weight, and where they have none.

Policies hang on the product alone: all values times k, and the rationality divided by k, give the same ones."""
_PART = 2**24
"""Numbers that are compared at a time."""


def reached(expert: TensorColumns, rollouts: TensorColumns, played: int, agents: Sequence[str]) -> float:
    """Share of the demonstrated states, in [0, 1], that rollouts came upon.

    A state is what all agents observe in it.

    Args:
        expert: Joint rows of demonstrations.
        rollouts: Joint rows of rollouts.
        played: How many of those rows are filled, >= 0.
        agents: All agents.
    """
    rows = len(expert[column(OBS, agents[0])])
    if not rows or not played:
        return 0.0
    shown, seen = (_evenly(*pair) for pair in ((rows, EXPERT_ROWS), (played, ROLLOUT_ROWS)))
    widths = bin_widths(expert, agents, shown)
    visited = state_codes(rollouts, agents, widths, seen)
    return float(torch.isin(state_codes(expert, agents, widths, shown), visited).float().mean())


def bin_widths(columns: Mapping[str, Tensor], agents: Sequence[str], rows: Tensor | None = None) -> dict[str, Tensor]:
    """Widths ``(F,)`` by agent of the bins into which the numbers of its observation fall.

    Args:
        columns: Joint steps, from whose spread they follow.
        agents: All agents.
        rows: Which steps ``(R,)``; None: all.
    """
    spreads = {agent: _spread(columns[column(OBS, agent)], rows) for agent in agents}
    return {agent: torch.where(found > 0, BIN * found, torch.full_like(found, BIN)) for agent, found in spreads.items()}


def state_codes(
    columns: Mapping[str, Tensor], agents: Sequence[str], widths: Mapping[str, Tensor], rows: Tensor | None = None
) -> Tensor:
    """One number a joint step ``(R,)`` for the state: what all agents observe. Different ones agree by chance only.

    Args:
        columns: Joint steps.
        agents: All agents.
        widths: By agent, as :func:`bin_widths` gives them.
        rows: Which steps ``(R,)``; None: all.
    """
    total: Tensor | None = None
    for number, agent in enumerate(agents):
        values, width = columns[column(OBS, agent)], widths[agent]
        index = (torch.arange(len(values)) if rows is None else rows).to(values.device)
        mixer = torch.Generator().manual_seed(number)
        factors = torch.randint(-(2**62), 2**62, (len(width),), generator=mixer).to(values.device)
        part = max(1, _PART // max(1, len(width)))
        codes = torch.cat(
            [
                ((values[some].flatten(1).float() / width).round().long() * factors).sum(1)
                for some in torch.split(index, part)
            ]
        )
        total = codes if total is None else total + codes
    assert total is not None
    return total


def _spread(values: Tensor, rows: Tensor | None) -> Tensor:
    """Standard deviation of each number ``(F,)`` over rows, some numbers at a time: images are large in float32."""
    index = None if rows is None else rows.to(values.device)
    count = len(values) if index is None else len(index)
    parts = torch.split(values.flatten(1), max(1, _PART // max(1, count)), dim=1)
    return torch.cat([(part if index is None else part[index]).float().std(0, correction=0) for part in parts])


def _evenly(rows: int, most: int) -> Tensor:
    return torch.arange(rows) if rows <= most else torch.linspace(0, rows - 1, most).long()


@dataclass(frozen=True)
class Weights:
    """How strongly rollouts and the chi^2 penalty take part in the objective.

    Attributes:
        rollout_share: Weight in [0, 1] of rollouts in the value term.
        chi_square_scale: c > 0.
    """

    rollout_share: float
    chi_square_scale: float

    @classmethod
    def of(cls, share_reached: float, rows: tuple[int, int], rationality: float) -> Weights:
        """What follows from the states that were reached.

        Args:
            share_reached: What :func:`reached` gives.
            rows: Expert and rollout rows of a minibatch: where enough is reached, all rows weigh alike.
            rationality: Of training.
        """
        expert, rollout = rows
        full = 0.0 if share_reached < NEGLIGIBLE else min(1.0, share_reached / ENOUGH)
        return cls(full * rollout / (expert + rollout), scale_of(full, rationality))


def scale_of(full: float, rationality: float) -> float:
    """Scale c of chi^2, from ``WEAK`` to ``STRONG`` in its reciprocal.

    Args:
        full: Weight of the rollouts, as a share in [0, 1] of their full weight.
        rationality: Of training.
    """
    return 1.0 / (rationality * (full / STRONG + (1.0 - full) / WEAK))
