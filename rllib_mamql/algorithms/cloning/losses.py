"""The clone's loss: negative log-likelihood of the expert's actions given the observation, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from rllib_mamql.learning.losses import Losses
from rllib_mamql.learning.metrics import EXPERT_LOG_LIKELIHOOD, by_agent, explained
from rllib_mamql.learning.minibatch import AgentRows, Minibatch


class CloningLosses(Losses):
    """``E_expert[ -log pi_i(a_i | s) ]`` of every agent, ``pi_i = softmax(rationality * score_i(s, .))``.

    Args:
        agents_of: ``{module: agents that it learns for}``.
        rationality: What scores are multiplied by, > 0.
    """

    needs_next = False
    joint = False

    def __init__(self, agents_of: Mapping[str, list[str]], rationality: float) -> None:
        super().__init__()
        self._agents_of, self._rationality = dict(agents_of), rationality

    def __call__(
        self, batch: Minibatch, scores: Mapping[str, Tensor], *, update: int, report: bool
    ) -> dict[str, Tensor]:
        """``{agent: loss}`` of one gradient step; see :class:`~rllib_mamql.learning.losses.Losses`."""
        losses: dict[str, Tensor] = {}
        for module_id, agents in self._agents_of.items():
            rows = AgentRows.of(batch, agents)
            observed, _, _ = batch.places(scores[module_id])
            log_policies = torch.log_softmax(self._rationality * observed, dim=-1)
            found = explained(log_policies, rows.actions, rows.weights)
            losses.update(zip(agents, (-found[EXPERT_LOG_LIKELIHOOD]).unbind(), strict=True))
            if report:
                self.terms |= by_agent(found, agents)
        return losses
