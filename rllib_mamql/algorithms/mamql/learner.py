"""MAMQL's learner: the shared one with MAMQL's losses."""

from __future__ import annotations

import torch
from torch import Tensor

from rllib_mamql.algorithms.mamql.losses import MAMQLLosses
from rllib_mamql.algorithms.mamql.module import MAMQLModule
from rllib_mamql.algorithms.mamql.rationality import fit_policies
from rllib_mamql.columns import ACTIONS, ALIVE, OBS, JointColumns, column
from rllib_mamql.learning.learner import ImitationLearner
from rllib_mamql.learning.minibatch import ExpertSource


class MAMQLLearner(ImitationLearner):
    """Trains every agent's critic on the objective and its reward network by regression."""

    def build_losses(self) -> MAMQLLosses:
        """MAMQL's losses."""
        modules: dict[str, MAMQLModule] = {name: self.network(name) for name in self.agents_of}
        return MAMQLLosses(self.config, modules, self.agents_of, self.agents, self.draws, self.precision)

    @torch.no_grad()
    def fit_rationality(self, columns: JointColumns) -> tuple[dict[str, float], dict[str, float]]:
        """Fits each acting network's rationality to expert steps it was not trained on.

        Args:
            columns: Held-out joint steps.

        Returns:
            Rationality and mean log-likelihood by module, from ``rationality.fit_policies``.
        """
        held = ExpertSource(columns, None, self._device).columns
        scored: dict[str, list[tuple[Tensor, Tensor]]] = {}
        for module_id, agents in self.agents_of.items():
            for agent in agents:
                alive = held[column(ALIVE, agent)].bool()
                q = self.network(module_id).average(held[column(OBS, agent)][alive])
                scored.setdefault(module_id, []).append((q, held[column(ACTIONS, agent)][alive]))
        return fit_policies(scored, self.config.rationality)
