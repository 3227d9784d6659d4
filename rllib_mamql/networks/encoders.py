"""Networks that turn an observation into features.

RLlib's ``DefaultModelConfig`` keys (``fcnet_hiddens``, ``conv_filters``, ...) work through RLlib's own catalog; besides
these ``encoder: entity_attention`` reads an observation as a set of entities, and :func:`register_encoder` adds others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.models.base import ENCODER_OUT
from torch import Tensor, nn

from rllib_mamql.data.history import HistoryBox
from rllib_mamql.data.masks import MaskedBox
from rllib_mamql.errors import ConfigError, nearest
from rllib_mamql.networks.history import HISTORY_DEFAULTS, HistoryEncoder
from rllib_mamql.networks.masks import WithoutMask
from rllib_mamql.ray_internals import (
    build_catalog_encoder,
    has_default_filters,
    layers_of_cnn,
    layers_of_mlp,
    share,
    shared,
)

# Keys of model_config beside RLlib's, with their defaults.
ENCODER_DEFAULTS: dict[str, Any] = {
    "encoder": "auto",
    "entity_dim": 64,
    "entity_key_dim": 16,
    "entity_layers": 1,
}


class Encoder(nn.Module):
    """What an encoder is: a module ``(B, *obs) -> (B, out_features)``. Those of users need not derive from it."""

    out_features: int


class CatalogEncoder(Encoder):
    """RLlib's catalog encoder with plain tensors at both ends: ``(B, *obs) -> (B, out_features)``."""

    def __init__(
        self, observation_space: gym.Space[Any], action_space: gym.Space[Any], model_config: dict[str, Any]
    ) -> None:
        super().__init__()
        self.net, self.out_features = build_catalog_encoder(observation_space, action_space, model_config)

    @property
    def layers(self) -> list[nn.Module] | None:
        """The layers in a row that the encoder is, where it is a multilayer perceptron; else None."""
        return layers_of_mlp(self.net)

    @property
    def convolutions(self) -> list[nn.Module] | None:
        """The layers in a row between pictures and flat features, where the encoder is convolutional; else None."""
        return layers_of_cnn(self.net)

    def forward(self, observations: Tensor) -> Tensor:
        """Features of a batch of observations."""
        return self.net({Columns.OBS: observations})[ENCODER_OUT]


class EntityAttention(Encoder):
    """Reads a set of entities: a shared MLP embeds each, self-attention mixes them, mean and max pool them.

    Permuting entities, or padding with absent ones, changes nothing.

    Args:
        shape: ``(N, F)`` of an observation; column 0 is 1 where the entity is present, 0 where the row is padding.
        dim: Width of the embedding.
        key_dim: Width of the attention's queries and keys.
        layers: Attention blocks, >= 0.

    Raises:
        ConfigError: If the shape is not a set of entities, or a size is impossible.
    """

    def __init__(self, shape: tuple[int, ...], dim: int, key_dim: int, layers: int) -> None:
        super().__init__()
        if len(shape) != 2 or shape[1] < 2:
            raise ConfigError(
                f"encoder 'entity_attention' needs observations of shape (entities, features), found {shape}: "
                "set env_config observation to entities"
            )
        if dim < 1 or key_dim < 1 or layers < 0:
            raise ConfigError(
                f"entity_dim {dim}, entity_key_dim {key_dim}, entity_layers {layers}: the first two must be at least "
                "1, the last at least 0"
            )
        self.embed = nn.Sequential(nn.Linear(shape[1], dim), nn.ReLU(), nn.Linear(dim, dim), nn.ReLU())
        self.blocks = nn.ModuleList(_AttentionBlock(dim, key_dim) for _ in range(layers))
        self.out_features = 2 * dim

    def forward(self, observations: Tensor) -> Tensor:
        """Features ``(B, 2 dim)`` of entities ``(B, N, F)``; a set without entities has features 0."""
        present = observations[..., 0] > 0.5
        hidden = self.embed(observations)
        # An attention mask without a single key gives NaN: an empty set attends to itself and is pooled away below.
        keys = present | ~present.any(-1, keepdim=True)
        for block in self.blocks:
            hidden = block(hidden, keys)
        weight = present.unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * weight).sum(1) / weight.sum(1).clamp_min(1.0)
        highest = hidden.masked_fill(weight == 0, float("-inf")).amax(1)
        highest = torch.where(present.any(-1, keepdim=True), highest, torch.zeros_like(highest))
        return torch.cat([mean, highest], dim=-1)


class _AttentionBlock(nn.Module):
    """Residual self-attention of one head, then a residual hidden layer.

    Written out, with narrow keys: torch's fused attention lays several heads out anew each time, which costs most where
    there are only a dozen entities.
    """

    def __init__(self, dim: int, key_dim: int) -> None:
        super().__init__()
        self.key_dim = key_dim
        self.query_key = nn.Linear(dim, 2 * key_dim)
        self.value = nn.Linear(dim, dim)
        self.feed = nn.Linear(dim, dim)

    def forward(self, hidden: Tensor, keys: Tensor) -> Tensor:
        query, key = self.query_key(hidden).split(self.key_dim, dim=-1)
        scores = torch.bmm(query, key.transpose(1, 2)) * self.key_dim**-0.5
        attention = torch.softmax(scores.masked_fill(~keys.unsqueeze(1), float("-inf")), dim=-1)
        hidden = hidden + torch.bmm(attention, self.value(hidden))
        return hidden + torch.relu(self.feed(hidden))


class CastEncoder(Encoder):
    """Another encoder behind a cast: observations of any number format to that of the weights.

    Args:
        encoder: Takes floating-point observations.
        scale: What they are multiplied by.
    """

    def __init__(self, encoder: Encoder, scale: float) -> None:
        super().__init__()
        self.encoder, self.scale, self.out_features = encoder, scale, encoder.out_features

    def forward(self, observations: Tensor) -> Tensor:
        """Features of a batch of observations."""
        weight = next(self.encoder.parameters(), None)
        floats = observations.to(torch.get_default_dtype() if weight is None else weight.dtype)
        features: Tensor = self.encoder(floats * self.scale if self.scale != 1.0 else floats)
        return features


class FlatEncoder(Encoder):
    """An encoder of vectors behind tables of numbers that are no entities.

    Args:
        encoder: Takes vectors.
        scale: What numbers are multiplied by.
    """

    def __init__(self, encoder: Encoder, scale: float) -> None:
        super().__init__()
        self.encoder, self.scale, self.out_features = encoder, scale, encoder.out_features

    def forward(self, observations: Tensor) -> Tensor:
        """Features of a batch of observations."""
        features: Tensor = self.encoder(observations.flatten(1) * self.scale)
        return features


def _are_entities(space: gym.Space[Any]) -> bool:
    """Whether the first column of a table may tell which entities are there: floats in [0, 1], or without bounds."""
    if not isinstance(space, gym.spaces.Box) or len(space.shape) != 2 or np.dtype(space.dtype).kind != "f":
        return False
    low, high = space.low[:, 0], space.high[:, 0]
    flags = (np.isneginf(low) | (low >= 0.0)) & (np.isposinf(high) | (high <= 1.0))
    return space.shape[1] > 1 and bool(flags.all())


def _cast(encoder: Encoder, space: gym.Space[Any]) -> Encoder:
    """The encoder behind a cast where observations are no float32; pictures in bytes are brought into [0, 1]."""
    if space.dtype is None or np.dtype(space.dtype) == np.float32:
        return encoder
    is_picture = len(space.shape or ()) == 3 and np.dtype(space.dtype) == np.uint8
    return CastEncoder(encoder, 1.0 / 255.0 if is_picture else 1.0)


EncoderBuilder = Callable[[Any, Any, dict[str, Any]], Any]
"""``(observation_space, action_space, model_config) -> module``; see :func:`register_encoder`."""


def _build_entity_attention(
    observation_space: gym.Space[Any], action_space: gym.Space[Any], model_config: dict[str, Any]
) -> EntityAttention:
    config = {**ENCODER_DEFAULTS, **model_config}
    shape = observation_space.shape or ()
    return EntityAttention(
        shape, int(config["entity_dim"]), int(config["entity_key_dim"]), int(config["entity_layers"])
    )


def _build_catalog(
    observation_space: gym.Space[Any], action_space: gym.Space[Any], model_config: dict[str, Any]
) -> CatalogEncoder:
    shape = observation_space.shape or ()
    if len(shape) not in (1, 3):
        raise ConfigError(
            f"observations of shape {shape} have no encoder: use a vector (1 axis), entities (2) or an image (3)"
        )
    if len(shape) == 3 and not model_config.get("conv_filters") and not has_default_filters(shape):
        model_config = {**model_config, "conv_filters": default_filters(shape[0], shape[1])}
    return CatalogEncoder(observation_space, action_space, model_config)


def default_filters(height: int, width: int) -> list[list[Any]]:
    """Convolutions for images of a size that RLlib has none for: each halves the sides until ten pixels are left.

    Args:
        height: Of the images, pixels.
        width: Likewise.

    Returns:
        ``[[channels, [height, width] of the kernel, stride], ...]``.
    """
    filters: list[list[Any]] = []
    channels, side = 16, max(height, width)
    if side >= 64:
        filters.append([channels, [8, 8], 4])
        channels, side = 2 * channels, side // 4
    while side > 10:
        filters.append([channels, [4, 4], 2])
        channels, side = min(64, 2 * channels), side // 2
    return [*filters, [channels, [3, 3], 1]]


def _build_auto(
    observation_space: gym.Space[Any], action_space: gym.Space[Any], model_config: dict[str, Any]
) -> Encoder:
    """Attention for entities, RLlib's catalog for the rest; tables that are no entities go through it as vectors."""
    if _are_entities(observation_space):
        return _build_entity_attention(observation_space, action_space, model_config)
    shape = observation_space.shape or ()
    if len(shape) != 2:
        return _build_catalog(observation_space, action_space, model_config)
    vector = gym.spaces.Box(-np.inf, np.inf, (int(np.prod(shape)),), np.float32)
    in_bytes = observation_space.dtype is not None and np.dtype(observation_space.dtype) == np.uint8
    return FlatEncoder(_build_catalog(vector, action_space, model_config), 1.0 / 255.0 if in_bytes else 1.0)


ENCODERS: dict[str, EncoderBuilder] = {
    "auto": _build_auto,
    "catalog": _build_catalog,
    "entity_attention": _build_entity_attention,
}
"""All that this process knows, by the name that ``model_config`` gives; :func:`register_encoder` adds to it."""

_SHARED_PREFIX = "rllib_mamql/encoder/"


def register_encoder(name: str, build: EncoderBuilder) -> None:
    """Gives an encoder a name, by which ``model_config`` asks for it: ``{"encoder": name}``.

    Policies, critics and rewards are then built on it, in Ray's worker processes too: functions and classes of the
    calling script travel to them. Reading a checkpoint needs the encoder to be registered again under its name.
    Registering the same again changes nothing::

        from rllib_mamql import MAMQLConfig, register_encoder

        register_encoder("mine", lambda observations, actions, config: MyEncoder(observations.shape, width=64))
        config = MAMQLConfig().rl_module(model_config={"encoder": "mine"})

    Args:
        name: What to call it, in ASCII; not that of another encoder.
        build: Called as ``build(observation_space, action_space, model_config)`` with an agent's spaces and all its
            model settings, gives a ``torch.nn.Module`` that maps observations ``(B, *obs)`` to features
            ``(B, out_features)`` and has the attribute ``out_features``. Observations reach it in the format of its
            weights, pictures in bytes divided by 255. It draws its initial weights from torch's
            generator, and :func:`copy.deepcopy` must be able to copy it.

    Raises:
        ConfigError: If an argument is of the wrong kind, the name is taken, or Ray cannot send it to other processes.
    """
    if not isinstance(name, str) or not name or not name.isascii() or name != name.strip():
        raise ConfigError(f"an encoder's name is {name!r}: give a word in ASCII")
    if not callable(build):
        raise ConfigError(f"encoder {name!r}: build is {build!r}: give a callable")
    if ENCODERS.get(name, build) is not build:
        raise ConfigError(f"encoder {name!r} is registered already, as something else: choose another name")
    share(_SHARED_PREFIX + name, build, f"encoder {name!r}")
    ENCODERS[name] = build


def _builder(name: Any) -> EncoderBuilder:
    if isinstance(name, str):
        if name not in ENCODERS and (found := shared(_SHARED_PREFIX + name)) is not None:
            ENCODERS.setdefault(name, found)
        if name in ENCODERS:
            return ENCODERS[name]
    raise ConfigError(f"encoder is {name!r}: {nearest(str(name), ENCODERS)} (one of {', '.join(ENCODERS)})")


def build_encoder(
    observation_space: gym.Space[Any], action_space: gym.Space[Any], model_config: dict[str, Any]
) -> Encoder:
    """Builds the encoder that ``model_config`` names for an observation space.

    Before it, observations in another format than float32 are cast, and pictures in bytes are divided by 255. Masks
    that observations carry are taken off: encoders do not see them. Of observations with a history the encoder reads
    one step at a time, but for vectors that are stacked: those are one longer vector to it.

    Args:
        observation_space: For those of this package a Box of 1 axis (MLP), 2 axes (entities) or 3 axes (convolutions,
            channels last).
        action_space: The agent's actions; RLlib's catalog asks for them.
        model_config: Keys of RLlib's ``DefaultModelConfig`` and of ``ENCODER_DEFAULTS``; ``encoder: auto`` takes
            attention for entities and RLlib's catalog for the rest.

    Raises:
        ConfigError: If there is no encoder for such observations.
    """
    if isinstance(observation_space, MaskedBox):
        seen = build_encoder(observation_space.observation, action_space, model_config)
        return cast(Encoder, WithoutMask(seen, observation_space))
    if isinstance(observation_space, HistoryBox):
        config = {**HISTORY_DEFAULTS, **model_config}
        if config["history_encoder"] != "stack" or len(observation_space.observation.shape) != 1:
            step = build_encoder(observation_space.observation, action_space, model_config)
            kind, dim = config["history_encoder"], int(config["history_dim"])
            return cast(Encoder, HistoryEncoder(step, observation_space, kind, dim))
    name = model_config.get("encoder", ENCODER_DEFAULTS["encoder"])
    built: Encoder = _builder(name)(observation_space, action_space, dict(model_config))
    if not isinstance(built, nn.Module) or not isinstance(getattr(built, "out_features", None), int):
        raise ConfigError(
            f"encoder {name!r} is a {type(built).__name__}: build a torch.nn.Module with an integer out_features"
        )
    return _cast(built, observation_space)
