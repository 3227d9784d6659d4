"""Rewards that are fitted anew while somebody learns from them, to what the learner does too.

A reward network is the regression of what an explanation says of play, which pays as seldom as it can where play went.
A learner looks for where too much is paid, and finds states that play hardly came to. There the network can be wrong
about the explanation, and the explanation can pay what nothing asks for, such as two who push on against each other. So
both fits go on with the learner's play among the rows. The loop is that of imitation by data aggregation (Ross, Gordon
and Bagnell, *A Reduction of Imitation Learning and Structured Prediction to No-Regret Online Learning*, AISTATS 2011),
for rewards.
"""

from __future__ import annotations

import copy
import pathlib
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from rllib_mamql.columns import JointColumns, pour_together
from rllib_mamql.errors import ConfigError
from rllib_mamql.learning.checkpoint import Checkpoint
from rllib_mamql.networks.tensors import rows_at_once
from rllib_mamql.play.actors import most_steps
from rllib_mamql.play.rollout import Watch
from rllib_mamql.rewards.explanation import SCALE, Explanation, gauge_loss, level_of, targets_of
from rllib_mamql.rewards.exploration import MOST_BYTES, explore
from rllib_mamql.rewards.fitting import Budget, fit
from rllib_mamql.rewards.regression import Draws, paid_at
from rllib_mamql.rewards.settings import RecoverySettings, RelearnSettings
from rllib_mamql.rewards.store import Recovered, write_rewards
from rllib_mamql.rewards.transitions import Transitions, transitions_of

LEARNERS_SHARE = 1 / 8
"""Joint steps of a learner's play before each fit, as a share of those that the policies play for the first."""
ROUNDS = 10
"""Rounds of a learner that was told nothing else."""
UPDATES, EXPLAINING = 200, 150
"""Gradient steps of a round: of the regression, and before it of the explanation."""
TOTAL = 100
"""What a fit tells its watch in the end."""
PLAYED = 0.4
"""Share of the work that play and the explanation are, as far as a watch is told."""


def usual_rounds(explanations: Mapping[str, Explanation], settings: RelearnSettings) -> int:
    """Rounds of a learner that is paid recovered rewards and was told nothing.

    One where the explanations are not known, or the dynamics may be others: what they say of a transition holds where
    the policies were trained. Else :data:`ROUNDS`, or as many as there are iterations.
    """
    if not explanations or settings.sticky_actions or settings.env_config:
        return 1
    return min(ROUNDS, settings.iterations)


class Refits:
    """Fits a checkpoint's rewards again and again; the checkpoint's modules have the new ones from then on.

    Args:
        stored: The checkpoint, with rewards that were recovered in a gauge.
        how: How, as :func:`~rllib_mamql.rewards.store.read_with_rewards` says.
        explanations: What they are the regression of, by module.
        shown: Entered for each fit; gives what is told how far that is, of ``TOTAL``.

    Raises:
        ConfigError: If there are no explanations.
    """

    def __init__(
        self,
        stored: Checkpoint,
        how: Mapping[str, Any],
        explanations: Mapping[str, Explanation],
        shown: Callable[[], AbstractContextManager[Watch | None]] = nullcontext,
    ) -> None:
        if not explanations:
            raise ConfigError(
                f"{stored.path} does not hold what its rewards are the regression of: recover them in a gauge with "
                "`rllib recover`"
            )
        self._stored, self._how, self._shown = stored, how, shown
        self._settings = RecoverySettings(**how["settings"])
        self._explanations = dict(explanations)
        self._columns: JointColumns = {}
        self._generator = torch.Generator().manual_seed(self._settings.seed)
        most = most_steps(stored, MOST_BYTES)
        self._steps = max(1, round(LEARNERS_SHARE * min(self._settings.steps, most)))

    def __call__(self, play: Callable[[int], JointColumns]) -> float:
        """Fits to the policies' play and to all that learners have played so far.

        Args:
            play: Plays so many joint steps as the present learner, in episodes with names of their own.

        Returns:
            Wall seconds that it took.
        """
        started, stored, settings = time.monotonic(), self._stored, self._settings
        with self._shown() as watch:
            if not self._columns:
                self._columns = explore(stored, settings.steps, settings.explore, settings.seed)
            self._columns = pour_together([self._columns, play(self._steps)])
            fits = transitions_of(stored, self._columns, settings.seed)
            for place, (module_id, rows) in enumerate(fits.items()):

                def tell(share: float, place: int = place) -> None:
                    if watch is not None:
                        watch(int(TOTAL * (PLAYED + (1.0 - PLAYED) * (place + share) / len(fits))))

                stored.modules[module_id].reward = self._fitted(module_id, rows, tell)
        return time.monotonic() - started

    def _explained(self, module_id: str, rows: Transitions, watch: Callable[[float], None]) -> Explanation:
        """The explanation goes on in its gauge, from where it was."""
        settings, explanation = self._settings, self._explanations[module_id]
        explanation, _ = fit(
            explanation.requires_grad_(True),
            lambda each: gauge_loss(each, rows, settings, SCALE, self._generator),
            None,
            rate=settings.lr,
            updates=EXPLAINING,
            budget=Budget(None),
            watch=watch,
        )
        if settings.gauge == "rare":
            explanation.level.add_(level_of(targets_of(explanation, rows), rows, explanation.discount))
        self._explanations[module_id] = explanation
        return explanation

    def _fitted(self, module_id: str, rows: Transitions, watch: Callable[[float], None]) -> nn.Module:
        explanation = self._explained(module_id, rows, lambda share: watch(0.5 * share))
        reward = targets_of(explanation, rows)[0] / float(self._stored.settings["rationality"])
        draws = Draws(rows.train, reward[rows.train], self._generator)
        count = rows_at_once(rows.states, self._settings.rows)

        def loss(network: nn.Module) -> Tensor:
            index, weight = draws(count)
            return (weight * (paid_at(network, rows, index) - reward[index]).square()).mean()

        # A new one: what a learner was given before stays what it was.
        network = copy.deepcopy(self._stored.modules[module_id].reward).requires_grad_(True)
        network, _ = fit(
            network, loss, None, rate=self._settings.lr, updates=UPDATES, budget=Budget(None),
            watch=lambda share: watch(0.5 + 0.5 * share),
        )  # fmt: skip
        return network.requires_grad_(False)

    def write(self, folder: pathlib.Path) -> None:
        """Writes the present rewards into a folder, as :func:`~rllib_mamql.rewards.store.write_rewards` does."""
        rewards = {module_id: module.reward for module_id, module in self._stored.modules.items()}
        told = {key: self._how[key] for key in ("policy_error", "mean_absolute", "updates", "ended_by")}
        recovered = Recovered(
            rewards, potentials=dict(self._stored.potentials), explanations=self._explanations, **told
        )  # fmt: skip
        write_rewards(folder, recovered, self._settings)
