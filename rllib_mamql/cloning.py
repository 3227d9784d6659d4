"""A behaviour clone of a dataset, as a baseline for policies and rewards: it sees the observation and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from rllib_mamql.acting import agents_by_module
from rllib_mamql.checkpoint import Checkpoint
from rllib_mamql.columns import ACTIONS, ALIVE, OBS, JointColumns, column
from rllib_mamql.encoders import build_encoder
from rllib_mamql.heads import MarginalCritic


def fit_clone(
    stored: Checkpoint, columns: JointColumns, *, updates: int = 800, rows: int = 256, lr: float = 1e-3, seed: int = 0
) -> Callable[[str, Tensor], Tensor]:
    """Maximum likelihood of the dataset's actions, with the checkpoint's encoder and parameter sharing.

    Args:
        stored: Says which agents share a network, and its encoder.
        columns: Joint steps of the expert.
        updates: Gradient steps, at a learning rate that falls to zero. 800 suit some thousand rows; a hundred thousand
            need ten times as many, or the clone underfits.
        rows: Rows a gradient step.
        lr: First learning rate.
        seed: Seed of initial weights and draws.

    Returns:
        ``(agent, observations (B, *obs)) -> log-probabilities (B, A)``.
    """
    torch.manual_seed(seed)
    networks: dict[str, nn.Module] = {}
    for module_id, agents in agents_by_module(stored.module_of).items():
        module = stored.modules[module_id]
        alive = [columns[column(ALIVE, agent)].astype(bool) for agent in agents]
        observations = np.concatenate([columns[column(OBS, a)][kept] for a, kept in zip(agents, alive, strict=True)])
        actions = np.concatenate([columns[column(ACTIONS, a)][kept] for a, kept in zip(agents, alive, strict=True)])
        inputs, targets = torch.from_numpy(observations), torch.from_numpy(actions.astype(np.int64))
        encoder = build_encoder(module.observation_space, module.action_space, dict(module.model_config))
        network = MarginalCritic(encoder, encoder.out_features, int(module.action_space.n))
        optimiser = torch.optim.AdamW(network.parameters(), lr=lr, weight_decay=0.1)
        for update in range(updates):
            for group in optimiser.param_groups:
                group["lr"] = lr * (1.0 - update / updates)
            index = torch.randint(len(targets), (rows,))
            loss = nn.functional.cross_entropy(network(inputs[index]), targets[index])
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
        networks[module_id] = network.requires_grad_(False)

    def log_policy(agent: str, observations: Tensor) -> Tensor:
        return torch.log_softmax(networks[stored.module_of[agent]](observations), dim=-1)

    return log_policy
