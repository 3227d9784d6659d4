"""Returns and events of episodes: how agents' returns combine, means with intervals, normalised scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pettingzoo import ParallelEnv

from rllib_mamql.data.schema import ReturnSummary
from rllib_mamql.play.rollout import Episode


def return_aggregation(env: ParallelEnv) -> str:
    """How an environment's per-agent returns combine: ``mean`` (also of a shared reward) or ``sum``."""
    return str((getattr(env, "metadata", None) or {}).get("return_aggregation", "mean"))


def episode_return(returns: Mapping[str, float], aggregation: str) -> float:
    """An episode's return from its agents' returns."""
    total = sum(returns.values())
    return total if aggregation == "sum" else total / len(returns)


def mean_and_ci95(values: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """Mean and 95% interval (Student's t); the interval is the mean itself where all values are equal or one."""
    from scipy import stats  # Here: runners start sooner without.

    array = np.asarray(values, dtype=np.float64)
    mean = float(array.mean())
    error = float(stats.sem(array)) if len(array) > 1 else 0.0
    if error == 0.0:
        return mean, (mean, mean)
    low, high = stats.t.interval(0.95, len(array) - 1, loc=mean, scale=error)
    return mean, (float(low), float(high))


def summarise_returns(episodes: Sequence[Episode], aggregation: str) -> ReturnSummary:
    """Mean and interval of the return and of each agent's."""
    mean, ci95 = mean_and_ci95([episode_return(episode.returns, aggregation) for episode in episodes])
    per_agent = {}
    for agent in episodes[0].returns:
        agent_mean, agent_ci95 = mean_and_ci95([episode.returns[agent] for episode in episodes])
        per_agent[agent] = {"mean": agent_mean, "ci95": list(agent_ci95)}
    return ReturnSummary(mean=mean, ci95=ci95, per_agent=per_agent, episodes=len(episodes))


@dataclass(frozen=True)
class TeamReturn:
    """How one of several sides did.

    Attributes:
        agents: Its agents.
        mean: Mean over episodes of its return: of its agents' mean, or their sum where the environment sums.
        ci95: 95% interval of it (Student's t over episodes).
        expert: The same of the experts against each other; None where unknown.
        random: The same of random play on all sides; None where unknown.
        score: ``(mean - random) / (expert - random)``; None where unknown, or where this side's experts return no more
            than in random play, as the side that loses may. It depends on how good the opponents have become.
    """

    agents: tuple[str, ...]
    mean: float
    ci95: tuple[float, float]
    expert: float | None = None
    random: float | None = None
    score: float | None = None


def team_returns(
    episodes: Sequence[Episode],
    aggregation: str,
    teams: Mapping[str, Sequence[str]],
    expert: ReturnSummary | None = None,
    random: ReturnSummary | None = None,
) -> dict[str, TeamReturn]:
    """Returns and scores by team, where teams are opponents.

    Args:
        episodes: What was played.
        aggregation: How returns of one team's agents combine, ``mean`` or ``sum``.
        teams: ``{team: agents}``; empty where all agents are on one side, for which there is no entry.
        expert: The experts' returns.
        random: Random play's.
    """
    found = {}
    for team, agents in teams.items():
        mean, ci95 = mean_and_ci95([episode_return({a: e.returns[a] for a in agents}, aggregation) for e in episodes])
        best, least = (known_return(summary, agents, aggregation) for summary in (expert, random))
        found[team] = TeamReturn(tuple(agents), mean, ci95, best, least, normalised_score(mean, best, least))
    return found


def known_return(summary: ReturnSummary | None, agents: Sequence[str], aggregation: str) -> float | None:
    """Some agents' return of a summary; None where it is not known of all of them."""
    if summary is None or not set(agents) <= set(summary.per_agent):
        return None
    return episode_return({agent: float(summary.per_agent[agent]["mean"]) for agent in agents}, aggregation)


def mean_events(episodes: Sequence[Episode]) -> dict[str, dict[str, float]] | None:
    """Reward events an episode, ``{agent: {kind: mean count}}``, kinds in order; None where there were none."""
    total: dict[str, Counter[str]] = {}
    for episode in episodes:
        for agent, kinds in episode.agent_events.items():
            total.setdefault(agent, Counter()).update(kinds)
    kinds_seen = sorted({kind for counts in total.values() for kind in counts})
    if not kinds_seen:
        return None
    return {agent: {kind: counts[kind] / len(episodes) for kind in kinds_seen} for agent, counts in total.items()}


def mean_metrics(episodes: Sequence[Episode]) -> dict[str, float]:
    """Means over episodes of the environment's own numbers; of each, over the episodes that have it."""
    values: dict[str, list[float]] = {}
    for episode in episodes:
        for name, value in episode.metrics.items():
            values.setdefault(name, []).append(float(value))
    return {name: float(np.mean(numbers)) for name, numbers in sorted(values.items())}


def normalised_score(value: float, expert: float | None, random: float | None) -> float | None:
    """``(return - random) / (expert - random)``; None where unknown or where the expert is no better than random."""
    if expert is None or random is None or expert <= random:
        return None
    return (value - random) / (expert - random)
