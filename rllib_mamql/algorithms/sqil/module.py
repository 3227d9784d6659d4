"""The networks of one agent of SQIL: action values, and the target network that follows them."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import torch

from rllib_mamql.networks.heads import MarginalCritic
from rllib_mamql.networks.module import BoltzmannModule


class SQILModule(BoltzmannModule):
    """One agent's (or one sharing group's) networks: ``network`` learns, ``average`` acts, ``target`` bootstraps."""

    TRAINING_ONLY: ClassVar[tuple[str, ...]] = ("target",)

    target: MarginalCritic

    def setup_training(self, config: dict[str, Any]) -> None:
        """Builds the target network, a copy of the trained one."""
        self.target = copy.deepcopy(self.trained).requires_grad_(False)

    def restart(self) -> None:
        """Draws all weights anew; the target's are the trained network's."""
        super().restart()
        self.target.load_state_dict(self.trained.state_dict())

    @torch.no_grad()
    def move_target(self, rate: float) -> None:
        """Moves the target network: ``target <- (1 - rate) target + rate trained``."""
        torch._foreach_lerp_(list(self.target.parameters()), list(self.trained.parameters()), rate)
