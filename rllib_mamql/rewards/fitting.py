"""Fits that end by themselves: averaged weights, judged on held-out rows, within a budget."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor, nn

SHORTEST, LONGEST = 0.1, 100
"""Weights are averaged over so large a share of the steps so far, and over so many at most. It takes the place of a
learning rate that falls, for which the end would have to be known."""
WARM_UP = 20
"""Gradient steps over which the learning rate rises."""
LOOK = 50
"""Gradient steps between two looks at the held-out rows."""
GAIN, PATIENCE = 0.003, 6
"""A fit ends when its held-out loss fell by no more than this share within so many looks. Half as many ended one
of four recoveries from `gems_soft` on a plateau, with a correlation of 0.86 to the true reward; these reach 0.93."""
CLIP = 10.0
"""Largest norm of a gradient."""

TRIED, HELD = 8, 200
"""Steps that a number of threads is tried for, and steps between two trials."""
BUSY = 0.8
"""Threads that are at work for a smaller share of the time have to wait for others: fewer get on as fast."""

Network = TypeVar("Network", bound=nn.Module)


@dataclass
class Budget:
    """Processor seconds, all threads of this process together: a busy machine takes longer and does as much.

    Attributes:
        seconds: How many; None for no end.
        started: Of ``time.process_time``.
    """

    seconds: float | None = None
    started: float = field(default_factory=time.process_time)

    @property
    def used(self) -> float:
        """Share of it that is used, from 0 on; 0 where there is no end."""
        if self.seconds is None:
            return 0.0
        return (time.process_time() - self.started) / max(self.seconds, 1e-9)

    def until(self, share: float) -> Budget:
        """A budget that ends when so much of what is left of this one is used."""
        if self.seconds is None:
            return Budget(None)
        left = self.seconds - (time.process_time() - self.started)
        return Budget(max(0.0, share * left))


class Threads:
    """Steps with as many threads as this process gets processors for.

    Where others use the machine too, or steps are small, threads wait for each other at full load: a step takes several
    times its share of a budget, and longer than with one. So their number is halved until they are at work, and all are
    tried again every ``HELD`` steps.

    Args:
        most: All threads, >= 1.
        clocks: Give wall seconds, and processor seconds of all threads.
    """

    def __init__(
        self, most: int, clocks: tuple[Callable[[], float], Callable[[], float]] = (time.monotonic, time.process_time)
    ) -> None:
        self._most, self._now, self._clocks = most, most, clocks
        self._left = TRIED
        self._trying = most > 1
        self._since = [clock() for clock in clocks]

    def step(self) -> None:
        """Before each step."""
        self._left -= 1
        if self._most == 1 or self._left >= 0:
            return
        wall, used = (clock() - since for clock, since in zip(self._clocks, self._since, strict=True))
        if not self._trying:
            self._now, self._trying = self._most, True
        elif used < BUSY * self._now * wall and self._now > 1:
            self._now //= 2
            self._trying = self._now > 1
        else:
            self._trying = False
        torch.set_num_threads(self._now)
        self._left = (TRIED if self._trying else HELD) - 1
        self._since = [clock() for clock in self._clocks]


@dataclass(frozen=True)
class Ending:
    """How a fit ended.

    Attributes:
        updates: Gradient steps made.
        why: ``judged`` (it gained no more), ``budget``, or ``updates`` (as many as were allowed).
    """

    updates: int
    why: str


def fit(
    network: Network,
    loss: Callable[[Network], Tensor],
    judge: Callable[[Network], float] | None,
    *,
    rate: float,
    updates: int,
    budget: Budget,
    watch: Callable[[float], None],
) -> tuple[Network, Ending]:
    """Minimises a loss until held-out rows say that it is enough.

    Args:
        network: What is learned, but for parameters that ask for no gradient; it is changed.
        loss: Of a fresh minibatch.
        judge: Held-out loss, asked every ``LOOK`` steps; None makes all updates.
        rate: Learning rate of Adam.
        updates: Gradient steps at most.
        budget: When to end at the latest, after one step.
        watch: Told the share that is done, of the most that it may be.

    Returns:
        The network with averaged weights, and how the fit ended.
    """
    average = copy.deepcopy(network).requires_grad_(False)
    parameters: list[Tensor] = [parameter for parameter in network.parameters() if parameter.requires_grad]
    averages: list[Tensor] = [
        a for a, p in zip(average.parameters(), network.parameters(), strict=True) if p.requires_grad
    ]
    adam = torch.optim.Adam(parameters, lr=rate, fused=True)
    found: list[float] = []
    all_threads = torch.get_num_threads()
    threads = Threads(all_threads)
    try:
        for update in range(1, updates + 1):
            for group in adam.param_groups:
                group["lr"] = rate * min(1.0, update / WARM_UP)
            threads.step()
            adam.zero_grad()
            torch.autograd.backward(loss(network))
            torch.nn.utils.clip_grad_norm_(parameters, CLIP)
            adam.step()
            with torch.no_grad():
                torch._foreach_lerp_(averages, parameters, 1.0 / min(LONGEST, max(1.0, SHORTEST * update)))
            watch(min(1.0, max(update / updates, budget.used)))
            if budget.used >= 1.0:
                return average, Ending(update, "budget")
            if judge is not None and update % LOOK == 0:
                with torch.no_grad():
                    found.append(judge(average))
                if _enough(found):
                    return average, Ending(update, "judged")
        return average, Ending(updates, "updates")
    finally:
        if torch.get_num_threads() != all_threads:
            torch.set_num_threads(all_threads)


def _enough(losses: Iterable[float]) -> bool:
    """Whether the last looks gained too little over those before them."""
    found = [loss if math.isfinite(loss) else math.inf for loss in losses]
    if len(found) <= PATIENCE:
        return False
    before, since = min(found[:-PATIENCE]), min(found[-PATIENCE:])
    return not since < before - GAIN * abs(before)
