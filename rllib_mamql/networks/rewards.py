"""Networks for explicit rewards: which inputs they see, and how they are built up.

``plain`` encodes the observation as the critics do. ``entity_additive`` is a sum over entities, so that what it says of
one gem it says of every gem (Jaakkola-style factor sums; compare the pair terms of factorisation machines)::

    R(s, a, a_-i) = sum_e f(e, a) + sum_k u_k(a) v_k(a_-i),    u = sum_e g(e, a),    v = sum_{e, e'} h(e, e', a_-i)

The product couples an agent's own relation to one entity with the others' relation to another.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import torch
from torch import Tensor, nn

from rllib_mamql.data.history import HistoryBox
from rllib_mamql.data.masks import MaskedBox
from rllib_mamql.errors import ConfigError, nearest
from rllib_mamql.networks.choices import REWARD_INPUTS, REWARD_NETWORKS
from rllib_mamql.networks.encoders import build_encoder
from rllib_mamql.networks.heads import JointHead, OtherActions
from rllib_mamql.networks.masks import WithoutMask

# Keys of model_config that an algorithm's config fills in; they are not RLlib's.
REWARD_HIDDENS = "reward_hiddens"
REWARD_INPUTS_KEY = "reward_inputs"
REWARD_NETWORK_KEY = "reward_network"

DEFAULT_HIDDENS = [64, 64]
"""Hidden layers of the reward's encoder, where nothing else is asked for."""
FACTORS, HIDDEN = 16, 48


def reward_model_config(model_config: dict[str, Any]) -> dict[str, Any]:
    """The ``model_config`` of a module's reward and potential networks, which have hidden layers of their own."""
    return {**model_config, "fcnet_hiddens": model_config.get(REWARD_HIDDENS, DEFAULT_HIDDENS)}


class EntityAdditive(nn.Module):
    """``R(s, ., a_-i)`` as a sum over entities and pairs of them; see the module's text.

    Args:
        shape: ``(N, F)`` of an observation; column 0 is 1 where the entity is present.
        actions: Own actions A.
        other_actions: Actions of each other agent.

    Raises:
        ConfigError: If observations are no sets of entities.
    """

    def __init__(self, shape: tuple[int, ...], actions: int, other_actions: tuple[int, ...]) -> None:
        super().__init__()
        if len(shape) != 2:
            raise ConfigError(
                f"reward_network 'entity_additive' needs observations of shape (entities, features), found {shape}: "
                "set env_config observation to entities, or reward_network to plain"
            )
        self.actions = actions
        self.single = nn.Sequential(
            nn.Linear(shape[1], HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(),
            nn.Linear(HIDDEN, actions * (FACTORS + 1)),
        )  # fmt: skip
        self.first, self.second = nn.Linear(shape[1], HIDDEN), nn.Linear(shape[1], HIDDEN)
        self.pair = nn.Sequential(nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU())
        self.from_others = OtherActions(other_actions, HIDDEN)
        self.factors = nn.Linear(HIDDEN, FACTORS)
        self.offset = nn.Parameter(torch.zeros(()))

    def forward(self, observations: Tensor, others: Tensor) -> Tensor:
        """Values ``(B, A)`` given the others' actions ``(B, m)``, or ``(B, K, A)`` given ``(B, K, m)``."""
        observations = observations.to(self.offset.dtype)
        present = (observations[..., :1] > 0.5).to(observations.dtype)
        own = (self.single(observations) * present).sum(1).view(observations.shape[0], self.actions, FACTORS + 1)
        pairs = self.pair(self.first(observations).unsqueeze(2) + self.second(observations).unsqueeze(1))
        hidden = (pairs * (present.unsqueeze(2) * present.unsqueeze(1))).sum((1, 2)) / observations.shape[1]
        if others.dim() == 3:
            hidden, own = hidden.unsqueeze(1), own.unsqueeze(1)
        gate = 1.0 + self.from_others(others)
        coupled = self.factors(hidden * gate).unsqueeze(-1)
        return own[..., 0] + (own[..., 1:] @ coupled).squeeze(-1) + self.offset


class RestrictedReward(nn.Module):
    """A reward that sees less than ``(s, a_i, a_-i)``: the same values whatever is hidden from it.

    Args:
        network: ``(observations, others) -> (B, A)``.
        inputs: ``state_action`` hides the others' actions, ``state`` also the own.
    """

    def __init__(self, network: nn.Module, inputs: str) -> None:
        super().__init__()
        self.network = network
        self.inputs = inputs

    def forward(self, observations: Tensor, others: Tensor) -> Tensor:
        """As the network's, with what it must not see put to action 0 (others) or averaged out (own)."""
        values: Tensor = self.network(observations, torch.zeros_like(others))
        return values.mean(-1, keepdim=True).expand_as(values) if self.inputs == "state" else values


class Potential(nn.Module):
    """A function of the observation, one number a row.

    Args:
        encoder: With ``out_features``.
    """

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.out_features, 1)

    def forward(self, observations: Tensor) -> Tensor:
        """``(B,)`` of observations ``(B, *obs)``."""
        values: Tensor = self.head(self.encoder(observations)).squeeze(-1)
        return values


def build_potential(
    observation_space: gym.Space[Any], action_space: gym.Space[Any], model_config: dict[str, Any]
) -> Potential:
    """The network of one module's potential, see :class:`Potential`; arguments as of :func:`build_reward`."""
    return Potential(build_encoder(observation_space, action_space, model_config))


def build_reward(
    observation_space: gym.Space[Any],
    action_space: gym.Space[Any],
    model_config: dict[str, Any],
    other_actions: tuple[int, ...],
    *,
    network: str = "plain",
    inputs: str = "joint",
) -> nn.Module:
    """The reward network of one module, ``(observations (B, *obs), others (B, m)) -> (B, A)``.

    Args:
        observation_space: The agent's observations.
        action_space: The agent's actions, Discrete.
        model_config: Encoder settings, for ``plain``.
        other_actions: Actions of each other agent.
        network: One of ``REWARD_NETWORKS``.
        inputs: One of ``REWARD_INPUTS``.

    Raises:
        ConfigError: If a name is unknown, or the network does not fit the observations.
    """
    for name, value, known in (("reward_network", network, REWARD_NETWORKS), ("reward_inputs", inputs, REWARD_INPUTS)):
        if value not in known:
            raise ConfigError(f"{name} is {value!r}: {nearest(str(value), known)} (one of {', '.join(known)})")
    if isinstance(observation_space, MaskedBox):
        # What it says of illegal actions means nothing: nobody takes them.
        seen = observation_space.observation
        unmasked = build_reward(seen, action_space, model_config, other_actions, network=network, inputs=inputs)
        return WithoutMask(unmasked, observation_space)
    actions = int(action_space.n)  # type: ignore[attr-defined]
    built: nn.Module
    if network == "entity_additive":
        if isinstance(observation_space, HistoryBox):
            raise ConfigError(
                "reward_network 'entity_additive' reads entities, not their history: set reward_network to plain"
            )
        built = EntityAdditive(observation_space.shape or (), actions, other_actions)
    else:
        encoder = build_encoder(observation_space, action_space, model_config)
        built = JointHead(encoder, encoder.out_features, actions, other_actions)
    return built if inputs == "joint" else RestrictedReward(built, inputs)
