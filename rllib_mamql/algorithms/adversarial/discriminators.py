"""The discriminators: what tells an agent's own steps from the expert's, and pays by it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rllib_mamql.algorithms.adversarial.objective import airl_reward, gail_reward, shaped
from rllib_mamql.learning.soft_q import take_actions
from rllib_mamql.networks.heads import MarginalCritic
from rllib_mamql.networks.rewards import Potential


@dataclass(frozen=True)
class Steps:
    """Steps of single agents, as discriminators see them.

    Attributes:
        obs: ``(B, *obs)``.
        actions: ``(B,)``.
        next_obs: ``(B, *obs)``; where the agent terminated it means nothing.
        terminated: ``(B,)``, bool.
        log_policy: Log-probabilities of the actions by the present policy, without gradients ``(B,)``.
    """

    obs: Tensor
    actions: Tensor
    next_obs: Tensor
    terminated: Tensor
    log_policy: Tensor

    def differentiable(self) -> Steps:
        """The same with observations that gradients can be taken of."""
        obs, next_obs = (seen.float().requires_grad_() for seen in (self.obs, self.next_obs))
        return dataclasses.replace(self, obs=obs, next_obs=next_obs)

    def split(self, rows: int) -> list[Steps]:
        """The same in parts of at most so many rows."""
        fields = (self.obs, self.actions, self.next_obs, self.terminated, self.log_policy)
        return [Steps(*part) for part in zip(*(torch.split(values, rows) for values in fields), strict=True)]


class Discriminator(nn.Module):
    """Logits of being the expert's, and the rewards that follow from them."""

    def forward(self, steps: Steps) -> Tensor:
        """Logits ``(B,)`` of steps."""
        raise NotImplementedError

    def reward(self, logits: Tensor) -> Tensor:
        """Rewards ``(B,)`` of steps with such logits."""
        raise NotImplementedError


def steepness(logits: Tensor, steps: Steps) -> Tensor:
    """How steep a discriminator is: squared norm of its logits' gradient in the observations, for a gradient penalty.

    Each number of an observation counts in its own spread over the steps: the units of observations do not matter.

    Args:
        logits: Of the steps ``(B,)``.
        steps: Where they were taken, :meth:`Steps.differentiable`.

    Returns:
        ``(B,)``, >= 0, differentiable.
    """
    seen = [steps.obs, steps.next_obs]
    slopes = torch.autograd.grad(logits.sum(), seen, create_graph=True, allow_unused=True)
    spread = steps.obs.detach().std(0)
    squares = [(slope * spread).square().flatten(1).sum(1) for slope in slopes if slope is not None]
    return torch.stack(squares).sum(0)


class ActionDiscriminator(Discriminator):
    """MAGAIL's: a free function of observation and action.

    Args:
        network: ``(B, *obs) -> (B, A)``.
    """

    def __init__(self, network: MarginalCritic) -> None:
        super().__init__()
        self.network = network

    def forward(self, steps: Steps) -> Tensor:
        """Logits ``(B,)``: the network's output for the action taken."""
        return take_actions(self.network(steps.obs), steps.actions)

    def reward(self, logits: Tensor) -> Tensor:
        """``-log(1 - D)``."""
        return gail_reward(logits)


class ShapedDiscriminator(Discriminator):
    """MAAIRL's: reward ``g`` and shaping ``h`` against the policy's own probability.

    Args:
        base: ``g``: ``(B, *obs) -> (B, A)``, or ``(B,)`` where it sees no action.
        potential: ``h``: ``(B, *obs) -> (B,)``.
        discount: ``gamma`` in [0, 1).
    """

    def __init__(self, base: MarginalCritic | Potential, potential: Potential, discount: float) -> None:
        super().__init__()
        self.base, self.potential, self.discount = base, potential, discount

    def base_reward(self, obs: Tensor, actions: Tensor) -> Tensor:
        """``g`` of observations ``(B, *obs)`` and actions ``(B,)``: ``(B,)``, the reward that is recovered."""
        values: Tensor = self.base(obs)
        return values if values.dim() == 1 else take_actions(values, actions)

    def forward(self, steps: Steps) -> Tensor:
        """Logits ``f(s, a, s') - log pi(a | s)``, ``(B,)``."""
        here, after = self.potential(torch.cat([steps.obs, steps.next_obs])).chunk(2)
        base = self.base_reward(steps.obs, steps.actions)
        return shaped(base, here, after, steps.terminated, self.discount) - steps.log_policy

    def reward(self, logits: Tensor) -> Tensor:
        """``log D - log(1 - D)``."""
        return airl_reward(logits)
