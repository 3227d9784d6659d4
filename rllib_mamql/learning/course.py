"""How long to learn: chosen by the likelihood of episodes that were held out, then learned anew from all of them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rllib_mamql.columns import JointColumns, num_rows
from rllib_mamql.data.selection import hold_out
from rllib_mamql.errors import DatasetError

HELD_OUT_SHARE = 0.1
"""Share of the episodes by whose likelihood the number of updates is chosen."""
ENOUGH, SPLITS = 1000, 3
"""Joint steps to hold out: where the share is fewer, so many random splits are judged, until they are enough or 3."""
FEWEST, MOST = 200, 25600
"""Numbers of updates that are tried: the first, doubled up to the last for as long as the likelihood rises."""


@dataclass(frozen=True)
class Fit:
    """One fit, from new weights: ``updates`` gradient steps on ``rows``, judged on ``judged`` where it is not None.

    ``rows`` are None where the learner streams its demonstrations.
    """

    updates: int
    rows: JointColumns | None
    judged: JointColumns | None


@dataclass
class Course:
    """The fits of a training in turn: a search for the number of updates, then the last fit on all demonstrations.

    Attributes:
        columns: The demonstrations; None where they are streamed.
        seed: Seed of what is held out.
        updates: Gradient steps of the last fit; None searches for them.
        losses: Held-out losses of the fits judged so far, in their order.
        over: Whether the last fit is done.

    Raises:
        DatasetError: If the number is to be searched for, and there is one step only, or the data is streamed.
    """

    columns: JointColumns | None
    seed: int
    updates: int | None
    losses: list[float] = field(default_factory=list)
    over: bool = False
    _now: Fit | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.updates is not None:
            return
        if self.columns is None or num_rows(self.columns) < 2:
            what = "are streamed" if self.columns is None else "are a single step"
            raise DatasetError(
                f"how long to learn is chosen on held-out episodes, but the demonstrations {what}: "
                "give the number of updates (clone_updates in a config, --clone-updates on the command line)"
            )
        self._splits = min(SPLITS, math.ceil(ENOUGH / (HELD_OUT_SHARE * num_rows(self.columns))))

    @property
    def held_out(self) -> dict[int, float]:
        """Mean negative log-likelihood of held-out episodes for each number of updates that was tried on all splits."""
        if self.updates is not None:
            return {}
        whole = range(0, len(self.losses) - self._splits + 1, self._splits)
        return {FEWEST * 2**n: statistics.mean(self.losses[k : k + self._splits]) for n, k in enumerate(whole)}

    @property
    def chosen(self) -> int | None:
        """Gradient steps of the last fit; None while they are searched for."""
        if self.updates is not None:
            return self.updates
        found = self.held_out
        if not found or len(self.losses) % self._splits:
            return None
        last = max(found)
        rises = found[last] <= min(found.values())
        return None if rises and 2 * last <= MOST else min(found, key=found.__getitem__)

    @property
    def fit(self) -> Fit | None:
        """The fit to make now, the same object until it ends; None when all are done."""
        if self._now is None and not self.over:
            self._now = self._next()
        return self._now

    def _next(self) -> Fit:
        chosen = self.chosen
        if chosen is not None:
            return Fit(chosen, self.columns, None)
        assert self.columns is not None
        tried, split = divmod(len(self.losses), self._splits)
        kept, judged = hold_out(self.columns, HELD_OUT_SHARE, self.seed + split)
        return Fit(FEWEST * 2**tried, kept, judged)

    def end(self, loss: float | None) -> None:
        """The present fit is done.

        Args:
            loss: Its held-out loss; None for the last fit.
        """
        self._now = None
        if loss is None:
            self.over = True
        else:
            self.losses.append(loss)

    def get_state(self) -> dict[str, Any]:
        """Where the course stands."""
        return {"losses": list(self.losses), "over": self.over}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restores :meth:`get_state`."""
        self.losses, self.over, self._now = list(state["losses"]), bool(state["over"]), None
