"""Joint steps a second of our env runner against RLlib's: ``python tests/benchmarks/bench_runner.py``.

Both run the same config, with the same networks and number of environments; RLlib's ``MultiAgentEnvRunner`` with its
own connectors. Beside them stand two bare loops, which play random actions, run no networks and keep nothing:

- the loop over single environments, ``for env in envs: env.step(...)``, which is what a runner of PettingZoo
  environments does at the least. A runner that steps a batched form of the environment can be faster than it;
- the bare batch, where the environment has a batched form: what our runner steps, which it cannot outdo.
"""

from __future__ import annotations

import functools
import pathlib
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from rllib_mamql.algorithms.mamql.config import MAMQLConfig
from rllib_mamql.environments.registry import make_batch, make_env
from rllib_mamql.learning.env_runner import ColumnarEnvRunner
from tests.benchmarks.measuring import Result, interleave, ratio, repeats_for, run_alone, seconds

FCNET = {"fcnet_hiddens": [256, 256]}
SECONDS = 0.3
"""CPU seconds of one measurement, roughly."""


@dataclass(frozen=True)
class Case:
    """What is sampled.

    Attributes:
        env: Name of the environment.
        env_config: Its settings.
        model_config: Networks of both runners.
        sizes: Numbers of environments.
        quick: Those of a quick run.
        targets: By number of environments, how many times RLlib's rate ours is to be.
    """

    env: str
    env_config: dict[str, Any]
    model_config: dict[str, Any] = field(default_factory=lambda: dict(FCNET))
    sizes: tuple[int, ...] = (1, 8, 32, 128)
    quick: tuple[int, ...] = ()
    targets: dict[int, float] = field(default_factory=dict)


CASES = {
    "gems fcnet": Case("gems", {"observation": "vector"}, quick=(8, 32)),
    "gems attention": Case("gems", {"observation": "entities"}, {}, quick=(32,), targets={32: 10.0}),
    "gems grid": Case(
        "gems", {"observation": "grid"}, {"conv_filters": [[16, [3, 3], 1], [32, [3, 3], 2]]}, targets={32: 10.0}
    ),
    "overcooked fcnet": Case("overcooked", {"layout": "cramped_room"}, quick=(8,)),
    "intersection fcnet": Case(
        "intersection", {"vehicles": 4, "observation": "vector"}, quick=(8,), targets={32: 5.0, 128: 10.0}
    ),
    "intersection attention": Case(
        "intersection", {"vehicles": 4, "observation": "entities"}, {"entity_layers": 2}, targets={32: 5.0, 128: 10.0}
    ),
}


def config_of(case: Case, num_envs: int, runner: type[Any] | None = None) -> MAMQLConfig:
    """The config that both runners get."""
    config = (
        MAMQLConfig()
        .environment(case.env, env_config=case.env_config)
        .offline_data(input_="not read")
        .env_runners(num_envs_per_env_runner=num_envs, rollout_fragment_length=20)
        .rl_module(model_config=case.model_config)
        .debugging(seed=0)
    )
    config.validate()
    if runner is not None:
        # Nobody can train with it: it gives no columns. Here it samples.
        config.env_runners(
            env_runner_cls=runner,
            add_default_connectors_to_env_to_module_pipeline=True,
            add_default_connectors_to_module_to_env_pipeline=True,
        )
    return config


def our_sampler(case: Case, num_envs: int) -> tuple[Callable[[int], int], Callable[[], None]]:
    """Samples so many joint steps and returns how many they were; and what ends it."""
    runner = ColumnarEnvRunner(config_of(case, num_envs))

    def sample(steps: int) -> int:
        taken = sum(rollout.env_steps() for rollout in runner.sample(num_timesteps=steps))
        runner.get_metrics()
        return taken

    return sample, runner.stop


def rllib_sampler(case: Case, num_envs: int) -> tuple[Callable[[int], int], Callable[[], None]]:
    """The same with RLlib's runner."""
    from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner

    runner = MultiAgentEnvRunner(config=config_of(case, num_envs, MultiAgentEnvRunner))

    def sample(steps: int) -> int:
        taken = sum(episode.env_steps() for episode in runner.sample(num_timesteps=steps))
        runner.get_metrics()
        return taken

    return sample, runner.stop


def batch_sampler(case: Case, num_envs: int) -> tuple[Callable[[int], int], Callable[[], None]] | None:
    """Steps the batched form with random actions and keeps nothing; None where there is no such form."""
    rng = np.random.default_rng(0)
    batch = make_batch(case.env, case.env_config, num_envs)
    if batch is None:
        return None
    batch.reset(0)
    counts = {agent: int(space.n) for agent, space in batch.action_spaces.items()}

    def step_batch(steps: int) -> int:
        taken = 0
        while taken < steps:
            _, terminated, truncated, _ = batch.step(
                {agent: rng.integers(n, size=num_envs) for agent, n in counts.items()}
            )
            ended = np.flatnonzero(next(iter(terminated.values())) | next(iter(truncated.values())))
            if len(ended):
                batch.reset_envs(ended, rng.integers(2**31 - 1, size=len(ended)))
            batch.observations()
            taken += num_envs
        return taken

    return step_batch, lambda: None


def loop_sampler(case: Case, num_envs: int) -> tuple[Callable[[int], int], Callable[[], None]]:
    """Steps single environments in turn with random actions and keeps nothing."""
    rng = np.random.default_rng(0)
    envs = [make_env(case.env, case.env_config) for _ in range(num_envs)]
    sizes = {agent: int(envs[0].action_space(agent).n) for agent in envs[0].possible_agents}
    for index, env in enumerate(envs):
        env.reset(seed=index)

    def step_each(steps: int) -> int:
        taken = 0
        while taken < steps:
            actions = {agent: rng.integers(n, size=num_envs) for agent, n in sizes.items()}
            for index, env in enumerate(envs):
                env.step({agent: int(actions[agent][index]) for agent in env.agents})
                if not env.agents:
                    env.reset(seed=int(rng.integers(2**31 - 1)))
            taken += num_envs
        return taken

    def close() -> None:
        for env in envs:
            env.close()

    return step_each, close


SAMPLERS = {"ours": our_sampler, "rllib": rllib_sampler, "loop": loop_sampler, "batch": batch_sampler}
SHARE_OF_LOOP = 0.7
"""What is aimed at in Overcooked from 8 environments on: ours, networks and columns included, to the bare loop."""


def compare(case: Case, num_envs: int, repetitions: int) -> dict[str, list[float]]:
    """CPU seconds a joint step, by sampler that there is, measured in turns."""
    tasks, closes = {}, []
    for name, make in SAMPLERS.items():
        made = make(case, num_envs)
        if made is None:
            continue
        sample, close = made
        closes.append(close)
        chunk = max(20, num_envs)
        steps = chunk * repeats_for(functools.partial(sample, chunk), SECONDS)

        def measure(sample: Callable[[int], int] = sample, steps: int = steps) -> float:
            taken = 0

            def call() -> None:
                nonlocal taken
                taken = sample(steps)

            return seconds(call) / taken

        tasks[name] = measure
    try:
        return interleave(tasks, repetitions)
    finally:
        for close in closes:
            close()


def measure(quick: bool) -> Result:
    """All cases."""
    ratios, rows = {}, []
    for name, case in CASES.items():
        for num_envs in case.quick if quick else case.sizes:
            taken = compare(case, num_envs, 3 if quick else 5)
            key = f"runner/{name}/{num_envs}"
            ratios[key] = ratio(taken["rllib"], taken["ours"], target=case.targets.get(num_envs))
            target = SHARE_OF_LOOP if case.env == "overcooked" and num_envs >= 8 else None
            share = ratios[f"runner share of loop/{name}/{num_envs}"] = ratio(
                taken["loop"], taken["ours"], target=target
            )
            of_batch = ratio(taken["batch"], taken["ours"]).value if "batch" in taken else "-"
            rates = {sampler: 1.0 / statistics.median(values) for sampler, values in taken.items()}
            rows.append(
                (
                    *(name, num_envs, rates["ours"], rates["rllib"], ratios[key].value),
                    *(rates["loop"], share.value, rates.get("batch", "-"), of_batch),
                )
            )
    return Result(
        "Env runner: joint steps a second",
        ratios,
        (
            *("environment, networks", "environments", "ours", "RLlib's", "ours / RLlib's"),
            *("bare loop over single environments", "ours / that loop", "bare batch", "ours / bare batch"),
        ),
        rows,
        ["The bare loops play random actions, run no networks and keep nothing; ours does all of that."],
    )


if __name__ == "__main__":
    sys.exit(run_alone(measure, __doc__))
