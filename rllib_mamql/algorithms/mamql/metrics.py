"""What a learner reports about each agent."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rllib_mamql.algorithms.mamql.objective import CriticLoss, RewardLoss, log_policy, take_actions, weighted_mean

NUM_GRADIENT_STEPS = "num_gradient_steps"
NUM_GRADIENT_STEPS_LIFETIME = "num_gradient_steps_lifetime"

EXPERT_LOG_LIKELIHOOD = "expert_log_likelihood"
EXPERT_ACCURACY = "expert_accuracy"
POLICY_ENTROPY = "policy_entropy"
Q_MEAN = "q_mean"
Q_DRIFT = "q_drift"
REWARD_SHARE, Q_SHARE = "reward_bound_share", "q_bound_share"
"""Metrics: the 90th percentile of the implied reward's size and the mean action value, in their bounds."""


@dataclass(frozen=True)
class AgentTerms:
    """Tensors of one gradient step from which metrics of n agents are computed; none needs a gradient any more.

    Attributes:
        critic: Terms of the critics' losses, each ``(n,)``.
        reward: Terms of the reward regression, each ``(n,)``, or None.
        distillation: Distance of marginal to marginalised joint critics ``(n,)``, or None.
        q: Action values ``(n, R, A)``, the expert's rows first.
        implied_reward: ``(n, R)``.
        expert_actions: ``(n, E)``.
        expert_weights: ``(n, E)``.
        rationality: Inverse temperature of the policies.
        initial_q: Mean action value of the first minibatch ``(n,)``.
        reward_bound: Bound of implied rewards.
        q_bound: Bound of action values.
    """

    critic: CriticLoss
    reward: RewardLoss | None
    distillation: Tensor | None
    q: Tensor
    implied_reward: Tensor
    expert_actions: Tensor
    expert_weights: Tensor
    rationality: float
    initial_q: Tensor
    reward_bound: float
    q_bound: float


@torch.no_grad()
def summarise(terms: AgentTerms) -> list[dict[str, float]]:
    """Metrics of each agent, by name.

    ``expert_log_likelihood`` is the mean log-probability (nats, at most 0) of the expert's actions and
    ``expert_accuracy`` how often the most likely action is the expert's; ``q_drift`` is the mean action value less
    that of the first minibatch: steady growth of it is the first sign of trouble on small datasets.
    ``reward_bound_share`` and ``q_bound_share`` are sizes in their bounds (``diagnostics.implied_bounds``).
    """
    actions, weights = terms.expert_actions, terms.expert_weights
    log_policies = log_policy(terms.q[:, : actions.shape[1]], terms.rationality)
    correct = (log_policies.argmax(-1) == actions).float()
    entropy = -(log_policies.exp() * log_policies).sum(-1)
    size = terms.implied_reward.abs()
    large = size.quantile(0.9, dim=-1)
    mean_q = terms.q.mean((1, 2))
    values = {
        "critic_loss": terms.critic.total,
        "expert_reward": terms.critic.expert_reward,
        "chi_square": terms.critic.chi_square,
        "value_term": terms.critic.value,
        EXPERT_LOG_LIKELIHOOD: weighted_mean(take_actions(log_policies, actions), weights),
        EXPERT_ACCURACY: weighted_mean(correct, weights),
        POLICY_ENTROPY: weighted_mean(entropy, weights),
        "abs_reward_p50": size.quantile(0.5, dim=-1),
        "abs_reward_p90": large,
        "abs_reward_max": size.amax(-1),
        Q_MEAN: mean_q,
        Q_DRIFT: mean_q - terms.initial_q,
        REWARD_SHARE: large / terms.reward_bound,
        Q_SHARE: mean_q.abs() / terms.q_bound,
    }
    if terms.reward is not None:
        values["reward_loss"] = terms.reward.total
        values["reward_regression"] = terms.reward.regression
        values["reward_shrinkage"] = terms.reward.shrinkage
    if terms.distillation is not None:
        values["distillation"] = terms.distillation
    # One copy for all metrics: each would make the host wait for the device.
    return [dict(zip(values, of_agent, strict=True)) for of_agent in torch.stack(list(values.values()), 1).tolist()]
