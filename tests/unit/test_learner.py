"""The learner on the toy game: every parameter learns, dead rows weigh nothing, state survives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rllib_mamql.algorithms.mamql.config import MAMQLConfig
from rllib_mamql.algorithms.mamql.learner import MAMQLLearner
from rllib_mamql.columns import (
    ACTIONS,
    ALIVE,
    NEXT_OBS,
    OBS,
    TERMINATEDS,
    WEIGHT,
    JointColumns,
    T,
    column,
    concatenate,
)
from rllib_mamql.environments.registry import make_env
from rllib_mamql.environments.spaces import environment_spaces
from rllib_mamql.learning.env_runner import JointRollout
from rllib_mamql.learning.minibatch import ExpertSource, draw_minibatch
from rllib_mamql.play.actors import random_actor
from rllib_mamql.play.rollout import ColumnarRollout

TOY = "pettingzoo:tests.toy_env"


def play(seed: int = 0, steps: int = 200) -> JointColumns:
    rollout = ColumnarRollout(lambda: make_env(TOY), 4, seed)
    sizes = {agent: 3 for agent in rollout.agents}
    return rollout.run(random_actor(sizes, np.random.default_rng(seed)), num_steps=steps)[0]


def learner(compiled_by: Any = None, **settings: Any) -> MAMQLLearner:
    config = (
        MAMQLConfig()
        .environment(TOY)
        .offline_data(input_="unused")
        .training(**{"expert_batch_size": 32, "rollout_batch_size": 16, "reward_interval": 1, **settings})
        .rl_module(model_config={"fcnet_hiddens": [16]})
        .debugging(seed=3)
    )
    if compiled_by is not None:
        config.framework(torch_compile_learner=True, torch_compile_learner_dynamo_backend=compiled_by)
    config.validate()
    module_of = config.module_of
    spaces = {module_of[agent]: pair for agent, pair in environment_spaces(TOY, {}).items()}
    torch.manual_seed(0)
    made = MAMQLLearner(config=config, module_spec=config.get_multi_rl_module_spec(spaces=spaces))
    made.build()
    made.set_expert(config.module_of, play())
    return made


VARIANTS = [
    {},
    {"critic": "joint"},
    {"critic": "joint", "marginal_samples": 5},
    {"critic": "mean_field"},
    {"parameter_sharing": "all"},
    {"critic": "joint", "parameter_sharing": "all"},
    {"value_term": "initial"},
    {"value_term": "rollout"},
    {"chi_square_states": "expert"},
    {"mode": "offline", "value_term": None},
    {"mode": "offline", "value_term": "initial", "critic": "joint"},
]


@pytest.mark.parametrize("settings", VARIANTS, ids=str)
def test_every_trainable_parameter_learns(settings: dict[str, Any]) -> None:
    made = learner(**settings)
    made.replay.add(play(seed=9))
    before = {p: p.detach().clone() for p in made._params.values()}
    made.update(num_updates=3)
    assert before
    for name, module in made.module.items():
        for key, parameter in module.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), (name, key)
                assert not torch.equal(before[parameter], parameter), f"{name}.{key} did not move"


@pytest.mark.parametrize(
    ("share", "corner"),
    [(0.0, {"value_term": "expert", "chi_square_states": "expert"}), (1.0, {"value_term": "rollout"})],
)
def test_the_share_of_rollouts_leads_from_one_corner_to_the_other(share: float, corner: dict[str, Any]) -> None:
    made, other = learner(rollout_share=share), learner(**corner)
    between = learner(rollout_share=0.5)
    for each in (made, other, between):
        each.replay.add(play(seed=9))
        each.update(num_updates=5)
    for ours, theirs in zip(made._params.values(), other._params.values(), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert any(
        not torch.allclose(ours, theirs, atol=1e-4)
        for ours, theirs in zip(made._params.values(), between._params.values(), strict=True)
    )


@pytest.mark.parametrize(("weighted", "same"), [(False, False), (True, True)])
def test_modules_whose_losses_are_not_joint_see_rows_of_their_own(weighted: bool, same: bool) -> None:
    rows, agents = np.arange(50, dtype=np.float32), ["agent_0", "agent_1"]
    kinds = {OBS: rows, NEXT_OBS: rows, ACTIONS: rows, TERMINATEDS: rows > 50, ALIVE: rows >= 0}
    columns = {column(kind, agent): values for kind, values in kinds.items() for agent in agents} | {T: rows}
    expert = ExpertSource(columns | ({WEIGHT: rows} if weighted else {}), None, torch.device("cpu"))
    drawn = draw_minibatch(
        expert, None, agents, expert_rows=40, rollout_rows=0, with_next=True, with_starts=False,
        generator=torch.Generator().manual_seed(0), apart=[["agent_0"], ["agent_1"]],
    ).columns  # fmt: skip
    for agent in agents:
        assert torch.equal(drawn[column(OBS, agent)], drawn[column(ACTIONS, agent)]), "an agent's columns stay together"
    assert torch.equal(drawn[column(OBS, "agent_0")], drawn[column(OBS, "agent_1")]) == same


def test_metrics_cover_every_term() -> None:
    made = learner(critic="joint")
    made.replay.add(play(seed=9))
    results = made.update(num_updates=2)
    assert results is not None
    terms = results["agent_1"]["agent_1"]
    for name in (
        "critic_loss", "expert_reward", "chi_square", "value_term", "expert_log_likelihood", "expert_accuracy",
        "policy_entropy", "abs_reward_p50", "abs_reward_p90", "abs_reward_max", "q_mean", "q_drift", "reward_loss",
        "reward_regression", "reward_shrinkage", "distillation",
    ):  # fmt: skip
        assert np.isfinite(terms[name].peek() if hasattr(terms[name], "peek") else terms[name]), name


def test_rows_of_dead_agents_weigh_nothing() -> None:
    made, other = learner(), learner()
    columns = play()
    dead = {name: values.copy() for name, values in columns.items()}
    for agent in ("agent_0", "agent_1"):
        dead[column(ALIVE, agent)][:] = False
        dead[column(OBS, agent)][:] = 1e3
        dead[column(ACTIONS, agent)][:] = 2
    made.set_expert(made.config.module_of, concatenate([columns] + [dead] * 9))
    other.set_expert(other.config.module_of, columns)
    for each in (made, other):
        each.config._is_frozen = False
        each.config.mode, each.config.learn_reward, each.config.value_term = "offline", True, "expert"
        rows = len(each.expert)  # every row once, instead of a random minibatch
        each.expert.sample = lambda n, generator, names=None, each=each: each.expert.columns
        each.config.expert_batch_size = rows
        each._log_this_step = False
        each._update(each._minibatch())
    for a, b in zip(made._params.values(), other._params.values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_row_shuffled_data_trains_the_same() -> None:
    """Rows are self-contained: a permuted dataset, drawn by the permuted indices, gives the same networks."""
    made, other = learner(mode="offline"), learner(mode="offline")
    columns = play()
    order = np.random.default_rng(0).permutation(len(columns["t"]))
    other.set_expert(other.config.module_of, {name: values[order] for name, values in columns.items()})
    position = torch.as_tensor(np.argsort(order))

    def same_rows(rows: int, generator: torch.Generator, names: Any = None) -> Any:
        index = torch.randint(len(order), (rows,), generator=generator)
        return {name: values[position[index]] for name, values in other.expert.columns.items()}

    other.expert.sample = same_rows
    for each in (made, other):
        each.update(num_updates=5)
    for a, b in zip(made._params.values(), other._params.values(), strict=True):
        torch.testing.assert_close(a, b)


def test_state_round_trip_goes_on_the_same() -> None:
    made = learner()
    made.replay.add(play(seed=9))
    made.update(num_updates=4)
    other = learner()
    other.set_state(made.get_state())
    other.set_data_state(made.get_data_state())
    assert other.updates == 4 and len(other.replay) == len(made.replay)
    for each in (made, other):
        each.update(num_updates=3)
    for a, b in zip(made._params.values(), other._params.values(), strict=True):
        torch.testing.assert_close(a, b)


def test_a_modules_own_learning_rate_survives_a_restore() -> None:
    made = learner()
    made.config._is_frozen = False  # As the config of a search is: its rates may have changed since.
    made.config.rl_module(algorithm_config_overrides_per_module={"agent_0": {"lr": 0.5}})
    made.set_state(made.get_state())
    rates = {
        module: float(group["lr"])
        for module in ("agent_0", "agent_1")
        for _, optimizer in made.get_optimizers_for_module(module)
        for group in optimizer.param_groups
    }
    assert rates == {"agent_0": 0.5, "agent_1": made.config.lr}


def test_the_average_acts_and_follows() -> None:
    made = learner(weight_average=0.5)
    made.update(num_updates=1)
    module = made.module["agent_0"].unwrapped()
    assert not any(p.requires_grad for p in module.average.parameters())
    made.config.weight_average = 0.0
    made.update(num_updates=1)
    for average, critic in zip(module.average.parameters(), module.critic.parameters(), strict=True):
        torch.testing.assert_close(average, critic.detach())


def test_shares_of_a_rollout_cover_it() -> None:
    rollout = JointRollout(play(), ["agent_0", "agent_1"])
    shares = [rollout.share(rank, 3) for rank in range(3)]
    assert sum(map(len, shares)) == len(rollout) == rollout.env_steps()
    assert rollout.agent_steps() == 2 * len(rollout)


def test_inference_only_copies_carry_no_reward() -> None:
    made = learner(critic="joint")
    state = made.get_state(components="rl_module", inference_only=True)["rl_module"]["agent_0"]
    assert state and all(name.startswith("average.") for name in state)


def test_learning_rate_follows_its_schedule() -> None:
    """RLlib's schedules count environment steps; at rate 0 nothing moves, whatever the weight decay."""
    made = learner(lr=[[0, 0.002], [100, 0.002], [300, 0.0]], weight_decay=1.0)
    made.replay.add(play(seed=9))
    (optimizer,) = [each for _, each in made.get_optimizers_for_module("agent_0")]
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.002)
    made.update(timesteps={"num_env_steps_sampled_lifetime": 200}, num_updates=1)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.001)
    made.update(timesteps={"num_env_steps_sampled_lifetime": 300}, num_updates=1)
    before = {p: p.detach().clone() for p in made._params.values() if p.requires_grad}
    made.update(timesteps={"num_env_steps_sampled_lifetime": 400}, num_updates=2)
    for parameter, value in before.items():
        assert torch.equal(parameter, value)
