"""When to stop: scouts learn beside the learner from a part of the demonstrations, and are judged on the rest.

Where rollouts weigh nothing, MAMQL's objective is the likelihood of the demonstrations, and few of them are soon known
by heart. All of them are needed for learning, so that none can be kept back to tell when. They are kept back from
scouts, which make as many gradient steps as the learner. When held-out steps were likeliest to them after half of the
gradient steps made, learning ends: the maximum is known only once the loss has risen for a while.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from rllib_mamql.columns import JointColumns, nbytes, num_rows
from rllib_mamql.data.selection import hold_out

if TYPE_CHECKING:
    from rllib_mamql.learning.learner import ImitationLearner

HELD_OUT_LOSS = "held_out_loss"
"""Metric: negative log-likelihood that the scouts give to what they did not see, nats an agent's step."""
BEST_UPDATES = "best_updates"
"""Metric: gradient steps after which held-out demonstrations were likeliest."""
STOPPED = "stopped_updates"
"""Setting of a checkpoint: gradient steps after which learning ended by itself."""
FEW = 600
"""Joint steps of demonstrations up to which scouts are sent out; more are not known by heart within usual budgets."""
HELD_OUT_SHARE = 0.1
"""Share of the episodes, or of the time of a single one, that each scout does not see."""
ENOUGH, MOST_SCOUTS = 50, 3
"""Joint steps to hold out: so many scouts, each without others, as are needed for that, or 3."""
MOST_BYTES = 2**28
"""Of the demonstrations, of which each scout has a copy: of large images there are fewer scouts, one at least."""
LOOK_EVERY = 200
"""Gradient steps after which held-out steps are judged again."""
PATIENCE = 2.0
"""Learning ends after so many times the gradient steps after which held-out steps were likeliest."""


@dataclass
class Watch:
    """The lowest held-out loss of a training so far.

    Attributes:
        updates: Gradient steps after which it was lowest; 0 before any was seen.
        loss: The loss then, nats an agent's step.
        made: Gradient steps after which one was seen last.
    """

    updates: int = 0
    loss: float = math.inf
    made: int = 0

    def see(self, updates: int, loss: float) -> None:
        """Takes note of a loss after so many gradient steps; one that is no number is never the lowest."""
        self.made = updates
        if loss < self.loss:
            self.updates, self.loss = updates, loss

    @property
    def over(self) -> bool:
        """Whether the lowest loss lies so far back that none lower is to be expected."""
        return 0 < PATIENCE * self.updates <= self.made


class Scouts:
    """Learners of a part of the demonstrations each, in the learner's process and on its device.

    Args:
        learner: The learner, whose demonstrations are in memory; its losses must need no rollouts.
        columns: Its demonstrations, at least two joint steps.
        config: Settings of the scouts.
    """

    def __init__(self, learner: ImitationLearner, columns: JointColumns, config: Any) -> None:
        wanted = ENOUGH / (HELD_OUT_SHARE * num_rows(columns))
        spaces = {
            module_id: (learner.network(module_id).observation_space, learner.network(module_id).action_space)
            for module_id in learner.agents_of
        }
        module_of = {agent: module_id for module_id, agents in learner.agents_of.items() for agent in agents}
        self._scouts: list[tuple[ImitationLearner, JointColumns]] = []
        with torch.random.fork_rng(devices=[]):  # The learner's own draws stay as they are without scouts.
            for split in range(min(MOST_SCOUTS, math.ceil(wanted), max(1, MOST_BYTES // max(1, nbytes(columns))))):
                kept, judged = hold_out(columns, HELD_OUT_SHARE, (config.seed or 0) + split)
                scout = config.build_learner(spaces=spaces)
                scout.set_expert({agent: module_of[agent] for agent in learner.agents}, kept)
                self._scouts.append((scout, judged))
        self._learner = learner

    def follow(self, timesteps: Mapping[str, Any]) -> float:
        """Makes gradient steps on every scout until it has made as many as the learner, and judges them.

        Args:
            timesteps: RLlib's lifetime counters, for schedules.

        Returns:
            Mean over the scouts of the negative log-likelihood of what each did not see, by the networks that act.
        """
        for scout, _ in self._scouts:
            scout.update(timesteps=dict(timesteps), num_updates=self._learner.updates - scout.updates)
        return statistics.mean(scout.negative_log_likelihood(judged, acting=True) for scout, judged in self._scouts)

    def get_state(self) -> dict[str, Any]:
        """All that the scouts have learned."""
        return {"scouts": [{"learner": s.get_state(), "data": s.get_data_state()} for s, _ in self._scouts]}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restores :meth:`get_state`."""
        for (scout, _), found in zip(self._scouts, state["scouts"], strict=True):
            scout.set_state(found["learner"])
            scout.set_data_state(found["data"])
