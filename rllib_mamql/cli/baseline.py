"""Plays the policies of RLlib's own algorithms, so that one table compares them with MAMQL."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rllib_mamql.evaluation.diagnostics import over_agents
from rllib_mamql.evaluation.evaluate import EvaluationResult, play
from rllib_mamql.play.returns import mean_events, mean_metrics, summarise_returns


def evaluate_baseline(
    checkpoint: str | Path,
    env: str,
    env_config: Mapping[str, Any],
    module_of: Mapping[str, str],
    *,
    episodes: int,
    seed: int,
) -> EvaluationResult:
    """Plays a checkpoint that this process's own run has just written: RLlib's format holds pickles.

    Args:
        checkpoint: The checkpoint folder of an RLlib algorithm.
        env: Name of the environment.
        env_config: Its keywords.
        module_of: Which module plays for each agent.
        episodes: How many to play.
        seed: Seed of environments and actions.
    """
    from rllib_mamql.evaluation.record import rllib_actor

    actor = rllib_actor(Path(checkpoint), list(module_of), seed)
    finished, aggregation = play(env, env_config, actor, episodes=episodes, seed=seed, num_envs=min(episodes, 16))
    summary = summarise_returns(finished, aggregation)
    events = mean_events(finished) or {}
    return EvaluationResult(
        env=env,
        env_config=dict(env_config),
        episodes=len(finished),
        policy="sampled",
        return_mean=summary.mean,
        return_ci95=summary.ci95,
        per_agent={agent: dict(value) for agent, value in summary.per_agent.items()},
        events=over_agents(events),
        events_per_agent=events,
        metrics=mean_metrics(finished),
        normalised_score=None,
        expert_return=None,
        random_return=None,
    )
