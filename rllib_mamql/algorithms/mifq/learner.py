"""MIFQ's learner: the shared one with the team's loss."""

from __future__ import annotations

import functools
import math

from rllib_mamql.algorithms.mifq.losses import MIFQLosses
from rllib_mamql.data.masks import seen_space
from rllib_mamql.learning.learner import ImitationLearner


class MIFQLearner(ImitationLearner):
    """Trains all agents' critics and the network that mixes them."""

    def build_losses(self) -> MIFQLosses:
        """The team's loss; the first agent's module holds the mixing network."""
        mixing = self.network(self._module_of[self.agents[0]]).mixing
        spaces = {agent: self.network(self._module_of[agent]).observation_space for agent in self.agents}
        sizes = {agent: math.prod(seen_space(space).shape) for agent, space in spaces.items()}
        return MIFQLosses(self.config, functools.partial(self.precision, mixing), self.agents_of, self.agents, sizes)
