"""From modules to joint actions: one forward pass per module for all its agents and environments."""

from __future__ import annotations

import functools
import math
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from pettingzoo import ParallelEnv
from ray.rllib.core.columns import Columns

from rllib_mamql.columns import IDLE_ACTION, Array
from rllib_mamql.data.masks import draw_actions
from rllib_mamql.environments.registry import Expert
from rllib_mamql.environments.standard import StandardEnv
from rllib_mamql.errors import ConfigError
from rllib_mamql.networks.convolutions import ConvolutionalCritics
from rllib_mamql.networks.history import history_steps
from rllib_mamql.networks.module import BoltzmannModule
from rllib_mamql.networks.together_acting import stack_critics
from rllib_mamql.play.rollout import Actor
from rllib_mamql.ray_internals import read_rllib_modules

FloatArray = NDArray[np.float32]
Noise = Callable[[tuple[int, ...]], FloatArray]


class _Module(Protocol):
    def forward_inference(self, batch: dict[str, Any]) -> dict[str, Any]: ...

    def forward_exploration(self, batch: dict[str, Any]) -> dict[str, Any]: ...


class Playable(Protocol):
    """What a checkpoint gives to play with."""

    @property
    def modules(self) -> Mapping[str, Any]:
        """Modules by id."""

    @property
    def module_of(self) -> Mapping[str, str]:
        """``{agent: module}``, agents in order."""


def agents_by_module(module_of: Mapping[str, str]) -> dict[str, list[str]]:
    """Inverts ``{agent: module}``; agents keep their order."""
    result: dict[str, list[str]] = {}
    for agent, module in module_of.items():
        result.setdefault(module, []).append(agent)
    return result


def most_steps(stored: Playable, most_bytes: int) -> int:
    """How many joint steps hold so many bytes of observations, before and after each step; >= 1."""
    spaces = [stored.modules[module].observation_space for module in stored.module_of.values()]
    return max(1, most_bytes // sum(2 * math.prod(space.shape) * space.dtype.itemsize for space in spaces))


def module_actor(
    modules: Mapping[str, _Module],
    module_of: Mapping[str, str],
    generator: torch.Generator,
    *,
    explore: bool = True,
    greedy: bool = False,
    device: torch.device | None = None,
) -> Actor:
    """An actor that samples from the modules' Boltzmann policies.

    Args:
        modules: RLModules by id, each with logits under ``action_dist_inputs``.
        module_of: Which module plays for each agent.
        generator: Source of all randomness.
        explore: True acts at the training rationality, False at the evaluation rationality.
        greedy: Takes the most likely action instead of sampling.
        device: Where the modules live.

    Returns:
        A function from observations ``{agent: (num_envs, *obs)}`` to actions ``{agent: (num_envs,)}``.
    """
    groups = agents_by_module(module_of)
    noise = None if greedy else functools.partial(_gumbel, generator=generator)
    stacked = _stacked_actor(modules, groups, noise, explore, device)
    if stacked is not None:
        return stacked

    @torch.no_grad()
    def act(observations: Mapping[str, Array], alive: Mapping[str, Array]) -> dict[str, Array]:
        actions: dict[str, Array] = {}
        for module_id, agents in groups.items():
            joined = np.concatenate([observations[agent] for agent in agents])
            logits = _logits(modules[module_id], torch.as_tensor(joined, device=device), explore)
            chosen = _choose(logits, noise).reshape(len(agents), -1)
            actions.update(zip(agents, chosen, strict=True))
        return actions

    return act


def _stacked_actor(
    modules: Mapping[str, Any],
    groups: Mapping[str, list[str]],
    noise: Noise | None,
    explore: bool,
    device: torch.device | None,
) -> Actor | None:
    """An actor that calls all modules at once, where they are small networks of one shape; it draws the same noise."""
    used = [modules[module_id] for module_id in groups]
    shares = {len(agents) for agents in groups.values()}
    if len(shares) != 1 or not all(isinstance(module, BoltzmannModule) for module in used):
        return None
    critics = stack_critics([module.average for module in used])
    if critics is None:
        return None
    order = [agent for agents in groups.values() for agent in agents]
    # Critics that are called in turn need no copy of what each sees.
    in_turn = critics if isinstance(critics, ConvolutionalCritics) and len(order) == len(used) else None

    def act(observations: Mapping[str, Array], alive: Mapping[str, Array]) -> dict[str, Array]:
        if in_turn is not None:
            values = in_turn([torch.from_numpy(observations[agent]).to(device) for agent in order])
        else:
            joined = np.concatenate([observations[agent] for agent in order])
            values = critics(torch.from_numpy(joined.reshape(len(used), -1, *joined.shape[1:])).to(device))
        scales = [module.rationality if explore else module.evaluation_rationality for module in used]
        logits = np.array(scales, np.float32)[:, None, None] * values.float().cpu().numpy()
        chosen = _choose(logits, noise)
        return dict(zip(order, chosen.reshape(len(order), -1), strict=True))

    return act


def _choose(logits: FloatArray, noise: Noise | None) -> Array:
    """Most likely actions, or with Gumbel noise draws from the categorical: ``(..., A) -> (...)``."""
    return (logits if noise is None else logits + noise(logits.shape)).argmax(-1)


def _gumbel(shape: tuple[int, ...], generator: torch.Generator) -> FloatArray:
    """Standard Gumbel noise ``-log(-log(u))``: the largest logit with it is a draw from the categorical."""
    uniform: FloatArray = torch.rand(shape, generator=generator).numpy()
    np.minimum(np.maximum(uniform, 1e-10, out=uniform), 1.0 - 1e-7, out=uniform)
    log = np.negative(np.log(uniform, out=uniform), out=uniform)
    return np.negative(np.log(log, out=log), out=log)


def _logits(module: Any, observations: torch.Tensor, explore: bool) -> FloatArray:
    if isinstance(module, BoltzmannModule):
        return module.logits(observations, explore).float().cpu().numpy()
    batch = {Columns.OBS: observations}
    out = module.forward_exploration(batch) if explore else module.forward_inference(batch)
    return out[Columns.ACTION_DIST_INPUTS].float().cpu().numpy()


class ScriptedActor:
    """An environment's scripted expert as the actor of a rollout with one environment.

    The expert sees the environment as its authors made it, and acts in its own actions.

    Args:
        expert: The expert, which may look at the environment's full state. The rollout tells it of each new episode
            if its ``on_reset`` is this actor's.
    """

    def __init__(self, expert: Expert) -> None:
        self._expert = expert
        self._env: Any = None

    def on_reset(self, index: int, env: ParallelEnv, seed: int) -> None:
        """Takes a new episode's environment; see :class:`~rllib_mamql.play.rollout.ColumnarRollout`."""
        assert index == 0
        self._env = env
        self._expert.reset(env.env if isinstance(env, StandardEnv) else env, seed)

    def __call__(self, observations: Mapping[str, Array], alive: Mapping[str, Array]) -> dict[str, Array]:
        """The expert's actions, ``{agent: (1,)}``."""
        if isinstance(self._env, StandardEnv):
            chosen: Mapping[str, Any] = self._env.numbers(self._expert.act(self._env.env, self._env.seen()))
        else:
            now = {agent: values[0] for agent, values in observations.items() if alive[agent][0]}
            chosen = self._expert.act(self._env, now)
        return {agent: np.array([chosen.get(agent, IDLE_ACTION)]) for agent in observations}


def random_actor(
    action_sizes: Mapping[str, int], rng: np.random.Generator, spaces: Mapping[str, gym.Space[Any]] | None = None
) -> Actor:
    """An actor that plays uniformly at random, among what its agents may do.

    Args:
        action_sizes: Numbers of actions by agent.
        rng: Source of the draws.
        spaces: Observations by agent, which may carry masks; None: they do not.
    """
    seen = spaces or {}

    def act(observations: Mapping[str, Array], alive: Mapping[str, Array]) -> dict[str, Array]:
        return {agent: draw_actions(seen.get(agent), observations[agent], n, rng) for agent, n in action_sizes.items()}

    return act


def checkpoint_actor(stored: Playable, seed: int, *, greedy: bool = False) -> Actor:
    """The actor of a checkpoint's policies, at the evaluation rationality."""
    return module_actor(
        stored.modules,
        stored.module_of,
        torch.Generator().manual_seed(seed),
        explore=False,
        greedy=greedy,
    )


def rllib_history(checkpoint: pathlib.Path) -> int:
    """How many steps back the policies of an RLlib algorithm's checkpoint see: those that `rllib relearn` made may.

    RLlib's checkpoints hold pickles: as for :func:`rllib_actor`.
    """
    configs = [module.model_config for module in read_rllib_modules(checkpoint).values()]
    return max((history_steps(config) for config in configs if isinstance(config, Mapping)), default=0)


def rllib_actor(checkpoint: pathlib.Path, agents: list[str], seed: int) -> Actor:
    """The stochastic policies of an RLlib algorithm's checkpoint, one module an agent or one for all.

    RLlib's checkpoints hold pickles: only for folders that the user named as trusted, or that this process wrote.

    Raises:
        ConfigError: If the checkpoint has no module for an agent.
    """
    modules = read_rllib_modules(checkpoint)
    names = list(modules.keys())
    missing = [agent for agent in agents if agent not in names]
    if missing and len(names) > 1:
        raise ConfigError(
            f"the expert {checkpoint} has modules {names}, but none for {missing[0]!r}: "
            "train it with one module an agent, or one for all"
        )
    module_of = {agent: names[0] if missing else agent for agent in agents}
    used = {name: modules[name] for name in set(module_of.values())}
    return module_actor(used, module_of, torch.Generator().manual_seed(seed), explore=True)
