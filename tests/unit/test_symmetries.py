"""Declared symmetries are true of their environments, minibatches go through them whole, and others are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from mamql_envs.gems_batch import SIZE, XY, GemsBatch
from mamql_envs.known_symmetries import TURNS
from rllib_mamql.columns import ACTIONS, NEXT_OBS, OBS, TERMINATEDS, WEIGHT, column
from rllib_mamql.environments import registry
from rllib_mamql.environments.registry import EnvEntry, make_env
from rllib_mamql.environments.symmetry import Symmetry, symmetries_of
from rllib_mamql.errors import ConfigError
from rllib_mamql.learning.augment import Augmentation
from rllib_mamql.learning.minibatch import Minibatch
from tests.unit.test_learner import TOY, learner, play


def turned(points: np.ndarray, number: int, middle: float) -> np.ndarray:
    """Points (..., 2) of a square around ``middle`` after the symmetry of a number."""
    swap, flip_x, flip_y = TURNS[number]
    result = points[..., ::-1] if swap else points
    sign = np.array([-1 if flip_x else 1, -1 if flip_y else 1])
    return (result - middle) * sign + middle


def put(symmetry: Symmetry, observation: np.ndarray) -> np.ndarray:
    return symmetry.observations(observation.reshape(1, -1)).reshape(observation.shape)


@pytest.mark.parametrize("form", ["grid", "entities", "vector"])
def test_gems_looks_and_moves_alike_in_every_mirror(form: str) -> None:
    found = symmetries_of("gems", {"observation": form})
    assert found is not None and {len(each) for each in found.values()} == {len(TURNS)}
    rng = np.random.default_rng(0)
    for number in range(len(TURNS)):
        world, mirror = (GemsBatch(20, observation=form) for _ in range(2))
        for batch in (world, mirror):
            batch.reset(number)
        xy = turned(XY[world._cells], number, (SIZE - 1) / 2).astype(int)
        mirror._cells = xy[..., 1] * SIZE + xy[..., 0]
        actions = {agent: rng.integers(5, size=20) for agent in world.agents}
        for step in range(2):
            for agent in world.agents:
                symmetry = found[agent][number]
                expected = symmetry.observations(world.observations()[agent].reshape(20, -1))
                np.testing.assert_allclose(mirror.observations()[agent].reshape(20, -1), expected, atol=1e-6)
            if step == 0:
                rewards = world.step(actions)[0]
                same = mirror.step({a: found[a][number].actions[taken] for a, taken in actions.items()})[0]
                quiet = np.all([rewards[agent] == 0 for agent in world.agents], axis=0)
                for agent in world.agents:
                    np.testing.assert_array_equal(rewards[agent], same[agent])
                # A taken gem reappears anywhere: the worlds part there.
                assert quiet.sum() > 10
                for batch in (world, mirror):
                    batch._cells[~quiet] = SIZE * SIZE // 2  # the middle, which no symmetry moves


def test_by_the_published_rules_gems_has_the_mirror_that_keeps_where_gems_reappear() -> None:
    every = symmetries_of("gems", {"observation": "vector"})
    found = symmetries_of("gems", {"observation": "vector", "rules": "published"})
    assert every is not None and found is not None
    for agent in found:
        (mirror,) = found[agent]
        assert list(mirror.actions) == [2, 3, 0, 1, 4]
        swapped = every[agent][TURNS.index((True, False, False))]
        seen = np.random.default_rng(0).random((3, 20))
        np.testing.assert_array_equal(mirror.observations(seen), swapped.observations(seen))


@pytest.mark.parametrize("name", ["mpe2.simple_spread_v3", "mpe2.simple_speaker_listener_v4"])
def test_particles_move_alike_in_every_mirror(name: str) -> None:
    env = f"pettingzoo:{name}"
    found = symmetries_of(env, {})
    assert found is not None
    rng = np.random.default_rng(0)
    for number in range(len(TURNS)):
        world, mirror = (make_env(env) for _ in range(2))
        seen, _ = world.reset(seed=number)
        mirror.reset(seed=number)
        for ours, theirs in zip(world.unwrapped.world.entities, mirror.unwrapped.world.entities, strict=True):
            theirs.state.p_pos = turned(ours.state.p_pos, number, 0.0).copy()
        actions: dict[str, Any] = {a: int(rng.integers(world.action_space(a).n)) for a in world.agents}
        for _ in range(4):
            seen, rewards, *_ = world.step(actions)
            there, same, *_ = mirror.step({a: int(found[a][number].actions[taken]) for a, taken in actions.items()})
            for agent in world.possible_agents:
                np.testing.assert_allclose(put(found[agent][number], seen[agent]), there[agent], atol=1e-5)
            assert rewards == pytest.approx(same, abs=1e-5)


def test_pursuers_see_and_move_alike_in_every_mirror() -> None:
    env, config = "pettingzoo:pettingzoo.sisl.pursuit_v5", {"x_size": 9, "y_size": 9, "n_pursuers": 2, "n_evaders": 3}
    config |= {"freeze_evaders": True, "surround": False}
    found = symmetries_of(env, config)
    assert found is not None
    for number in range(len(TURNS)):
        world, mirror = (make_env(env, config) for _ in range(2))
        for each in (world, mirror):
            each.reset(seed=number)
        ours, theirs = (each.unwrapped.env for each in (world, mirror))
        # The building in the middle is oblong: without it the square has all its symmetries.
        for each in (ours, theirs):
            each.map_matrix[:] = 0
            each.model_state[0] = each.map_matrix
        for layer in ("pursuer_layer", "evader_layer"):
            for mine, other in zip(getattr(ours, layer).allies, getattr(theirs, layer).allies, strict=True):
                other.current_pos = turned(np.array(mine.current_position()), number, 4).astype(np.int32).copy()
        rng = np.random.default_rng(number)
        for _ in range(3):
            actions = {agent: int(rng.integers(5)) for agent in world.agents}
            seen = world.step(actions)[0]
            there = mirror.step({a: int(found[a][number].actions[taken]) for a, taken in actions.items()})[0]
        for agent in world.possible_agents:
            np.testing.assert_allclose(put(found[agent][number], seen[agent])[..., 1:], there[agent][..., 1:])


def test_steps_that_never_were_keep_their_zeros_in_every_mirror() -> None:
    mirrored = Symmetry.of(lambda seen: 1 - seen, [1, 0], spaces.Box(0, 1, (3,), np.float32))
    symmetry = mirrored.remembering(2)
    assert symmetry.flags is not None
    absent = np.zeros((1, len(symmetry.index)))
    absent[:, symmetry.flags < 0] = np.random.default_rng(0).random((1, int((symmetry.flags < 0).sum())))
    assert not symmetry.observations(absent)[:, symmetry.flags >= 0].any()


def test_a_minibatch_is_turned_row_by_row_with_all_its_agents() -> None:
    found = symmetries_of("gems", {"observation": "vector"})
    assert found is not None
    rows = 400
    columns = {WEIGHT: torch.ones(rows)}
    for agent in found:
        columns[column(OBS, agent)] = torch.rand(rows, 20)
        columns[column(NEXT_OBS, agent)] = torch.rand(rows, 20)
        columns[column(ACTIONS, agent)] = torch.randint(5, (rows,))
        columns[column(TERMINATEDS, agent)] = torch.zeros(rows, dtype=torch.bool)
    starts = {column(OBS, agent): torch.rand(7, 20) for agent in found}
    batch = Minibatch(columns, rows, starts)
    made = Augmentation(found, torch.device("cpu"))(batch, torch.Generator().manual_seed(0))
    used = set()
    for row in range(rows):
        fitting = []
        for number in range(-1, len(TURNS)):
            fits = True
            for agent in found:
                observation = columns[column(OBS, agent)][row].numpy()
                after = columns[column(NEXT_OBS, agent)][row].numpy()
                action = int(columns[column(ACTIONS, agent)][row])
                if number >= 0:
                    one = found[agent][number]
                    observation, after, action = put(one, observation), put(one, after), int(one.actions[action])
                fits &= bool(np.allclose(made.columns[column(OBS, agent)][row], observation, atol=1e-6))
                fits &= bool(np.allclose(made.columns[column(NEXT_OBS, agent)][row], after, atol=1e-6))
                fits &= int(made.columns[column(ACTIONS, agent)][row]) == action
            fitting += [number] * fits
        assert len(fitting) == 1
        used.update(fitting)
    assert used == set(range(-1, len(TURNS))), "each symmetry is drawn, the identity too"
    assert made.starts is not None and made.columns[WEIGHT] is columns[WEIGHT]
    assert all(made.starts[name].shape == starts[name].shape for name in starts)


BOX = spaces.Box(-1, 1, (2, 2), np.float32)


@pytest.mark.parametrize(
    ("transform", "actions", "words"),
    [
        (lambda seen: seen[:, :1], [0, 1], "keep the shape"),
        (lambda seen: 2 * seen, [0, 1], "only reorder, negate and shift"),
        (lambda seen: np.repeat(seen[:, :1], 2, 1), [0, 1], "each is used once"),
        (lambda seen: -seen, [0, 0], "give each action once"),
    ],
)
def test_what_is_no_symmetry_is_refused(transform: Any, actions: list[int], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Symmetry.of(transform, actions, BOX)


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ({"agent_0": []}, "give them for"),
        ({"all": [(lambda seen: -seen, [1, 0])]}, "has 2 actions, but agent_0 has 3"),
        ({"agent_0": [(lambda seen: -seen, [1, 0, 2])], "agent_1": []}, "differ in number"),
    ],
)
def test_what_does_not_fit_the_environment_is_refused(
    declared: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = EnvEntry("tests.toy_env", symmetries=lambda **config: declared)
    monkeypatch.setitem(registry.ENVIRONMENTS, "mirrored_toy", entry)
    with pytest.raises(ConfigError, match=words):
        symmetries_of("mirrored_toy", {})


def test_none_is_declared_where_none_is_known() -> None:
    assert symmetries_of(TOY, {}) is None and symmetries_of("overcooked", {}) is None
    assert symmetries_of("pettingzoo:mpe2.simple_spread_v3", {"num_agent_neighbors": 1}) is None
    assert learner().augment is None


def test_a_learner_learns_from_mirrored_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "rllib_mamql.learning.learner.symmetries_of",
        lambda env, config, history: {
            agent: [Symmetry.of(lambda seen: -seen, [2, 1, 0], spaces.Box(-1, 1, (8,)))]
            for agent in ("agent_0", "agent_1")
        },
    )
    made, plain = learner(), learner(symmetries=False)
    assert plain.augment is None
    rows = made._minibatch()
    assert made.augment is not None and made.augment.count == 2
    made.replay.add(play(seed=9))
    made.update(num_updates=2)
    assert rows
