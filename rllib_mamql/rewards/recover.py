"""Recovers rewards from trained policies in a gauge.

The policy of a critic is explained by many rewards: ``rbar + gamma (1 - terminated) Phi(s') - Phi(s)`` for every
potential Phi, and, where the policy is known with an error only, by those of policies close by. Of all these an
*explanation critic* ``Q_i(s, a_i, a_-i)`` picks the one that the gauge prefers::

    minimise  E[ KL(pi_i || softmax(Qbar_i)) ] + k E[ |r| ]                    (sparse)
    minimise  E[ KL(pi_i || softmax(Qbar_i)) ] + k E[ s log(1 + |r| / s) ]     (rare)
    minimise  E[ KL(pi_i || softmax(Qbar_i)) ] + k E[ |r - g(s)| ]             (state_only)

    Qbar_i(s, a_i) = E_{a_-i ~ pi_-i}[ Q_i(s, a_i, a_-i) ]
    r              = Q_i(s, a_i, a_-i) - gamma (1 - terminated) W(s'),   W(s) = log mean_a exp Qbar_i(s, a)

over transitions in which a share of the actions is random, so that all actions are covered; where some are illegal,
sums and means over actions are over the legal ones. ``explanation.sparsity`` says why the logarithm; its s
falls from 30 to 0.3 nats. A constant in W that the fit hardly feels is found afterwards (``explanation.level_of``). Q
is in units of the inverse temperature (``explanation``). The difference between W and the critic's own soft value is
the potential Phi.
W is the mean in place of the sum, so that the reward zero is its own explanation. The reward network R_i is the
regression of r, divided by the rationality. A potential network is the regression of W, divided likewise: R_i shaped
by it is dense, an advantage (Ng, Harada and Russell, *Policy invariance under reward transformations*, ICML 1999).
Other sources: MAMQL (arXiv 2503.04679); reward-regularised classification (Piot, Geist and Pietquin, *Boosted and
Reward-regularized Classification for Apprenticeship Learning*, AAMAS 2014), here for several agents and Boltzmann
policies. Each fit lasts until held-out play gains no more by it (``fitting``), but for that in which s falls.
"""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from rllib_mamql.columns import JointColumns
from rllib_mamql.errors import ConfigError
from rllib_mamql.learning.checkpoint import Checkpoint
from rllib_mamql.learning.demonstrations import find_demonstrations
from rllib_mamql.networks.tensors import rows_at_once
from rllib_mamql.play.rollout import Watch
from rllib_mamql.rewards.explanation import (
    FIRST_SCALE,
    SCALE,
    Explanation,
    falling_scale,
    gauge_loss,
    implied_targets,
    level_of,
    lowered,
    size_of,
    targets_of,
)
from rllib_mamql.rewards.exploration import explore
from rllib_mamql.rewards.fitting import Budget, Ending, fit
from rllib_mamql.rewards.regression import Draws, Regression
from rllib_mamql.rewards.settings import RecoverySettings
from rllib_mamql.rewards.store import Recovered, write_rewards
from rllib_mamql.rewards.transitions import Transitions, transitions_of

REGRESSION_ROWS = 1024
"""Rows a gradient step of the further regression that is asked for; fewer of large images, as of other fits."""
PLAYING = 0.3
"""Share of a budget that play may use."""
PLAYED = 0.1
"""Share of the work that play is, as far as a watch is told."""
EXPLAINING = 0.6
"""Share of what is left of a budget that the explanation may use, before the regression."""
HEADS = 0.2
"""Share of a fit's budget that heads alone may use, on features that are computed once: encoders are what costs."""
HEAD_UPDATES = 400
"""Gradient steps of the explanation's heads alone, at most."""
FALL_UPDATES = 400
"""Gradient steps over which the scale of the gauge ``rare`` falls, at most."""
FALL = 0.4
"""Share of what is left of the explanation's budget that this may use."""
TOTAL = 100
"""What a recovery tells its watch in the end: it counts in hundredths."""

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
        watch: Told how much is done, of ``TOTAL``.

    Raises:
        DatasetError: If ``data`` is no dataset.
        ConfigError: If it is of other agents or observations, or there is neither an environment nor a dataset.
    """
    budget, tell = Budget(settings.budget_s), _share_of(watch, 0.0, 1.0)
    recovered = recover(
        stored,
        _rows(stored, settings, data, budget, tell),
        settings,
        lambda done: tell(PLAYED + (1.0 - PLAYED) * done / TOTAL),
        budget,
    )
    write_rewards(stored.path, recovered, settings)
    return recovered


def _rows(
    stored: Checkpoint,
    settings: RecoverySettings,
    data: str | pathlib.Path | None,
    budget: Budget,
    tell: Callable[[float], None],
) -> JointColumns:
    """Joint steps to recover from: those named, else play."""
    columns = find_demonstrations(stored, data) if data is not None or not stored.env else None
    if columns is not None:
        return columns
    if not stored.env:
        raise ConfigError(
            f"{stored.path} has no environment to play in, and the demonstrations of training are not at hand: name "
            "some with --data"
        )
    return explore(
        stored,
        settings.steps,
        settings.explore,
        settings.seed,
        budget=budget.until(PLAYING),
        watch=lambda done: tell(PLAYED * done / settings.steps),
    )


def recover(
    stored: Checkpoint,
    columns: JointColumns,
    settings: RecoverySettings,
    watch: Watch | None = None,
    budget: Budget | None = None,
) -> Recovered:
    """Fits each module's reward to transitions.

    Args:
        stored: The trained policies; they are not changed.
        columns: Joint steps that cover all actions, such as ``exploration.explore`` plays; or a
            dataset's, which cover what its expert did.
        settings: How.
        watch: Told how much is done, of ``TOTAL``.
        budget: What is left of the settings' budget; None: all of it.

    Returns:
        The rewards, in the units of the critic's: nats divided by the training rationality.
    """
    started = time.monotonic()
    budget = budget or Budget(settings.budget_s)
    result = Recovered({})
    fits = transitions_of(stored, columns, settings.seed)
    del columns  # Images are large, and every state is in the transitions.
    for place, (module_id, rows) in enumerate(fits.items()):
        share = _share_of(watch, place / len(fits), 1.0 / len(fits))
        one = _Fit(stored, module_id, rows, settings, budget.until(1.0 / (len(fits) - place)), share)
        result.rewards[module_id], result.potentials[module_id] = one.run()
        result.policy_error[module_id], result.mean_absolute[module_id] = one.policy_error, one.mean_absolute
        result.updates[module_id], result.ended_by[module_id] = one.updates, one.ended_by
        if one.explanation is not None:
            result.explanations[module_id] = one.explanation
    return dataclasses.replace(result, seconds=time.monotonic() - started)


def _share_of(watch: Watch | None, done: float, share: float) -> Callable[[float], None]:
    """Tells of a part of the work, in what is told of the whole."""
    return lambda part: watch(int(TOTAL * (done + share * min(1.0, part)))) if watch else None


class _Fit:
    """The fit of one module's explanation, then of its reward and potential.

    Attributes:
        policy_error: KL(pi || explanation) on held-out rows, in nats.
        mean_absolute: E|r| there, in nats.
        updates: Gradient steps of the whole explanation, after those of its heads alone and of a falling scale.
        ended_by: What ended it (``fitting.Ending``); ``budget`` also where the regression after it was cut off.
        explanation: What was regressed; None of gauge ``none``.
    """

    def __init__(
        self,
        stored: Checkpoint,
        module_id: str,
        rows: Transitions,
        settings: RecoverySettings,
        budget: Budget,
        watch: Callable[[float], None],
    ) -> None:
        self.module, self.rows, self.settings = stored.modules[module_id], rows, settings
        self.budget, self.watch = budget, watch
        self.discount, self.rationality = float(stored.settings["gamma"]), float(stored.settings["rationality"])
        self.policy_error = self.mean_absolute = float("nan")
        self.updates, self.ended_by = 0, ""
        self.explanation: Explanation | None = None
        torch.manual_seed(settings.seed)
        self.generator = torch.Generator().manual_seed(settings.seed)

    def run(self) -> tuple[nn.Module, nn.Module]:
        """Reward and potential."""
        if self.settings.gauge == "none":
            targets = implied_targets(self.module, self.rows, self.discount, self.rationality)
            regressed = self._regress(targets, None, 0.0)
        else:
            explanation = self._explain()
            targets = targets_of(explanation, self.rows)
            if self.settings.gauge == "rare":
                explanation.level.copy_(level_of(targets, self.rows, self.discount))
                targets = lowered(targets, self.rows, self.discount, explanation.level)
            self.mean_absolute = float(targets[0][self.rows.judged].abs().mean())
            regressed = self._regress(targets, explanation, EXPLAINING)
            explanation.follower = None  # It is the reward now.
            self.explanation = explanation.requires_grad_(False)
        self.watch(1.0)
        return regressed.reward.requires_grad_(False), regressed.potential.requires_grad_(False)

    def _explain(self) -> Explanation:
        settings, rows = self.settings, self.rows
        budget = self.budget.until(EXPLAINING)
        explanation = Explanation(self.module, rows.other_actions, self.discount, settings)
        encoded, done = explanation.without_encoder(rows), 0.0

        def tell(share: float) -> Callable[[float], None]:
            return lambda part: self.watch(EXPLAINING * (done + share * part))

        if encoded is not None:
            explanation, _ = self._settle(
                explanation,
                encoded,
                FIRST_SCALE,
                rate=2 * settings.lr,
                updates=min(settings.updates, HEAD_UPDATES),
                budget=budget.until(HEADS),
                watch=tell(HEADS),
            )
            explanation, done = explanation.with_encoder(), HEADS
        if settings.gauge == "rare":
            falling = budget.until(FALL)
            explanation = self._fall(explanation, falling, tell(FALL * (1.0 - done)))
            done += FALL * (1.0 - done)
        explanation, ending = self._settle(
            explanation,
            rows,
            SCALE,
            rate=settings.lr,
            updates=settings.updates,
            budget=budget.until(1.0),
            watch=tell(1.0 - done),
        )
        self.updates, self.ended_by = ending.updates, ending.why
        with torch.no_grad():
            self._judge(explanation, rows, SCALE)
        return explanation

    def _fall(self, explanation: Explanation, budget: Budget, watch: Callable[[float], None]) -> Explanation:
        """Fits while the scale falls, with the updates or, where it ends sooner, the budget."""
        updates = min(self.settings.updates, FALL_UPDATES)
        made = itertools.count()

        def loss(explanation: Explanation) -> Tensor:
            share = min(1.0, max(next(made) / updates, budget.used))
            return self._loss(explanation, self.rows, falling_scale(share))

        fitted, _ = fit(explanation, loss, None, rate=self.settings.lr, updates=updates, budget=budget, watch=watch)
        return fitted.requires_grad_(True)

    def _loss(self, explanation: Explanation, rows: Transitions, scale: float) -> Tensor:
        return gauge_loss(explanation, rows, self.settings, scale, self.generator)

    def _judge(self, explanation: Explanation, rows: Transitions, scale: float) -> float:
        found = explanation(rows, rows.judged)
        self.policy_error = float(found.error)
        return self.policy_error + self.settings.strength * float(size_of(found, self.settings.gauge, scale))

    def _settle(
        self, explanation: Explanation, rows: Transitions, scale: float, **how: Any
    ) -> tuple[Explanation, Ending]:
        return fit(
            explanation,
            lambda each: self._loss(each, rows, scale),
            lambda each: self._judge(each, rows, scale),
            **how,
        )

    def _regress(self, targets: tuple[Tensor, Tensor], start: Explanation | None, done: float) -> Regression:
        """The reward follows r, the potential W."""
        settings, rows = self.settings, self.rows
        reward, value = (values / self.rationality for values in targets)
        spread = reward.var().clamp_min(1e-8) + value.var().clamp_min(1e-8)

        draws = Draws(rows.train, reward[rows.train], self.generator)

        def loss(networks: Regression, rows: Transitions, most: int) -> Tensor:
            index, weight = draws(rows_at_once(rows.states, most))
            return (weight * networks.errors(rows, index, reward[index], value[index])).mean()

        def judge(networks: Regression, rows: Transitions) -> float:
            index = rows.judged
            return float(networks.errors(rows, index, reward[index], value[index]).mean() / spread)

        settled = 0.5 if settings.regression else 1.0

        def tell(share: float) -> None:
            self.watch(done + (1.0 - done) * share)

        def settle(
            networks: Regression, rows: Transitions, *, rate: float, budget: Budget, part: float, of: float
        ) -> tuple[Regression, Ending]:
            return fit(
                networks,
                lambda each: loss(each, rows, settings.rows),
                lambda each: judge(each, rows),
                rate=rate,
                updates=settings.updates,
                budget=budget,
                watch=lambda share: tell(settled * (part + of * share)),
            )

        networks = Regression(self.module, rows, settings, self.rationality)
        nn.init.constant_(networks.potential.head.bias, float(value.mean()))
        encoded = networks.without_encoders(rows, start)
        if encoded is not None:
            budget = self.budget.until(HEADS)
            networks, _ = settle(networks, encoded, rate=2 * settings.lr, budget=budget, part=0.0, of=HEADS)
            networks = networks.with_encoders()
        budget = self.budget.until(1.0)
        networks, ending = settle(networks, rows, rate=settings.lr, budget=budget, part=HEADS, of=1.0 - HEADS)
        if settings.regression:
            networks, ending = fit(
                networks.unsettled(),
                lambda each: loss(each, rows, REGRESSION_ROWS),
                None,
                rate=settings.lr,
                updates=settings.regression,
                budget=self.budget.until(1.0),
                watch=lambda share: tell(settled + (1.0 - settled) * share),
            )
        if start is None or ending.why == "budget":
            self.ended_by = ending.why
        return networks
