"""The losses of IQ-Learn, SQIL and MIFQ: by hand on small cases, on a solved game, and in the learner."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rllib_mamql import IQLearnMAConfig, MIFQConfig, SQILConfig
from rllib_mamql.algorithms.iq_learn.losses import IQLearnLosses, joint_actions
from rllib_mamql.algorithms.iq_learn.module import own_scores
from rllib_mamql.algorithms.mifq.losses import MIFQLosses
from rllib_mamql.algorithms.mifq.module import MonotoneMixing
from rllib_mamql.algorithms.sqil.losses import SQILLosses
from rllib_mamql.columns import ACTIONS, ALIVE, NEXT_OBS, OBS, TERMINATEDS, WEIGHT, column
from rllib_mamql.environments.spaces import environment_spaces
from rllib_mamql.errors import ConfigError
from rllib_mamql.learning.minibatch import Minibatch
from rllib_mamql.networks.precision import Precision
from rllib_mamql.solvable import coordination, soft_equilibrium
from tests.support.tabular import uniform
from tests.support.tabular_rivals import distances, iq_learn, mifq
from tests.support.toy_data import TOY
from tests.unit.test_learner import play

LAM, GAMMA, C = 2.0, 0.9, 0.5
AGENTS = ["agent_0", "agent_1"]


def value(row: Sequence[float]) -> float:
    return math.log(sum(math.exp(LAM * x) for x in row)) / LAM


def batch_of(
    actions: list[list[int]],
    ends: list[list[bool]],
    expert_rows: int,
    alive: list[list[bool]] | None = None,
    with_next: bool = True,
) -> Minibatch:
    """Joint rows of as many agents as there are lists; observations are row numbers, next ones the next rows'."""
    rows = len(actions[0])
    columns = {WEIGHT: torch.ones(rows)}
    for index, agent in enumerate(f"agent_{k}" for k in range(len(actions))):
        columns |= {
            column(OBS, agent): torch.arange(rows, dtype=torch.float32).unsqueeze(1),
            column(NEXT_OBS, agent): torch.arange(1, rows + 1, dtype=torch.float32).unsqueeze(1),
            column(ACTIONS, agent): torch.tensor(actions[index]),
            column(TERMINATEDS, agent): torch.tensor(ends[index]),
            column(ALIVE, agent): torch.tensor(alive[index] if alive else [True] * rows),
        }
    return Minibatch(columns, expert_rows, None, with_next)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def settings(**other: Any) -> Any:
    online = {"value_term": "rollout+expert", "chi_square_states": "mixture", "critic": "independent"}
    return SimpleNamespace(gamma=GAMMA, rationality=LAM, chi_square_scale=C, **(online | other))


# -- IQ-Learn ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value_term", ["expert", "rollout", "rollout+expert"])
@pytest.mark.parametrize("states", ["expert", "mixture"])
def test_iq_learn_by_hand(value_term: str, states: str) -> None:
    actions, ends = [0, 2, 1, 1], [False, True, False, False]
    batch, scores = batch_of([actions], [ends], expert_rows=3), draw(1, 8, 3)
    losses = IQLearnLosses(
        settings(value_term=value_term, chi_square_states=states), {"m": ["agent_0"]}, {"agent_0": 3}
    )
    found = losses(batch, {"m": scores}, update=0, report=True)["agent_0"].item()
    q, after = scores[0, :4].tolist(), scores[0, 4:].tolist()
    following = [0.0 if end else GAMMA * value(row) for row, end in zip(after, ends, strict=True)]
    rewards = [row[action] - then for row, action, then in zip(q, actions, following, strict=True)]
    values = [value(row) - then for row, then in zip(q, following, strict=True)]
    over = {"expert": values[:3], "rollout": values[3:], "rollout+expert": values}[value_term]
    covered = rewards[:3] if states == "expert" else rewards
    penalty = np.mean(np.square(covered)) / (4 * C)
    assert found == pytest.approx(np.mean(over) + penalty - np.mean(rewards[:3]), rel=1e-5)
    assert losses.terms["agent_0"]["value_term"].item() == pytest.approx(np.mean(over), rel=1e-5)


def test_joint_actions_are_numbered_by_the_own_action_first() -> None:
    counts = {"agent_0": 2, "agent_1": 3, "agent_2": 2}
    every = list(itertools.product(*(range(count) for count in counts.values())))
    columns = {column(ACTIONS, agent): torch.tensor([a[k] for a in every]) for k, agent in enumerate(counts)}
    assert joint_actions(columns, "agent_0", counts).tolist() == list(range(12))
    expected = [a[1] * 4 + a[0] * 2 + a[2] for a in every]
    assert joint_actions(columns, "agent_1", counts).tolist() == expected


def test_a_joint_critic_is_one_of_joint_actions_and_acts_by_its_own_part() -> None:
    actions, ends = [[0, 1, 1], [2, 0, 1]], [[False, False, True]] * 2
    batch, scores = (
        batch_of(actions, ends, expert_rows=2),
        {agent: draw(1, 6, 6, seed=k) for k, agent in enumerate(AGENTS)},
    )
    counts = {"agent_0": 2, "agent_1": 3}
    joint = IQLearnLosses(settings(critic="joint"), {agent: [agent] for agent in AGENTS}, counts)
    found = joint(batch, scores, update=0, report=True)
    # The same as one agent that chooses all actions at once.
    alone = IQLearnLosses(settings(), {"m": ["agent_0"]}, {"agent_0": 6})
    for agent in AGENTS:
        index = joint_actions(batch.columns, agent, counts).tolist()
        one = alone(batch_of([index], ends[:1], expert_rows=2), {"m": scores[agent]}, update=0, report=False)
        assert found[agent].item() == pytest.approx(one["agent_0"].item())
    policy = torch.softmax(LAM * scores["agent_1"][0], -1).view(-1, 3, 2).sum(-1)
    own = torch.softmax(LAM * own_scores(scores["agent_1"][0], 2, LAM), -1)
    torch.testing.assert_close(own, policy)
    likelihood = joint.terms["agent_1"]["expert_log_likelihood"].item()
    assert likelihood == pytest.approx((policy[0, 2].log() + policy[1, 0].log()).item() / 2, rel=1e-5)


# -- SQIL --------------------------------------------------------------------------------------------------------


class Target:
    """A module of which only the target network is asked; it knows how far that was to move."""

    def __init__(self, values: Tensor) -> None:
        self.values, self.rate = values, 0.0

    def target(self, observations: Tensor) -> Tensor:
        return self.values

    def move_target(self, rate: float) -> None:
        self.rate = rate


def test_sqil_by_hand() -> None:
    actions, ends = [0, 2, 1, 1], [False, True, False, True]
    batch = batch_of([actions], [ends], expert_rows=2, with_next=False)
    scores, module = draw(1, 4, 3), Target(draw(4, 3, seed=1))
    config = SimpleNamespace(gamma=GAMMA, rationality=LAM, rollout_weight=0.5, target_rate=0.25)
    losses = SQILLosses(config, {"m": module}, {"m": ["agent_0"]}, Precision("none", torch.device("cpu")))  # type: ignore[dict-item]
    found = losses(batch, {"m": scores}, update=0, report=True)["agent_0"].item()
    following = [0.0 if end else GAMMA * value(row) for row, end in zip(module.values.tolist(), ends, strict=True)]
    paid = [1.0, 1.0, 0.0, 0.0]
    rows = zip(scores[0].tolist(), actions, paid, following, strict=True)
    errors = [(row[action] - reward - then) ** 2 for row, action, reward, then in rows]
    assert found == pytest.approx(np.mean(errors[:2]) + 0.5 * np.mean(errors[2:]), rel=1e-5)
    assert module.rate == 0.25
    assert losses.terms["agent_0"]["rollout_bellman_error"].item() == pytest.approx(np.mean(errors[2:]), rel=1e-5)


# -- MIFQ --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("units", [0, 5])
def test_mixing_never_falls_and_leaves_out_who_does_not_count(units: int) -> None:
    torch.manual_seed(0)
    mixing, seen, values = MonotoneMixing(4, 3, units), draw(6, 4), draw(6, 3, seed=1).requires_grad_()
    counted = torch.ones(6, 3, dtype=torch.bool)
    counted[2, 1] = False
    mixed = mixing(seen, values, counted)
    (slope,) = torch.autograd.grad(mixed.sum(), values)
    assert (slope[counted] > 0).all() and slope[2, 1] == 0
    assert (slope.sum(-1) <= 1 + 1e-6).all()
    if not units:
        torch.testing.assert_close(slope[0].sum(), torch.tensor(1.0))
        assert (slope[counted] >= 0.5 / 3).all(), "no agent is left out"
    torch.testing.assert_close(mixing(seen, torch.stack([values, values]), counted)[1], mixed)


def halves(seen: Tensor, values: Tensor, counted: Tensor) -> Tensor:
    """Half of the sum of those who count, and 1 more."""
    return 0.5 * (values * counted).sum(-1) + 1.0


def test_mifq_by_hand() -> None:
    actions, ends = [[0, 1, 1], [2, 0, 1]], [[False, True, True], [False, False, True]]
    alive = [[True, True, True], [False, True, True]]
    batch = batch_of(actions, ends, expert_rows=2, alive=alive)
    scores = {"agent_0": draw(1, 6, 2), "agent_1": draw(1, 6, 3, seed=1)}
    losses = MIFQLosses(settings(), halves, {agent: [agent] for agent in AGENTS}, AGENTS)
    found = losses(batch, scores, update=0, report=True)
    taken, values, following = [], [], []
    for row in range(3):
        here = [scores[agent][0, row].tolist() for agent in AGENTS]
        after = [scores[agent][0, 3 + row].tolist() for agent in AGENTS]
        living = [k for k in (0, 1) if alive[k][row]]
        going = [k for k in living if not ends[k][row]]
        taken.append(0.5 * sum(here[k][actions[k][row]] for k in living) + 1)
        values.append(0.5 * sum(value(here[k]) for k in living) + 1)
        following.append(GAMMA * (0.5 * sum(value(after[k]) for k in going) + 1) if going else 0.0)
    rewards = np.subtract(taken, following)
    loss = np.mean(np.subtract(values, following)) + np.mean(rewards**2) / (4 * C) - np.mean(rewards[:2])
    assert sum(found.values()).item() == pytest.approx(loss, rel=1e-5)
    assert found["agent_0"] == found["agent_1"]
    assert losses.terms["agent_0"]["critic_loss"].item() == pytest.approx(loss, rel=1e-5)


# -- on a solved game --------------------------------------------------------------------------------------------


def test_inverse_q_methods_find_the_experts_policies_exactly() -> None:
    game = coordination(2, 3)
    experts = soft_equilibrium(game).policies
    ways = {
        "independent": functools.partial(iq_learn, critic="independent"),
        "joint": functools.partial(iq_learn, critic="joint"),
        "with rollouts": functools.partial(iq_learn, critic="independent", rollouts=uniform(game)),
        "MIFQ": functools.partial(mifq, units=0),
    }
    for name, way in ways.items():
        worst, _ = distances(game, way(game, experts), experts)
        assert worst < 1e-3, f"{name}: {worst}"


# -- in the learner ----------------------------------------------------------------------------------------------

VARIANTS: list[tuple[type[Any], dict[str, Any]]] = [
    (IQLearnMAConfig, {}),
    (IQLearnMAConfig, {"critic": "joint", "parameter_sharing": "all", "value_term": "initial"}),
    (IQLearnMAConfig, {"critic": "joint", "mode": "offline"}),
    (SQILConfig, {}),
    (SQILConfig, {"parameter_sharing": "all", "target_rate": 1.0}),
    (MIFQConfig, {"mixing_units": 8}),
    (MIFQConfig, {"parameter_sharing": "all", "value_term": "initial"}),
]


def learner(kind: type[Any], **chosen: Any) -> Any:
    config = (
        kind()
        .environment(TOY)
        .offline_data(input_="unused")
        .training(**{"expert_batch_size": 32, "rollout_batch_size": 16, "lr": 1e-2, **chosen})
        .rl_module(model_config={"fcnet_hiddens": [16]})
        .debugging(seed=3)
    )
    config.validate()
    spaces = {config.module_of[agent]: pair for agent, pair in environment_spaces(TOY, {}).items()}
    torch.manual_seed(0)
    made = config.LEARNER(config=config, module_spec=config.get_multi_rl_module_spec(spaces=spaces))
    made.build()
    made.set_expert(config.module_of, play())
    return made


@pytest.mark.parametrize(("kind", "chosen"), VARIANTS, ids=str)
def test_every_trainable_parameter_learns(kind: type[Any], chosen: dict[str, Any]) -> None:
    made = learner(kind, **chosen)
    made.replay.add(play(seed=9))
    before = {p: p.detach().clone() for p in made._params.values()}
    made.update(num_updates=3)
    for name, module in made.module.items():
        for key, parameter in module.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), (name, key)
                assert not torch.equal(before[parameter], parameter), f"{name}.{key} did not move"
    observations = torch.eye(8)
    scores = made.network(next(iter(made.agents_of))).average(observations)
    assert scores.shape == (8, 3), "acting takes a score for each own action"


def test_sqils_target_follows_and_survives_a_restart() -> None:
    made, other = learner(SQILConfig, target_rate=0.5), learner(SQILConfig)
    made.replay.add(play(seed=9))
    module = made.network("agent_0")
    first = module.target.head.weight.clone()
    made.update(num_updates=1)
    torch.testing.assert_close(module.target.head.weight, first)  # it moves before a step: to where it was already
    trained = module.trained.head.weight.clone()
    made.update(num_updates=1)
    torch.testing.assert_close(module.target.head.weight, 0.5 * (first + trained))
    other.set_state(made.get_state())
    torch.testing.assert_close(other.network("agent_0").target.head.weight, module.target.head.weight)
    module.restart()
    torch.testing.assert_close(module.target.head.weight, module.trained.head.weight)


@pytest.mark.parametrize(
    ("kind", "wrong", "message"),
    [
        (IQLearnMAConfig, {"critic": "marginal"}, "critic is 'marginal'.*independent, joint"),
        (IQLearnMAConfig, {"chi_square_scale": 0.0}, "chi_square_scale is 0.0: it must be a number above 0"),
        (IQLearnMAConfig, {"mode": "offline", "value_term": "rollout"}, "mode 'offline' has no rollouts"),
        (SQILConfig, {"mode": "offline"}, "SQIL tells demonstrations from rollouts"),
        (SQILConfig, {"target_rate": 0.0}, "target_rate is 0.0: it must be a number above 0 and at most 1"),
        (SQILConfig, {"rollout_weight": -1}, "rollout_weight is -1"),
        (MIFQConfig, {"mixing_units": -1}, "mixing_units is -1"),
        (MIFQConfig, {"chi_square_states": "all"}, "chi_square_states is 'all'"),
    ],
)
def test_settings_that_make_no_sense_are_named(kind: type[Any], wrong: dict[str, Any], message: str) -> None:
    config = kind().environment(TOY).offline_data(input_="unused")
    with pytest.raises(ConfigError, match=message):
        config.update_from_dict(wrong)
        config.validate()


def test_more_joint_actions_than_can_be_borne_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from rllib_mamql.algorithms.iq_learn import config as module

    monkeypatch.setattr(module, "MOST_JOINT_ACTIONS", 8)
    with pytest.raises(ConfigError, match="each of 9 joint actions, at most 8"):
        IQLearnMAConfig().environment(TOY).offline_data(input_="unused").training(critic="joint").validate()
