"""What scores actions: heads on an encoder, for critics and rewards."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rllib_mamql.networks.masks import mask_of


class MarginalCritic(nn.Module):
    """Action values of the agent's own actions: ``(B, *obs) -> (B, A)``.

    Where observations carry masks, values of illegal actions are :data:`~rllib_mamql.networks.masks.ILLEGAL`.
    """

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
        return self.restrict(self.head(self.encoder(observations)), observations)

    def restrict(self, scores: Tensor, observations: Tensor) -> Tensor:
        """Scores ``(B, A)`` of own actions, restricted to what the observations allow."""
        mask = mask_of(self.encoder)
        return scores if mask is None else mask(scores, observations)


class OtherActions(nn.ModuleList):
    """Embeds the other agents' actions: the sum of one embedding for each of them.

    Args:
        other_actions: How many actions each other agent has.
        features: Width of the embedding.
    """

    first: Tensor
    one_hot: Tensor

    def __init__(self, other_actions: tuple[int, ...], features: int) -> None:
        super().__init__(nn.Embedding(n, features) for n in other_actions)
        ends = [sum(other_actions[:index]) for index in range(len(other_actions))]
        self.register_buffer("first", torch.tensor(ends, dtype=torch.long), persistent=False)
        self.register_buffer("one_hot", torch.eye(sum(other_actions)), persistent=False)

    def forward(self, others: Tensor) -> Tensor | float:
        """``(B, F)`` of actions ``(B, m)``, or ``(B, K, F)`` of ``(B, K, m)``; 0.0 where there are no others.

        Where the same K joint actions were expanded over all rows, ``(1, K, F)``: they are embedded once.
        """
        if others.dim() == 3 and others.stride(0) == 0:
            others = others[:1]
        if others.dim() == 2 and len(self) > 2:
            # One product for all: many small look-ups cost more than they should, most of all backwards. Not for K
            # joint actions a row: they may be so many that a tensor with an axis for the others would not fit.
            table = torch.cat([parameter for parameter in self.parameters()])
            return nn.functional.embedding(others + self.first, self.one_hot).sum(1) @ table
        total: Tensor | float = 0.0
        for index, embedding in enumerate(self):
            total = total + embedding(others[..., index])
        return total


class MeanFieldHead(nn.Module):
    """Scores own actions given how often the others take each of theirs: ``Q_i(s, ., f)``.

    Agents with equally many actions are told apart no more; its size does not grow with their number.
    """

    def __init__(self, encoder: nn.Module, features: int, actions: int, other_actions: tuple[int, ...]) -> None:
        super().__init__()
        self.encoder = encoder
        self.from_state = nn.Linear(features, features)
        width = sum(set(other_actions))
        self.from_others = nn.Linear(width, features, bias=False) if width else None
        self.head = nn.Linear(features, actions)
        with torch.no_grad():
            self.head.weight.mul_(0.1)
            self.head.bias.zero_()

    def forward(self, observations: Tensor, frequencies: Tensor) -> Tensor:
        """Values ``(B, A)`` given the others' action frequencies ``(B, F)``.

        ``F`` is the sum of the different numbers of actions that others have, ascending; 0 without others.
        """
        hidden = self.from_state(self.encoder(observations))
        if self.from_others is not None:
            hidden = hidden + self.from_others(frequencies)
        return self.head(torch.relu(hidden))


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
        self.from_others = OtherActions(other_actions, features)
        self.head = nn.Linear(features, actions)
        with torch.no_grad():
            self.head.weight.mul_(0.1)
            self.head.bias.zero_()

    def forward(self, observations: Tensor, others: Tensor) -> Tensor:
        """Values ``(B, A)`` given the others' actions ``(B, m)``, or ``(B, K, A)`` given ``(B, K, m)``."""
        hidden = self.from_state(self.encoder(observations))
        if others.dim() == 3:
            hidden = hidden.unsqueeze(1)
        return self.head(torch.relu(hidden + self.from_others(others)))
