"""Examines a trained checkpoint for known failures: by playing a little, and against the demonstrations, if there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from rllib_mamql.algorithms.mamql import objective
from rllib_mamql.algorithms.mamql.chosen import MULTIPLE
from rllib_mamql.algorithms.mamql.rationality import fit_rationality, likelihood_profile
from rllib_mamql.columns import (
    ACTIONS,
    ALIVE,
    EPS_ID,
    NEXT_OBS,
    OBS,
    Q_SHARE,
    REWARD_SHARE,
    TERMINATEDS,
    Array,
    JointColumns,
    column,
)
from rllib_mamql.evaluation import diagnostics
from rllib_mamql.learning.checkpoint import Checkpoint
from rllib_mamql.networks.masks import is_legal
from rllib_mamql.networks.tensors import in_parts, to_tensor
from rllib_mamql.play.actors import agents_by_module, checkpoint_actor, most_steps
from rllib_mamql.play.named import checkpoint_rollout

STEPS = 800
"""Joint steps to play."""
MOST_BYTES = 2**28
"""Of the observations in that play; networks and distances take a multiple."""
ROWS = 4000
"""Most of the expert's rows that a rationality is fitted to."""


@dataclass(frozen=True)
class Health:
    """What was found.

    Attributes:
        numbers: ``bounds`` and ``coverage`` by agent, ``rationality`` by module; only what could be measured.
        warnings: What looks wrong, in words.
    """

    numbers: dict[str, Any]
    warnings: list[str]


def examine(
    stored: Checkpoint, expert: JointColumns | None, *, seed: int = 0, steps: int = STEPS, greedy: bool = False
) -> Health:
    """Plays the policies and measures what ``diagnostics`` judges.

    Args:
        stored: The checkpoint.
        expert: The demonstrations; without them, only what play shows is measured.
        seed: Seed of everything.
        steps: Joint steps to play, rounded up to whole batches; fewer of large images.
        greedy: Plays the most likely actions.
    """
    most = most_steps(stored, MOST_BYTES)
    rollout = checkpoint_rollout(stored, 8, seed + 1)
    try:
        play, _ = rollout.run(checkpoint_actor(stored, seed + 1, greedy=greedy), num_steps=max(8, min(steps, most)))
    finally:
        rollout.close()
    numbers: dict[str, Any] = {}
    shares = {agent: found for agent in stored.module_of if (found := _shares(stored, agent, play)) is not None}
    warnings = diagnostics.divergence_warnings(shares)
    numbers["bounds"] = shares
    if expert is None:
        return Health(numbers, warnings)
    covered = {agent: near for agent in stored.module_of if (near := _coverage(agent, play, expert, seed))}
    fits = _fits_of(stored, expert, numbers, seed)
    numbers["coverage"] = {agent: vars(near) for agent, near in covered.items()}
    warnings += diagnostics.coverage_warnings(covered)
    if MULTIPLE not in stored.settings:  # Where it was chosen from play, it is more than the expert's on purpose.
        warnings += diagnostics.rationality_warnings(fits)
    return Health(numbers, warnings)


@torch.no_grad()
def _shares(stored: Checkpoint, agent: str, play: JointColumns) -> dict[str, float] | None:
    """Implied rewards and action values in their bounds; None where the bounds are unknown or nothing was played."""
    alive = play[column(ALIVE, agent)].astype(bool)
    if "chi_square_scale" not in stored.settings or not alive.any():
        return None
    rationality, discount = float(stored.settings["rationality"]), float(stored.settings["gamma"])
    network = stored.modules[stored.module_of[agent]].average
    q, after = (in_parts(network, play[column(name, agent)][alive]) for name in (OBS, NEXT_OBS))
    taken = objective.take_actions(q, to_tensor(play[column(ACTIONS, agent)][alive]))
    terminated = to_tensor(play[column(TERMINATEDS, agent)][alive])
    implied = objective.inverse_reward(taken, objective.soft_value(after, rationality), terminated, discount)
    reward_bound, q_bound = objective.implied_bounds(float(stored.settings["chi_square_scale"]), discount)
    return {
        REWARD_SHARE: float(implied.abs().quantile(0.9)) / reward_bound,
        Q_SHARE: abs(float(q[is_legal(q)].mean())) / q_bound,
    }


def _coverage(agent: str, play: JointColumns, expert: JointColumns, seed: int) -> diagnostics.Coverage | None:
    seen, shown = (columns[column(ALIVE, agent)].astype(bool) for columns in (play, expert))
    episodes = expert[EPS_ID][shown].astype(str)
    if not seen.any() or len(np.unique(episodes)) < 2:
        return None
    ours, theirs = play[column(OBS, agent)][seen], expert[column(OBS, agent)][shown]
    return diagnostics.coverage(ours.reshape(len(ours), -1), theirs.reshape(len(theirs), -1), episodes, seed=seed)


@torch.no_grad()
def _fits_of(
    stored: Checkpoint, expert: Mapping[str, Array], numbers: dict[str, Any], seed: int
) -> dict[str, diagnostics.RationalityFit]:
    """The rationality that explains the expert best, by module; the profiles go into ``numbers``."""
    rng = np.random.default_rng(seed)
    fits, numbers["rationality"] = {}, {}
    for module_id, agents in agents_by_module(stored.module_of).items():
        module = stored.modules[module_id]
        parts = []
        for agent in agents:
            rows = np.flatnonzero(expert[column(ALIVE, agent)])
            rows = rng.choice(rows, min(len(rows), max(1, ROWS // len(agents))), replace=False)
            q = in_parts(module.average, expert[column(OBS, agent)][rows])
            parts.append((q, to_tensor(expert[column(ACTIONS, agent)][rows]).long()))
        q, actions = (torch.cat(values) for values in zip(*parts, strict=True))
        acting = float(module.evaluation_rationality)
        profile = likelihood_profile(q, actions, acting)
        best, likelihood = fit_rationality(q, actions, acting)
        fits[module_id] = diagnostics.RationalityFit(acting, best, profile[1.0], likelihood)
        numbers["rationality"][module_id] = {
            **vars(fits[module_id]),
            "likelihood_by_multiple": {f"{multiple:g}": value for multiple, value in profile.items()},
        }
    return fits
