"""Faults on real Ray actors: they are told of, nobody waits for ever, and training goes on where it can."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from rllib_mamql.algorithms.mamql.config import MAMQLConfig
from rllib_mamql.errors import EnvironmentHang
from tests.support.toy_data import TOY

pytestmark = pytest.mark.usefixtures("ray_session")


def config(dataset: Any, **settings: Any) -> MAMQLConfig:
    return (
        MAMQLConfig()
        .environment(TOY)
        .offline_data(input_=str(dataset))
        .training(expert_batch_size=8, rollout_batch_size=8, **settings)
        .env_runners(num_envs_per_env_runner=2, rollout_fragment_length=5, num_cpus_per_env_runner=0.25)
        .learners(num_cpus_per_learner=0.25)
        .rl_module(model_config={"fcnet_hiddens": [8]})
        .reporting(min_sample_timesteps_per_iteration=10)
        .debugging(seed=1)
    )


def hanging() -> Callable[[Any], None]:
    """Lets the next step of a runner's first environment not come back."""

    def hang(runner: Any) -> None:  # Sent by value: workers cannot import this file.
        runner.env.envs[0].env.step = lambda actions: time.sleep(60.0)

    return hang


@pytest.mark.slow
def test_environments_that_hang_are_built_anew(toy_dataset: Any) -> None:
    made = config(toy_dataset).training(env_step_timeout_s=0.5).env_runners(num_env_runners=1)
    algorithm = made.build_algo()
    try:
        group = algorithm.env_runner_group
        group.foreach_env_runner(hanging(), local_env_runner=False)
        begun = time.monotonic()
        result = algorithm.train()
        assert time.monotonic() - begun < 30.0
        (incident,) = result["incidents"]
        assert "env runner 1: environment" in incident and "no answer within 0.5 s" in incident
        assert result["env_runners"]["num_env_steps_sampled_lifetime"] == 10
        assert "incidents" not in algorithm.train()
    finally:
        algorithm.stop()


@pytest.mark.slow
def test_one_learner_that_fails_ends_the_update_with_its_own_error(toy_dataset: Any) -> None:
    algorithm = config(toy_dataset).learners(num_learners=2).build_algo()

    def fail(learner: Any) -> None:
        def broken() -> Any:
            raise LookupError("this learner broke")

        learner._minibatch = broken

    try:
        algorithm.on_learner(1, fail)
        begun = time.monotonic()
        with pytest.raises(Exception, match="this learner broke"):
            algorithm.learn(3)
        assert time.monotonic() - begun < 20.0
    finally:
        algorithm.stop()


@pytest.mark.slow
def test_a_hang_in_a_trials_own_process_is_its_end(toy_dataset: Any) -> None:
    algorithm = config(toy_dataset).training(env_step_timeout_s=0.5).build_algo()
    try:
        hanging()(algorithm.env_runner)
        with pytest.raises(EnvironmentHang, match=r"no answer within 0.5 s"):
            algorithm.train()
    finally:
        algorithm.stop()
