"""MAGAIL and MAAIRL: losses and rewards by hand, rollouts as episodes, and what of a learner each part trains."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.training_data import TrainingData

from rllib_mamql import MAAIRLConfig, MAGAILConfig
from rllib_mamql.algorithms.adversarial.discriminators import ShapedDiscriminator, Steps, steepness
from rllib_mamql.algorithms.adversarial.objective import (
    absorbing_logit,
    airl_reward,
    discriminator_loss,
    gail_reward,
    payment,
    shaped,
)
from rllib_mamql.columns import ACTIONS, ALIVE, EPS_ID, NEXT_OBS, OBS, TERMINATEDS, TRUNCATEDS, JointColumns, T, column
from rllib_mamql.errors import ConfigError
from rllib_mamql.learning.env_runner import JointRollout
from rllib_mamql.learning.episodes import paid_episodes, stretches
from rllib_mamql.learning.replay import to_tensors
from rllib_mamql.solvable import Game, soft_equilibrium
from tests.support.tabular_rivals import recovered_by_airl
from tests.support.toy_data import TOY
from tests.unit.test_learner import play
from tests.unit.test_rivals import learner

ROUND = {"train_batch_size_per_learner": 200, "minibatch_size": 50, "num_epochs": 2}
A, B = "agent_0", "agent_1"


def sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))


# -- formulas ----------------------------------------------------------------------------------------------------


def test_the_discriminators_loss_is_the_cross_entropy_of_living_rows() -> None:
    logits, weights = [2.0, -1.0, 0.5, -3.0, 1.0], [1.0, 0.5, 1.0, 0.0, 2.0]
    found = discriminator_loss(torch.tensor([logits]), torch.tensor([weights]), 2).item()
    expert = (-math.log(sigmoid(2.0)) - 0.5 * math.log(sigmoid(-1.0))) / 1.5
    rollouts = (-math.log(1 - sigmoid(0.5)) - 2.0 * math.log(1 - sigmoid(1.0))) / 3.0
    assert found == pytest.approx(expert + rollouts, rel=1e-5)
    none = discriminator_loss(torch.zeros(4), torch.ones(4), 2).item()
    assert none == pytest.approx(2 * math.log(2))


def test_rewards_are_those_of_the_papers() -> None:
    logits = torch.tensor([-2.0, 0.0, 3.0])
    d = torch.sigmoid(logits)
    torch.testing.assert_close(gail_reward(logits), -torch.log(1 - d))
    torch.testing.assert_close(airl_reward(logits), torch.log(d) - torch.log(1 - d))


def test_shaping_goes_through_truncation_and_ends_with_termination() -> None:
    f = shaped(*(torch.tensor(x) for x in ([1.0, 1.0], [0.5, 0.5], [2.0, 2.0], [False, True])), discount=0.9)
    assert f.tolist() == pytest.approx([1.0 + 0.9 * 2.0 - 0.5, 1.0 - 0.5])


def test_airls_logit_is_f_less_the_policys_log_probability() -> None:
    def table(values: list[Any]) -> Any:
        return lambda obs: torch.tensor(values)[obs.long().squeeze(-1)]

    discriminator = ShapedDiscriminator(torch.nn.Identity(), torch.nn.Identity(), 0.9)  # type: ignore[arg-type]
    discriminator.base.forward = table([[1.0, 2.0], [3.0, 4.0]])
    discriminator.potential.forward = table([0.5, -1.0])
    log_policy = torch.tensor([math.log(0.25), math.log(0.75)])
    steps = Steps(
        torch.tensor([[0.0], [1.0]]), torch.tensor([1, 0]), torch.tensor([[1.0], [0.0]]), torch.tensor([False, True]),
        log_policy,
    )  # fmt: skip
    found = discriminator(steps)
    assert found.tolist() == pytest.approx([2.0 + 0.9 * -1.0 - 0.5 - math.log(0.25), 3.0 + 1.0 - math.log(0.75)])
    # D = exp f / (exp f + pi), as the paper writes it.
    f = found + log_policy
    torch.testing.assert_close(torch.sigmoid(found), f.exp() / (f.exp() + log_policy.exp()))


def test_absorbing_states_are_the_experts_as_far_as_it_terminates() -> None:
    ended, rows = torch.tensor([[0.0, 99.0], [5.0, 20.0], [0.0, 0.0]]), torch.tensor([[500.0, 2000.0]] * 3)
    found = absorbing_logit(ended, rows).tolist()
    pooled = 99 / 2500
    assert found[0] == pytest.approx(math.log(1 / (500 * pooled + 1)) - math.log(100 / (2000 * pooled + 1)), rel=1e-5)
    assert found[0] < -2 and found[1:] == pytest.approx([0.0, 0.0], abs=1e-6)


def test_what_follows_a_termination_is_paid_with_it_and_life_is_worth_nothing_on_average() -> None:
    rewards, ends = torch.tensor([1.0, 5.0]), torch.tensor([False, True])
    assert payment(rewards, ends, 0.75).tolist() == pytest.approx([0.25, 1.25])
    # The value of ending is (1 - gamma) sum_t gamma^t r = r where r is paid for ever.
    assert payment(rewards, ends, 0.75, -2.0).tolist() == pytest.approx([0.25, 0.25 * (5.0 + 3.0 * -2.0)])
    assert payment(rewards, ends, 0.75, -2.0, 1.0).tolist() == pytest.approx([0.0, 0.25 * (4.0 + 3.0 * -2.0)])


def test_steepness_does_not_hang_on_units() -> None:
    seen, slope = torch.tensor([[0.0, 1.0], [2.0, 5.0], [4.0, 3.0]]), torch.tensor([1.5, -0.5])
    found = []
    for unit in (1.0, 1000.0):
        zeros = torch.zeros(3)
        steps = Steps(seen * unit, zeros, seen * unit, zeros.bool(), zeros).differentiable()
        found.append(steepness(steps.obs @ (slope / unit), steps))
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(found[0], ((slope * seen.std(0)) ** 2).sum().expand(3))


# -- on a solved game --------------------------------------------------------------------------------------------


def test_airl_tells_a_reward_of_states_from_its_shaping_where_dynamics_are_deterministic() -> None:
    """AIRL's theorem: g is the true reward up to a constant, times the rationality that the experts act at."""
    rng, states = np.random.default_rng(0), 6
    rewards = rng.normal(size=states)
    game = Game(
        np.eye(states)[rng.integers(states, size=(states, 3))], np.tile(rewards[None, :, None], (1, 1, 3)),
        rationality=2.0,
    )  # fmt: skip
    experts = soft_equilibrium(game).policies
    found = recovered_by_airl(game, experts, "state")[:, 0]
    difference = found - game.rationality * rewards
    assert np.ptp(difference) < 1e-2 * np.ptp(game.rationality * rewards)


# -- rollouts as episodes ----------------------------------------------------------------------------------------


def rollout() -> JointColumns:
    """Two environments, three steps each, step by step; agent 1 dies in the first after one step."""
    rows = 6
    columns: JointColumns = {
        EPS_ID: np.array(["x", "y"] * 3, dtype=object), T: np.array([4, 0, 5, 1, 6, 2], np.int32),
    }  # fmt: skip
    for agent, first in ((A, 0.0), (B, 100.0)):
        columns |= {
            column(OBS, agent): (first + np.arange(rows, dtype=np.float32))[:, None],
            column(NEXT_OBS, agent): (first + 50 + np.arange(rows, dtype=np.float32))[:, None],
            column(ACTIONS, agent): np.array([0, 1, 2, 0, 1, 2]),
            column(TERMINATEDS, agent): np.zeros(rows, bool),
            column(TRUNCATEDS, agent): np.zeros(rows, bool),
            column(ALIVE, agent): np.ones(rows, bool),
        }
    columns[column(TERMINATEDS, B)][0] = True
    columns[column(ALIVE, B)][[2, 4]] = False
    columns[column(TRUNCATEDS, A)][5] = True
    return columns


def test_stretches_follow_an_agent_in_time_and_leave_dead_rows_out() -> None:
    assert [rows.tolist() for rows in stretches(rollout(), A)] == [[0, 2, 4], [1, 3, 5]]
    assert [rows.tolist() for rows in stretches(rollout(), B)] == [[0], [1, 3, 5]]
    back = rollout()
    back[column(ALIVE, B)][4] = True
    assert [rows.tolist() for rows in stretches(back, B)] == [[0], [4], [1, 3, 5]]


def test_episodes_carry_the_rewards_of_their_own_rows() -> None:
    columns, rewards = rollout(), np.arange(6, dtype=np.float32) * 10
    log_policies = np.log(np.full((6, 3), [0.2, 0.3, 0.5], np.float32))
    first, second = paid_episodes(columns, B, "m", rewards, log_policies)
    assert first.is_terminated and not first.is_truncated and len(first) == 1
    assert not second.is_done and second.module_id == "m" and second.agent_id == B
    assert second.get_rewards().tolist() == [10.0, 30.0, 50.0]
    assert second.get_actions().tolist() == [1, 0, 2]
    assert second.get_observations().ravel().tolist() == [101.0, 103.0, 105.0, 155.0]
    taken = second.get_extra_model_outputs(Columns.ACTION_LOGP)
    np.testing.assert_allclose(np.exp(taken), [0.3, 0.2, 0.5], rtol=1e-5)
    assert paid_episodes(columns, A, "m", rewards, log_policies)[1].is_truncated


# -- in the learner ----------------------------------------------------------------------------------------------

VARIANTS: list[tuple[type[Any], dict[str, Any]]] = [
    (MAGAILConfig, {"parameter_sharing": "all"}),
    (MAAIRLConfig, {"use_kl_loss": True}),
    (MAAIRLConfig, {"reward_inputs": "state", "absorbing_states": False, "gradient_penalty": 0.0}),
]


def round_of(made: Any, updates: int) -> None:
    data = TrainingData(episodes=[JointRollout(play(seed=9), made.agents)])
    made.update(data, num_updates=updates, timesteps={"num_env_steps_sampled_lifetime": 200})


@pytest.mark.parametrize(("kind", "chosen"), VARIANTS, ids=str)
def test_a_round_moves_every_network_and_the_last_policy_acts(kind: type[Any], chosen: dict[str, Any]) -> None:
    made = learner(kind, **ROUND, **chosen)
    modules = {name: made.network(name) for name in made.agents_of}
    before = {(n, k): v.clone() for n, m in modules.items() for k, v in m.state_dict().items()}
    round_of(made, 0)
    moved = {(n, k) for n, m in modules.items() for k, v in m.state_dict().items() if not torch.equal(v, before[n, k])}
    assert {key for key in before if "discriminator" not in key[1]} == moved, "PPO trains policies and values alone"
    round_of(made, 2)
    for name, module in modules.items():
        for key, values in module.state_dict().items():
            assert torch.isfinite(values).all() and not torch.equal(values, before[name, key]), f"{name}.{key}"
        for ours, theirs in zip(module.average.parameters(), module.trained.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs)


def test_ppo_is_paid_by_each_agents_own_discriminator() -> None:
    made, columns = learner(MAGAILConfig, **ROUND, absorbing_states=False), play(seed=9)
    columns[column(ALIVE, B)][:40] = False
    with torch.no_grad():
        made.network(B).discriminator.network.head.bias.copy_(torch.tensor([0.0, 5.0, 9.0]))
    episodes = made.paid({name: values.copy() for name, values in columns.items()})
    steps = to_tensors(columns)
    for agent in made.agents:
        logits = made.network(agent).discriminator.network(steps[column(OBS, agent)]).detach()
        expected = gail_reward(logits.gather(1, steps[column(ACTIONS, agent)][:, None])[:, 0]).numpy()
        own = [episode for episode in episodes if episode.agent_id == agent]
        assert sum(len(episode) for episode in own) == columns[column(ALIVE, agent)].sum()
        paid = np.concatenate([episode.get_rewards() for episode in own])
        expected *= 1 - made.config.gamma
        np.testing.assert_allclose(paid, np.concatenate([expected[r] for r in stretches(columns, agent)]), rtol=1e-5)


@pytest.mark.parametrize(("kind", "sharing"), [(MAAIRLConfig, "none"), (MAGAILConfig, "all")])
def test_rewards_are_centred_over_living_rows_where_endings_are_judged(kind: type[Any], sharing: str) -> None:
    columns = play(seed=9)
    columns[column(ALIVE, B)][:40] = False
    for agent in (A, B):
        columns[column(TERMINATEDS, agent)][:] = False

    def means(**chosen: Any) -> dict[str, float]:
        episodes = learner(kind, **ROUND, parameter_sharing=sharing, **chosen).paid(dict(columns))
        by_module: dict[str, list[Any]] = {}
        for episode in episodes:
            by_module.setdefault(episode.module_id, []).append(episode.get_rewards())
        return {name: float(np.concatenate(found).mean()) for name, found in by_module.items()}

    # Nobody ends in these rollouts, and the absorbing state's reward is paid nowhere.
    assert list(means().values()) == pytest.approx([0.0] * (2 if sharing == "none" else 1), abs=1e-6)
    assert all(abs(mean) > 1e-4 for mean in means(absorbing_states=False).values())


def optimizers(made: Any) -> list[Any]:
    return [found for name in made.agents_of for _, found in made.ppo.get_optimizers_for_module(name)]


def test_what_ppo_has_learned_survives_a_restart() -> None:
    chosen = {**ROUND, "use_kl_loss": True}
    made, other = learner(MAAIRLConfig, **chosen), learner(MAAIRLConfig, **chosen)
    round_of(made, 2)
    made.ppo.curr_kl_coeffs_per_module[A].data.fill_(0.7)
    other.set_state(made.get_state())
    assert float(other.ppo.curr_kl_coeffs_per_module[A]) == pytest.approx(0.7)
    rates = {group["lr"] for optimizer in other.optimizers() for group in optimizer.param_groups}
    assert rates == {made.config.discriminator_lr} != {made.config.lr}, "the discriminators', not PPO's"
    for ours, theirs in zip(optimizers(other), optimizers(made), strict=True):
        moments = list(zip(ours.state.values(), theirs.state.values(), strict=True))
        assert moments
        for mine, its in moments:
            torch.testing.assert_close(mine["exp_avg"], its["exp_avg"])


def test_streamed_demonstrations_need_absorbing_states_off() -> None:
    made = learner(MAGAILConfig, **ROUND)
    made.expert.columns = {}
    with pytest.raises(ConfigError, match="absorbing_states is true, but the demonstrations are streamed"):
        made.paid(play(seed=9))


@pytest.mark.parametrize(
    ("kind", "wrong", "message"),
    [
        (MAGAILConfig, {"mode": "offline"}, "tell demonstrations from rollouts"),
        (MAGAILConfig, {"rollout_staleness": 1}, "rollout_staleness is 1.*leave it at 0"),
        (MAGAILConfig, {"weight_average": 0.9}, "weight_average is 0.9"),
        (MAGAILConfig, {"cuda_graphs": True}, "cuda_graphs is True"),
        (MAGAILConfig, {"discriminator_lr": 0.0}, "discriminator_lr is 0.0"),
        (MAGAILConfig, {"gradient_penalty": -1.0}, "gradient_penalty is -1.0"),
        (MAGAILConfig, {"absorbing_states": "yes"}, "absorbing_states is 'yes'"),
        (MAGAILConfig, {"num_learners": 3}, "3 learners cannot share equally.*multiple of 3"),
        (MAAIRLConfig, {"reward_inputs": "joint"}, "reward_inputs is 'joint'"),
    ],
)
def test_settings_that_make_no_sense_are_named(kind: type[Any], wrong: dict[str, Any], message: str) -> None:
    config = kind().environment(TOY).offline_data(input_="unused")
    with pytest.raises(ConfigError, match=message):
        config.update_from_dict(wrong)
        config.validate()
