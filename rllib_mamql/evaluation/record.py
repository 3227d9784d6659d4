"""Records a dataset of expert play."""

from __future__ import annotations

import functools
import os
import pathlib
import shutil
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from pettingzoo import ParallelEnv

from rllib_mamql.columns import (
    ALIVE,
    TERMINATEDS,
    TRUNCATEDS,
    JointColumns,
    column,
    concatenate,
    num_rows,
)
from rllib_mamql.data.history_rows import without_history
from rllib_mamql.data.schema import DatasetMetadata, ReturnSummary, spaces_from_gym
from rllib_mamql.data.tables import count_from_start
from rllib_mamql.data.writing import write_dataset
from rllib_mamql.environments.registry import find_environment, make_env, make_expert, resolve_env_config
from rllib_mamql.environments.spaces import environment_spaces
from rllib_mamql.errors import ConfigError
from rllib_mamql.evaluation.evaluate import random_returns
from rllib_mamql.play.actors import ScriptedActor, checkpoint_actor, random_actor, rllib_actor, rllib_history
from rllib_mamql.play.function_expert import load_expert
from rllib_mamql.play.returns import mean_events, return_aggregation, summarise_returns
from rllib_mamql.play.rollout import Actor, ColumnarRollout, Episode, Watch
from rllib_mamql.ray_internals import RLLIB_DOCUMENT

RANDOM_EPISODES, FEW_EPISODES = 100, 10
"""Episodes of random play beside a recording, at most and at least."""
RANDOM_PLAY = 20
"""Joint steps of random play for each one recorded, or for each of a hundred: who records little does not wait long."""
PATIENCE = 1000
"""An episode that has not ended so many joint steps after the last one wanted (or twice as many as wanted) is cut."""
LONGER = 10
"""Random episodes may be so many times as long as the expert's longest; a batch of them is given up after that."""


def record_dataset(
    env: str,
    env_config: Mapping[str, Any] | None,
    expert: str,
    steps: int,
    seed: int,
    out: str | pathlib.Path,
    command: str | None = None,
    licence: str | None = None,
    begin: Callable[[str, int], Watch] | None = None,
) -> DatasetMetadata:
    """Plays whole episodes until at least ``steps`` joint steps are recorded, and writes them.

    The last episode is cut at ``steps`` by marking its last row truncated, so that the dataset holds exactly
    ``steps`` rows. Returns are of whole episodes, if one ends.

    Args:
        env: Registered environment, or ``pettingzoo:<module path>``.
        env_config: Its keywords.
        expert: ``scripted``, ``random``, ``module:function`` (which is imported, see
            :func:`~rllib_mamql.play.function_expert.load_expert`), or the checkpoint folder of an algorithm of this
            package or of RLlib's. RLlib pickles its checkpoints, so name only one that you trust.
        steps: Joint steps, >= 1.
        seed: Seed of environments and expert.
        out: Folder to create.
        command: What made it, for the metadata.
        licence: Its licence, for the metadata; None: Apache-2.0 for this package's scripted experts, else unknown.
        begin: Told what is begun, the recording and then random play to compare with, and how many joint steps or
            episodes that takes; gives a function to be told how many are done.

    Returns:
        The metadata written.

    Raises:
        ConfigError: If there is no such expert, or a setting is out of range.
        EnvironmentFault: If the environment breaks PettingZoo's contract.
    """
    if steps < 1:
        raise ConfigError(f"steps is {steps}: it must be at least 1")
    config = resolve_env_config(env, env_config)
    environment_spaces(env, config)
    rollout, actor, description = _expert(env, config, expert, seed)
    try:
        columns, episodes = _play(rollout, actor, steps, begin and begin(f"recording {env}", steps))
        first = rollout.envs[0]
        # Files are as the environment shows itself, however far back the expert sees.
        columns, shown = without_history(columns, rollout.observation_spaces)
        metadata = DatasetMetadata(
            agents=tuple(rollout.agents),
            spaces=spaces_from_gym(rollout.agents, shown, first.numbered_actions()),
            env=env,
            env_config=config,
            expert=description,
            seed=seed,
            licence=licence or (_licence(env) if expert == "scripted" else None),
            command=command,
            expert_return=summarise_returns(episodes, return_aggregation(first)) if episodes else None,
            expert_events=mean_events(episodes),
            random_return=_random_return(env, config, episodes, seed, steps, begin),
        )
    finally:
        rollout.close()
    write_dataset(count_from_start(columns, metadata), metadata, out)
    return metadata


def record_once(env: str, env_config: Mapping[str, Any], expert: str, steps: int, seed: int, out: pathlib.Path) -> None:
    """Records a dataset where it is not there yet; other processes may do the same at the same time."""
    if out.exists():
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    mine = out.with_name(f"{out.name}-{os.getpid()}")
    record_dataset(env, env_config, expert, steps, seed, mine)
    try:
        mine.rename(out)
    except OSError:  # Another process was first.
        shutil.rmtree(mine)


def names_function(expert: str) -> bool:
    """Whether an expert is ``module:function``, not a folder."""
    return ":" in expert and not pathlib.Path(expert).exists()


def _licence(env: str) -> str | None:
    """The licence of a scripted expert's play: what others record of their own environments is theirs to license."""
    entry = find_environment(env)
    return None if entry is None else entry.licence


def _random_return(
    env: str,
    config: Mapping[str, Any],
    episodes: list[Episode],
    seed: int,
    steps: int,
    begin: Callable[[str, int], Watch] | None,
) -> ReturnSummary | None:
    """Of random play; None where its episodes do not end, or the expert's do not."""
    if not episodes:
        return None
    lengths = [episode.length for episode in episodes]
    as_long = RANDOM_PLAY * max(steps, 100) * len(lengths) // sum(lengths)
    count = min(RANDOM_EPISODES, max(FEW_EPISODES, as_long))
    most = count * LONGER * max(PATIENCE // LONGER, *lengths)
    watch = begin and begin("playing at random, to compare with", count)
    return random_returns(env, config, episodes=count, seed=seed, most_steps=most, watch=watch)


def _play(
    rollout: ColumnarRollout, actor: Actor, steps: int, watch: Watch | None
) -> tuple[JointColumns, list[Episode]]:
    parts: list[JointColumns] = []
    episodes: list[Episode] = []
    recorded = 0

    def after_step(ended: object) -> None:
        nonlocal recorded
        recorded += 1
        if watch and recorded <= steps:
            watch(recorded)

    while (missing := steps - sum(map(num_rows, parts))) > 0:
        most = missing + max(steps, PATIENCE)
        columns, finished = rollout.run(actor, num_episodes=1, most_steps=most, after_step=after_step)
        parts.append(columns)
        episodes += finished
    columns = {name: values[:steps] for name, values in concatenate(parts).items()}
    # A cut is no end of the task: still-living agents are truncated at the last row.
    for agent in rollout.agents:
        if columns[column(ALIVE, agent)][-1] and not columns[column(TERMINATEDS, agent)][-1]:
            columns[column(TRUNCATEDS, agent)][-1] = True
    return columns, episodes


def _expert(env: str, config: dict[str, Any], expert: str, seed: int) -> tuple[ColumnarRollout, Actor, str]:
    def build(history: int = 0) -> ParallelEnv:
        return make_env(env, config, history=history)

    if expert == "random":
        rollout = ColumnarRollout(build, 1, seed)
        sizes = {agent: int(space.n) for agent, space in rollout.action_spaces.items()}
        return rollout, random_actor(sizes, np.random.default_rng(seed), rollout.observation_spaces), "random"
    if expert == "scripted":
        scripted = ScriptedActor(make_expert(env))
        return ColumnarRollout(build, 1, seed, on_reset=scripted.on_reset), scripted, "scripted"
    if names_function(expert):
        scripted = ScriptedActor(load_expert(expert))
        return ColumnarRollout(build, 1, seed, on_reset=scripted.on_reset), scripted, expert
    from rllib_mamql.algorithms.registry import read_checkpoint
    from rllib_mamql.learning.checkpoint import DOCUMENT

    folder = pathlib.Path(expert)
    if not (folder / DOCUMENT).is_file() and (folder / RLLIB_DOCUMENT).is_file():
        rollout = ColumnarRollout(functools.partial(build, rllib_history(folder)), 1, seed)
        return rollout, rllib_actor(folder, rollout.agents, seed), "RLlib checkpoint"
    stored = read_checkpoint(expert)
    if stored.env != env:
        raise ConfigError(f"the expert {expert} was trained in {stored.env!r}, not in {env!r}: use --env {stored.env}")
    rollout = ColumnarRollout(functools.partial(build, stored.history), 1, seed)
    return rollout, checkpoint_actor(stored, seed), f"{stored.algorithm} checkpoint ({stored.settings['mode']})"
