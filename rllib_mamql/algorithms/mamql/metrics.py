"""What MAMQL reports about each agent."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rllib_mamql.algorithms.mamql.objective import CriticLoss, RewardLoss, implied_bounds, log_policy
from rllib_mamql.columns import Q_SHARE, REWARD_SHARE
from rllib_mamql.learning.metrics import explained, to_floats
from rllib_mamql.networks.masks import mean_over_legal

Q_MEAN = "q_mean"
Q_DRIFT = "q_drift"


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
    """

    critic: CriticLoss
    reward: RewardLoss | None
    distillation: Tensor | None
    q: Tensor
    implied_reward: Tensor
    expert_actions: Tensor
    expert_weights: Tensor


@torch.no_grad()
def summarise(
    terms: AgentTerms, initial_q: Tensor, rationality: float, chi_square_scale: float, discount: float
) -> list[dict[str, float]]:
    """Metrics of each agent, by name.

    Besides those of :func:`~rllib_mamql.learning.metrics.explained`: ``q_drift`` is the mean action value less that of
    the first minibatch: steady growth of it is the first sign of trouble on small datasets. ``reward_bound_share`` and
    ``q_bound_share`` are sizes in their bounds (:func:`objective.implied_bounds`).

    Args:
        terms: Of one gradient step.
        initial_q: Mean action value of the first minibatch ``(n,)``.
        rationality: Inverse temperature of the policies.
        chi_square_scale: Of the objective.
        discount: Of the objective.
    """
    actions, weights = terms.expert_actions, terms.expert_weights
    log_policies = log_policy(terms.q[:, : actions.shape[1]], rationality)
    size = terms.implied_reward.abs()
    large = size.quantile(0.9, dim=-1)
    mean_q = mean_over_legal(terms.q)
    reward_bound, q_bound = implied_bounds(chi_square_scale, discount)
    values = {
        "critic_loss": terms.critic.total,
        "expert_reward": terms.critic.expert_reward,
        "chi_square": terms.critic.chi_square,
        "value_term": terms.critic.value,
        **explained(log_policies, actions, weights),
        "abs_reward_p50": size.quantile(0.5, dim=-1),
        "abs_reward_p90": large,
        "abs_reward_max": size.amax(-1),
        Q_MEAN: mean_q,
        Q_DRIFT: mean_q - initial_q,
        REWARD_SHARE: large / reward_bound,
        Q_SHARE: mean_q.abs() / q_bound,
    }
    if terms.reward is not None:
        values["reward_loss"] = terms.reward.total
        values["reward_regression"] = terms.reward.regression
        values["reward_shrinkage"] = terms.reward.shrinkage
    if terms.distillation is not None:
        values["distillation"] = terms.distillation
    return to_floats(values)
