"""Rows that carry their own past: the same from files and from play, padded where there is none, and read as such."""

from __future__ import annotations

import copy
import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete

from rllib_mamql import MAMQLConfig
from rllib_mamql.algorithms.registry import read_checkpoint
from rllib_mamql.cli.settings import check_keys
from rllib_mamql.columns import ACTIONS, ALIVE, NEXT_OBS, OBS, TERMINATEDS, JointColumns, T, column, take
from rllib_mamql.data.history import HistoryBox, remembering
from rllib_mamql.data.history_rows import with_history, without_history
from rllib_mamql.data.masks import MaskedBox
from rllib_mamql.data.memory import Memory
from rllib_mamql.data.schema import AgentSpaces
from rllib_mamql.environments.registry import make_batch, make_env
from rllib_mamql.environments.symmetry import Symmetry, symmetries_of
from rllib_mamql.errors import ConfigError, UserError
from rllib_mamql.export.read import load
from rllib_mamql.export.write import export_checkpoint
from rllib_mamql.learning.augment import _Tables
from rllib_mamql.learning.offline_input import JointOfflineData
from rllib_mamql.networks.encoders import CatalogEncoder, build_encoder
from rllib_mamql.networks.history import HISTORY_ENCODERS, GatedSteps, HistoryEncoder
from rllib_mamql.networks.masks import mask_of
from rllib_mamql.networks.rewards import build_reward
from rllib_mamql.play.actors import random_actor
from rllib_mamql.play.batched import make_rollout
from rllib_mamql.play.rollout import ColumnarRollout
from tests.support.random_checkpoint import write_checkpoint

TOY, AWKWARD, MASKED = "pettingzoo:tests.toy_env", "pettingzoo:tests.support.awkward_env", "tests.support.masked_env"
BACK = 3
ENVIRONMENTS: list[tuple[str, dict[str, Any]]] = [
    (TOY, {"steps": 5, "leave_at": 3}),
    (TOY, {"form": "picture"}),
    (AWKWARD, {"observations": "nested", "actions": "several", "habit": "late"}),
    (AWKWARD, {"habit": "leaves"}),
    (f"pettingzoo:{MASKED}", {}),
    (f"{MASKED}:nim", {}),
    ("gems", {"observation": "entities"}),
]


def rollout(env: str, env_config: dict[str, Any], history: int = BACK, seed: int = 3) -> ColumnarRollout:
    make = functools.partial(make_env, env, env_config, history=history)
    return make_rollout(make, functools.partial(make_batch, env, env_config, history=history), 3, seed)


def play(made: ColumnarRollout, steps: int, seed: int = 0) -> JointColumns:
    sizes = {agent: int(space.n) for agent, space in made.action_spaces.items()}
    actor = random_actor(sizes, np.random.default_rng(seed), made.observation_spaces)
    return made.run(actor, num_steps=3 * steps)[0]


@pytest.mark.parametrize(("env", "env_config"), ENVIRONMENTS, ids=str)
def test_rows_read_are_the_rows_sampled(env: str, env_config: dict[str, Any]) -> None:
    made, plain = rollout(env, env_config), rollout(env, env_config, 0)
    sampled = play(made, 30)
    recorded, shown = without_history(sampled, made.observation_spaces)
    assert shown == plain.observation_spaces
    # In another order: rows find their episode and time by themselves.
    order = np.random.default_rng(0).permutation(len(sampled[T]))
    spaces = {agent: (shown[agent], made.action_spaces[agent]) for agent in made.agents}
    read = with_history(take(recorded, order), spaces, BACK)
    for agent in made.agents:
        alive = sampled[column(ALIVE, agent)][order].astype(bool)
        # What is seen after a terminal state counts for nothing, and may not be there.
        going = alive & ~sampled[column(TERMINATEDS, agent)][order].astype(bool)
        for name, rows in ((OBS, alive), (NEXT_OBS, going)):
            found = read[column(name, agent)]
            assert found.dtype == sampled[column(name, agent)].dtype and not found[~alive].any()
            np.testing.assert_array_equal(found[rows], sampled[column(name, agent)][order][rows])


def test_what_is_remembered_is_what_was_seen_and_done_in_this_episode() -> None:
    made = rollout(TOY, {"steps": 5})
    columns = play(made, 12)
    box = made.observation_spaces["agent_0"]
    assert isinstance(box, HistoryBox) and box.shape == (8 + BACK * (1 + 8 + 3),)
    for first in range(3):
        rows = np.arange(first, 36, 3)
        obs, taken, t = (columns[name][rows] for name in (column(OBS, "agent_0"), column(ACTIONS, "agent_0"), T))
        for row in range(12):
            for back in range(1, BACK + 1):
                step = obs[row, 8 + (back - 1) * 12 :][:12]
                if back > t[row]:
                    assert not step.any()
                else:
                    assert step[0] == 1 and step[9:].argmax() == taken[row - back] and step[9:].sum() == 1
                    np.testing.assert_array_equal(step[1:9], obs[row - back, :8])


def test_a_batch_remembers_what_single_environments_do() -> None:
    batch = make_batch("gems", {}, 2, history=BACK)
    singles = [make_env("gems", {}, history=BACK) for _ in range(2)]
    assert batch is not None and batch.observation_spaces["agent_0"] == singles[0].observation_space("agent_0")
    rng, alive = np.random.default_rng(0), [True, True]
    batch.reset_envs([0, 1], [4, 5])
    seen = [env.reset(seed=4 + index)[0] for index, env in enumerate(singles)]
    for step in range(12):
        if step == 6:  # One of them begins anew.
            batch.reset_envs([1], [9])
            seen[1] = singles[1].reset(seed=9)[0]
        found = batch.observations()
        for index in (0, 1):
            for agent in batch.agents:
                np.testing.assert_array_equal(found[agent][index], seen[index][agent])
        actions = {agent: rng.integers(5, size=2) for agent in batch.agents}
        batch.step(actions)
        seen = [env.step({a: int(actions[a][i]) for a in env.agents})[0] for i, env in enumerate(singles) if alive[i]]


@pytest.mark.parametrize(("env", "env_config"), [(TOY, {"leave_at": 3}), ("gems", {})], ids=str)
def test_a_restored_rollout_remembers(env: str, env_config: dict[str, Any]) -> None:
    first, second = rollout(env, env_config), rollout(env, env_config, seed=9)
    play(first, 26)
    second.set_state(json.loads(json.dumps(first.get_state())))
    assert not second._needs_reset
    again = play(second, 15, 1)
    for name, values in play(first, 15, 1).items():
        np.testing.assert_array_equal(again[name], values, err_msg=name)


def test_a_copy_of_an_environment_goes_on_by_itself() -> None:
    env = make_env(TOY, {}, history=2)
    env.reset(seed=0)
    twin = copy.deepcopy(env)
    actions, others = dict.fromkeys(env.agents, 1), dict.fromkeys(env.agents, 2)
    twin.step(others)
    env.step(actions)
    # What was done two steps ago.
    assert env.step(actions)[0]["agent_0"][-3:].tolist() == [0, 1, 0]
    assert twin.step(actions)[0]["agent_0"][-3:].tolist() == [0, 0, 1]


def test_observations_that_are_written_over_are_remembered_as_they_were() -> None:
    memory, seen = Memory(1, (2,), 2, np.float32), np.zeros((1, 2), np.float32)
    for number in (1, 2):
        seen[:] = number
        wide = memory.see(seen)
        seen[:] = 9
        memory.did([1])
    assert wide.tolist() == [[2, 2, 1, 1, 1, 0, 1]]
    memory.begin()
    assert memory.see(seen).tolist() == [[9, 9, 0, 0, 0, 0, 0]]
    with pytest.raises(ValueError, match="expected"):
        memory.see(seen[0])


SPACES = [
    Box(-1.0, 1.0, (6,), np.float32),
    Box(-1.0, 1.0, (6,), np.float64),
    Box(0.0, 1.0, (4, 5), np.float32),
    Box(0, 255, (10, 10, 3), np.uint8),
]


@pytest.mark.parametrize("kind", HISTORY_ENCODERS)
@pytest.mark.parametrize("seen", SPACES, ids=lambda space: f"{space.shape}-{space.dtype}")
def test_encoders_read_every_step_and_none_that_never_was(kind: str, seen: Box) -> None:
    space = HistoryBox(seen, 3, BACK)
    config = {"history": BACK, "history_encoder": kind, "fcnet_hiddens": [8], "fcnet_activation": "relu"}
    encoder = build_encoder(space, Discrete(3), config)
    stacked = kind == "stack" and len(seen.shape) == 1
    assert isinstance(encoder, HistoryEncoder) != stacked
    space.seed(0)
    rows = torch.from_numpy(np.stack([space.sample() for _ in range(5)]))
    step = 1 + space.size + 3
    starts = [space.size + back * step for back in range(BACK)]
    rows[:, starts] = 1
    features = encoder(rows)
    assert features.shape == (5, encoder.out_features)
    features.square().sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())
    with torch.no_grad():
        for start in starts:
            for part in (slice(start + 1, start + step - 3), slice(start + step - 3, start + step)):
                other = rows.clone()
                other[:, part] = rows[:, part].roll(1, 0)
                assert not torch.equal(encoder(other), features), "what was seen and what was done both count"
        if stacked:
            return
        # The oldest step never was: what stands there is not read, nor are own actions that were not taken.
        rows[:, starts[-1] :] = 0
        before = encoder(rows)
        rows[:, starts[-1] + 1 : starts[-1] + 1 + space.size] = 1
        torch.testing.assert_close(encoder(rows), before)


def test_a_gated_unit_begins_where_its_agent_does() -> None:
    unit = GatedSteps(4, 3, 5)
    steps, there = torch.randn(2, 3, 4), torch.ones(2, 3, 1)
    there[:, 2] = 0
    torch.testing.assert_close(unit(steps, there), unit(steps[:, :2], there[:, :2]))


def test_vectors_side_by_side_are_a_plain_network_and_masks_stay_behind() -> None:
    space = remembering(MaskedBox(SPACES[0], 3), 3, 2)
    assert isinstance(space, MaskedBox) and isinstance(space.observation, HistoryBox)
    encoder = build_encoder(space, Discrete(3), {"history": 2})
    assert mask_of(encoder) is not None and isinstance(encoder.network, CatalogEncoder)
    assert remembering(SPACES[0], 3, 0) is SPACES[0]


def test_mirrored_rows_remember_the_mirrored_world() -> None:
    every, remembered = (symmetries_of("gems", {"observation": "entities"}, history) for history in (0, BACK))
    assert every is not None and remembered is not None
    ours, theirs = remembered["agent_1"][2], every["agent_1"][2].remembering(BACK)
    assert ours.index.tolist() == theirs.index.tolist()
    for env, env_config, made in (
        ("gems", {"observation": "entities"}, every["agent_0"]),
        # Shifted too: what never was stays 0.
        (TOY, {"steps": 5}, [Symmetry.of(lambda seen: 1 - seen, [1, 2, 0], Box(0, 1, (8,), np.float32))]),
    ):
        played = rollout(env, env_config)
        sampled = play(played, 12)
        recorded, shown = without_history(sampled, played.observation_spaces)
        spaces = {"agent_0": (shown["agent_0"], played.action_spaces["agent_0"])}
        seen, after, taken = (column(name, "agent_0") for name in (OBS, NEXT_OBS, ACTIONS))
        plain = _Tables(made, torch.device("cpu"))
        wide = _Tables([each.remembering(BACK) for each in made], torch.device("cpu"))
        for number in range(1, 1 + len(made)):
            which = torch.full((len(sampled[T]),), number)
            turned = dict(recorded)
            for name in (seen, after):
                turned[name] = plain.observations(torch.from_numpy(recorded[name]), which).numpy()
            turned[taken] = plain.actions[which, torch.from_numpy(recorded[taken])].numpy()
            expected = with_history(turned, spaces, BACK)[seen]
            found = wide.observations(torch.from_numpy(sampled[seen]), which).numpy()
            np.testing.assert_allclose(found, expected, atol=1e-6)


def test_what_has_no_place_for_a_history_is_refused() -> None:
    space = HistoryBox(SPACES[2], 3, 2)
    with pytest.raises(ConfigError, match="not their history: set reward_network to plain"):
        build_reward(space, Discrete(3), {"history": 2}, (3,), network="entity_additive")
    with pytest.raises(ConfigError, match="history 100000 makes 30,400,300 numbers of an observation of 300"):
        HistoryBox(SPACES[3], 3, 100_000)


def test_what_does_not_fit_in_memory_with_its_history_is_refused(toy_dataset: Path) -> None:
    config = MAMQLConfig().environment(TOY).offline_data(input_=str(toy_dataset))
    config.training(expert_memory_limit=100_000).rl_module(model_config={"history": 5})
    assert JointOfflineData(config).in_memory
    config.rl_module(model_config={"history": 50})
    with pytest.raises(ConfigError, match="with a history of 50, more than expert_memory_limit 100,000"):
        JointOfflineData(config)


@pytest.mark.parametrize(
    ("history", "says"),
    [
        (-1, "history is -1: it must be a whole number"),
        ("two", "history is 'two'"),
        (10**9, "a setting of the networks is 1000000000"),
        (4000, "numbers of an observation"),
        (2, "wants 'average.encoder"),
    ],
)
def test_a_checkpoint_with_another_history_than_its_networks_is_refused(
    history: Any, says: str, tmp_path: Path
) -> None:
    spaces = {"one": AgentSpaces(Box(0, 1, (300,), np.float32), Discrete(3))}
    write_checkpoint(tmp_path / "checkpoint", {"one": "one"}, spaces, history=history)
    with pytest.raises(UserError, match=says):
        read_checkpoint(tmp_path / "checkpoint")


@pytest.mark.slow
def test_an_exported_policy_makes_rows_of_observations(tmp_path: Path) -> None:
    model = {"history": 2, "history_encoder": "attention", "history_dim": 8}
    wide = {"one": AgentSpaces(remembering(Box(0.0, 1.0, (7,), np.float32), 3, 2), Discrete(3))}
    folder = write_checkpoint(tmp_path / "checkpoint", {"one": "one"}, wide, **model)
    stored = read_checkpoint(folder)
    assert stored.history == 2 and stored.modules["one"].observation_space == wide["one"].observation
    policy = load(export_checkpoint(folder, tmp_path / "exported")).policies["one"]
    assert (policy.history, policy.seen, policy.shape) == (2, (7,), (7 + 2 * 11,))
    memory, rows = policy.memory(5), np.random.default_rng(0).random((5, 7), np.float32)
    memory.see(rows)
    memory.did([0, 1, 2, 0, 1])
    given = memory.see(rows)
    found = stored.modules["one"].average(torch.from_numpy(given)).numpy()
    np.testing.assert_allclose(policy.q(given), found, rtol=1e-4, atol=1e-5)
    assert not np.allclose(policy.q(given)[0], policy.q(policy.memory(5).see(rows))[0])


def test_memory_as_rllib_names_it_is_pointed_to_the_history() -> None:
    for key in ("use_attention", "attention_num_heads"):
        with pytest.raises(ConfigError, match=f"'config.model_config.{key}'; for memory set history: k"):
            check_keys({"model_config": {key: True}}, MAMQLConfig())
