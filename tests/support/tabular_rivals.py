"""MAMQL's rivals fitted to solved games by their own losses; what comes out are the policies that they would act by."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor

from rllib_mamql.algorithms.adversarial.discriminators import ShapedDiscriminator
from rllib_mamql.algorithms.adversarial.losses import AdversarialLosses
from rllib_mamql.algorithms.iq_learn.losses import IQLearnLosses
from rllib_mamql.algorithms.iq_learn.module import own_scores
from rllib_mamql.algorithms.mifq.losses import MIFQLosses
from rllib_mamql.algorithms.mifq.module import EQUAL, MonotoneMixing
from rllib_mamql.algorithms.sqil.losses import SQILLosses
from rllib_mamql.networks.precision import Precision
from rllib_mamql.solvable import Game, occupancy
from rllib_mamql.solvable.equilibrium import boltzmann
from rllib_mamql.solvable.fitting import CHI_SQUARE_SCALE, minimise, total_variation
from rllib_mamql.solvable.game import Array
from tests.support.tabular import agents_of, expert_minibatch, fit, scores_of

Policies = list[Array]


def settings(game: Game, scale: float = CHI_SQUARE_SCALE, **other: object) -> SimpleNamespace:
    """Settings of the objective; offline unless other ones say so."""
    offline = {"critic": "independent", "value_term": "expert", "chi_square_states": "expert"}
    return SimpleNamespace(
        gamma=game.discount, rationality=game.rationality, chi_square_scale=scale, **(offline | other)
    )


def zeros(states: int, width: int) -> Tensor:
    return torch.zeros(states, width, dtype=torch.float64, requires_grad=True)


def policies_of(game: Game, tables: dict[str, Tensor]) -> Policies:
    return [boltzmann(table.detach().numpy(), game.rationality) for table in tables.values()]


def iq_learn(
    game: Game,
    experts: Sequence[Array],
    critic: str,
    *,
    scale: float = CHI_SQUARE_SCALE,
    rollouts: Sequence[Array] | None = None,
    iterations: int = 60,
) -> Policies:
    """IQ-Learn; with rollouts the value term and the penalty are over them too."""
    online = {} if rollouts is None else {"value_term": "rollout+expert", "chi_square_states": "mixture"}
    agents, joint = agents_of(game), int(np.prod(game.actions))
    counts = dict(zip(agents, game.actions, strict=True))
    losses = IQLearnLosses(settings(game, scale, critic=critic, **online), {a: [a] for a in agents}, counts)
    tables = {agent: zeros(game.states, counts[agent] if critic == "independent" else joint) for agent in agents}
    fit(losses, tables, expert_minibatch(game, experts, rollouts), iterations=iterations)
    own = {
        agent: own_scores(table, table.shape[-1] // counts[agent], game.rationality) for agent, table in tables.items()
    }
    return policies_of(game, own)


def mifq(
    game: Game,
    experts: Sequence[Array],
    units: int,
    *,
    equal: float = EQUAL,
    scale: float = CHI_SQUARE_SCALE,
    iterations: int = 60,
) -> Policies:
    """MIFQ, tables and mixing network together."""
    agents = agents_of(game)
    torch.manual_seed(0)
    network = MonotoneMixing(game.states * game.agents, game.agents, units, equal).double()
    losses = MIFQLosses(
        settings(game, scale),
        lambda seen, values, counted: network(seen.double(), values, counted),
        {agent: [agent] for agent in agents},
        agents,
    )
    tables = {agent: zeros(game.states, count) for agent, count in zip(agents, game.actions, strict=True)}
    fit(losses, tables, expert_minibatch(game, experts), more=list(network.parameters()), iterations=iterations)
    return policies_of(game, tables)


class TargetTable:
    """In place of SQIL's module: the target table of one agent, which follows the trained one."""

    def __init__(self, trained: Tensor) -> None:
        self.trained, self.values = trained, trained.detach().clone()

    def target(self, observations: Tensor) -> Tensor:
        return observations @ self.values

    def move_target(self, rate: float) -> None:
        """Not here: one L-BFGS step asks for the loss many times."""

    def follow(self, rate: float) -> None:
        self.values.lerp_(self.trained.detach(), rate)


def sqil(
    game: Game, experts: Sequence[Array], *, rationality: float = 1.0, rounds: int = 200, rate: float = 0.2
) -> Policies:
    """SQIL, at its authors' temperature of 1: rounds of play, each followed by a fit to the target."""
    agents, game = agents_of(game), dataclasses.replace(game, rationality=rationality)
    tables = {agent: zeros(game.states, count) for agent, count in zip(agents, game.actions, strict=True)}
    modules = {agent: TargetTable(table) for agent, table in tables.items()}
    config = SimpleNamespace(gamma=game.discount, rationality=rationality, rollout_weight=1.0, target_rate=rate)
    precision = Precision("none", torch.device("cpu"))
    losses = SQILLosses(config, modules, {agent: [agent] for agent in agents}, precision)  # type: ignore[arg-type]
    for _ in range(rounds):
        batch = expert_minibatch(game, experts, policies_of(game, tables), losses.needs_next)
        fit(losses, tables, batch, iterations=15)
        for module in modules.values():
            module.follow(rate)
    return policies_of(game, tables)


def recovered_by_airl(game: Game, experts: Sequence[Array], sees: str) -> Array:
    """What MAAIRL's discriminator of the first agent takes for its reward, once rollouts are by the experts' policies.

    Args:
        game: The game.
        experts: Policies of demonstrations and rollouts.
        sees: ``state`` or ``state_action``.

    Returns:
        ``g``, ``(S, 1)`` or ``(S, A)``.
    """
    agents, width = agents_of(game), 1 if sees == "state" else game.actions[0]
    base, potential = zeros(game.states, width), zeros(game.states, 1)
    discriminator = ShapedDiscriminator(
        lambda seen: (seen @ base).squeeze(-1),  # type: ignore[arg-type]
        lambda seen: (seen @ potential).squeeze(-1),  # type: ignore[arg-type]
        game.discount,
    )
    config = SimpleNamespace(gamma=game.discount, rationality=game.rationality, gradient_penalty=0.0)
    modules = {agents[0]: SimpleNamespace(discriminator=discriminator)}
    losses = AdversarialLosses(config, modules, {agents[0]: agents[:1]}, Precision("none", torch.device("cpu")))  # type: ignore[arg-type]
    acting = {agents[0]: torch.as_tensor(np.log(experts[0]) / game.rationality)}
    batch = expert_minibatch(game, experts, experts, losses.needs_next)

    def total() -> Tensor:
        return losses(batch, scores_of(acting, batch), update=0, report=False)[agents[0]]

    minimise(total, [base, potential], 200)
    return base.detach().numpy()


def distances(game: Game, found: Policies, experts: Sequence[Array]) -> tuple[float, float]:
    """Total variation from the experts' policies: in the worst state of any agent, and on average over their play."""
    of_agents = [total_variation(ours, theirs) for ours, theirs in zip(found, experts, strict=True)]
    return float(np.max(of_agents)), float((np.mean(of_agents, 0) * occupancy(game, experts)).sum())
