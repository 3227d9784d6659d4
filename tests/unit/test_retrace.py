"""Rollouts that go on in the middle of episodes, from plain values."""

from __future__ import annotations

import functools
import json
from typing import Any

import numpy as np
import pytest

from rllib_mamql.environments.registry import make_batch, make_env
from rllib_mamql.play.actors import random_actor
from rllib_mamql.play.batched import make_rollout
from rllib_mamql.play.rollout import ColumnarRollout
from tests.toy_env import ToyEnv

TOY = "pettingzoo:tests.toy_env"


def rollout(env: str, env_config: dict[str, Any], seed: int) -> ColumnarRollout:
    make = functools.partial(make_env, env, env_config)
    return make_rollout(make, functools.partial(make_batch, env, env_config), 3, seed)


def play(made: ColumnarRollout, steps: int, seed: int) -> tuple[dict[str, Any], list[Any]]:
    sizes = {agent: int(space.n) for agent, space in made.action_spaces.items()}
    return made.run(random_actor(sizes, np.random.default_rng(seed)), num_steps=3 * steps)


@pytest.mark.parametrize(
    ("env", "env_config"),
    [
        (TOY, {}),
        (TOY, {"leave_at": 3}),
        ("gems", {"observation": "entities"}),
        ("overcooked", {"layout": "cramped_room", "horizon": 40, "random_starts": 0.5}),
        ("intersection", {"vehicles": 2}),
        ("pettingzoo:mpe2.simple_spread_v3", {}),
    ],
    ids=str,
)
def test_running_episodes_go_on(env: str, env_config: dict[str, Any]) -> None:
    first = rollout(env, env_config, 3)
    play(first, 26, 0)
    state = json.loads(json.dumps(first.get_state()))
    assert any(first.steps_taken())
    second = rollout(env, env_config, 9)
    second.set_state(state)
    assert not second._needs_reset
    (columns, episodes), (again, also) = play(first, 50, 1), play(second, 50, 1)
    for name, values in columns.items():
        np.testing.assert_array_equal(again[name], values, err_msg=name)
    assert episodes and episodes == also


def test_episodes_of_different_lengths_go_on() -> None:
    """A batch restarts each environment by itself; what a later one did before is nobody's."""
    first = rollout("gems", {}, 0)
    play(first, 10, 0)
    first._restart([1])
    play(first, 3, 1)
    assert first.steps_taken() == [13, 3, 13]
    second = rollout("gems", {}, 1)
    second.set_state(first.get_state())
    assert second.steps_taken() == first.steps_taken()
    columns, again = (play(each, 60, 2)[0] for each in (first, second))
    for name, values in columns.items():
        np.testing.assert_array_equal(again[name], values, err_msg=name)


class Moody(ToyEnv):
    """Its episodes follow from more than their seeds."""

    moods = 0

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        found = super().reset(seed, options)
        Moody.moods += 1
        self.positions = [Moody.moods % 4, 0]
        return self._observe(), found[1]


def test_what_cannot_be_played_again_starts_anew() -> None:
    first, second = (ColumnarRollout(lambda: Moody(), 1, seed) for seed in (0, 1))
    play(first, 2, 0)
    state = first.get_state()
    second.set_state(state)
    assert second._needs_reset and second._started == first._started
    play(second, 1, 0)
    assert second._ids[0] == f"eps-{first._started:08d}", "no id is given twice"


class Fragile(ToyEnv):
    """Its second environment is over sooner than its first."""

    made = 0

    def __init__(self) -> None:
        super().__init__(steps=9 if Fragile.made == 0 else 2)
        Fragile.made += 1

    def step(self, actions: dict[str, int]) -> tuple[dict[str, Any], ...]:
        if not self.agents:
            raise RuntimeError("this episode is over")
        return super().step(actions)


def test_an_episode_that_fails_when_it_is_played_again_starts_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fragile, "made", 0)
    first, second = (ColumnarRollout(lambda: Fragile(), 1, seed) for seed in (0, 1))
    play(first, 5, 0)
    second.set_state(first.get_state())
    assert second._needs_reset
    play(second, 1, 0)


def test_a_state_without_running_episodes_starts_anew() -> None:
    first, second = (rollout(TOY, {}, seed) for seed in (0, 1))
    play(first, 4, 0)
    state = first.get_state()
    del state["running"]  # as checkpoints were
    second.set_state(state)
    assert second._needs_reset and second._rng.bit_generator.state == first._rng.bit_generator.state
