"""Recovers rewards from trained policies in a gauge.

The policy of a critic is explained by many rewards: ``rbar + gamma (1 - terminated) Phi(s') - Phi(s)`` for every
potential Phi, and, where the policy is known with an error only, by those of policies close by. Of all these an
*explanation critic* ``Q_i(s, a_i, a_-i)`` picks the one that the gauge prefers::

    minimise  E[ KL(pi_i || softmax(Qbar_i)) ] + k E[ |r| ]            (sparse)
    minimise  E[ KL(pi_i || softmax(Qbar_i)) ] + k E[ |r - g(s)| ]     (state_only)

    Qbar_i(s, a_i) = E_{a_-i ~ pi_-i}[ Q_i(s, a_i, a_-i) ]
    r              = Q_i(s, a_i, a_-i) - gamma (1 - terminated) W(s'),   W(s) = log mean_a exp Qbar_i(s, a)

over transitions in which a share of the actions is random, so that all actions are covered; where some are illegal,
sums and means over actions are over the legal ones. Q is in units of the inverse temperature. The difference between W
and the critic's own soft value is the potential Phi. W is the mean in place of the sum, so that the reward zero is its
own explanation. The reward network R_i is the regression of r, divided by the rationality. A potential network is the
regression of W, divided likewise: R_i shaped by it is dense, an advantage (Ng, Harada and Russell, *Policy invariance
under reward transformations*, ICML 1999). Other sources: MAMQL (arXiv 2503.04679); reward-regularised classification
(Piot, Geist and Pietquin, *Boosted and Reward-regularized Classification for Apprenticeship Learning*, AAMAS 2014),
here for several agents and Boltzmann policies.
"""

from __future__ import annotations

import dataclasses
import math
import pathlib
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rllib_mamql.algorithms.mamql import objective
from rllib_mamql.algorithms.mamql.others import enumerate_others
from rllib_mamql.columns import ACTIONS, ALIVE, NEXT_OBS, OBS, TERMINATEDS, JointColumns, column
from rllib_mamql.learning.checkpoint import Checkpoint
from rllib_mamql.learning.demonstrations import find_demonstrations
from rllib_mamql.networks.encoders import build_encoder
from rllib_mamql.networks.heads import JointHead, MarginalCritic
from rllib_mamql.networks.masks import log_count, mask_of
from rllib_mamql.networks.rewards import build_potential, build_reward, reward_model_config
from rllib_mamql.networks.tensors import to_tensor
from rllib_mamql.play.actors import agents_by_module
from rllib_mamql.play.rollout import Watch
from rllib_mamql.rewards.exploration import explore
from rllib_mamql.rewards.marginal import ENUMERATED, policy_of
from rllib_mamql.rewards.settings import RecoverySettings
from rllib_mamql.rewards.store import Recovered, write_rewards

LOGIT_SCALE = 3.0
"""The explanation critic's outputs are multiplied by this: decided policies have logits of several units."""
REGRESSION_ROWS = 1024
"""Rows a gradient step of the regression after the critic's fit."""


@dataclass(frozen=True)
class _Rows:
    """One module's transitions, all its agents' stacked."""

    obs: Tensor
    next_obs: Tensor
    action: Tensor
    others: Tensor
    terminated: Tensor
    policy: Tensor
    other_policies: list[Tensor]
    next_other_policies: list[Tensor]

    def draw(self, index: Tensor) -> _Rows:
        return _Rows(
            self.obs[index], self.next_obs[index], self.action[index], self.others[index], self.terminated[index],
            self.policy[index],
            [policy[index] for policy in self.other_policies],
            [policy[index] for policy in self.next_other_policies],
        )  # fmt: skip

    @classmethod
    def join(cls, parts: Sequence[_Rows]) -> _Rows:
        single = {name: torch.cat([getattr(part, name) for part in parts]) for name in _SINGLE}
        several = {
            name: [torch.cat(pieces) for pieces in zip(*(getattr(part, name) for part in parts), strict=True)]
            for name in _SEVERAL
        }
        return cls(**single, **several)  # type: ignore[arg-type]


_SINGLE = ("obs", "next_obs", "action", "others", "terminated", "policy")
_SEVERAL = ("other_policies", "next_other_policies")


_TRAINED = {
    "gauge": "reward_gauge",
    "strength": "reward_gauge_strength",
    "network": "reward_network",
    "inputs": "reward_inputs",
}
"""Settings of recovery that training has as well, and their names there."""


def trained_settings(stored: Checkpoint, **changes: Any) -> RecoverySettings:
    """The settings that a checkpoint was trained with, with changes that are not None.

    A checkpoint trained with gauge ``none`` is recovered from in the default gauge, unless told otherwise.

    Raises:
        ConfigError: If a setting is out of range.
    """
    trained = stored.settings
    kept = {key: trained[name] for key, name in _TRAINED.items() if name in trained}
    if kept.get("gauge") == "none":
        del kept["gauge"]
    return RecoverySettings(**kept | {key: value for key, value in changes.items() if value is not None})


def number_of_updates(stored: Checkpoint, settings: RecoverySettings) -> int:
    """Gradient steps that a recovery makes, over all modules."""
    return len(stored.modules) * (settings.updates + settings.regression)


def recover_checkpoint(
    stored: Checkpoint,
    settings: RecoverySettings,
    data: str | pathlib.Path | None = None,
    watch: Watch | None = None,
) -> Recovered:
    """Recovers a checkpoint's rewards and writes them into its folder.

    Args:
        stored: The checkpoint.
        settings: How.
        data: Takes the rows of this dataset; None plays with a share of random actions, or without an environment
            takes the demonstrations of training.
        watch: Told how many gradient steps are made, of :func:`number_of_updates`.

    Raises:
        DatasetError: If ``data`` is no dataset.
        ConfigError: If it is of other agents or observations, or there is neither an environment nor a dataset.
    """
    columns = find_demonstrations(stored, data) if data is not None or not stored.env else None
    if columns is None:
        columns = explore(stored, settings.steps, settings.explore, settings.seed)
    recovered = recover(stored, columns, settings, watch)
    write_rewards(stored.path, recovered, settings)
    return recovered


def recover(
    stored: Checkpoint, columns: JointColumns, settings: RecoverySettings, watch: Watch | None = None
) -> Recovered:
    """Fits each module's reward to transitions.

    Args:
        stored: The trained policies; they are not changed.
        columns: Joint steps that cover all actions, such as ``exploration.explore`` plays; or a
            dataset's, which cover what its expert did.
        settings: How.
        watch: Told how many gradient steps are made.

    Returns:
        The rewards, in the units of the critic's: nats divided by the training rationality.
    """
    started = time.monotonic()
    policies = _policies(stored, columns)
    result = Recovered({})
    discount, rationality = float(stored.settings["gamma"]), float(stored.settings["rationality"])
    for module_id, agents in agents_by_module(stored.module_of).items():
        rows = _rows(agents, list(stored.module_of), columns, policies)
        module = stored.modules[module_id]
        made = len(result.rewards) * (settings.updates + settings.regression)
        fit = _Fit(module, rows, discount, rationality, settings, _counting_on(watch, made))
        result.rewards[module_id], result.potentials[module_id] = fit.run()
        result.policy_error[module_id], result.mean_absolute[module_id] = fit.policy_error, fit.mean_absolute
    return dataclasses.replace(result, seconds=time.monotonic() - started)


def _counting_on(watch: Watch | None, made: int) -> Watch:
    """Tells what is made in all, where so much was made before."""
    return lambda done: watch(made + done) if watch else None


class _Fit:
    """The fit of one module's explanation and reward."""

    def __init__(
        self,
        module: Any,
        rows: _Rows,
        discount: float,
        rationality: float,
        settings: RecoverySettings,
        watch: Watch,
    ) -> None:
        self.watch = watch
        self.rows, self.discount, self.rationality, self.settings = rows, discount, rationality, settings
        self.module = module
        torch.manual_seed(settings.seed)
        config = dict(module.model_config)
        space, actions = module.observation_space, module.action_space
        other_actions = tuple(policy.shape[1] for policy in rows.other_policies)
        self.joint = bool(other_actions) and math.prod(other_actions) <= ENUMERATED
        encoder = build_encoder(space, actions, config)
        features, n = encoder.out_features, int(actions.n)
        self.mask = mask_of(encoder)
        self.critic: nn.Module = (
            JointHead(encoder, features, n, other_actions) if self.joint else MarginalCritic(encoder, features, n)
        )
        small = reward_model_config(config)
        self.reward = build_reward(
            space, actions, small, other_actions, network=settings.network, inputs=settings.inputs
        )
        self.state_reward = (
            build_reward(space, actions, small, other_actions, inputs="state")
            if settings.gauge == "state_only"
            else None
        )
        self.potential = build_potential(space, actions, small)
        self.policy_error = self.mean_absolute = float("nan")

    def run(self) -> tuple[nn.Module, nn.Module]:
        settings = self.settings
        generator = torch.Generator().manual_seed(settings.seed)
        critic = [p for net in (self.critic, self.state_reward) if net is not None for p in net.parameters()]
        explaining = _Optimiser(critic, settings.lr)
        regressing = _Regression(self.reward, self.potential, self.rationality, 2 * settings.lr)
        for update in range(settings.updates):
            progress = update / settings.updates
            batch = self._draw(settings.rows, generator)
            if settings.gauge == "none":
                found = self._implied(batch)
            else:
                loss, found = self._explain(batch)
                explaining.step(loss, progress)
            if settings.gauge == "none" or progress >= 0.2:
                regressing.step(batch, found, progress)
            self.watch(update + 1)
        if settings.regression:
            regressing = _Regression(self.reward, self.potential, self.rationality, settings.lr)
        for update in range(settings.regression):
            batch = self._draw(REGRESSION_ROWS, generator)
            with torch.no_grad():
                found = self._implied(batch) if settings.gauge == "none" else self._explain(batch)[1]
            regressing.step(batch, found, update / settings.regression)
            self.watch(settings.updates + update + 1)
        return self.reward.requires_grad_(False), self.potential.requires_grad_(False)

    def _draw(self, count: int, generator: torch.Generator) -> _Rows:
        return self.rows.draw(torch.randint(len(self.rows.action), (count,), generator=generator))

    @torch.no_grad()
    def _implied(self, batch: _Rows) -> tuple[Tensor, Tensor]:
        q = self.module.average(torch.cat([batch.obs, batch.next_obs]))
        now, after = torch.split(q, len(batch.obs))
        value = objective.soft_value(after, self.rationality)
        taken = objective.take_actions(now, batch.action)
        reward = objective.inverse_reward(taken, value, batch.terminated, self.discount)
        return self.rationality * reward, self.rationality * objective.soft_value(now, self.rationality)

    def _explain(self, batch: _Rows) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The loss, and r and W(s) in nats, ``(B,)`` each."""
        rows = len(batch.action)
        scores = self._scores(torch.cat([batch.obs, batch.next_obs]), batch.other_policies)
        now, after = torch.split(scores, rows)
        if self.joint:
            index = [torch.arange(rows), batch.action, *batch.others.unbind(-1)]
            taken = now[tuple(index)]
            marginal = objective.marginalise_full(now, batch.other_policies)
            after = objective.marginalise_full(after, batch.next_other_policies)
        else:
            taken, marginal = objective.take_actions(now, batch.action), now
        if self.mask is not None:
            marginal, after = self.mask(marginal, batch.obs), self.mask(after, batch.next_obs)
        value = self._log_mean_exp(after)
        reward = objective.inverse_reward(taken, value, batch.terminated, self.discount)
        entropy = -(batch.policy * batch.policy.clamp_min(1e-12).log()).sum(-1).mean()
        error = -(batch.policy * torch.log_softmax(marginal, dim=-1)).sum(-1).mean() - entropy
        kept = reward
        if self.state_reward is not None:
            kept = reward - self.state_reward(batch.obs, batch.others)[:, 0]
        size = kept.abs().mean()
        self.policy_error, self.mean_absolute = float(error.detach()), float(size.detach())
        value = self._log_mean_exp(marginal.detach())
        return error + self.settings.strength * size, (reward.detach(), value)

    def _log_mean_exp(self, scores: Tensor) -> Tensor:
        """W of scores ``(B, A)`` in nats, over legal actions."""
        count = math.log(scores.shape[-1]) if self.mask is None else log_count(scores)
        return torch.logsumexp(scores, dim=-1) - count

    def _scores(self, observations: Tensor, policies: list[Tensor]) -> Tensor:
        """``(B, A)``, or ``(B, A, A_1, ..., A_m)`` of a joint critic."""
        if not self.joint:
            return LOGIT_SCALE * self.critic(observations)
        return LOGIT_SCALE * enumerate_others(self.critic, observations, [policy.shape[-1] for policy in policies])


class _Regression:
    """The reward network follows r, the potential network W."""

    def __init__(self, reward: nn.Module, potential: nn.Module, rationality: float, rate: float) -> None:
        self.reward, self.potential, self.rationality = reward, potential, rationality
        self.rewarding, self.valuing = _Optimiser(reward.parameters(), rate), _Optimiser(potential.parameters(), rate)

    def step(self, batch: _Rows, found: tuple[Tensor, Tensor], progress: float) -> None:
        reward, value = (values / self.rationality for values in found)
        prediction = objective.take_actions(self.reward(batch.obs, batch.others), batch.action)
        self.rewarding.step((prediction - reward).square().mean(), progress)
        self.valuing.step((self.potential(batch.obs) - value).square().mean(), progress)


class _Optimiser:
    """Adam with a learning rate that is constant at first and falls to zero."""

    def __init__(self, parameters: Iterable[nn.Parameter], rate: float) -> None:
        self.parameters, self.rate = list(parameters), rate
        self.adam = torch.optim.Adam(self.parameters, lr=rate)

    def step(self, loss: Tensor, progress: float) -> None:
        for group in self.adam.param_groups:
            group["lr"] = self.rate * min(1.0, (1.0 - progress) / 0.6)
        self.adam.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.parameters, 10.0)
        self.adam.step()


def _policies(stored: Checkpoint, columns: JointColumns) -> dict[str, tuple[Tensor, Tensor]]:
    """Every agent's policy at each row and at its successor, ``{agent: ((N, A), (N, A))}``."""
    result = {}
    for agent in stored.module_of:
        alive = np.asarray(columns[column(ALIVE, agent)], dtype=bool)
        going = alive & ~np.asarray(columns[column(TERMINATEDS, agent)], dtype=bool)
        now, after = columns[column(OBS, agent)], columns[column(NEXT_OBS, agent)]
        result[agent] = (policy_of(stored, agent, now, alive), policy_of(stored, agent, after, going))
    return result


def _rows(
    agents: list[str], everyone: list[str], columns: JointColumns, policies: Mapping[str, tuple[Tensor, Tensor]]
) -> _Rows:
    parts = []
    for agent in agents:
        others = [other for other in everyone if other != agent]
        alive = np.asarray(columns[column(ALIVE, agent)], dtype=bool)
        keep = torch.as_tensor(alive)
        taken = [torch.as_tensor(np.asarray(columns[column(ACTIONS, o)])).long()[keep] for o in others]
        action = torch.as_tensor(np.asarray(columns[column(ACTIONS, agent)])).long()[keep]
        parts.append(
            _Rows(
                to_tensor(columns[column(OBS, agent)][alive]),
                to_tensor(columns[column(NEXT_OBS, agent)][alive]),
                action,
                torch.stack(taken, dim=-1) if taken else torch.zeros(len(action), 0, dtype=torch.long),
                torch.as_tensor(np.asarray(columns[column(TERMINATEDS, agent)], dtype=bool))[keep],
                policies[agent][0][keep],
                [policies[other][0][keep] for other in others],
                [policies[other][1][keep] for other in others],
            )
        )
    return _Rows.join(parts)
