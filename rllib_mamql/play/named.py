"""Rollouts of environments that are known by their name, and of those that checkpoints were trained in."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from pettingzoo import ParallelEnv

from rllib_mamql.data.masks import is_masked
from rllib_mamql.environments.registry import make_batch, make_env
from rllib_mamql.environments.standard import StandardEnv
from rllib_mamql.errors import ConfigError
from rllib_mamql.play.actors import Playable
from rllib_mamql.play.batched import make_rollout
from rllib_mamql.play.rollout import ColumnarRollout

SINCE = "it has changed since that training; take back the change, or train anew"


class TrainedSomewhere(Playable, Protocol):
    """What a checkpoint says about the environment that its policies were trained in."""

    @property
    def env(self) -> str:
        """Its name."""

    @property
    def env_config(self) -> Mapping[str, Any]:
        """Its keywords."""

    @property
    def history(self) -> int:
        """How many steps back the policies see, >= 0."""


def named_rollout(
    env: str,
    env_config: Mapping[str, Any],
    num_envs: int,
    seed: int | None,
    *,
    history: int = 0,
    name: str = "eps",
    on_reset: Callable[[int, ParallelEnv, int], None] | None = None,
) -> ColumnarRollout:
    """Steps environments of a name together, as a batch where they have such a form.

    Args:
        env: Name of the environment.
        env_config: Its keywords.
        num_envs: How many are stepped together, >= 1.
        seed: Seed of everything; None draws one.
        history: How many steps back agents see, >= 0.
        name: Prefix of episode ids.
        on_reset: As of :func:`~rllib_mamql.play.batched.make_rollout`.
    """
    return make_rollout(
        functools.partial(make_env, env, env_config, history=history),
        functools.partial(make_batch, env, env_config, history=history),
        num_envs,
        seed,
        name,
        on_reset,
    )


def checkpoint_env(stored: TrainedSomewhere, render_mode: str | None = None) -> StandardEnv:
    """The environment of a checkpoint, as its policies see it.

    Raises:
        ConfigError: If it has changed since, so that agents see or do something else than their policies know.
    """
    env = make_env(stored.env, stored.env_config, render_mode, history=stored.history)
    try:
        check_unchanged(stored, env)
    except ConfigError:
        env.close()
        raise
    return env


def check_unchanged(stored: TrainedSomewhere, env: ParallelEnv) -> None:
    """Refuses an environment in which agents see or do something else than a checkpoint's policies know.

    Raises:
        ConfigError: If agents or spaces are others.
    """
    if list(env.possible_agents) != list(stored.module_of):
        raise ConfigError(
            f"environment {stored.env!r} has agents {env.possible_agents}, the checkpoint's policies are of "
            f"{list(stored.module_of)}: {SINCE}"
        )
    for agent, module_id in stored.module_of.items():
        module = stored.modules[module_id]
        for what, now, then in (
            ("sees", _told(env.observation_space(agent)), _told(module.observation_space)),
            ("has", f"{env.action_space(agent).n} actions", f"{module.action_space.n} actions"),
        ):
            if now != then:
                raise ConfigError(
                    f"environment {stored.env!r}: agent {agent!r} {what} {now}, its policy was trained on {then}: "
                    f"{SINCE}"
                )


def _told(space: Any) -> str:
    masked = ", with a mask" if is_masked(space) else ""
    return f"observations {space.shape} {space.dtype}{masked}"


def checkpoint_rollout(
    stored: TrainedSomewhere, num_envs: int, seed: int | None, *, name: str = "eps"
) -> ColumnarRollout:
    """:func:`named_rollout` of a checkpoint's environment.

    Raises:
        ConfigError: As :func:`check_unchanged`.
    """
    rollout = named_rollout(stored.env, stored.env_config, num_envs, seed, history=stored.history, name=name)
    try:
        check_unchanged(stored, rollout.envs[0])
    except ConfigError:
        rollout.close()
        raise
    return rollout


def single_rollout(
    stored: TrainedSomewhere,
    num_envs: int,
    seed: int | None,
    *,
    render_mode: str | None = None,
    on_reset: Callable[[int, ParallelEnv, int], None] | None = None,
) -> ColumnarRollout:
    """The same, never as a batch: for whoever looks into the environments (``rollout.envs``) between steps."""
    return ColumnarRollout(functools.partial(checkpoint_env, stored, render_mode), num_envs, seed, on_reset=on_reset)
