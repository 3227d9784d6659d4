"""Speeds that are promised, by wall time: part of ``make bench-check``, for a machine that does nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mamql_envs.gems_batch import GemsBatch
from mamql_envs.overcooked_batch import OvercookedBatch
from rllib_mamql.data.validation import validate_columns
from tests.integration.test_intersection_stock import pair
from tests.support.joint_data import make_columns, make_metadata

pytestmark = pytest.mark.benchmark


def fastest(run: Callable[[], Any], times: int = 5) -> float:
    """Seconds of the fastest run: what else the machine does only adds."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def test_gems_steps_fast_enough_for_training() -> None:
    # At least 100,000 joint steps a second are promised; about 800,000 were measured on one core with entities.
    batch, rng = GemsBatch(1024, observation="entities"), np.random.default_rng(0)
    batch.reset(0)
    actions = {agent: rng.integers(5, size=1024) for agent in batch.agents}

    def run() -> None:
        for _ in range(20):
            _, terminated, truncated, _ = batch.step(actions)
            batch.observations()
            ended = np.flatnonzero(terminated["agent_0"] | truncated["agent_0"])
            batch.reset_envs(ended, ended)

    assert 20 * 1024 / fastest(run) > 100_000


def test_overcooked_steps_fast_enough_for_training() -> None:
    # Some 600,000 joint steps a second were measured on one core; the loop over single environments makes 35,000.
    batch, rng = OvercookedBatch(256), np.random.default_rng(0)
    batch.reset(0)
    actions = {agent: rng.integers(6, size=256) for agent in batch.agents}

    def run() -> None:
        for _ in range(40):
            batch.step(actions)
            batch.observations()

    assert 40 * 256 / fastest(run) > 100_000


@pytest.mark.parametrize("vehicles", [2, 8])
def test_the_intersection_is_at_least_twice_as_fast_as_highway_env(vehicles: int) -> None:
    def play(env: Any) -> None:
        for seed in (100, 101):
            rng, over = np.random.default_rng(seed), False
            env.reset(seed=seed)
            while not over:
                over = any(env.step(tuple(int(a) for a in rng.choice(3, size=vehicles)))[2:4])

    stock, ours = (fastest(lambda env=env: play(env), 2) for env in pair(vehicles, {}, True))
    assert stock > 2 * ours


def test_validation_makes_no_loop_over_rows() -> None:
    columns, metadata = make_columns((100,) * 2000, shape=(1,)), make_metadata((1,))
    assert fastest(lambda: validate_columns(columns, metadata), 1) < 5
