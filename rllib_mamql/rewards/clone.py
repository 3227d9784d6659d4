"""A behaviour clone beside a checkpoint, as a baseline for rewards: MABC with the checkpoint's encoder and sharing."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rllib_mamql.algorithms.cloning.config import MABCConfig
from rllib_mamql.columns import JointColumns, num_rows
from rllib_mamql.data.selection import select_steps
from rllib_mamql.environments.spaces import environment_spaces
from rllib_mamql.learning.checkpoint import Checkpoint
from rllib_mamql.learning.course import Course
from rllib_mamql.learning.demonstrations import demonstrations_for
from rllib_mamql.learning.learner import ImitationLearner
from rllib_mamql.play.actors import agents_by_module

ROWS = 256
"""Rows a gradient step, of all agents that share a network together."""


@dataclass(frozen=True)
class Clone:
    """A behaviour clone; call it as ``(agent, observations (B, *obs)) -> log-probabilities (B, A)``.

    Attributes:
        networks: By module.
        module_of: ``{agent: module}``.
        updates: Gradient steps that it learned for.
        held_out: Mean negative log-likelihood of held-out episodes, in nats an agent's step, for each number of
            updates that was tried; empty where the number was given.
    """

    networks: Mapping[str, nn.Module]
    module_of: Mapping[str, str]
    updates: int
    held_out: Mapping[int, float]

    def __call__(self, agent: str, observations: Tensor) -> Tensor:
        """Log-probabilities of an agent's actions."""
        return torch.log_softmax(self.networks[self.module_of[agent]](observations), dim=-1)

    def summary(self) -> str:
        """One line on how long it learned, and why."""
        if not self.held_out:
            return f"clone: {self.updates:,} updates, as asked"
        found = ", ".join(f"{loss:.3f} after {updates:,}" for updates, loss in self.held_out.items())
        return f"clone: {self.updates:,} updates, for held-out episodes' negative log-likelihood was {found}"


def fit_clone(
    stored: Checkpoint, columns: JointColumns, *, updates: int | None = None, lr: float | None = None, seed: int = 0
) -> Clone:
    """Maximum likelihood of the dataset's actions, with the checkpoint's encoder and parameter sharing.

    It is what ``run: MABC`` learns, without Ray.

    Args:
        stored: Says the environment, which agents share a network, and its encoder.
        columns: Joint steps of the expert.
        updates: Gradient steps, at a learning rate that falls to zero. None chooses by the likelihood of a tenth of
            the episodes (of several tenths in turn, where there are few steps), which are then learned from as well:
            twice as many for as long as that helps.
        lr: First learning rate; None: MABC's default.
        seed: Seed of held-out episodes, initial weights and draws.

    Raises:
        DatasetError: If the number of updates is to be chosen, and there is one step only.
    """
    course = Course(columns, seed, updates)
    learner = _learner(stored, lr, seed)
    while (fit := course.fit) is not None:
        learner.set_expert(stored.module_of, fit.rows)
        learner.begin_fit(fit.updates)
        learner.update(num_updates=fit.updates)
        course.end(None if fit.judged is None else learner.negative_log_likelihood(fit.judged))
    assert course.chosen is not None
    networks = {module_id: learner.network(module_id).average for module_id in stored.modules}
    return Clone(networks, dict(stored.module_of), course.chosen, course.held_out)


def clone_of(stored: Checkpoint, data: str | pathlib.Path, steps: int | None, updates: int | None, seed: int) -> Clone:
    """The clone of a dataset on disk.

    Args:
        stored: As for :func:`fit_clone`.
        data: The dataset.
        steps: Joint steps of it to use, drawn as training draws ``expert_steps`` at the same seed; None uses all.
        updates: As for :func:`fit_clone`.
        seed: Seed of everything.

    Raises:
        DatasetError: If ``data`` is no dataset or has fewer steps.
        ConfigError: If it is of other agents or observations.
    """
    columns = demonstrations_for(stored, data)
    # All of them stay in the dataset's order, so that asking for all changes no draw.
    if steps is not None and steps != num_rows(columns):
        columns = select_steps(columns, steps, seed)
    return fit_clone(stored, columns, updates=updates, seed=seed)


def _learner(stored: Checkpoint, lr: float | None, seed: int) -> ImitationLearner:
    """A learner of MABC in this process, for the checkpoint's environment, encoder and sharing."""
    config = MABCConfig().environment(stored.env, env_config=stored.env_config).debugging(seed=seed)
    config.offline_data(input_="(in memory)").rl_module(model_config={"history": stored.history})
    groups = agents_by_module(stored.module_of)
    config.training(
        parameter_sharing=groups, expert_batch_size=max(1, ROWS // max(len(agents) for agents in groups.values()))
    )
    if lr is not None:
        config.training(lr=lr)
    config.validate()
    spaces = environment_spaces(stored.env, stored.env_config, stored.history)
    spec = config.get_multi_rl_module_spec(spaces={stored.module_of[agent]: pair for agent, pair in spaces.items()})
    for module_id, module_spec in spec.rl_module_specs.items():
        own = dict(module_spec.model_config)
        # The encoder is the checkpoint's; what the clone's own config says of how it acts stays.
        module_spec.model_config = {**stored.modules[module_id].model_config, **{k: own[k] for k in _ACTING}}
    learner = config.learner_class(config=config, module_spec=spec)
    learner.build()
    return learner


_ACTING = ("rationality", "evaluation_rationality")
