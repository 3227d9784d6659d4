"""The networks of MIFQ: each agent's critic, and the monotone network that mixes all agents' values into the team's."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rllib_mamql.networks.module import BoltzmannModule

MIXING = "mixing"
"""Key of model_config: sizes of the mixing network, or None for modules without one."""
HYPER_UNITS = 64
"""Hidden units of the network that gives the mixing weights."""
EQUAL = 0.5
"""Share of the mixing weights that is the same for all agents."""


class MonotoneMixing(nn.Module):
    """Mixes one number of each agent into the team's, which never falls where one of them rises.

    Its weights are not negative; they and the biases are functions of what all agents observe, as in QMIX
    (arXiv 1803.11485)::

        units 0:  M(s; x) = sum_i w_i(s) x_i + b(s)
        units K:  M(s; x) = sum_k v_k(s) elu(sum_i w_ki(s) x_i + b_k(s)) + b(s)

    The weights of a unit sum to one, by a softmax, and ``equal`` of them is the same for all agents. Free weights
    could all go to zero, where ``Q`` and ``V`` of the team are the same and its policy seems to explain every action
    perfectly. By a softmax alone all weight goes to the agent whose actions are easiest to explain, and the others
    learn nothing (docs/results/rivals.md).

    Args:
        features: Numbers in the joint observation.
        agents: n.
        units: K, >= 0.
        equal: Share of the agents' weights, in [0, 1], that is dealt out equally.
    """

    def __init__(self, features: int, agents: int, units: int, equal: float = EQUAL) -> None:
        super().__init__()
        self.agents, self.units, self.equal = agents, units, equal
        rows = max(1, units)
        sizes = {"mix": rows * agents, "bias": 1}
        if units:
            sizes |= {"unit_bias": units, "join": units}
        self.body = nn.Sequential(nn.Linear(features, HYPER_UNITS), nn.ReLU())
        self.heads = nn.ModuleDict({name: nn.Linear(HYPER_UNITS, size) for name, size in sizes.items()})
        with torch.no_grad():  # All agents count alike at first.
            for parameter in self.heads.parameters():
                parameter.mul_(0.1)

    def forward(self, observations: Tensor, values: Tensor, counted: Tensor) -> Tensor:
        """The team's numbers ``(..., R)``.

        Args:
            observations: What all agents see, in one row, ``(R, features)``.
            values: Of each agent ``(..., R, n)``.
            counted: Agents that take part, bool ``(R, n)``; the others' values count as 0.
        """
        hidden = self.body(observations)
        mix = torch.softmax(self.heads["mix"](hidden).view(len(hidden), -1, self.agents), -1)
        mix = self.equal / self.agents + (1.0 - self.equal) * mix
        mixed = (mix * (values * counted).unsqueeze(-2)).sum(-1)
        if self.units:
            join = torch.softmax(self.heads["join"](hidden), -1)
            mixed = join * nn.functional.elu(mixed + self.heads["unit_bias"](hidden))
        return mixed.sum(-1) + self.heads["bias"](hidden).squeeze(-1)


class MIFQModule(BoltzmannModule):
    """One agent's (or one sharing group's) networks: ``network`` is trained, ``average`` acts, one has ``mixing``."""

    TRAINING_ONLY: ClassVar[tuple[str, ...]] = ("mixing",)

    mixing: MonotoneMixing | None

    def setup_training(self, config: dict[str, Any]) -> None:
        """Builds the mixing network where this module is to hold it."""
        sizes = config[MIXING]
        self.mixing = None if sizes is None else MonotoneMixing(**sizes)
