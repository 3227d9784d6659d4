"""Scores policies by playing them: returns with intervals, reward events, and a film."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rllib_mamql.algorithms.mamql.chosen import chosen
from rllib_mamql.data.schema import ReturnSummary
from rllib_mamql.environments.registry import make_env, opposed_teams
from rllib_mamql.errors import ConfigError
from rllib_mamql.evaluation import diagnostics
from rllib_mamql.learning.checkpoint import Checkpoint
from rllib_mamql.play.actors import checkpoint_actor, random_actor, rllib_actor
from rllib_mamql.play.named import checkpoint_env, named_rollout
from rllib_mamql.play.returns import (
    TeamReturn,
    mean_events,
    mean_metrics,
    normalised_score,
    return_aggregation,
    summarise_returns,
    team_returns,
)
from rllib_mamql.play.rollout import Actor, Episode, Watch

VIDEO_SUFFIXES = (".gif", ".mp4", ".png")


PATIENCE = 10_000
"""Joint steps an episode, on average, after which episodes are taken to be endless."""


class NoEnd(ConfigError):
    """Episodes of an environment do not end, so that there are no returns."""


@dataclass(frozen=True)
class EvaluationResult:
    """How a policy did.

    Attributes:
        env: Name of the environment.
        env_config: Its keywords.
        episodes: How many were played.
        policy: ``boltzmann`` or ``greedy``.
        rationality: ``{module: inverse temperature}`` that they acted at; empty of greedy play.
        return_mean: Mean over episodes of the return (mean over agents, or the team's; see ``episode_return``).
            None where agents have opponents: a mean over these says nothing.
        return_ci95: 95% interval of it (Student's t over episodes); None along with it.
        per_agent: ``{agent: {"mean": ..., "ci95": [low, high]}}``.
        events: Reward events an episode, by kind, of all agents together.
        events_per_agent: The same for each agent, ``{agent: {kind: count an episode}}``.
        expert_events: The expert's, from the dataset; empty where unknown.
        event_ratio: ``{kind: learned rate / expert's}``; None where the expert has none.
        metrics: Means of the numbers that the environment gives under ``episode_metrics``.
        warnings: What looks wrong, in words (``diagnostics``).
        diagnostics: The numbers behind the warnings (``health``).
        normalised_score: ``(return - random) / (expert - random)``; None where either is unknown.
        expert_return: The expert's mean return, from the dataset.
        random_return: Random play's, from the dataset.
        recovered_rewards: What each agent's reward pays for (``rewards.by_event.reward_by_event``).
        reward_gauge: The gauge that rewards were recovered in; ``none`` of those that the critics imply.
        undetermined: What the demonstrations do not determine of the rewards, in words.
        unscaled: Agents whose amounts are among that.
        teams: Where agents have opponents, how each side did (``play.returns.TeamReturn``); else empty.
        chosen: Settings that training found for itself, and what they follow from (``algorithms.mamql.coverage``).
    """

    env: str
    env_config: dict[str, Any]
    episodes: int
    policy: str
    return_mean: float | None
    return_ci95: tuple[float, float] | None
    per_agent: dict[str, dict[str, Any]]
    events: dict[str, float]
    normalised_score: float | None
    expert_return: float | None
    random_return: float | None
    recovered_rewards: dict[str, dict[str, Any]] = field(default_factory=dict)
    reward_gauge: str = "none"
    undetermined: list[str] = field(default_factory=list)
    unscaled: list[str] = field(default_factory=list)
    events_per_agent: dict[str, dict[str, float]] = field(default_factory=dict)
    expert_events: dict[str, dict[str, float]] = field(default_factory=dict)
    event_ratio: dict[str, float | None] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    rationality: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    diagnostics: dict[str, Any] = field(default_factory=dict)
    chosen: dict[str, float] = field(default_factory=dict)
    teams: dict[str, TeamReturn] = field(default_factory=dict)


def play(
    env: str,
    env_config: Mapping[str, Any],
    actor: Actor,
    *,
    episodes: int,
    seed: int,
    num_envs: int,
    most_steps: int | None = None,
    watch: Watch | None = None,
    history: int = 0,
) -> tuple[list[Episode], str]:
    """Plays episodes of a registered environment with an actor.

    Args:
        env: Name of the environment.
        env_config: Its keywords.
        actor: Who plays.
        episodes: How many.
        seed: Seed of the environments.
        num_envs: How many are stepped together, at most.
        most_steps: Gives episodes up that are still under way after so many joint steps; None takes that for an error
            after ``PATIENCE`` steps an episode.
        watch: Told how many episodes have ended.
        history: How many steps back the actor sees.

    Returns:
        The episodes and how their returns combine.

    Raises:
        NoEnd: If episodes do not end.
    """
    rollout = named_rollout(env, env_config, min(num_envs, episodes), seed, history=history)
    try:
        most = PATIENCE * episodes if most_steps is None else most_steps
        _, finished = rollout.run(actor, num_episodes=episodes, keep=False, most_steps=most, watch=watch)
        if len(finished) < episodes and most_steps is None:
            raise NoEnd(
                f"environment {env!r}: of {episodes} episodes {len(finished)} have ended after {most:,} steps, so that "
                "there are no returns: truncate episodes after some number of steps"
            )
        return finished, return_aggregation(rollout.envs[0])
    finally:
        rollout.close()


def random_returns(
    env: str,
    env_config: Mapping[str, Any],
    *,
    episodes: int = 100,
    seed: int = 0,
    num_envs: int = 8,
    most_steps: int | None = None,
    watch: Watch | None = None,
) -> ReturnSummary | None:
    """Returns of uniformly random play; None where not all episodes have ended after ``most_steps`` joint steps."""
    probe = make_env(env, env_config)
    sizes = {agent: int(probe.action_space(agent).n) for agent in probe.possible_agents}
    seen = {agent: probe.observation_space(agent) for agent in probe.possible_agents}
    probe.close()
    actor = random_actor(sizes, np.random.default_rng(seed), seen)
    finished, aggregation = play(
        env, env_config, actor, episodes=episodes, seed=seed, num_envs=num_envs, most_steps=most_steps, watch=watch
    )
    return summarise_returns(finished, aggregation) if len(finished) == episodes else None


def evaluate_checkpoint(
    path: str | pathlib.Path,
    *,
    episodes: int,
    greedy: bool = False,
    seed: int = 0,
    video: str | pathlib.Path | None = None,
    num_envs: int = 25,
    data: str | pathlib.Path | None = None,
    watch: Watch | None = None,
    rewards: bool = True,
) -> EvaluationResult:
    """Plays a checkpoint's policies in its own environment.

    Greedy play is compared with as many sampled episodes, of the same starts.

    Args:
        path: A checkpoint folder.
        episodes: How many to play, >= 1.
        greedy: Most likely actions instead of the Boltzmann policy at the evaluation rationality.
        seed: Seed of environments and actions.
        video: Films one more episode into this ``.gif``, ``.mp4`` or (its frames in a sheet) ``.png``.
        num_envs: Environments stepped together.
        data: The demonstrations, to compare play with; None takes those of training, if they are still there.
        watch: Told how many episodes have ended, of twice as many where play is greedy.
        rewards: Whether to tell what the rewards pay for.

    Raises:
        CheckpointError: If the folder is no checkpoint.
        ConfigError: If a setting is out of range, or ``data`` is of other agents.
        DatasetError: If ``data`` is no dataset.
    """
    if episodes < 1:
        raise ConfigError(f"episodes is {episodes}: it must be at least 1")
    if video is not None and pathlib.Path(video).suffix not in VIDEO_SUFFIXES:
        raise ConfigError(f"video {str(video)!r} has no known ending: use one of {', '.join(VIDEO_SUFFIXES)}")
    from rllib_mamql.evaluation.health import examine
    from rllib_mamql.learning.demonstrations import find_demonstrations
    from rllib_mamql.rewards.store import read_with_rewards

    stored, how = read_with_rewards(path)
    demonstrations = find_demonstrations(stored, data)
    checkpoint_env(stored).close()
    run = functools.partial(
        play, stored.env, stored.env_config, episodes=episodes, seed=seed, num_envs=num_envs, history=stored.history
    )
    finished, aggregation = run(checkpoint_actor(stored, seed, greedy=greedy), watch=watch)
    expert_events = stored.metadata.expert_events or {}
    known = stored.metadata.expert_return, stored.metadata.random_return
    expert, random = (summary.mean if summary else None for summary in known)
    from rllib_mamql.rewards.by_event import told_rewards

    health = examine(stored, demonstrations, seed=seed, greedy=greedy)
    played = _played(stored.env, stored.env_config, finished, aggregation, *known)
    if played["teams"]:
        expert = random = None
    events = played["events_per_agent"]
    warnings, numbers = [], dict(health.numbers)
    if greedy and not played["teams"]:
        sampled, _ = run(checkpoint_actor(stored, seed), watch=watch and (lambda done: watch(episodes + done)))
        summary = summarise_returns(sampled, aggregation)
        numbers["sampled"] = {"return_mean": summary.mean, "return_ci95": list(summary.ci95)}
        warnings = diagnostics.greedy_warnings(summarise_returns(finished, aggregation), summary, expert, random)

    if video is not None:
        from rllib_mamql.evaluation.video import film

        film(stored, pathlib.Path(video), seed=seed, greedy=greedy)
    return EvaluationResult(
        **played,
        policy="greedy" if greedy else "boltzmann",
        expert_events={agent: dict(kinds) for agent, kinds in expert_events.items()},
        event_ratio=diagnostics.event_ratio(events, expert_events),
        rationality={} if greedy else {name: m.evaluation_rationality for name, m in stored.modules.items()},
        warnings=[*warnings, *diagnostics.event_warnings(events, expert_events), *health.warnings],
        diagnostics=numbers,
        normalised_score=None if played["teams"] else normalised_score(played["return_mean"], expert, random),
        expert_return=expert,
        random_return=random,
        **(told_rewards(stored, how, demonstrations, min(episodes, 10), seed, greedy) if rewards else {}),
        chosen=chosen(stored.settings),
    )


def checkpoint_returns(stored: Checkpoint, *, episodes: int, seed: int) -> ReturnSummary:
    """Returns of a checkpoint's policies, and nothing else of them.

    Args:
        stored: The checkpoint.
        episodes: How many to play, >= 1.
        seed: Of environments and actions.
    """
    actor = checkpoint_actor(stored, seed)
    run = functools.partial(play, stored.env, stored.env_config, episodes=episodes, seed=seed, num_envs=25)
    return summarise_returns(*run(actor, history=stored.history))


def evaluate_baseline(
    checkpoint: str | pathlib.Path,
    env: str,
    env_config: Mapping[str, Any],
    module_of: Mapping[str, str],
    *,
    episodes: int,
    seed: int,
    watch: Watch | None = None,
) -> EvaluationResult:
    """Plays the policies of one of RLlib's own algorithms, so that one table compares them with this package's.

    Args:
        checkpoint: Its checkpoint folder. RLlib's format holds pickles: only one that this process's own run wrote.
        env: Name of the environment.
        env_config: Its keywords.
        module_of: Which module plays for each agent.
        episodes: How many to play.
        seed: Seed of environments and actions.
        watch: Told how many episodes have ended.
    """
    actor = rllib_actor(pathlib.Path(checkpoint), list(module_of), seed)
    finished, aggregation = play(
        env, env_config, actor, episodes=episodes, seed=seed, num_envs=min(episodes, 16), watch=watch
    )
    return EvaluationResult(
        **_played(env, env_config, finished, aggregation),
        policy="sampled",
        normalised_score=None,
        expert_return=None,
        random_return=None,
    )


def _played(
    env: str,
    env_config: Mapping[str, Any],
    finished: Sequence[Episode],
    aggregation: str,
    expert: ReturnSummary | None = None,
    random: ReturnSummary | None = None,
) -> dict[str, Any]:
    """What episodes, and what is known of others' returns, say of an :class:`EvaluationResult`."""
    summary = summarise_returns(finished, aggregation)
    teams = opposed_teams(env, list(summary.per_agent))
    events = mean_events(finished) or {}
    return {
        "env": env,
        "env_config": dict(env_config),
        "episodes": len(finished),
        "return_mean": None if teams else summary.mean,
        "return_ci95": None if teams else summary.ci95,
        "teams": team_returns(finished, aggregation, teams, expert, random),
        "per_agent": {agent: dict(values) for agent, values in summary.per_agent.items()},
        "events": diagnostics.over_agents(events),
        "events_per_agent": events,
        "metrics": mean_metrics(finished),
    }
