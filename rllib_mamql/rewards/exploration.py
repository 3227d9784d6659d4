"""Play that covers all actions: policies with a share of random actions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from rllib_mamql.columns import Array, JointColumns, pour_together
from rllib_mamql.data.masks import draw_actions
from rllib_mamql.learning.checkpoint import Checkpoint
from rllib_mamql.play.actors import module_actor, most_steps
from rllib_mamql.play.named import checkpoint_rollout
from rllib_mamql.play.rollout import Actor, Watch
from rllib_mamql.rewards.fitting import Budget

CHUNK = 1000
"""Joint steps between two looks at the budget; whole batches of the usual number of environments."""
MOST_BYTES = 2**30
"""Of the observations in the play: of large images fewer steps are played."""
LITTLE = 0.1
"""Share of random actions in the third of the play that stays close to the policies."""


def exploring_actor(
    actor: Actor,
    action_sizes: Mapping[str, int],
    share: float,
    seed: int,
    spaces: Mapping[str, gym.Space[Any]] | None = None,
) -> Actor:
    """An actor that replaces each action by a uniformly random legal one with probability ``share``.

    Args:
        actor: Plays.
        action_sizes: Numbers of actions by agent.
        share: In [0, 1].
        seed: Seed of what is random.
        spaces: Observations by agent, which may carry masks; None: they do not.
    """
    seen = spaces or {}
    rng = np.random.default_rng(seed)

    def act(observations: Mapping[str, Array], alive: Mapping[str, Array]) -> dict[str, Array]:
        chosen = actor(observations, alive)
        mixed = {}
        for agent, actions in chosen.items():
            random = rng.random(len(actions)) < share
            drawn = draw_actions(seen.get(agent), observations[agent], action_sizes[agent], rng)
            mixed[agent] = np.where(random, drawn, actions)
        return mixed

    return act


def explore(
    stored: Checkpoint,
    steps: int,
    share: float,
    seed: int,
    num_envs: int = 50,
    budget: Budget | None = None,
    watch: Watch | None = None,
) -> JointColumns:
    """Plays a checkpoint's policies at their training rationality, with a share of random actions.

    Two thirds of the steps have ``share`` of them, the others a tenth (or ``share``, where that is less).

    Args:
        stored: The checkpoint.
        steps: Joint steps, rounded up to whole batches; fewer where observations are large images.
        share: Share of random actions, in [0, 1].
        seed: Seed of everything.
        num_envs: Environments stepped together.
        budget: When to be content with fewer steps.
        watch: Told how many joint steps are played.
    """
    budget = budget or Budget()
    steps = min(steps, most_steps(stored, MOST_BYTES))
    parts: list[JointColumns] = []
    wild = 2 * steps // 3
    plan = ((0, wild, share), (wild, steps - wild, min(share, LITTLE)))
    for index, (before, part, mixed) in enumerate(plan):
        if part == 0:
            continue
        rollout = checkpoint_rollout(stored, min(num_envs, part), seed + index, name=f"play{index}")
        try:
            generator = torch.Generator().manual_seed(seed + index)
            actor = module_actor(stored.modules, stored.module_of, generator)
            sizes = {agent: int(space.n) for agent, space in rollout.action_spaces.items()}
            mixing = exploring_actor(actor, sizes, mixed, seed + index, rollout.observation_spaces)
            # Each part of the play has its share of the budget.
            end = budget.until(part / (steps - before))
            left = part
            while left > 0 and (left == part or end.used < 1.0):
                columns, _ = rollout.run(mixing, num_steps=min(left, CHUNK))
                parts.append(columns)
                left -= min(left, CHUNK)
                if watch:
                    watch(before + part - left)
        finally:
            rollout.close()
    return pour_together(parts)
