"""A checkpoint of the toy environment whose policies are soft-optimal for its true reward, by soft value iteration."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from rllib_mamql.algorithms.mamql.config import MAMQLConfig
from rllib_mamql.algorithms.registry import read_checkpoint
from rllib_mamql.data.schema import DatasetMetadata, spaces_from_gym
from rllib_mamql.environments.spaces import environment_spaces
from rllib_mamql.learning.checkpoint import Checkpoint, write_networks
from tests.support.toy_data import TOY

STATES, ACTIONS = 4, 3
MOVES = np.array([0, -1, 1])


def soft_optimal(rationality: float, discount: float) -> np.ndarray:
    """Qbar (own place, other's place, own action) of both agents, which play the same against each other."""
    q = np.zeros((STATES, STATES, ACTIONS))
    own, other, act, act_other = np.meshgrid(*map(np.arange, (STATES, STATES, ACTIONS, ACTIONS)), indexing="ij")
    to, to_other = (own + MOVES[act]) % STATES, (other + MOVES[act_other]) % STATES
    for _ in range(400):
        policy = np.exp(rationality * (q - q.max(-1, keepdims=True)))
        policy /= policy.sum(-1, keepdims=True)
        # W is the mean in place of the sum: acting at random is worth its reward, not an entropy bonus.
        value = np.log(np.exp(rationality * q).mean(-1)) / rationality
        joint = (to == to_other) + discount * value[to, to_other]
        new = np.einsum("sabc,sac->sab", joint.reshape(STATES, STATES, ACTIONS, ACTIONS)[..., :, :],
                        np.broadcast_to(policy.transpose(1, 0, 2), (STATES, STATES, ACTIONS)))  # fmt: skip
        q = 0.5 * q + 0.5 * new
    return q


def toy_checkpoint(out: Path, *, rationality: float = 4.0, discount: float = 0.8, sharing: str = "all") -> Checkpoint:
    """Writes and reads back the checkpoint.

    To its critics a random potential is added: the same policy, but what they imply is not the reward.
    """
    config = MAMQLConfig().update_from_dict(
        {"env": TOY, "input_": "none", "parameter_sharing": sharing, "gamma": discount, "rationality": rationality}
    )
    config.rl_module(model_config={"fcnet_hiddens": [48]})
    config.validate()
    spaces = environment_spaces(TOY, {})
    of = config.module_of
    torch.manual_seed(0)  # Whatever ran before in this process, the weights are the same.
    modules = config.get_multi_rl_module_spec(spaces={of[agent]: pair for agent, pair in spaces.items()}).build()
    q = torch.as_tensor(soft_optimal(rationality, discount), dtype=torch.float32).view(-1, ACTIONS)
    q = q + 2.0 * torch.rand(len(q), 1, generator=torch.Generator().manual_seed(0))
    eye = torch.eye(STATES)
    inputs = torch.stack([torch.cat([eye[a], eye[b]]) for a in range(STATES) for b in range(STATES)])
    for module in (modules[name] for name in set(of.values())):
        net = module.average.requires_grad_(True)
        adam = torch.optim.Adam(net.parameters(), lr=0.02)
        for update in range(500):
            adam.param_groups[0]["lr"] = 0.02 * (1 - update / 500)
            loss = (net(inputs) - q).square().mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
        net.requires_grad_(False)
    metadata = DatasetMetadata(
        agents=tuple(spaces),
        spaces=spaces_from_gym(
            list(spaces), {a: s[0] for a, s in spaces.items()}, {a: s[1] for a, s in spaces.items()}
        ),
    )
    out.mkdir(parents=True, exist_ok=True)
    names = set(of.values())
    write_networks(
        out, config, metadata, {n: dict(modules[n].model_config) for n in names},
        {n: modules[n].get_state() for n in names}, config.recorded() | {"chi_square_scale": 1.0},
    )  # fmt: skip
    return read_checkpoint(out)
