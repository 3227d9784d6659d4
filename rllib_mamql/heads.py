"""What scores actions: heads on an encoder, for critics and rewards."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MarginalCritic(nn.Module):
    """Action values of the agent's own actions: ``(B, *obs) -> (B, A)``."""

    def __init__(self, encoder: nn.Module, features: int, actions: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(features, actions)
        # Small first values: at high rationality a default initialisation starts from a random, confident policy.
        with torch.no_grad():
            self.head.weight.mul_(0.1)
            self.head.bias.zero_()

    def forward(self, observations: Tensor) -> Tensor:
        """Action values ``(B, A)``."""
        return self.head(self.encoder(observations))


class JointHead(nn.Module):
    """Scores own actions given the others' actions: ``Q_i(s, ., a_-i)`` or ``R_i(s, ., a_-i)``.

    The observation is encoded once; the others' actions enter behind the encoder, so that scoring many
    of them costs one hidden layer each.
    """

    def __init__(self, encoder: nn.Module, features: int, actions: int, other_actions: tuple[int, ...]) -> None:
        super().__init__()
        self.encoder = encoder
        self.other_actions = other_actions
        self.from_state = nn.Linear(features, features)
        self.from_others = nn.ModuleList(nn.Embedding(n, features) for n in other_actions)
        self.head = nn.Linear(features, actions)
        with torch.no_grad():
            self.head.weight.mul_(0.1)
            self.head.bias.zero_()

    def forward(self, observations: Tensor, others: Tensor) -> Tensor:
        """Values ``(B, A)`` given the others' actions ``(B, m)``, or ``(B, K, A)`` given ``(B, K, m)``."""
        hidden = self.from_state(self.encoder(observations))
        if others.dim() == 3:
            hidden = hidden.unsqueeze(1)
        for index, embedding in enumerate(self.from_others):
            hidden = hidden + embedding(others[..., index])
        return self.head(torch.relu(hidden))
