"""On a game solved by enumeration the module's networks find the expert's policies and the true marginal rewards."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from torch import Tensor

from rllib_mamql.algorithms.mamql import objective
from rllib_mamql.algorithms.mamql.module import MAMQLModule
from rllib_mamql.algorithms.mamql.others import joint_marginal
from rllib_mamql.solvable import (
    Game,
    all_rows,
    gains,
    implied_reward,
    marginals,
    occupancy,
    random_game,
    remove_shaping,
    soft_equilibrium,
)
from rllib_mamql.solvable.equilibrium import boltzmann
from rllib_mamql.solvable.fitting import CHI_SQUARE_SCALE, agent_rows, loss_of_tables, minimise, total_variation


def build(game: Game, agent: int, critic: str) -> MAMQLModule:
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


@pytest.mark.parametrize("agent", [0, 1])
@pytest.mark.parametrize("critic", ["marginal", "joint"])
def test_critic_and_reward_match_the_closed_form(critic: str, agent: int) -> None:
    torch.manual_seed(agent)
    game = random_game(3)
    policies = soft_equilibrium(game).policies
    steps, other = all_rows(game, policies), [torch.tensor(policies[1 - agent])]
    rows, inputs = agent_rows(game, steps, agent), torch.eye(game.states, dtype=torch.float64)
    module = build(game, agent, critic).double()

    def table() -> Tensor:
        if critic == "marginal":
            return module.critic(inputs)
        return joint_marginal(module.joint_critic, inputs, other, samples=None)

    def critic_loss() -> Tensor:
        q = table()
        return loss_of_tables(q[rows.states], q[rows.next_states], rows, game, CHI_SQUARE_SCALE).total

    trained = module.critic if critic == "marginal" else module.joint_critic
    minimise(critic_loss, list(trained.parameters()), 400)
    q = table().detach()
    worst = total_variation(boltzmann(q.numpy(), game.rationality), policies[agent]).max()
    assert worst < 0.01, worst
    learned = [boltzmann(q.numpy(), game.rationality) if each == agent else policies[each] for each in range(2)]
    assert gains(game, learned, regularised=True)[agent] < 1e-3

    s, s_next = torch.tensor(steps.states), torch.tensor(steps.next_states)
    own, others = torch.tensor(steps.actions[agent]), torch.tensor(steps.actions[1 - agent])
    value, ongoing = objective.soft_value(q, game.rationality), torch.zeros(len(s), dtype=torch.bool)
    target = objective.inverse_reward(objective.take_actions(q[s], own), value[s_next], ongoing, game.discount)

    def reward_loss() -> Tensor:
        if critic == "marginal":  # one sample of a_-i a row, as in training
            reward = module.reward(inputs[s], others.unsqueeze(-1))
        else:
            reward = joint_marginal(module.reward, inputs, other, samples=None)[s]
        weights = torch.tensor(steps.weights)
        return objective.reward_loss(objective.take_actions(reward, own), target, weights, 0.0).total

    minimise(reward_loss, list(module.reward.parameters()), 400)
    recovered = joint_marginal(module.reward, inputs, other, samples=None).detach().numpy()
    true, transition = marginals(game, policies, agent)
    # What the critic implies is what the reward network was to learn, in the critic's own gauge.
    implied = implied_reward(q.numpy(), transition, game.discount, game.rationality)
    np.testing.assert_allclose(recovered, implied, atol=0.02)
    visited = occupancy(game, policies)[:, None] * policies[agent]
    pair = [remove_shaping(reward, transition, game.discount, visited).ravel() for reward in (recovered, true)]
    correlation = np.corrcoef(*pair)[0, 1]
    assert correlation > 0.99, correlation
