"""What an algorithm minimises, as the learner asks for it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from torch import Tensor

from rllib_mamql.learning.minibatch import Minibatch


class Losses:
    """What an algorithm minimises: its one file of losses derives from this.

    Attributes:
        needs_next: Whether networks score next observations too.
        needs_starts: Whether minibatches hold start states, which networks score too.
        joint: Whether the modules' expert rows must be of the same steps; where not, each module's are drawn alone.
        report_last: Gradient steps at the end of an update call whose terms are reported.
        terms: What a reported step leaves for :meth:`keep`, by any name: tensors, or dicts, lists and dataclasses of
            them. Python's own numbers would make the host wait for the device, which a CUDA graph cannot.
        reported: ``{agent: {metric: value}}``, what :meth:`metrics` gives unless a subclass gives something else.
    """

    needs_next: bool = True
    needs_starts: bool = False
    joint: bool = True
    report_last: int = 1

    def __init__(self) -> None:
        self.terms: dict[Any, Any] = {}
        self.reported: dict[str, dict[str, float]] = {}

    def __call__(
        self, batch: Minibatch, scores: Mapping[str, Tensor], *, update: int, report: bool
    ) -> dict[str, Tensor]:
        """Losses of one gradient step.

        Args:
            batch: Joint rows: the expert's, then rollouts, and start states.
            scores: ``{module: (n, R + N + S, A)}``, the trained networks at the R observations, N next observations and
                S starts of each of the module's n agents; :meth:`Minibatch.places` splits them.
            update: Gradient steps made before; nothing but :meth:`kind` may follow from it.
            report: Whether to leave this step's :attr:`terms`.

        Returns:
            ``{agent: scalar}``; a module's loss is the sum over its agents.
        """
        raise NotImplementedError

    def kind(self, update: int) -> Hashable:
        """What tells gradient steps apart that differ in more than their numbers.

        Steps of one kind launch the same operations: on a GPU they are recorded once and repeated.

        Args:
            update: Gradient steps made before.
        """
        return None

    def needs_rollouts(self, update: int) -> bool:
        """Whether rollouts have any part in a gradient step; where they have none, the host draws no rows of them.

        Args:
            update: Gradient steps made before.
        """
        return True

    def keep(self, terms: Mapping[Any, Any]) -> None:
        """Takes what a reported step left in :attr:`terms`, for :meth:`metrics`; here ``{agent: {metric: scalar}}``.

        Args:
            terms: The tensors; the caller does not change them any more.
        """
        for agent, values in terms.items():
            self.reported[agent] = {name: float(value) for name, value in values.items()}

    def metrics(self) -> dict[str, dict[str, float]]:
        """``{agent: {name: value}}`` of the steps reported since the last call."""
        reported, self.reported = self.reported, {}
        return reported

    def get_state(self) -> dict[str, float]:
        """What must survive a restart, by name."""
        return {}

    def set_state(self, state: Mapping[str, float]) -> None:
        """Restores :meth:`get_state`."""
