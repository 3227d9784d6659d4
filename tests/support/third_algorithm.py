"""A whole algorithm in a few lines: it imitates by a margin in place of a likelihood (docs/add_an_algorithm.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from rllib_mamql.learning.algorithm import Imitation
from rllib_mamql.learning.config import ImitationConfig
from rllib_mamql.learning.learner import ImitationLearner
from rllib_mamql.learning.losses import Losses
from rllib_mamql.learning.minibatch import AgentRows, Minibatch


class MarginLosses(Losses):
    """The expert's action shall score highest, by a margin: ``max_a(score + margin) - score(expert's)``."""

    needs_next = False

    def __init__(self, agents_of: Mapping[str, list[str]], margin: float) -> None:
        super().__init__()
        self.agents_of, self.margin = agents_of, margin

    def __call__(
        self, batch: Minibatch, scores: Mapping[str, Tensor], *, update: int, report: bool
    ) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = {}
        for module, agents in self.agents_of.items():
            rows = AgentRows.of(batch, agents)
            q, expert = batch.places(scores[module])[0], slice(0, rows.expert_rows)
            own = torch.nn.functional.one_hot(rows.actions.long(), q.shape[-1])
            gap = (q + self.margin * (1 - own)).amax(-1) - (q * own).sum(-1)
            losses.update(zip(agents, (gap * rows.weights)[:, expert].mean(-1).unbind(), strict=True))
            if report:
                self.terms.update({agent: {"margin_loss": losses[agent].detach()} for agent in agents})
        return losses


class MarginLearner(ImitationLearner):
    def build_losses(self) -> Losses:
        return MarginLosses(self.agents_of, self.config.margin)


class MarginConfig(ImitationConfig):
    NAME: ClassVar[str] = "Margin"
    LEARNER: ClassVar[type[ImitationLearner]] = MarginLearner

    def __init__(self, algo_class: type[Any] | None = None) -> None:
        super().__init__(algo_class=algo_class or Margin)
        self.margin = 0.5


class Margin(Imitation):
    @classmethod
    def get_default_config(cls) -> MarginConfig:
        return MarginConfig(algo_class=cls)
