"""A tabular Markov game: all agents see the state and act at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rllib_mamql.errors import ConfigError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Game:
    """A Markov game of ``n`` agents with ``S`` states; agent ``i`` has ``A_i`` actions. It has no terminal states.

    Attributes:
        transitions: ``(S, A_0, ..., A_n-1, S)``, probabilities of the next state.
        rewards: ``(n, S, A_0, ..., A_n-1)``, R_i(s, a).
        discount: gamma in [0, 1).
        rationality: lambda > 0, the inverse temperature of all agents.
        start: Probabilities ``(S,)`` of the first state; uniform unless given.

    Raises:
        ConfigError: If shapes do not fit, rows do not sum to 1, or a number is out of range.
    """

    transitions: Array
    rewards: Array
    discount: float = 0.9
    rationality: float = 1.0
    start: Array = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.start is None:
            object.__setattr__(self, "start", np.full(self.states, 1.0 / self.states))
        shape = self.transitions.shape
        if len(shape) < 3 or shape[0] != shape[-1]:
            raise ConfigError(f"transitions have shape {shape}: give (S, A_0, ..., A_n-1, S)")
        if self.rewards.shape != (self.agents, *shape[:-1]):
            raise ConfigError(
                f"rewards have shape {self.rewards.shape}: these transitions need {self.agents, *shape[:-1]}"
            )
        if self.start.shape != (self.states,):
            raise ConfigError(f"start has shape {self.start.shape}: give ({self.states},)")
        for name, rows in (("transitions", self.transitions), ("start", self.start)):
            error = float(np.abs(rows.sum(-1) - 1.0).max())
            if error > 1e-9 or float(rows.min()) < 0.0:
                raise ConfigError(f"{name} are off 1 by {error:.3g}, lowest {rows.min():.3g}: give probabilities")
        if not np.isfinite(self.rewards).all():
            raise ConfigError("rewards are not all finite: give numbers")
        if not 0.0 <= self.discount < 1.0:
            raise ConfigError(f"discount is {self.discount}: it must be in [0, 1)")
        if not 0.0 < self.rationality < np.inf:
            raise ConfigError(f"rationality is {self.rationality}: it must be a number above 0")

    @property
    def states(self) -> int:
        """S."""
        return self.transitions.shape[0]

    @property
    def agents(self) -> int:
        """N, how many agents."""
        return self.transitions.ndim - 2

    @property
    def actions(self) -> tuple[int, ...]:
        """Action counts ``(A_0, ..., A_n-1)``."""
        return self.transitions.shape[1:-1]


def marginalise(table: Array, policies: Sequence[Array], agent: int) -> Array:
    """Expectation over the other agents' actions by enumeration, ``E_{a_-i ~ pi_-i(.|s)}[f(s, a_i, a_-i, ...)]``.

    Args:
        table: ``(S, A_0, ..., A_n-1, *rest)``.
        policies: For each agent ``(S, A_j)``; the agent's own is not used.
        agent: i.

    Returns:
        ``(S, A_i, *rest)``.
    """
    rest = table.shape[1 + len(policies) :]
    for other in reversed(range(len(policies))):
        if other != agent:
            states, count = policies[other].shape
            before = int(np.prod(table.shape[1 : 1 + other], dtype=int))
            blocks = table.reshape(states, before, count, -1)
            summed = policies[other][:, None, None, :] @ blocks
            table = summed.reshape(*table.shape[: 1 + other], *table.shape[2 + other :])
    return np.asarray(table.reshape(table.shape[0], policies[agent].shape[1], *rest))
