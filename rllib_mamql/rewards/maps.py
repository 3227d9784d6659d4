"""Maps of recovered rewards over the places of an environment.

Environments say which states belong to which cell of a map (``EnvEntry.maps``); here the policies play to reach
such states, and each cell gets the mean marginal reward ``E_{a_-i ~ pi_-i}[ R_i(s, a_i, a_-i) ]`` of its actions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from rllib_mamql.columns import ALIVE, OBS, Array, column
from rllib_mamql.environments.registry import maps_of
from rllib_mamql.errors import ConfigError
from rllib_mamql.learning.checkpoint import Checkpoint
from rllib_mamql.play.actors import agents_by_module, module_actor
from rllib_mamql.play.named import checkpoint_env, single_rollout
from rllib_mamql.play.rollout import Watch
from rllib_mamql.rewards.exploration import exploring_actor
from rllib_mamql.rewards.marginal import marginal_recovered
from rllib_mamql.rewards.settings import MapSettings
from rllib_mamql.rewards.store import check_rewards

EXPLORE = 0.25
"""Share of random actions in the play: without them, good policies leave most of a map empty."""
FEWEST = 5
"""A cell with fewer values stays empty."""
OWN_ROWS = 2
"""Up to so many agents each have a row of maps; of more, those that share a module share one."""
NUM_ENVS = 8


class _Probe(Protocol):
    """What an environment gives for one map; its own ``maps`` module describes the fields."""

    @property
    def title(self) -> str: ...
    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def observations(self) -> Mapping[str, NDArray[Any]]: ...
    @property
    def alive(self) -> Mapping[str, NDArray[np.bool_]]: ...
    @property
    def cells(self) -> NDArray[np.int64]: ...
    @property
    def x_label(self) -> str: ...
    @property
    def y_label(self) -> str: ...
    @property
    def x_ticks(self) -> Mapping[float, str]: ...
    @property
    def y_ticks(self) -> Mapping[float, str]: ...
    @property
    def marks(self) -> Mapping[tuple[int, int], str]: ...
    @property
    def note(self) -> str: ...
    @property
    def focus(self) -> tuple[int, int] | None: ...


@dataclass(frozen=True)
class RewardMap:
    """One map.

    Attributes:
        values: Mean marginal reward of each cell ``(rows, columns)``; NaN where there is nothing to say.
        probe: What it was drawn from: title, axes and marks.
    """

    values: NDArray[np.float64]
    probe: _Probe


def reward_maps(
    stored: Checkpoint, *, steps: int = MapSettings.steps, seed: int = MapSettings.seed, watch: Watch | None = None
) -> dict[str, list[RewardMap]]:
    """Maps of what the rewards of a checkpoint value.

    Args:
        stored: The checkpoint, recovered rewards in its modules.
        steps: Joint steps to play, with a share of random actions.
        seed: Seed of everything.
        watch: Told how many joint steps are played.

    Returns:
        ``{row: maps}``; a row is an agent, or the agents of one module where there are more than two.

    Raises:
        ConfigError: If there are no maps for the environment, or the checkpoint has no rewards or a history.
    """
    check_rewards(stored)
    check_no_history(stored)
    maps = maps_of(stored.env)
    env = checkpoint_env(stored)
    env.reset(seed=seed)
    states, observations, alive = _play(stored, maps, steps, seed, watch)
    generator = torch.Generator().manual_seed(seed)
    result = {}
    for group in told_together(stored.module_of):
        pieces = [_evaluate(stored, maps.probes(env, states, observations, alive, a), a, generator) for a in group]
        result[name_of(group, "\n")] = [_join(parts) for parts in zip(*pieces, strict=True)]
    env.close()
    return result


def told_together(module_of: Mapping[str, str]) -> list[list[str]]:
    """Agents whose rewards are told of together: each by itself, or of more than a few those of one module."""
    if len(module_of) <= OWN_ROWS:
        return [[agent] for agent in module_of]
    return list(agents_by_module(module_of).values())


def check_no_history(stored: Checkpoint) -> None:
    """Refuses a checkpoint with a history, of which no picture is drawn.

    Raises:
        ConfigError: If agents see more than the present.
    """
    if stored.history:
        raise ConfigError(
            f"{stored.path} learned with a history of {stored.history}, and maps ask for the reward of single "
            "observations: read it with `rllib reward`"
        )


def name_of(agents: Sequence[str], gap: str = " ") -> str:
    """What agents that are told of together are called."""
    return agents[0] if len(agents) == 1 else f"{agents[0]} to{gap}{agents[-1]}"


def _play(
    stored: Checkpoint, maps: Any, steps: int, seed: int, watch: Watch | None
) -> tuple[list[Any], dict[str, Array], dict[str, Array]]:
    """Snapshots, observations and who is alive, all in the same order."""
    rollout = single_rollout(stored, NUM_ENVS, seed)
    sizes = {agent: int(space.n) for agent, space in rollout.action_spaces.items()}
    policies = module_actor(stored.modules, stored.module_of, torch.Generator().manual_seed(seed))
    actor = exploring_actor(policies, sizes, EXPLORE, seed, rollout.observation_spaces)
    states: list[Any] = []

    def watching(observations: Mapping[str, Array], alive: Mapping[str, Array]) -> Mapping[str, Array]:
        states.extend(maps.snapshot(env) for env in rollout.envs)
        if watch:
            watch(min(steps, len(states)))
        return actor(observations, alive)

    try:
        columns, _ = rollout.run(watching, num_steps=steps)
    finally:
        rollout.close()
    return (
        states,
        {agent: columns[column(OBS, agent)] for agent in rollout.agents},
        {agent: columns[column(ALIVE, agent)] for agent in rollout.agents},
    )


def _evaluate(
    stored: Checkpoint, probes: Sequence[_Probe], agent: str, generator: torch.Generator
) -> list[tuple[_Probe, NDArray[np.float64], NDArray[np.int64]]]:
    """Of every probe sum and number of the values in each cell."""
    result = []
    for probe in probes:
        size = probe.shape[0] * probe.shape[1]
        values = marginal_recovered(stored, agent, probe.observations, probe.alive, generator)
        shown = probe.cells >= 0
        total, count = np.zeros(size), np.zeros(size, dtype=np.int64)
        np.add.at(total, probe.cells[shown], values[shown])
        np.add.at(count, probe.cells[shown], 1)
        result.append((probe, total, count))
    return result


def _join(parts: Sequence[tuple[_Probe, NDArray[np.float64], NDArray[np.int64]]]) -> RewardMap:
    probe = parts[0][0]
    total, count = sum(part[1] for part in parts), sum(part[2] for part in parts)
    values = np.where(count >= FEWEST, total / np.maximum(count, 1), np.nan)
    return RewardMap(values.reshape(probe.shape), probe)
