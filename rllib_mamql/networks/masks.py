"""Legal actions: how networks take masks and observations apart, and what scores say of actions that are illegal.

Masks come with observations (:mod:`rllib_mamql.data.masks`). No network looks at them: encoders, rewards and potentials
see the observation alone. Where action values are made, those of illegal actions become ``ILLEGAL``, and with this the
soft value, the policy, draws and the most likely action are those of the legal actions, exactly: ``exp`` of it is 0,
and no gradient passes. It is finite, for in sums of probabilities times logarithms 0 times infinity is NaN.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rllib_mamql.data.masks import MaskedBox

ILLEGAL = -1e30
"""Score of an action that is not to be taken; times any rationality that makes sense, float32 and bfloat16 hold it."""


class ActionMask(nn.Module):
    """Finds the legal actions in observations that carry masks, and restricts scores to them.

    Args:
        space: Of the observations.
    """

    def __init__(self, space: MaskedBox) -> None:
        super().__init__()
        self.first, self.actions = space.size, space.actions

    def legal(self, observations: Tensor) -> Tensor:
        """Which actions are legal ``(B, A)``, bool; all where the mask allows none, as it does where nobody acts."""
        allowed = observations[..., self.first :] != 0
        return allowed | ~allowed.any(-1, keepdim=True)

    def forward(self, scores: Tensor, observations: Tensor) -> Tensor:
        """Scores ``(B, A)`` with ``ILLEGAL`` in the place of illegal actions'."""
        return torch.where(self.legal(observations), scores, ILLEGAL)

    def extra_repr(self) -> str:
        """Where masks begin, and their size: networks that differ in it are of different forms."""
        return f"first={self.first}, actions={self.actions}"


class WithoutMask(nn.Module):
    """A network of what an agent sees, behind observations that carry masks.

    Args:
        network: ``(observations (B, *obs), ...) -> anything``.
        space: Of the observations that carry masks.

    Attributes:
        mask: Restricts scores to what the observations allow.
    """

    def __init__(self, network: nn.Module, space: MaskedBox) -> None:
        super().__init__()
        self.network, self.mask = network, ActionMask(space)
        self.shape = tuple(space.observation.shape)
        if hasattr(network, "out_features"):
            self.out_features = int(network.out_features)  # type: ignore[arg-type]

    def forward(self, observations: Tensor, *further: Tensor) -> Tensor:
        """What the network gives."""
        seen = observations[..., : self.mask.first].reshape(*observations.shape[:-1], *self.shape)
        values: Tensor = self.network(seen, *further)
        return values


def mask_of(network: object) -> ActionMask | None:
    """What restricts scores to legal actions, where a network's observations carry masks."""
    return network.mask if isinstance(network, WithoutMask) else None


def is_legal(scores: Tensor) -> Tensor:
    """Which scores are of legal actions, bool; of scores times any rationality above 1e-10 too."""
    return scores > ILLEGAL * 1e-10


def mean_over_legal(scores: Tensor) -> Tensor:
    """Mean of scores ``(n, ..., A)`` of legal actions, ``(n,)``."""
    legal = is_legal(scores)
    dims = tuple(range(1, scores.dim()))
    return torch.where(legal, scores, 0.0).sum(dims) / legal.sum(dims).clamp_min(1)


def log_count(scores: Tensor) -> Tensor:
    """Logarithm of the number of legal actions, ``(...)`` of scores ``(..., A)``."""
    return is_legal(scores).sum(-1).to(scores.dtype).log()
