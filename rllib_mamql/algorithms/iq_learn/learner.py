"""IQ-Learn's learner: the shared one with its loss."""

from __future__ import annotations

from rllib_mamql.algorithms.iq_learn.losses import IQLearnLosses
from rllib_mamql.learning.learner import ImitationLearner


class IQLearnLearner(ImitationLearner):
    """Trains every agent's critic on IQ-Learn's objective."""

    def build_losses(self) -> IQLearnLosses:
        """IQ-Learn's loss."""
        actions = {
            agent: int(self.network(module_id).action_space.n)
            for module_id, agents in self.agents_of.items()
            for agent in agents
        }
        # In the environment's order, as modules know the others.
        return IQLearnLosses(self.config, self.agents_of, {agent: actions[agent] for agent in self.agents})
