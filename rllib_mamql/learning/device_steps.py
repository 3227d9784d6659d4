"""A learner's gradient steps with nothing to do on the host: draws, schedules and averages are tensors on the device.

Such steps are the same operations on the same tensors at every update, so that they can be recorded as CUDA graphs.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor

from rllib_mamql.errors import one_line
from rllib_mamql.learning.graphs import Recorder, StepGraphs, detached
from rllib_mamql.learning.optimise import TogetherStep, move_averages
from rllib_mamql.learning.row_table import RowTable
from rllib_mamql.networks.together_learning import compiler

logger = logging.getLogger(__name__)

ROWS = 1024
"""Steps whose learning rates and averages are sent to the device at a time."""


class Schedule:
    """Numbers that change from step to step, sent to the device ahead of the steps that read them.

    Args:
        width: Numbers of a step.
        device: Where the steps are made.

    Attributes:
        now: The numbers of the step under way, ``(width,)``.
    """

    def __init__(self, width: int, device: torch.device) -> None:
        self._table = torch.zeros(ROWS, width, device=device)
        self._position = torch.zeros(1, dtype=torch.long, device=device)
        self._now = torch.zeros(1, width, device=device)
        self.now = self._now[0]

    def set(self, numbers: Tensor) -> None:
        """Sets the numbers of the next steps, ``(steps, width)``, at most ``ROWS``."""
        # Not page-locked: the host would have to wait before it used the memory again.
        self._table[: len(numbers)].copy_(numbers)
        self._position.zero_()

    def advance(self) -> None:
        """Begins the next step."""
        torch.index_select(self._table, 0, self._position, out=self._now)
        self._position.add_(1)


class DeviceSteps:
    """Makes the gradient steps of a learner on its device alone.

    Args:
        learner: Whose. Its optimisers are AdamW in the fused form, its demonstrations in memory.
        recorder: How steps are recorded.
    """

    def __init__(self, learner: Any, recorder: Recorder) -> None:
        self._learner, self._recorder = learner, recorder
        modules = [learner.network(module_id) for module_id in learner.agents_of]
        pairs = [module.average_and_trained for module in modules]
        self._averages = [tensor for averages, _ in pairs for tensor in averages]
        self._trained = [tensor for _, trained in pairs for tensor in trained]
        optimizers = learner.optimizers()
        self._parameters = [p for each in optimizers for group in each.param_groups for p in group["params"]]
        groups = sum(len(each.param_groups) for each in optimizers)
        self._schedule = Schedule(1 + groups, learner.draws.device)
        self._optimise = TogetherStep(optimizers, rates=list(self._schedule.now[1:].unbind()))
        self._table: RowTable | None = None
        self._first_of_kind: dict[Hashable, int] = {}
        self._signature: Any = None
        self._scored: Callable[[dict[str, Any]], dict[str, Tensor]] = learner.scored
        compiled = compiler(learner.config, graphs=False)
        if compiled is not None:
            self._scored = self._compiled(compiled)
        self.graphs = StepGraphs(self._step, recorder)

    # -- one call -----------------------------------------------------------------------------------------------

    def run(self, updates: int) -> dict[str, Tensor]:
        """Makes so many gradient steps, and gives the last losses by module; terms go to the learner's losses."""
        learner, losses = self._learner, self._learner.losses
        reported = min(updates, losses.report_last)
        found: list[Any] = []
        with self._recorder.stream():
            for begin in range(0, updates, ROWS):
                part = min(ROWS, updates - begin)
                self._prepare(part)
                kinds = [losses.kind(learner.updates + step) for step in range(part)]
                for step, kind in enumerate(kinds):
                    self._first_of_kind.setdefault(kind, learner.updates + step)
                found += self.graphs.run(kinds, learner.updates, min(part, max(1, reported)))
                learner.updates += part
        for _, terms in found[len(found) - reported :]:
            losses.keep(terms)
        return dict(found[-1][0]) if found else {}

    def _prepare(self, updates: int) -> None:
        """Sends schedules ahead, and looks whether everything is where recordings expect it."""
        learner, config = self._learner, self._learner.config
        replay = learner.replay if config.uses_rollouts else None
        rates = self._rates(updates)
        sizes = (config.expert_batch_size, config.rollout_batch_size)
        if self._table is None or not self._table.serves(replay) or self._signature[0] != sizes:
            self._table = RowTable(
                learner.expert,
                replay,
                learner.agents,
                expert_rows=config.expert_batch_size,
                rollout_rows=config.rollout_batch_size,
                with_next=learner.losses.needs_next,
                with_starts=learner.losses.needs_starts,
            )
        self._table.follow()
        tensors = (*self._parameters, *self._averages)
        places = tuple(tensor.data_ptr() for tensor in tensors)
        signature = (sizes, config.grad_clip, self._optimise.version, id(self._table), places)
        if signature != self._signature:
            self.graphs.forget()
            self._signature = signature
        made = range(learner.updates + 1, learner.updates + 1 + updates)
        decay = torch.tensor([learner.average_decay(each) for each in made], dtype=torch.float64)
        self._schedule.set(torch.cat([(1.0 - decay).unsqueeze(1), rates], 1).float())

    def _rates(self, updates: int) -> Tensor:
        """Learning rates of the next steps, ``(updates, groups)``, in float64."""
        learner = self._learner
        made = learner.updates
        rates: list[float] = []
        while len(rates) < updates and (rate := learner.learning_rate()) is not None:
            rates.append(rate)
            learner.updates += 1
        learner.updates = made
        if rates:
            learner.set_learning_rate(rates[0])
        now = torch.tensor(self._optimise.prepare(), dtype=torch.float64)
        width = len(self._schedule.now) - 1
        numbers = torch.zeros(updates, width, dtype=torch.float64)
        numbers[:, : len(now)] = torch.tensor(rates, dtype=torch.float64).unsqueeze(1) if rates else now
        return numbers

    # -- one step -----------------------------------------------------------------------------------------------

    def _step(self, kind: Hashable) -> tuple[dict[str, Tensor], dict[Any, Any]]:
        """One gradient step: losses by module, and the terms that the losses report."""
        learner = self._learner
        assert self._table is not None
        self._schedule.advance()
        batch = learner.batch_of(self._table.draw(learner.draws))
        made, learner.updates = learner.updates, self._first_of_kind[kind]
        try:
            losses = self._scored(batch)
        finally:
            learner.updates = made
        for parameter in self._parameters:
            parameter.grad = None
        torch.autograd.backward(torch.stack(list(losses.values())).sum())
        learner.clip()
        self._optimise.step()
        move_averages(self._averages, self._trained, self._schedule.now[0])
        terms, learner.losses.terms = learner.losses.terms, {}
        return detached(losses), terms

    def _compiled(self, compile_: Callable[[Any], Any]) -> Callable[[dict[str, Any]], dict[str, Tensor]]:
        """Scores and losses compiled as one; as they are where the compiler fails."""
        # Column names are put together by a cached function; the compiler says so of every call.
        warnings.filterwarnings("ignore", message="Dynamo detected a call to a `functools.lru_cache`")
        compiled = compile_(self._learner.scored)

        def scored(batch: dict[str, Any]) -> dict[str, Tensor]:
            nonlocal compiled
            try:
                return compiled(batch)
            except Exception as error:
                if compiled is self._learner.scored:
                    raise
                compiled = self._learner.scored
                reason = one_line(error)[:300]
                logger.warning("torch_compile_learner: losses are not compiled (%s: %s)", type(error).__name__, reason)
                return self._learner.scored(batch)

        return scored
