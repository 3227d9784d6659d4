"""Returns of the recorded episodes, where the metadata does not state them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from rllib_mamql.columns import ALIVE, EPS_ID, REWARDS, Array, column, has_rewards
from rllib_mamql.data.metadata import ReturnSummary


def recorded_return(columns: Mapping[str, Array], agents: Sequence[str]) -> ReturnSummary | None:
    """Mean over episodes of the undiscounted return, averaged over agents; rewards of dead agents do not count.

    Returns:
        The return; None where the columns hold no rewards.
    """
    if not has_rewards(columns, agents):
        return None
    _, episode = np.unique(columns[EPS_ID].astype(str), return_inverse=True)
    returns = {
        agent: np.bincount(
            episode, np.where(columns[column(ALIVE, agent)], columns[column(REWARDS, agent)], 0).astype(np.float64)
        ).astype(np.float64)
        for agent in agents
    }
    team = np.mean(list(returns.values()), axis=0)
    mean, ci95 = _mean_and_ci95(team)
    per_agent = {}
    for agent, values in returns.items():
        agent_mean, agent_ci95 = _mean_and_ci95(values)
        per_agent[agent] = {"mean": agent_mean, "ci95": agent_ci95}
    return ReturnSummary(mean=mean, ci95=ci95, per_agent=per_agent, episodes=len(team))


def _mean_and_ci95(values: npt.NDArray[np.float64]) -> tuple[float, tuple[float, float]]:
    """Mean and Student's t interval; with one value the interval is unknown and given as that value."""
    mean, count = float(values.mean()), len(values)
    if count < 2:
        return mean, (mean, mean)
    from scipy import special  # Here: learners start sooner without.

    half = float(special.stdtrit(count - 1, 0.975) * values.std(ddof=1) / np.sqrt(count))
    return mean, (mean - half, mean + half)
