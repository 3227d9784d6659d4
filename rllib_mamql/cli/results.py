"""What a result of Tune's says: how near a trial is to its end, what its agents return, what diverges."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

from rllib_mamql.columns import Q_SHARE, REWARD_SHARE
from rllib_mamql.learning.counts import lookup, numbers_under
from rllib_mamql.learning.metrics import EXPERT_LOG_LIKELIHOOD, RETURN_MEAN


def bound_shares(result: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """What learners report of rewards and action values in their bounds, ``{agent: {metric: share}}``."""
    found: dict[str, dict[str, float]] = {}
    for module in (result.get("learners") or {}).values():
        for agent, metrics in module.items() if isinstance(module, Mapping) else ():
            if isinstance(metrics, Mapping):
                shares = {name: float(metrics[name]) for name in (REWARD_SHARE, Q_SHARE) if name in metrics}
                found |= {agent: shares} if shares else {}
    return found


def nearness(result: Mapping[str, Any], stop: Mapping[str, float]) -> float:
    """How near a trial is to its end, from 0 to 1: the greatest share of any stopping criterion."""
    shares = [
        float(value) / limit
        for key, limit in stop.items()
        if limit > 0 and isinstance(value := lookup(result, key), Real)
    ]
    return min(max(shares, default=0.0), 1.0)


def expert_log_likelihood(result: Mapping[str, Any]) -> float | None:
    """Mean over the agents of the expert actions' log-likelihood, or None where there is none."""
    values = list(numbers_under(result.get("learners"), EXPERT_LOG_LIKELIHOOD))
    return sum(values) / len(values) if values else None


OPPOSED = "opposed"
"""How returns combine where agents have opponents: not at all."""


def latest_return(result: Mapping[str, Any], aggregation: str = "mean") -> float | None:
    """Mean return of the episodes that ended lately, as evaluation counts it, or None where none has ended.

    Args:
        result: A result of Tune's.
        aggregation: How agents' returns combine, ``mean`` or ``sum``: RLlib's own algorithms report only their sum, and
            each agent's; ``opposed`` where agents have opponents, of whose returns there is no mean.
    """
    if aggregation == OPPOSED:
        return None
    for path in (RETURN_MEAN, f"env_runners/{RETURN_MEAN}"):
        if _is_number(own := lookup(result, path)):
            return float(own)
    agents = lookup(result, "env_runners/agent_episode_returns_mean")
    returns = [float(value) for value in agents.values() if _is_number(value)] if isinstance(agents, Mapping) else []
    if not returns:
        return None
    return sum(returns) if aggregation == "sum" else sum(returns) / len(returns)


def without_returns(result: Mapping[str, Any]) -> dict[str, Any]:
    """A result less what a mean return could be read from, to be shown where agents have opponents."""
    runners = result.get("env_runners")
    kept = {key: value for key, value in result.items() if key != RETURN_MEAN}
    if isinstance(runners, Mapping):
        hidden = (RETURN_MEAN, "agent_episode_returns_mean")
        kept["env_runners"] = {key: value for key, value in runners.items() if key not in hidden}
    return kept


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not math.isnan(float(value))
