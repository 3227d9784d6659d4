"""The explanation of one module's policy: a critic in the gauge, and the reward and the value that it contains."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rllib_mamql.algorithms.mamql import objective
from rllib_mamql.algorithms.mamql.others import enumerate_others
from rllib_mamql.networks.encoders import build_encoder
from rllib_mamql.networks.forms import form_of
from rllib_mamql.networks.heads import JointHead, MarginalCritic
from rllib_mamql.networks.masks import log_count, mask_of
from rllib_mamql.networks.rewards import build_reward, reward_model_config
from rllib_mamql.networks.tensors import in_parts, rows_at_once
from rllib_mamql.rewards.marginal import ENUMERATED
from rllib_mamql.rewards.settings import RecoverySettings
from rllib_mamql.rewards.transitions import Transitions

LOGIT_SCALE = 3.0
"""The explanation critic's outputs are multiplied by this: decided policies have logits of several units."""
SCALE, FIRST_SCALE = 0.3, 30.0
"""Nats of reward beyond which the gauge ``rare`` counts paid steps rather than amounts: in the end, and at first."""
STRETCH = 8
"""Successive transitions that are drawn together for the explanation: their states are encoded once."""
FOLLOWED = 0.02
"""Nats of policy error that it is worth if the reward's follower, which shares the explanation's features, knows r."""
PART = 2048
"""Rows of one pass over all joint actions, at most."""


@dataclass(frozen=True)
class Explained:
    """What an explanation says of rows.

    Attributes:
        error: KL(pi || explanation), a scalar in nats.
        kept: What the gauge keeps small, in nats, ``(B,)``: r, or of ``state_only`` r - g(s).
        reward: r in nats, ``(B,)``.
        value: W(s) in nats, ``(B,)``.
        behind: How far the follower is behind r, its squared error as a share of r's variance, a scalar; 0 without one.
    """

    error: Tensor
    kept: Tensor
    reward: Tensor
    value: Tensor
    behind: Tensor


class Explanation(nn.Module):
    """An explanation critic ``Q_i(s, a_i, a_-i)``, with ``g(s)`` of the gauge ``state_only`` where that is asked for.

    Its encoder starts as the policy's own, which has learned already what matters in an observation. Where the reward
    network's is of the same form, a *follower* on the same features learns r while the explanation moves: most of the
    regression that comes after is then done, and no state is encoded for it.

    Args:
        module: The trained module.
        other_actions: Actions of each other agent.
        discount: gamma.
        settings: How rewards are recovered.

    Attributes:
        level: A constant that is taken from all values, in nats; see :func:`level_of`.
        encoder: Of observations.
        critic: Q_i on its features.
        follower: r on its features, in nats; None where the reward network has another encoder, or none.
    """

    level: Tensor

    def __init__(
        self, module: Any, other_actions: tuple[int, ...], discount: float, settings: RecoverySettings
    ) -> None:
        super().__init__()
        self.discount = discount
        self.register_buffer("level", torch.zeros(()))
        config, space, actions = dict(module.model_config), module.observation_space, module.action_space
        self.other_actions = other_actions
        self.joint = bool(self.other_actions) and math.prod(self.other_actions) <= ENUMERATED
        encoder: Any = build_encoder(space, actions, config)
        learned = getattr(module.average, "encoder", None)
        self._starts = False
        if learned is not None and form_of(learned) == form_of(encoder):
            encoder.load_state_dict(learned.state_dict())
            self._starts = True
        features, n = encoder.out_features, int(actions.n)
        self.mask = mask_of(encoder)
        self.encoder: nn.Module = encoder
        self.critic: JointHead | MarginalCritic = (
            JointHead(nn.Identity(), features, n, self.other_actions)
            if self.joint
            else MarginalCritic(nn.Identity(), features, n)
        )
        small = reward_model_config(config)
        self.state_reward = (
            build_reward(space, actions, small, self.other_actions, inputs="state")
            if settings.gauge == "state_only"
            else None
        )
        reward = build_reward(
            space, actions, small, self.other_actions, network=settings.network, inputs=settings.inputs
        )
        self.follower: JointHead | None = None
        if isinstance(reward, JointHead) and form_of(reward.encoder) == form_of(encoder):
            reward.encoder = nn.Identity()
            self.follower = reward
        self._aside: nn.Module | None = None

    def without_encoder(self, rows: Transitions) -> Transitions | None:
        """Puts the encoder aside, until :meth:`with_encoder`; gives the rows with its features as their states.

        None, and nothing changes, where the encoder has not learned yet, or more than it reads observations.
        """
        if not self._starts or self.mask is not None or self.state_reward is not None:
            return None
        self._aside = self.encoder.requires_grad_(False)
        self.encoder = nn.Identity()
        return dataclasses.replace(rows, states=in_parts(self._aside, rows.states))

    def with_encoder(self) -> Explanation:
        """The same with its encoder, all of it to be learned."""
        assert self._aside is not None
        self.encoder, self._aside = self._aside, None
        return self.requires_grad_(True)

    def forward(self, rows: Transitions, index: Tensor) -> Explained:
        """What is said of the rows at ``index``; every state among them is encoded once."""
        count = len(index)
        states, places = torch.unique(torch.cat([rows.now[index], rows.after[index]]), return_inverse=True)
        now, after = places[:count], places[count:]
        observations = rows.states[states]
        features = self.encoder(observations)
        action, others = rows.action[index], rows.others[index]
        if self.joint:
            scores = LOGIT_SCALE * enumerate_others(self.critic, features, list(self.other_actions))
            marginal = objective.marginalise_full(scores, [policy[states] for policy in rows.other_policies])
            place = (now, action, *others.unbind(-1))
            taken = scores[place]
        else:
            marginal = LOGIT_SCALE * self.critic(features)
            taken = objective.take_actions(marginal[now], action)
        marginal = marginal if self.mask is None else self.mask(marginal, observations)
        value = torch.logsumexp(marginal, dim=-1) - log_count(marginal)  # W: the mean is over legal actions.
        reward = objective.inverse_reward(taken, value[after], rows.terminated[index], self.discount)
        policy = rows.policy[rows.now[index]]
        entropy = -(policy * policy.clamp_min(1e-12).log()).sum(-1).mean()
        error = -(policy * torch.log_softmax(marginal[now], dim=-1)).sum(-1).mean() - entropy
        kept = reward
        if self.state_reward is not None:
            kept = reward - self.state_reward(rows.states[rows.now[index]], others)[:, 0]
        behind = torch.zeros(())
        if self.follower is not None:
            followed = objective.take_actions(self.follower(features[now], others), action)
            behind = (followed - reward.detach()).square().mean() / reward.detach().var().clamp_min(1e-8)
        return Explained(error, kept, reward, value[now], behind)


def sparsity(reward: Tensor, scale: float = SCALE) -> Tensor:
    """What each reward adds to the size that the gauge ``rare`` keeps small: ``scale log(1 + |r| / scale)``.

    ``|r|`` in its place, which a large scale comes to, shrinks what is paid and pays a little at many steps of a way
    rather than for its end. The gradient is that of ``|r| / (1 + |r| / scale)`` with its denominator held: the
    reweighted l1 of Candes, Wakin and Boyd, *Enhancing Sparsity by Reweighted l1 Minimization* (J. Fourier Anal. Appl.
    14, 2008), with weights that follow every gradient step. It is not convex: from a small scale at once the fit ends
    with what explains the policy soonest. So the scale falls, as in *graduated non-convexity* (Blake and Zisserman,
    *Visual Reconstruction*, MIT Press 1987).

    Args:
        reward: In nats, any shape.
        scale: In nats, > 0.

    Returns:
        Of that shape.
    """
    return scale * (reward.abs() / scale).log1p()


def falling_scale(share: float) -> float:
    """The scale when so much of its fall is over, share in [0, 1]: from ``FIRST_SCALE`` to ``SCALE``, geometrically."""
    return float(FIRST_SCALE * (SCALE / FIRST_SCALE) ** share)


def lowered(targets: tuple[Tensor, Tensor], rows: Transitions, discount: float, level: Tensor) -> tuple[Tensor, Tensor]:
    """Reward and value with a constant ``level`` taken from all values."""
    reward, value = targets
    return reward - (1.0 - discount * (~rows.terminated).float()) * level, value - level


@torch.no_grad()
def level_of(targets: tuple[Tensor, Tensor], rows: Transitions, discount: float) -> Tensor:
    """The constant to take from an explanation's values, so that what the policy does most is paid nothing.

    Values that are less by a constant c make every reward less by ``(1 - gamma (1 - terminated)) c`` and explain the
    policy as well. Where tasks hardly ever end, the fit hardly feels it, and would end with a wage for any step. Here c
    has the least ``sum pi(a | s) |r - (1 - gamma (1 - terminated)) c|``: a weighted median.

    Args:
        targets: Reward and value of all rows, in nats, ``(N,)`` each.
        rows: The transitions.
        discount: gamma.

    Returns:
        c in nats, a scalar; 0 where nothing says how much.
    """
    reward, _ = targets
    ratio = 1.0 - discount * (~rows.terminated).float()
    weight = rows.policy[rows.now].gather(-1, rows.action[:, None])[:, 0] * ratio
    if not weight.sum() > 0.0:
        return torch.zeros(())
    candidates = reward / ratio.clamp_min(1e-8)
    order = torch.argsort(candidates)
    heavy = torch.cumsum(weight[order].double(), 0)
    return candidates[order][torch.searchsorted(heavy, 0.5 * heavy[-1:])[0]]


def size_of(found: Explained, gauge: str, scale: float) -> Tensor:
    """What a gauge keeps small, in nats, a scalar."""
    return (sparsity(found.kept, scale) if gauge == "rare" else found.kept.abs()).mean()


def gauge_loss(
    explanation: Explanation, rows: Transitions, settings: RecoverySettings, scale: float, generator: torch.Generator
) -> Tensor:
    """The policy's error and the size of the reward on a minibatch, a scalar.

    Args:
        explanation: What is fitted.
        rows: The transitions.
        settings: How rewards are recovered.
        scale: Of the gauge ``rare``, in nats; see :func:`sparsity`.
        generator: Draws the rows.
    """
    found = explanation(rows, rows.segments(rows_at_once(rows.states, settings.rows), STRETCH, generator))
    return found.error + settings.strength * size_of(found, settings.gauge, scale) + FOLLOWED * found.behind


@torch.no_grad()
def targets_of(explanation: Explanation, rows: Transitions) -> tuple[Tensor, Tensor]:
    """Reward and value of all rows, in nats and less the explanation's level, ``(N,)`` each."""
    size = rows_at_once(rows.states, most=PART)
    parts = [
        explanation(rows, torch.arange(first, min(first + size, len(rows.now))))
        for first in range(0, len(rows.now), size)
    ]
    reward, value = torch.cat([part.reward for part in parts]), torch.cat([part.value for part in parts])
    return lowered((reward, value), rows, explanation.discount, explanation.level)


@torch.no_grad()
def implied_targets(module: Any, rows: Transitions, discount: float, rationality: float) -> tuple[Tensor, Tensor]:
    """Reward and soft value that the trained critic itself implies, in nats, ``(N,)`` each."""
    q = in_parts(module.average, rows.states)
    value = objective.soft_value(q, rationality)
    taken = objective.take_actions(q[rows.now], rows.action)
    reward = objective.inverse_reward(taken, value[rows.after], rows.terminated, discount)
    return rationality * reward, rationality * value[rows.now]
