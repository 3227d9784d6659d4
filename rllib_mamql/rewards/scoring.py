"""Scores recovered rewards against the true one, on held-out play, beside predictors that know nothing.

Every number compares *marginal* rewards: what an agent can expect of an action, over the others' policies. Play is
fresh (other seeds than any training): ``policy`` states come from the learned policies, ``exploring`` states from the
same with half of the actions random, so that all actions are covered, ``expert`` states from the environment's
scripted expert.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray

from rllib_mamql.algorithms.mamql import objective
from rllib_mamql.columns import (
    ACTIONS,
    ALIVE,
    EPS_ID,
    NEXT_OBS,
    OBS,
    REWARDS,
    TERMINATEDS,
    JointColumns,
    T,
    column,
    take,
)
from rllib_mamql.columns import Array as Column
from rllib_mamql.data.masks import MaskedBox, is_masked
from rllib_mamql.environments.registry import has_expert, make_expert
from rllib_mamql.errors import ConfigError
from rllib_mamql.learning.checkpoint import Checkpoint
from rllib_mamql.networks.tensors import in_parts
from rllib_mamql.play.actors import ScriptedActor, module_actor
from rllib_mamql.play.named import single_rollout
from rllib_mamql.play.rollout import Actor, Watch
from rllib_mamql.rewards.exploration import exploring_actor
from rllib_mamql.rewards.marginal import marginal_recovered, policy_of
from rllib_mamql.rewards.metrics import Metric, canonical_additive, compare
from rllib_mamql.rewards.settings import ScoringSettings
from rllib_mamql.rewards.sources import LogPolicy
from rllib_mamql.rewards.true import joint_rewards, marginal_rewards

Array = NDArray[np.float64]
STATES = ("policy", "exploring", "expert")
PREDICTORS = ("recovered", "implied", "cloning", "constant", "zero")
EXPLORE = 0.5
HELD_OUT_SEED = 7_000_003


@dataclass(frozen=True)
class HeldOut:
    """Held-out play of one kind of state.

    Attributes:
        columns: Joint steps.
        true: ``{agent: ((N, A), (N, A))}``, true marginal rewards of every own action at a row and at its successor;
            None where only the reward of the joint action taken is known.
    """

    columns: JointColumns
    true: dict[str, tuple[Array, Array]] | None


@dataclass(frozen=True)
class StateScores:
    """How good rewards are on states of one kind.

    Attributes:
        states: One of ``STATES``.
        scores: ``{agent: {predictor: {metric: value with interval}}}``.
        where_paid: ``{agent: {event: mean recovered reward}}``; see :func:`by_event`.
        seconds: Wall seconds that playing and scoring took.
    """

    states: str
    scores: dict[str, dict[str, dict[str, Metric]]]
    where_paid: dict[str, dict[str, float]]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """``{agent: {predictor: {metric: value, metric_ci95: interval}}}``."""
        return {
            agent: {
                name: {metric: value.value for metric, value in metrics.items()}
                | {f"{metric}_ci95": value.ci95 for metric, value in metrics.items()}
                for name, metrics in predictors.items()
            }
            for agent, predictors in self.scores.items()
        }


def states_of(stored: Checkpoint) -> list[str]:
    """Kinds of states that a checkpoint's rewards can be scored on: an expert's where the environment has one."""
    return [states for states in STATES if states != "expert" or has_expert(stored.env)]


def score_states(
    stored: Checkpoint,
    states: str,
    settings: ScoringSettings,
    clone: LogPolicy | None = None,
    watch: Watch | None = None,
) -> StateScores:
    """Plays, and scores all predictors for all agents.

    Args:
        stored: The checkpoint, recovered rewards in its modules.
        states: One of ``STATES``.
        settings: How.
        clone: Log-policy of a behaviour clone, for the reward that cloning would suggest.
        watch: Told how many joint steps are played, where all joint actions are tried, which takes the time.
    """
    started = time.monotonic()
    held_out = play_held_out(
        stored, states, steps=settings.steps, seed=settings.seed, exact=settings.exact, watch=watch
    )
    agents = list(stored.module_of)
    scores = {a: score(stored, held_out, a, clone=clone, resamples=settings.resamples) for a in agents}
    where_paid = {agent: by_event(stored, held_out, agent) for agent in agents}
    return StateScores(states, scores, where_paid, time.monotonic() - started)


def play_held_out(
    stored: Checkpoint,
    states: str,
    *,
    steps: int,
    seed: int,
    exact: bool,
    num_envs: int = 8,
    watch: Watch | None = None,
) -> HeldOut:
    """Plays fresh episodes and asks the environment for the true rewards of all joint actions on the way.

    Args:
        stored: The checkpoint whose policies the others' actions are marginalised over.
        states: One of ``STATES``.
        steps: Joint steps, rounded up to whole batches.
        seed: Seed, beside a fixed one that training does not use.
        exact: Whether to try every joint action; else the reward of the one taken stands for all.
        num_envs: Environments stepped together.
        watch: Told how many joint steps are played, where all joint actions are tried.
    """
    seed += HELD_OUT_SEED
    scripted = ScriptedActor(make_expert(stored.env)) if states == "expert" else None
    rollout = single_rollout(
        stored, 1 if scripted else num_envs, seed, on_reset=scripted.on_reset if scripted else None
    )
    sizes = {agent: int(space.n) for agent, space in rollout.action_spaces.items()}
    actor = scripted or _actor(stored, states, sizes, seed, rollout.observation_spaces)
    tables: list[Array] = []
    if exact and any(is_masked(space) for space in rollout.observation_spaces.values()):
        rollout.close()
        raise ConfigError(
            "the true reward of every joint action is asked for, but some are illegal: use --sampled, which compares "
            "with the reward of the one taken"
        )

    def asking(observations: Mapping[str, Column], alive: Mapping[str, Column]) -> Mapping[str, Column]:
        tables.extend(joint_rewards(env, rollout.agents, list(sizes.values())) for env in rollout.envs)
        if watch:
            watch(min(steps, len(tables)))
        return actor(observations, alive)

    try:
        columns, _ = rollout.run(asking if exact else actor, num_steps=steps)
    finally:
        rollout.close()
    if not exact:
        return HeldOut(columns, None)
    return _with_true(stored, columns, tables, rollout.num_envs)


def _actor(
    stored: Checkpoint, states: str, sizes: Mapping[str, int], seed: int, spaces: Mapping[str, gym.Space[Any]]
) -> Actor:
    actor = module_actor(stored.modules, stored.module_of, torch.Generator().manual_seed(seed))
    return exploring_actor(actor, sizes, EXPLORE, seed, spaces) if states == "exploring" else actor


def _with_true(stored: Checkpoint, columns: JointColumns, tables: list[Array], num_envs: int) -> HeldOut:
    agents = list(stored.module_of)
    alive = {agent: _acts(columns, agent, OBS) for agent in agents}
    policies = {a: policy_of(stored, a, columns[column(OBS, a)], alive[a]).numpy() for a in agents}
    here: dict[str, list[Array]] = {agent: [] for agent in agents}
    for row, table in enumerate(tables):
        for agent, values in zip(agents, marginal_rewards(table, [policies[a][row] for a in agents]), strict=True):
            here[agent].append(values)
    # A row's successor is the next row of the same environment, unless the episode was cut there.
    count = len(tables)
    index = np.arange(count) + num_envs
    eps = columns[EPS_ID].astype(str)
    follows = index < count
    follows[follows] = eps[index[follows]] == eps[:count][follows]
    ended = np.all([columns[column(TERMINATEDS, a)] | ~columns[column(ALIVE, a)].astype(bool) for a in agents], axis=0)
    keep = follows | ended
    safe = np.where(follows, index, 0)
    true = {agent: np.array(values) for agent, values in here.items()}
    return HeldOut(take(columns, np.flatnonzero(keep)), {a: (v[keep], v[safe][keep]) for a, v in true.items()})


def score(
    stored: Checkpoint,
    held_out: HeldOut,
    agent: str,
    *,
    clone: LogPolicy | None = None,
    resamples: int = ScoringSettings.resamples,
) -> dict[str, dict[str, Metric]]:
    """All metrics of all predictors for one agent.

    Args:
        stored: The checkpoint, recovered rewards in its modules.
        held_out: Play to score on.
        agent: The agent.
        clone: Log-policy of a behaviour clone, for the reward that cloning would suggest.
        resamples: Bootstrap resamples over trajectories; 0 leaves intervals out.

    Returns:
        ``{predictor: {metric: value with interval}}``.
    """
    columns = held_out.columns
    alive = columns[column(ALIVE, agent)].astype(bool)
    actions = columns[column(ACTIONS, agent)][alive].astype(int)
    terminated = columns[column(TERMINATEDS, agent)][alive]
    discount = float(stored.settings["gamma"])
    rows = np.arange(len(actions))
    if held_out.true is None:
        taken_true = columns[column(REWARDS, agent)][alive].astype(float)
        canonical_true = taken_true
    else:
        now, after = (values[alive] for values in held_out.true[agent])
        taken_true = now[rows, actions]
        canonical_true = canonical_additive(taken_true, now, after, discount, terminated=terminated)
    result = {}
    for name, (now, after, term) in _predictions(stored, columns, agent, clone).items():
        now, after = now[alive], after[alive]
        term = None if term is None else term[alive]
        taken = now[rows, actions]
        canonical = canonical_additive(taken, now, after, discount, next_term=term, terminated=terminated)
        if term is not None:
            taken = taken + np.where(terminated, 0.0, term)
        metrics = compare(
            taken,
            taken_true,
            trajectories=columns[EPS_ID][alive].astype(str),
            predicted_canonical=canonical,
            true_canonical=canonical_true,
            steps=columns[T][alive],
            return_discount=discount,
            resamples=resamples,
        )
        if held_out.true is None:
            # Canonical shaping asks for the true reward of actions that were not taken.
            metrics["epic"] = Metric(None)
        result[name] = metrics
    return result


def _predictions(
    stored: Checkpoint, columns: JointColumns, agent: str, clone: LogPolicy | None
) -> dict[str, tuple[Array, Array, Array | None]]:
    """Of every predictor ``f(s, .)``, ``f(s', .)`` and ``g(s')`` of its form ``f(s, a) + g(s')``."""
    module = stored.modules[stored.module_of[agent]]
    rationality, discount = float(stored.settings["rationality"]), float(stored.settings["gamma"])
    now, after = columns[column(OBS, agent)], columns[column(NEXT_OBS, agent)]
    q, next_q = in_parts(module.average, now), in_parts(module.average, after)
    value = objective.soft_value(next_q, rationality).double().numpy()
    zeros = np.zeros(q.shape)
    result: dict[str, tuple[Array, Array, Array | None]] = {
        "recovered": (_recovered(stored, columns, agent, OBS), _recovered(stored, columns, agent, NEXT_OBS), None),
        "implied": (q.double().numpy(), next_q.double().numpy(), -discount * value),
        "constant": (zeros + 1.0, zeros + 1.0, None),
        "zero": (zeros, zeros, None),
    }
    if clone is not None:
        parts = [in_parts(lambda part: clone(agent, part), values).double().numpy() for values in (now, after)]
        result["cloning"] = (parts[0], parts[1], None)
    space = module.observation_space
    if isinstance(space, MaskedBox):
        legal = space.legal(now), space.legal(after)
        result = {
            name: (over_legal(here, legal[0]), over_legal(there, legal[1]), term)
            for name, (here, there, term) in result.items()
        }
    return {name: result[name] for name in PREDICTORS if name in result}


def over_legal(values: Array, legal: NDArray[np.bool_]) -> Array:
    """Values ``(N, A)`` with the mean of the legal actions' in the place of illegal ones: no mean over actions changes.

    Args:
        values: ``(N, A)``.
        legal: ``(N, A)``.
    """
    means = np.where(legal, values, 0.0).sum(-1, keepdims=True) / np.maximum(legal.sum(-1, keepdims=True), 1)
    return np.where(legal, values, means)


def _recovered(stored: Checkpoint, columns: JointColumns, agent: str, which: str) -> Array:
    observations = {other: columns[column(which, other)] for other in stored.module_of}
    alive = {other: _acts(columns, other, which) for other in stored.module_of}
    return marginal_recovered(stored, agent, observations, alive, torch.Generator().manual_seed(0))


def _acts(columns: JointColumns, agent: str, which: str) -> Column:
    """Whether an agent acts in each row, or in its successor."""
    alive = columns[column(ALIVE, agent)].astype(bool)
    return alive if which == OBS else alive & ~columns[column(TERMINATEDS, agent)].astype(bool)


def by_event(stored: Checkpoint, held_out: HeldOut, agent: str) -> dict[str, float]:
    """Mean recovered marginal reward of the actions taken, by the reward that was then paid.

    Returns:
        ``{"reward 0": mean, "reward 1": mean, ...}``, by rising true reward.
    """
    columns = held_out.columns
    alive = columns[column(ALIVE, agent)].astype(bool)
    values = _recovered(stored, columns, agent, OBS)
    taken = values[np.arange(len(values)), columns[column(ACTIONS, agent)].astype(int)][alive]
    paid = columns[column(REWARDS, agent)][alive]
    kinds = np.unique(paid)
    return {f"reward {kind:g}": float(taken[paid == kind].mean()) for kind in kinds[:8]}
