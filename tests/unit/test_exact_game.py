"""On a game solved by enumeration the critics find the expert's policies, and the rewards the true marginal ones."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from torch import Tensor

from rllib_mamql.algorithms.mamql import objective
from rllib_mamql.algorithms.mamql.losses import joint_marginal
from rllib_mamql.algorithms.mamql.module import MAMQLModule
from tests import exact_games

# A weak regulariser: chi^2 pulls policies towards uniform by an amount that falls as 1 / c.
SCALE = 1e4


def build(game: exact_games.Game, agent: int, critic: str) -> MAMQLModule:
    spec = RLModuleSpec(
        module_class=MAMQLModule,
        observation_space=gym.spaces.Box(0, 1, (game.states,), np.float32),
        action_space=gym.spaces.Discrete(game.actions[agent]),
        model_config={
            "rationality": game.rationality,
            "evaluation_rationality": game.rationality,
            "critic": critic,
            "other_actions": [game.actions[1 - agent]],
            "reward_hiddens": [64],
            "fcnet_hiddens": [64],
            "fcnet_activation": "relu",
        },
    )
    return spec.build()


def minimise(loss_of: object, parameters: list[Tensor], iterations: int = 150) -> None:
    """Full-batch L-BFGS: there is no sampling noise here, so the optimum is reached, not orbited."""
    optimiser = torch.optim.LBFGS(
        parameters, max_iter=iterations, tolerance_grad=1e-10, tolerance_change=1e-13, history_size=30,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = loss_of()
        loss.backward()
        return loss

    optimiser.step(closure)


@pytest.mark.parametrize("critic", ["marginal", "joint"])
def test_critic_and_reward_match_the_closed_form(critic: str) -> None:
    torch.manual_seed(0)
    game = exact_games.random_game(seed=3)
    policies = exact_games.soft_equilibrium(game)
    rows = exact_games.all_rows(game, policies)
    weight = torch.tensor(rows["weight"])
    lam, gamma = game.rationality, game.discount
    states = torch.eye(game.states, dtype=torch.float64)
    s, t = torch.tensor(rows["s"]), torch.tensor(rows["next"])
    alive = torch.zeros(len(s), dtype=torch.bool)
    for agent in range(2):
        module = build(game, agent, critic).double()
        actions, others = torch.tensor(rows["actions"][agent]), torch.tensor(rows["actions"][1 - agent])
        other_policy = [torch.tensor(policies[1 - agent])]

        def table(module: MAMQLModule = module, other: list[Tensor] = other_policy) -> Tensor:
            if critic == "marginal":
                return module.critic(states)
            return joint_marginal(module.joint_critic, states, other, samples=None)

        def implied(q: Tensor, actions: Tensor = actions) -> Tensor:
            value = objective.soft_value(q, lam)
            return objective.inverse_reward(objective.take_actions(q[s], actions), value[t], alive, gamma)

        def critic_loss() -> Tensor:
            q = table()
            rewards = implied(q)
            value = objective.soft_value(q, lam)
            return objective.critic_loss(
                expert_reward=rewards,
                expert_weights=weight,
                penalised_reward=rewards,
                penalised_weights=weight,
                value=objective.value_telescoped(value[s], value[t], alive, weight, gamma),
                chi_square_scale=SCALE,
            ).total

        trained = module.critic if critic == "marginal" else module.joint_critic
        minimise(critic_loss, list(trained.parameters()), 400)
        with torch.no_grad():
            q = table()
            learned = objective.log_policy(q, lam).exp().numpy()
            target = implied(q)
        total_variation = 0.5 * np.abs(learned - policies[agent]).sum(-1).max()
        assert total_variation < 0.01, f"agent {agent}: {total_variation}"

        def reward_loss(
            module: MAMQLModule = module,
            actions: Tensor = actions,
            others: Tensor = others,
            target: Tensor = target,
            other: list[Tensor] = other_policy,
        ) -> Tensor:
            if critic == "marginal":  # one sample of a_-i a row, as in training
                reward = module.reward(states[s], others.unsqueeze(-1))
            else:
                reward = joint_marginal(module.reward, states, other, samples=None)[s]
            return objective.reward_loss(objective.take_actions(reward, actions), target, weight, 0.0).total

        minimise(reward_loss, list(module.reward.parameters()), 400)
        with torch.no_grad():
            recovered = joint_marginal(module.reward, states, other_policy, samples=None).numpy()
        true, transition = exact_games.marginals(game, policies, agent)
        visited = exact_games.occupancy(game, policies)[:, None] * policies[agent]
        pair = [exact_games.remove_shaping(game, r, transition, visited).ravel() for r in (recovered, true)]
        correlation = np.corrcoef(*pair)[0, 1]
        assert correlation > 0.99, f"agent {agent}: {correlation}"


def test_shaping_changes_nothing_that_is_compared() -> None:
    game = exact_games.random_game(seed=5)
    policies = exact_games.soft_equilibrium(game)
    reward, transition = exact_games.marginals(game, policies, 0)
    potential = np.random.default_rng(0).normal(size=game.states)
    shaped = reward + game.discount * transition @ potential - potential[:, None]
    weight = np.ones_like(reward)
    plain = exact_games.remove_shaping(game, reward, transition, weight)
    np.testing.assert_allclose(exact_games.remove_shaping(game, shaped, transition, weight), plain, atol=1e-9)
