"""Gradients that several learners share are those of one learner, which has seen all of their rows."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from rllib_mamql.learning.minibatch import Minibatch, draw_minibatch
from tests.unit.test_learner import learner, play

ROWS = 24
"""Expert rows of the global minibatch, and rollout rows."""


def global_minibatch(made: Any) -> Minibatch:
    made.replay.add(play(seed=1))
    return draw_minibatch(
        made.expert, made.replay, made.agents, expert_rows=ROWS, rollout_rows=ROWS, with_next=True,
        with_starts=made.losses.needs_starts, generator=made.generator,
    )  # fmt: skip


def part_of(whole: Minibatch, rank: int) -> Minibatch:
    """Every second expert row, rollout row and start: what one of two learners would have drawn."""
    columns = {
        name: torch.cat([values[rank:ROWS:2], values[ROWS + rank :: 2]]) for name, values in whole.columns.items()
    }
    starts = None if whole.starts is None else {name: values[rank::2] for name, values in whole.starts.items()}
    return Minibatch(columns, ROWS // 2, starts, whole.with_next)


def gradients(made: Any, joint: Minibatch) -> list[Tensor]:
    made._update(made.batch_of(joint))
    return [p.grad.clone() for each in made._optimizer_parameters.values() for p in each if p.grad is not None]


def learn_together(learners: Sequence[Any], whole: Minibatch, monkeypatch: pytest.MonkeyPatch) -> list[list[Tensor]]:
    """Gradients of two learners, each from its part; they share them by torch's own all-reduce, over loopback."""
    store, here = dist.HashStore(), threading.local()

    def one(rank: int) -> list[Tensor]:
        here.group = dist.ProcessGroupGloo(store, rank, len(learners), timedelta(seconds=30))
        return gradients(learners[rank], part_of(whole, rank))

    monkeypatch.setattr(dist, "all_reduce", lambda values: here.group.allreduce([values]).wait())
    with ThreadPoolExecutor(len(learners)) as threads:
        return list(threads.map(one, range(len(learners))))


def of_two(made: Any) -> Any:
    """A learner that takes itself for one of two; RLlib's own wrapping, which ours does not use, is left out."""
    made.config = made.config.copy(copy_frozen=False)
    made.config.num_learners = 2
    return made


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"critic": "joint"},
        {"value_term": "initial", "parameter_sharing": "all"},
        {"mode": "offline", "value_term": None, "critic": "joint"},
    ],
    ids=str,
)
def test_two_learners_gradients_are_those_of_one(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    alone = learner(**settings)
    whole = global_minibatch(alone)
    expected = gradients(alone, whole)
    assert sum(float(gradient.abs().sum()) for gradient in expected) > 0.0
    for found in learn_together([of_two(learner(**settings)) for _ in range(2)], whole, monkeypatch):
        for gradient, wanted in zip(found, expected, strict=True):
            torch.testing.assert_close(gradient, wanted, atol=1e-5, rtol=1e-5)
