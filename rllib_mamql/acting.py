"""From modules to joint actions: one forward pass per module for all its agents and environments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from ray.rllib.core.columns import Columns

from rllib_mamql.columns import Array
from rllib_mamql.rl_module import MAMQLModule
from rllib_mamql.rollout import Actor


class _Module(Protocol):
    def forward_inference(self, batch: dict[str, Any]) -> dict[str, Any]: ...

    def forward_exploration(self, batch: dict[str, Any]) -> dict[str, Any]: ...


def agents_by_module(module_of: Mapping[str, str]) -> dict[str, list[str]]:
    """Inverts ``{agent: module}``; agents keep their order."""
    result: dict[str, list[str]] = {}
    for agent, module in module_of.items():
        result.setdefault(module, []).append(agent)
    return result


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

    @torch.no_grad()
    def act(observations: Mapping[str, Array], alive: Mapping[str, Array]) -> dict[str, Array]:
        actions: dict[str, Array] = {}
        for module_id, agents in groups.items():
            stacked = np.concatenate([observations[agent] for agent in agents])
            logits = _logits(modules[module_id], torch.as_tensor(stacked, device=device), explore)
            if not greedy:
                # Gumbel-max: the largest perturbed logit is a draw from the categorical.
                uniform = torch.rand(logits.shape, generator=generator).clamp_(1e-10, 1.0 - 1e-7)
                logits = logits - torch.log(-torch.log(uniform))
            chosen = logits.argmax(-1).numpy().reshape(len(agents), -1)
            actions.update(zip(agents, chosen, strict=True))
        return actions

    return act


def _logits(module: Any, observations: torch.Tensor, explore: bool) -> torch.Tensor:
    if isinstance(module, MAMQLModule):
        return module.logits(observations, explore).float().cpu()
    batch = {Columns.OBS: observations}
    out = module.forward_exploration(batch) if explore else module.forward_inference(batch)
    return out[Columns.ACTION_DIST_INPUTS].float().cpu()


def random_actor(action_sizes: Mapping[str, int], rng: np.random.Generator) -> Actor:
    """An actor that plays uniformly at random."""

    def act(observations: Mapping[str, Array], alive: Mapping[str, Array]) -> dict[str, Array]:
        return {agent: rng.integers(n, size=len(alive[agent])) for agent, n in action_sizes.items()}

    return act
