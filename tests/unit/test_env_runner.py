"""Our env runner in one process: what it steps, what callbacks are given, and whose weights act."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.callbacks.callbacks import RLlibCallback

from rllib_mamql.algorithms.mamql.config import MAMQLConfig
from rllib_mamql.columns import ACTIONS, OBS, column
from rllib_mamql.learning.env_runner import ColumnarEnvRunner
from rllib_mamql.play.batched import BatchedRollout


class Watching(RLlibCallback):
    started: list[tuple[int, int, tuple[Any, ...]]] = []  # noqa: RUF012

    def on_episode_start(self, *, env: Any, env_index: int, **kwargs: Any) -> None:
        state = env.overcooked_state
        self.started.append((env_index, state.timestep, state.player_positions))


def make_runner(callbacks: type[RLlibCallback] | None = None, **env_config: Any) -> ColumnarEnvRunner:
    config = (
        MAMQLConfig()
        .environment("overcooked", env_config={"horizon": 5, **env_config})
        .offline_data(input_="not read")
        .env_runners(num_envs_per_env_runner=3, rollout_fragment_length=5)
        .rl_module(model_config={"fcnet_hiddens": [32]})
        .evaluation(evaluation_rationality=1e6)
        .debugging(seed=0)
    )
    if callbacks is not None:
        config.callbacks(callbacks)
    config.validate()
    return ColumnarEnvRunner(config)


def test_a_callback_sees_the_start_of_each_episode() -> None:
    Watching.started.clear()
    runner = make_runner(Watching)
    assert isinstance(runner.env, BatchedRollout)
    runner.sample(num_timesteps=30)
    # In 10 steps each of 3 kitchens starts once, again after the 5th, and again after the 10th.
    assert [index for index, *_ in Watching.started] == [0, 1, 2] * 3
    assert {(t, places) for _, t, places in Watching.started} == {(0, ((1, 2), (3, 1)))}
    runner.stop()


def test_functions_are_callbacks_too_and_without_any_nothing_is_called() -> None:
    config = make_runner().config.copy(copy_frozen=False)
    seen: list[int] = []
    config.callbacks(on_episode_start=lambda env_index, **kwargs: seen.append(env_index))
    runner = ColumnarEnvRunner(config)
    runner.sample(num_timesteps=3)
    assert seen == [0, 1, 2]
    assert make_runner().env._on_reset is None  # type: ignore[union-attr]


def test_pictures_are_asked_of_single_environments() -> None:
    runner = make_runner(render_mode="rgb_array")
    assert not isinstance(runner.env, BatchedRollout)
    runner.sample(num_timesteps=3)
    assert runner.env is not None and runner.env.envs[0].render() is not None
    runner.stop()


@pytest.mark.parametrize("explore", [True, False])
def test_a_seed_gives_the_same_steps(explore: bool) -> None:
    columns = [make_runner().sample(num_timesteps=60, explore=explore)[0].columns for _ in range(2)]
    for name, values in columns[0].items():
        np.testing.assert_array_equal(values, columns[1][name], err_msg=name)


def test_new_weights_act_from_the_next_sample_on() -> None:
    runner, other = make_runner(), make_runner()
    generator, taken = torch.Generator().manual_seed(1), set()
    for _ in range(3):
        other.module.foreach_module(
            lambda _, module: [p.data.copy_(torch.randn(p.shape, generator=generator)) for p in module.parameters()]
        )
        runner.set_state(other.get_state())
        columns = runner.sample(num_timesteps=60, explore=False)[0].columns
        for agent in ("agent_0", "agent_1"):
            best = best_of(other.module[agent], columns, agent)
            assert best == columns[column(ACTIONS, agent)].tolist()
            taken.update(best)
    assert len(taken) > 1


def best_of(module: Any, columns: Any, agent: str) -> list[int]:
    values: torch.Tensor = module.average(torch.as_tensor(columns[column(OBS, agent)]))
    return values.argmax(-1).tolist()


def test_a_module_that_takes_anothers_place_acts() -> None:
    runner, other = make_runner(), make_runner()
    before = runner.sample(num_timesteps=60, explore=False)[0].columns
    for module in (other.module["agent_0"], other.module["agent_1"]):
        torch.nn.init.zeros_(module.average.head.weight)
        torch.nn.init.zeros_(module.average.head.bias)
        module.average.head.bias.data[3] = 1.0
    runner.module.add_module("agent_1", other.module["agent_1"], override=True)
    after = runner.sample(num_timesteps=60, explore=False)[0].columns
    assert set(after[column(ACTIONS, "agent_1")].tolist()) == {3} != set(before[column(ACTIONS, "agent_1")].tolist())
    assert best_of(runner.module["agent_0"], after, "agent_0") == after[column(ACTIONS, "agent_0")].tolist()
    # Rebuilt modules start from new weights, and no old actor is left.
    runner.make_module()
    columns = runner.sample(num_timesteps=60, explore=False)[0].columns
    for agent in ("agent_0", "agent_1"):
        assert best_of(runner.module[agent], columns, agent) == columns[column(ACTIONS, agent)].tolist()
