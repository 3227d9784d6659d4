"""Steps on the device alone: the same losses and weights whether repeated or made anew, and as the host's steps give.

Without a GPU recordings are stood in for by calls: everything but the recording itself is tested.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch

from rllib_mamql.algorithms.mamql.learner import MAMQLLearner
from rllib_mamql.algorithms.mamql.others import draw_actions
from rllib_mamql.errors import ConfigError
from rllib_mamql.learning import checkpoint
from rllib_mamql.learning.graphs import LAUNCH, StepGraphs
from tests.unit.test_learner import learner, play

UPDATES = 100
VARIANTS = [
    {},
    {"reward_interval": 4},
    {"critic": "joint", "reward_interval": 3},
    {"critic": "joint", "marginal_samples": 5},
    {"parameter_sharing": "all", "stack_networks": True},
    {"value_term": "initial", "weight_decay": 0.1},
    {"mode": "offline", "value_term": None, "learn_reward": False},
]


class CallRecording:
    def __init__(self, function: Callable[[], Any]) -> None:
        self.function, self.outputs = function, None

    def replay(self) -> None:
        self.outputs = self.function()


class CallRecorder:
    """Stands in for CUDA: replaying a recording is calling the function again."""

    def __init__(self, fails: bool = False) -> None:
        self.fails, self.recovered, self.renewed = fails, 0, 0

    def stream(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def record(self, function: Callable[[], Any]) -> CallRecording:
        if self.fails:
            raise RuntimeError("operation not permitted when stream is capturing")
        return CallRecording(function)

    def renew(self) -> None:
        self.renewed += 1

    def recover(self) -> None:
        self.recovered += 1


def on_device(recorder: Any = None, rollouts: bool = True, **settings: Any) -> MAMQLLearner:
    """A learner that does as one on a GPU does, on the CPU; without a recorder one operation at a time."""
    made = learner(**settings)
    made.draws = torch.Generator().manual_seed(5)
    made.recorder = recorder or CallRecorder()
    if rollouts:
        made.replay.add(play(seed=9))
    made.set_expert(made.config.module_of, play())
    assert made._device_steps is not None
    if recorder is None:
        made._device_steps.graphs.recorder = None
    return made


def weights(made: MAMQLLearner) -> list[torch.Tensor]:
    return [parameter.detach() for module in made.module.values() for parameter in module.parameters()]


def assert_equal(made: MAMQLLearner, other: MAMQLLearner, **tolerance: float) -> None:
    for a, b in zip(weights(made), weights(other), strict=True):
        torch.testing.assert_close(a, b, **(tolerance or {"rtol": 0.0, "atol": 0.0}))


@pytest.mark.parametrize("total", [42, pytest.param(UPDATES, marks=pytest.mark.slow)])
@pytest.mark.parametrize("settings", VARIANTS, ids=str)
def test_repeated_steps_equal_steps_made_anew(settings: dict[str, Any], total: int) -> None:
    made, other = on_device(CallRecorder(), **settings), on_device(**settings)
    for updates in (1, 30, 7, total - 38):
        found, expected = (each.update(num_updates=updates, _no_metrics_reduce=False) for each in (made, other))
        for agent in ("agent_0", "agent_1"):
            for module in set(found) & set(expected):
                assert found[module].get(agent) == expected[module].get(agent)
    assert made.updates == other.updates == total
    assert_equal(made, other)
    lengths = {len(row) for row in made._device_steps.graphs.recordings}
    assert LAUNCH in lengths and not other._device_steps.graphs.recordings


@pytest.mark.parametrize("total", [40, pytest.param(UPDATES, marks=pytest.mark.slow)])
@pytest.mark.parametrize("settings", [each for each in VARIANTS if "marginal_samples" not in each], ids=str)
def test_steps_on_the_device_equal_the_hosts(settings: dict[str, Any], total: int) -> None:
    """The host's way, with its own schedule, averages and optimisers, on the rows that the device draws."""
    made, other = on_device(CallRecorder(), **settings), on_device(**settings)
    table = other._device_steps
    table._prepare(1)
    other._minibatch = lambda: other.batch_of(table._table.draw(other.draws))
    other._device_steps = None
    for each in (made, other):
        for updates in (total // 2, total // 2):
            each.update(num_updates=updates)
    assert_equal(made, other, rtol=2e-4, atol=2e-5)


def test_a_checkpoint_goes_on_the_same_and_is_the_hosts_too(tmp_path: Any) -> None:
    made, other, host = on_device(CallRecorder()), on_device(CallRecorder()), learner()
    for updates in (20, 3):  # RLlib loads no weights of fewer calls than a learner has seen
        made.update(num_updates=updates)
    checkpoint.write_learner_data(tmp_path, 0, made.get_data_state())
    data = checkpoint.read_learner_data(tmp_path, 0)
    for each in (other, host):
        each.update(num_updates=17)  # recorded before it is told where things stand
        each.set_state(made.get_state())
        each.set_data_state(data)
    for each in (made, other):
        each.update(num_updates=40)
    assert_equal(made, other)
    for _ in range(3):
        host.update(num_updates=1)
    other.set_state(host.get_state())
    other.set_data_state(host.get_data_state())  # has no state of a device's generator
    before = other.draws.get_state()
    other.update(num_updates=20)
    assert other.updates == 46 and not torch.equal(before, other.draws.get_state())


def test_the_buffer_grows_under_recordings_and_rows_reach_its_end() -> None:
    made = on_device(CallRecorder(), rollouts=False, rollout_batch_size=64)
    made.update(num_updates=10)
    rows = made._device_steps._table
    made.replay.add(play(seed=1, steps=20))
    made.update(num_updates=20)
    table = made._device_steps._table
    assert table is not rows and len(made._device_steps.graphs.recordings) > 0
    assert float(table._sizes[-1]) == len(made.replay)
    recordings = dict(made._device_steps.graphs.recordings)
    made.replay.add(play(seed=2, steps=60))
    made.update(num_updates=10)
    assert made._device_steps._table is table and float(table._sizes[-1]) == len(made.replay)
    assert all(made._device_steps.graphs.recordings[row] is each for row, each in recordings.items())
    drawn = torch.cat([table.draw(made.draws).columns["obs.agent_0"][32:] for _ in range(300)])
    held = made.replay.columns["obs.agent_0"][: len(made.replay)]
    assert torch.equal(drawn.unique(dim=0), held.unique(dim=0))


def test_learning_rates_and_averages_follow_their_schedules() -> None:
    settings = {"lr": [[0, 0.002], [100, 0.002], [300, 0.0]], "weight_decay": 1.0}
    made = on_device(CallRecorder(), **settings)
    made.update(num_updates=20)
    recordings = dict(made._device_steps.graphs.recordings)
    made.update(timesteps={"num_env_steps_sampled_lifetime": 300}, num_updates=4)
    before = [p.clone() for p in weights(made)]
    made.update(timesteps={"num_env_steps_sampled_lifetime": 400}, num_updates=8)
    moved = [not torch.equal(a, b) for a, b in zip(before, weights(made), strict=True)]
    averages = {id(p) for name in ("agent_0", "agent_1") for p in made.network(name).average.parameters()}
    assert moved == [id(p) in averages for module in made.module.values() for p in module.parameters()]
    assert all(made._device_steps.graphs.recordings[row] is each for row, each in recordings.items())


def test_a_fit_begins_anew_with_rates_that_fall() -> None:
    made, other = on_device(CallRecorder()), on_device()
    for each in (made, other):
        each.update(num_updates=20)
        each.begin_fit(40)
        each.update(num_updates=40)
        assert each.learning_rate() == 0.0
    assert_equal(made, other)
    before = [p.clone() for p in made.network("agent_0").critic.parameters()]
    made.update(num_updates=1)
    for a, b in zip(before, made.network("agent_0").critic.parameters(), strict=True):
        assert torch.equal(a, b)


def test_what_cannot_be_recorded_goes_on_without_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    recorder = CallRecorder(fails=True)
    made, other = on_device(recorder), on_device()
    with caplog.at_level(logging.WARNING, logger="rllib_mamql"):
        for each in (made, other):
            each.update(num_updates=30)
    assert_equal(made, other)
    assert recorder.recovered == 1
    (line,) = [record.getMessage() for record in caplog.records if "cuda_graphs" in record.getMessage()]
    assert "one operation at a time" in line and "not permitted when stream is capturing" in line


def test_streamed_demonstrations_are_drawn_by_the_host() -> None:
    made = learner()
    made.recorder = CallRecorder()
    made.set_expert(made.config.module_of, None, iter([play(steps=32)] * 9))
    assert made._device_steps is None and made.draws is made.generator
    made = learner()
    made.recorder, made.config._is_frozen, made.config.cuda_graphs = CallRecorder(), False, True
    with pytest.raises(ConfigError, match="cuda_graphs is true, but the demonstrations are streamed"):
        made.set_expert(made.config.module_of, None, iter([]))


def test_a_cpu_learner_has_no_graphs() -> None:
    made = learner()
    assert made._device_steps is None and made.recorder is None and "device_generator" not in made.get_data_state()
    with pytest.raises(ConfigError, match="cuda_graphs is true, but num_gpus_per_learner is 0"):
        learner(cuda_graphs=True)
    with pytest.raises(ConfigError, match="cuda_graphs is 'yes'"):
        learner(cuda_graphs="yes")


def test_kinds_are_recorded_after_a_warm_up_and_irregular_ones_step_by_step() -> None:
    made: list[Any] = []
    graphs = StepGraphs(lambda kind: made.append(kind) or torch.tensor(float(len(made))), CallRecorder())
    kinds = ["a", "b"] + ["a"] * 10 + ["b"] * 5
    found = graphs.run(kinds, 0, 3)
    assert made == kinds and [float(each) for each in found] == [15.0, 16.0, 17.0]
    assert graphs.recordings.keys() == {("a",) * LAUNCH, ("b",)}
    graphs.forget()
    assert not graphs.recordings
    assert [float(each) for each in graphs.run(["a"], 17, 1)] == [18.0]


@pytest.mark.slow
def test_compiled_steps_are_close() -> None:
    torch._dynamo.reset()
    made = on_device(CallRecorder(), compiled_by="aot_eager", reward_interval=4)
    other = on_device(CallRecorder(), reward_interval=4)
    for each in (made, other):
        each.update(num_updates=UPDATES)
    assert_equal(made, other, rtol=1e-4, atol=1e-5)


def test_actions_drawn_by_a_race_follow_the_policy() -> None:
    policy = torch.tensor([[0.1, 0.6, 0.3], [1.0, 0.0, 0.0]]).repeat(2000, 1)

    noise = torch.empty(len(policy), 4, 3).exponential_(generator=torch.Generator().manual_seed(0))
    actions = (policy.unsqueeze(1) / noise).argmax(-1)  # as draw_actions does on a device
    shares = torch.stack([(actions[::2] == action).float().mean() for action in range(3)])
    torch.testing.assert_close(shares, policy[0], atol=0.02, rtol=0.0)
    assert bool((actions[1::2] == 0).all())
    assert draw_actions(policy, 4, torch.Generator().manual_seed(0)).shape == actions.shape


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
