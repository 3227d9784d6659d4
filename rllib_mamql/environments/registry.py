"""What can be named in a YAML file: environments, their scripted experts, and algorithms."""

from __future__ import annotations

import contextlib
import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from pettingzoo import ParallelEnv

from rllib_mamql.errors import ConfigError, UnknownEnvironmentError, nearest


class Expert(Protocol):
    """Plays all agents of one environment; may look at the environment's full state."""

    def reset(self, env: ParallelEnv, seed: int) -> None:
        """Forgets the last episode; called after every ``env.reset``."""

    def act(self, env: ParallelEnv, observations: Mapping[str, np.ndarray]) -> dict[str, int]:
        """Actions of the agents in ``env.agents``."""


@dataclass(frozen=True)
class EnvEntry:
    """A registered environment; modules are imported when first needed, since some are slow to import.

    Attributes:
        module: Its ``parallel_env`` builds the environment from ``env_config`` keywords (and ``render_mode``), and
            raises ValueError or TypeError on a wrong keyword or value.
        expert_module: Its ``ScriptedExpert`` plays all agents; None where there is none.
        batch: Module and callable of the batched form, called as ``(num_envs, **env_config)``, which may give None
            for a configuration that it cannot batch; None where there is none.
        maps_module: Its ``snapshot`` and ``probes`` say what a map of a reward shows; None where there is none.
    """

    module: str
    expert_module: str | None = None
    batch: tuple[str, str] | None = None
    maps_module: str | None = None

    @property
    def factory(self) -> Callable[..., ParallelEnv]:
        """The environment's constructor."""
        return importlib.import_module(self.module).parallel_env

    def make_expert(self) -> Expert:
        """Builds the scripted expert."""
        assert self.expert_module is not None
        return importlib.import_module(self.expert_module).ScriptedExpert()


ENVIRONMENTS: dict[str, EnvEntry] = {
    "overcooked": EnvEntry(
        "mamql_envs.overcooked_v0",
        "mamql_envs.overcooked_expert",
        ("mamql_envs.overcooked_batch", "batched_env"),
        maps_module="mamql_envs.overcooked_maps",
    ),
    "gems": EnvEntry(
        "mamql_envs.gems_v0",
        "mamql_envs.gems_expert",
        ("mamql_envs.gems_batch", "GemsBatch"),
        maps_module="mamql_envs.gems_maps",
    ),
    "intersection": EnvEntry(
        "mamql_envs.intersection_v0", "mamql_envs.intersection_expert", maps_module="mamql_envs.intersection_maps"
    ),
}

PETTINGZOO_PREFIX = "pettingzoo:"
"""Names that start with this are a module with a ``parallel_env`` function, ``pettingzoo:<module path>``."""


def environment_factory(name: str) -> Callable[..., ParallelEnv]:
    """The function that builds the environment ``name`` from ``env_config`` keywords.

    Raises:
        UnknownEnvironmentError: If nothing is registered under the name, or its module cannot be imported.
    """
    if name.startswith(PETTINGZOO_PREFIX):
        module_path = name[len(PETTINGZOO_PREFIX) :]
        try:
            module = importlib.import_module(module_path)
        except (ImportError, ValueError) as error:
            raise UnknownEnvironmentError(
                f"environment {name!r}: cannot import {module_path!r} ({_one_line(error)}); "
                "install the package it belongs to, or correct the module path"
            ) from error
        factory = getattr(module, "parallel_env", None)
        if not callable(factory):
            raise UnknownEnvironmentError(
                f"environment {name!r}: module {module_path!r} has no function 'parallel_env'; "
                "name a module that offers PettingZoo's parallel API"
            )
        return factory
    entry = ENVIRONMENTS.get(name)
    if entry is None:
        raise UnknownEnvironmentError(
            f"unknown environment {name!r}: {nearest(name, ENVIRONMENTS)} "
            "(any other parallel environment: 'pettingzoo:<module path>')"
        )
    return entry.factory


def make_env(name: str, env_config: Mapping[str, Any] | None = None, render_mode: str | None = None) -> ParallelEnv:
    """Builds a parallel environment by its registered name, or by ``pettingzoo:<module path>``.

    Args:
        name: A key of ``ENVIRONMENTS``, or ``pettingzoo:`` and the path of a module.
        env_config: Keywords of the environment.
        render_mode: For example ``"rgb_array"``; None leaves the environment's own default.

    Raises:
        UnknownEnvironmentError: If the name is unknown.
        ConfigError: If the environment refuses its configuration.
    """
    factory = environment_factory(name)
    config = dict(env_config or {})
    if render_mode is not None:
        config["render_mode"] = render_mode
    with _refusals(name, config):
        return factory(**config)


def make_batch(name: str, env_config: Mapping[str, Any] | None, num_envs: int) -> Any | None:
    """The batched form of an environment, or None where single ones have to do.

    That is where an environment has none, or none for this configuration, or where pictures are asked for.

    Args:
        name: As in :func:`make_env`.
        env_config: As in :func:`make_env`.
        num_envs: Environments in the batch.

    Raises:
        ConfigError: If the environment refuses its configuration.
    """
    entry = ENVIRONMENTS.get(name)
    config = dict(env_config or {})
    if entry is None or entry.batch is None or config.pop("render_mode", None) is not None:
        return None
    module, factory = entry.batch
    with _refusals(name, config):
        return getattr(importlib.import_module(module), factory)(num_envs, **config)


@contextlib.contextmanager
def _refusals(name: str, config: Mapping[str, Any]) -> Iterator[None]:
    """Turns what an environment raises at a wrong configuration into a ConfigError."""
    try:
        yield
    except (UnknownEnvironmentError, ConfigError):
        raise
    except (TypeError, ValueError, KeyError, AssertionError) as error:
        raise ConfigError(f"environment {name!r} refuses env_config {dict(config)}: {_one_line(error)}") from error


def resolve_env_config(name: str, env_config: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """``env_config`` with the environment's own defaults filled in, so that two configurations can be compared.

    Raises:
        UnknownEnvironmentError: If the name is unknown.
    """
    parameters = inspect.signature(environment_factory(name)).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty and p.name != "render_mode"}
    return {**defaults, **dict(env_config or {})}


def register_all() -> None:
    """Makes every environment of this package known to RLlib and Ray Tune by name."""
    for name in ENVIRONMENTS:
        register_environment(name)


def register_environment(name: str) -> None:
    """Makes one environment known to RLlib under its own name, behind our multi-agent adapter."""
    from ray import tune

    def create(env_config: Mapping[str, Any]) -> Any:
        from rllib_mamql.environments.adapter import PettingZooAdapter

        return PettingZooAdapter(make_env(name, env_config))

    tune.register_env(name, create)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
