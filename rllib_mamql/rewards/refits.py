"""Rewards that are recovered anew while somebody learns from them, with the learner's own play among what is explained.

A learner is paid for whatever the reward pays by mistake, and finds it in states that nobody visited: there the gauge
had nothing to keep small. Once its play is among the transitions, what the policies' explanation does not need is zero
in these states as well. The loop is that of imitation by data aggregation (Ross, Gordon and Bagnell, *A Reduction of
Imitation Learning and Structured Prediction to No-Regret Online Learning*, AISTATS 2011), for rewards.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from rllib_mamql.columns import JointColumns, pour_together
from rllib_mamql.learning.checkpoint import Checkpoint
from rllib_mamql.play.actors import most_steps
from rllib_mamql.play.rollout import Watch
from rllib_mamql.rewards.exploration import MOST_BYTES, explore
from rllib_mamql.rewards.recover import recover
from rllib_mamql.rewards.settings import RecoverySettings
from rllib_mamql.rewards.store import Recovered, write_rewards

LEARNERS_SHARE = 1 / 3
"""Joint steps of a learner's play before each recovery, as a share of those that the policies play for it."""


class Refits:
    """Recovers a checkpoint's rewards again and again; the checkpoint's modules and potentials are replaced by them.

    Args:
        stored: The checkpoint, with rewards that were recovered before.
        settings: How they were.
        shown: Entered for each recovery; gives what is told how far that is, of ``recover.TOTAL``.
    """

    def __init__(
        self,
        stored: Checkpoint,
        settings: RecoverySettings,
        shown: Callable[[], AbstractContextManager[Watch | None]] = nullcontext,
    ) -> None:
        self._stored, self._settings, self._shown = stored, settings, shown
        self._columns: JointColumns = {}
        most = most_steps(stored, MOST_BYTES)
        self._steps = max(1, round(LEARNERS_SHARE * min(settings.steps, most)))

    def __call__(self, play: Callable[[int], JointColumns]) -> Recovered:
        """Recovers from the policies' play and from all that learners have played so far.

        Args:
            play: Plays so many joint steps as the present learner, in episodes with names of their own.
        """
        stored, settings = self._stored, self._settings
        with self._shown() as watch:
            if not self._columns:
                self._columns = explore(stored, settings.steps, settings.explore, settings.seed)
            self._columns = pour_together([self._columns, play(self._steps)])
            recovered = recover(stored, self._columns, settings, watch)
        for module_id, module in stored.modules.items():
            module.reward = recovered.rewards[module_id]
        stored.potentials.update(recovered.potentials)
        return recovered

    def write(self, folder: pathlib.Path, recovered: Recovered) -> None:
        """Writes rewards into a folder, as :func:`~rllib_mamql.rewards.store.write_rewards` does."""
        write_rewards(folder, recovered, self._settings)
