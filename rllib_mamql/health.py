"""Examines a trained checkpoint for known failures: by playing a little, and against the demonstrations, if there."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rllib_mamql import diagnostics, objective
from rllib_mamql.acting import agents_by_module
from rllib_mamql.batched_rollout import make_rollout
from rllib_mamql.checkpoint import Checkpoint
from rllib_mamql.columns import ACTIONS, ALIVE, EPS_ID, NEXT_OBS, OBS, TERMINATEDS, Array, JointColumns, column
from rllib_mamql.data.reading import read_dataset
from rllib_mamql.errors import ConfigError, UserError
from rllib_mamql.evaluation import checkpoint_actor
from rllib_mamql.registration import make_batch, make_env
from rllib_mamql.temperature import fit_rationality, likelihood_profile

STEPS = 800
"""Joint steps to play."""
ROWS = 4000
"""Most of the expert's rows that a rationality is fitted to."""
LARGEST_BYTES = 512 * 1024**2
"""Demonstrations of training are looked at again up to this size."""


@dataclass(frozen=True)
class Health:
    """What was found.

    Attributes:
        numbers: ``bounds`` and ``coverage`` by agent, ``rationality`` by module; only what could be measured.
        warnings: What looks wrong, in words.
    """

    numbers: dict[str, Any]
    warnings: list[str]


def find_demonstrations(stored: Checkpoint, data: str | pathlib.Path | None = None) -> JointColumns | None:
    """The demonstrations that a checkpoint learned from.

    Args:
        stored: The checkpoint.
        data: Where they are; None looks where they were in training.

    Returns:
        Their joint steps; None if ``data`` is None and they are not on this machine any more, or have changed.

    Raises:
        DatasetError: If ``data`` is no dataset.
        ConfigError: If ``data`` is of other agents or observations.
    """
    if data is not None:
        return read_demonstrations(stored, data)
    paths = stored.settings.get("input") or []
    if not paths or not all(pathlib.Path(path).exists() for path in paths):
        return None
    files = [file for path in paths for file in (pathlib.Path(path), *pathlib.Path(path).glob("**/*.parquet"))]
    if sum(file.stat().st_size for file in files if file.is_file()) > LARGEST_BYTES:
        return None
    try:
        found = read_dataset(paths)
    except UserError:
        return None
    return found.columns if _fits(stored, found.metadata) else None


def read_demonstrations(stored: Checkpoint, data: str | pathlib.Path) -> JointColumns:
    """The joint steps of a dataset of a checkpoint's agents and observations.

    Raises:
        DatasetError: If ``data`` is no dataset.
        ConfigError: If it is of other agents or observations.
    """
    found = read_dataset(str(data))
    if not _fits(stored, found.metadata):
        raise ConfigError(
            f"--data {data} is of other agents or observations than the checkpoint: "
            "name a dataset of the same environment and configuration"
        )
    return found.columns


def _fits(stored: Checkpoint, metadata: Any) -> bool:
    trained = stored.metadata
    return list(metadata.agents) == list(trained.agents) and all(
        metadata.spaces[agent].observation.shape == trained.spaces[agent].observation.shape for agent in trained.agents
    )


def examine(stored: Checkpoint, expert: JointColumns | None, *, seed: int = 0, steps: int = STEPS) -> Health:
    """Plays the policies and measures what ``diagnostics`` judges.

    Args:
        stored: The checkpoint.
        expert: The demonstrations; without them, only what play shows is measured.
        seed: Seed of everything.
        steps: Joint steps to play, rounded up to whole batches.
    """
    rollout = make_rollout(
        functools.partial(make_env, stored.env, stored.env_config),
        functools.partial(make_batch, stored.env, stored.env_config),
        8,
        seed + 1,
    )
    try:
        play, _ = rollout.run(checkpoint_actor(stored, seed + 1), num_steps=steps)
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
    return Health(numbers, warnings + diagnostics.coverage_warnings(covered) + diagnostics.rationality_warnings(fits))


@torch.no_grad()
def _shares(stored: Checkpoint, agent: str, play: JointColumns) -> dict[str, float] | None:
    """Implied rewards and action values in their bounds; None where the bounds are unknown or nothing was played."""
    alive = play[column(ALIVE, agent)].astype(bool)
    if "chi_square_scale" not in stored.settings or not alive.any():
        return None
    rationality, discount = float(stored.settings["rationality"]), float(stored.settings["gamma"])
    network = stored.modules[stored.module_of[agent]].average
    q, after = (network(_tensor(play[column(name, agent)][alive])) for name in (OBS, NEXT_OBS))
    taken = objective.take_actions(q, _tensor(play[column(ACTIONS, agent)][alive]))
    terminated = _tensor(play[column(TERMINATEDS, agent)][alive])
    implied = objective.inverse_reward(taken, objective.soft_value(after, rationality), terminated, discount)
    reward_bound, q_bound = diagnostics.implied_bounds(float(stored.settings["chi_square_scale"]), discount)
    return {
        diagnostics.REWARD_SHARE: float(implied.abs().quantile(0.9)) / reward_bound,
        diagnostics.Q_SHARE: abs(float(q.mean())) / q_bound,
    }


def _coverage(agent: str, play: JointColumns, expert: JointColumns, seed: int) -> diagnostics.Coverage | None:
    seen, shown = (columns[column(ALIVE, agent)].astype(bool) for columns in (play, expert))
    episodes = expert[EPS_ID][shown].astype(str)
    if not seen.any() or len(np.unique(episodes)) < 2:
        return None
    ours, theirs = play[column(OBS, agent)][seen], expert[column(OBS, agent)][shown]
    return diagnostics.coverage(
        ours.reshape(len(ours), -1).astype(np.float64),
        theirs.reshape(len(theirs), -1).astype(np.float64),
        episodes,
        seed=seed,
    )


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
            q = module.average(_tensor(expert[column(OBS, agent)][rows]))
            parts.append((q, _tensor(expert[column(ACTIONS, agent)][rows]).long()))
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


def _tensor(values: Array) -> Tensor:
    return torch.from_numpy(np.require(values, requirements=["C", "W"]))
