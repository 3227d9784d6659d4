"""What a learner reports about each agent."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rllib_mamql.diagnostics import Q_SHARE, REWARD_SHARE
from rllib_mamql.objective import CriticLoss, RewardLoss, take_actions, weighted_mean

NUM_GRADIENT_STEPS = "num_gradient_steps"
NUM_GRADIENT_STEPS_LIFETIME = "num_gradient_steps_lifetime"

EXPERT_LOG_LIKELIHOOD = "expert_log_likelihood"
EXPERT_ACCURACY = "expert_accuracy"
POLICY_ENTROPY = "policy_entropy"
Q_MEAN = "q_mean"
Q_DRIFT = "q_drift"


@dataclass(frozen=True)
class AgentTerms:
    """Tensors of one gradient step from which an agent's metrics are computed; all are detached or scalars."""

    critic: CriticLoss
    reward: RewardLoss | None
    distillation: Tensor | None
    q: Tensor
    implied_reward: Tensor
    expert_log_policy: Tensor
    expert_actions: Tensor
    expert_weights: Tensor
    rationality: float
    initial_q: Tensor
    reward_bound: float
    q_bound: float


@torch.no_grad()
def summarise(terms: AgentTerms) -> dict[str, float]:
    """Metrics of one agent, by name.

    ``expert_log_likelihood`` is the mean log-probability (nats, at most 0) of the expert's actions and
    ``expert_accuracy`` how often the most likely action is the expert's; ``q_drift`` is the mean action value less
    that of the first minibatch: steady growth of it is the first sign of trouble on small datasets.
    ``reward_bound_share`` and ``q_bound_share`` are sizes in their bounds (``diagnostics.implied_bounds``).
    """
    log_policy, actions, weights = terms.expert_log_policy, terms.expert_actions, terms.expert_weights
    correct = (log_policy.argmax(-1) == actions).float()
    entropy = -(log_policy.exp() * log_policy).sum(-1)
    size = terms.implied_reward.abs()
    large = size.quantile(0.9)
    values = {
        "critic_loss": terms.critic.total,
        "expert_reward": terms.critic.expert_reward,
        "chi_square": terms.critic.chi_square,
        "value_term": terms.critic.value,
        EXPERT_LOG_LIKELIHOOD: weighted_mean(take_actions(log_policy, actions), weights),
        EXPERT_ACCURACY: weighted_mean(correct, weights),
        POLICY_ENTROPY: weighted_mean(entropy, weights),
        "abs_reward_p50": size.quantile(0.5),
        "abs_reward_p90": large,
        "abs_reward_max": size.max(),
        Q_MEAN: terms.q.mean(),
        Q_DRIFT: terms.q.mean() - terms.initial_q,
        REWARD_SHARE: large / terms.reward_bound,
        Q_SHARE: terms.q.mean().abs() / terms.q_bound,
    }
    if terms.reward is not None:
        values["reward_loss"] = terms.reward.total
        values["reward_regression"] = terms.reward.regression
        values["reward_shrinkage"] = terms.reward.shrinkage
    if terms.distillation is not None:
        values["distillation"] = terms.distillation
    return {name: float(value) for name, value in values.items()}
