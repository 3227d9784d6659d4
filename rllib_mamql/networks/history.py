"""Networks that read an observation with its history: each step by the observation's own encoder, then all of them.

Three ways to read the steps: ``stack`` lays them side by side, ``gru`` goes through them from the oldest on, and
``attention`` looks back from the present. Steps that never were, before an episode's start, change nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rllib_mamql.data.history import HistoryBox
from rllib_mamql.errors import ConfigError, check_choice, check_integer

HISTORY_DEFAULTS: dict[str, Any] = {"history": 0, "history_encoder": "stack", "history_dim": 64}
"""Keys of ``model_config`` that say what is remembered and how it is read, with their defaults."""
HISTORY_ENCODERS = ("stack", "gru", "attention")


def history_steps(model_config: Mapping[str, Any]) -> int:
    """How many steps back networks of such settings see; 0: none."""
    return int(model_config.get("history", HISTORY_DEFAULTS["history"]))


def check_history(model_config: Mapping[str, Any]) -> None:
    """Refuses settings of the history that are out of range.

    Raises:
        ConfigError: Names the key, the value found and what is allowed.
    """
    given = {**HISTORY_DEFAULTS, **model_config}
    check_integer("model_config: history", given["history"], low=0)
    check_choice("model_config: history_encoder", given["history_encoder"], HISTORY_ENCODERS)
    check_integer("model_config: history_dim", given["history_dim"])
    for key in ("history_encoder", "history_dim"):
        if not given["history"] and given[key] != HISTORY_DEFAULTS[key]:
            raise ConfigError(
                f"model_config: {key} is {given[key]!r}, but there is no history to read: set history to a number of "
                "steps, or leave it out"
            )


class HistoryEncoder(nn.Module):
    """Features of the present observation, and behind them a summary of all steps: ``(B, F') -> (B, D + dim)``.

    Args:
        encoder: Of one observation, ``(B, *obs) -> (B, D)``; it has ``out_features``.
        space: Of observations with history.
        kind: One of ``HISTORY_ENCODERS``.
        dim: Width of the summary.
    """

    def __init__(self, encoder: Any, space: HistoryBox, kind: str, dim: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.shape, self.size, self.steps = tuple(space.observation.shape), space.size, space.steps
        features = int(encoder.out_features) + space.actions + 1
        summaries = {"stack": StackedSteps, "gru": GatedSteps, "attention": AttendedSteps}
        self.summary = summaries[kind](features, self.steps + 1, dim)
        self.out_features = int(encoder.out_features) + dim

    def forward(self, observations: Tensor) -> Tensor:
        """Features of a batch of observations with their history."""
        past = observations[:, self.size :].reshape(-1, self.steps, (observations.shape[1] - self.size) // self.steps)
        frames = torch.cat([observations[:, None, : self.size], past[..., 1 : 1 + self.size]], 1)
        features = self.encoder(frames.reshape(-1, *self.shape))
        features = features.reshape(-1, self.steps + 1, features.shape[-1])
        taken = past[..., 1 + self.size :].to(features.dtype)
        there = (past[..., :1] > 0).to(features.dtype)
        # At the present the agent is there, and has not acted yet.
        taken = torch.cat([torch.zeros_like(taken[:, :1]), taken], 1)
        there = torch.cat([torch.ones_like(there[:, :1]), there], 1)
        steps = torch.cat([features * there, taken, there], -1)
        return torch.cat([features[:, 0], self.summary(steps, there)], -1)

    def extra_repr(self) -> str:
        """How a row is laid out: networks that differ in it are of different forms."""
        return f"shape={self.shape}, steps={self.steps}"


class StackedSteps(nn.Module):
    """A hidden layer over all steps side by side.

    Args:
        features: Of a step, I.
        steps: How many, the present among them, S.
        dim: What comes out.
    """

    def __init__(self, features: int, steps: int, dim: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(steps * features, dim)

    def forward(self, steps: Tensor, there: Tensor) -> Tensor:
        """``(B, dim)`` of steps ``(B, S, I)``, the present first; ``there`` ``(B, S, 1)`` is 0 where none was."""
        return torch.relu(self.hidden(steps.flatten(1)))


class GatedSteps(nn.Module):
    """A gated recurrent unit (Cho et al., EMNLP 2014) over the steps, the present last.

    Written out: exported programs have no operator for torch's. Arguments are those of :class:`StackedSteps`.
    """

    def __init__(self, features: int, steps: int, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.of_step, self.of_state = nn.Linear(features, 3 * dim), nn.Linear(dim, 3 * dim)

    def forward(self, steps: Tensor, there: Tensor) -> Tensor:
        """The last state ``(B, dim)``; it stays 0 until the agent is there."""
        given = self.of_step(steps)
        state = torch.zeros_like(given[:, 0, : self.dim])
        for back in range(steps.shape[1] - 1, -1, -1):
            reset, update, new = given[:, back].split(self.dim, dim=-1)
            kept_reset, kept_update, kept_new = self.of_state(state).split(self.dim, dim=-1)
            gate = torch.sigmoid(update + kept_update)
            proposed = torch.tanh(new + torch.sigmoid(reset + kept_reset) * kept_new)
            state = torch.where(there[:, back] > 0, gate * state + (1.0 - gate) * proposed, state)
        return state


class AttendedSteps(nn.Module):
    """Attention from the present to every step, which know how far back they are. Arguments: :class:`StackedSteps`."""

    def __init__(self, features: int, steps: int, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.embed = nn.Linear(features, dim)
        self.how_far = nn.Parameter(torch.randn(steps, dim) * dim**-0.5)
        self.query, self.key_value = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim)

    def forward(self, steps: Tensor, there: Tensor) -> Tensor:
        """What was looked up, ``(B, dim)``."""
        hidden = torch.relu(self.embed(steps)) + self.how_far
        keys, values = self.key_value(hidden).split(self.dim, dim=-1)
        scores = torch.bmm(self.query(hidden[:, :1]), keys.transpose(1, 2)) * self.dim**-0.5
        attention = torch.softmax(scores.masked_fill(there.transpose(1, 2) == 0, float("-inf")), dim=-1)
        return torch.bmm(attention, values)[:, 0]
