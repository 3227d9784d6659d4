"""The algorithm with real Ray actors: runners, learners, streaming, checkpoints."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from rllib_mamql.algorithms.mamql.algorithm import MAMQL
from rllib_mamql.algorithms.mamql.config import MAMQLConfig
from rllib_mamql.algorithms.registry import read_checkpoint
from rllib_mamql.evaluation.decided import act_decidedly
from rllib_mamql.evaluation.evaluate import evaluate_checkpoint
from rllib_mamql.evaluation.record import record_dataset
from rllib_mamql.learning.checkpoint import act_at
from rllib_mamql.learning.rounds import AHEAD
from tests.support.toy_data import TOY

pytestmark = pytest.mark.usefixtures("ray_session")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("toy") / "data"
    record_dataset(TOY, {}, "random", 200, 0, path)
    return str(path)


def config(dataset: str, **settings: Any) -> MAMQLConfig:
    made = (
        MAMQLConfig()
        .environment(TOY)
        .offline_data(input_=dataset)
        .training(**{"expert_batch_size": 16, "rollout_batch_size": 16, "replay_capacity": 300, **settings})
        .env_runners(num_envs_per_env_runner=4, rollout_fragment_length=5, num_cpus_per_env_runner=0.25)
        .learners(num_cpus_per_learner=0.25)
        .rl_module(model_config={"fcnet_hiddens": [16]})
        .reporting(min_sample_timesteps_per_iteration=40)
        .debugging(seed=1)
    )
    return made


def updates(result: dict[str, Any]) -> int:
    return int(result["learners"]["__all_modules__"]["num_gradient_steps_lifetime"])


def steps(result: dict[str, Any]) -> int:
    return int(result["env_runners"]["num_env_steps_sampled_lifetime"])


def weights(algorithm: MAMQL) -> dict[str, Any]:
    return algorithm.learner_group.get_weights()["agent_0"]


def test_online_counts_and_goes_on_from_a_checkpoint(dataset: str, tmp_path: pathlib.Path) -> None:
    first = config(dataset).build_algo()
    for _ in range(3):
        result = first.train()
    assert steps(result) == 120
    assert updates(result) == 60  # updates_per_step is 0.5
    assert "episode_return_mean" in result["env_runners"]
    assert np.isfinite(result["learners"]["agent_1"]["agent_1"]["expert_log_likelihood"])
    # The toy game has few states: most are come upon, and rollouts take full part.
    assert result["demonstrated_states_reached"] > 0.5 and result["rollout_share"] == pytest.approx(0.5)
    first.save_checkpoint(str(tmp_path))
    settings = json.loads((tmp_path / "mamql.json").read_text())["settings"]
    assert settings["demonstrated_states_reached"] == pytest.approx(result["demonstrated_states_reached"])
    assert settings["rollout_share"] == pytest.approx(0.5) and settings["chi_square_scale"] == pytest.approx(1.0)

    second = config(dataset).build_algo()
    second.load_checkpoint(str(tmp_path))
    assert second.iteration == 3
    for name, value in weights(first).items():
        np.testing.assert_array_equal(value, weights(second)[name])
    learner = second.learner_group._learner
    assert learner.updates == 60 and len(learner.replay) == 120
    optimiser = first.learner_group._learner._get_optimizer_state()
    restored = learner._get_optimizer_state()
    np.testing.assert_array_equal(
        next(iter(optimiser.values()))["state"]["state"][0]["exp_avg"],
        next(iter(restored.values()))["state"]["state"][0]["exp_avg"],
    )
    weights_before = [each.weights() for each in (first.learner_group._learner, learner)]
    assert weights_before[0] == weights_before[1], "a resumed training goes on with the weights that it had"
    result = second.train()
    assert updates(result) == 80
    second.load_checkpoint(str(tmp_path))
    assert_runners_hold_the_weights(second)
    result = second.train()
    assert updates(result) == 80
    assert steps(result) == 160
    first.stop()
    second.stop()


def everything(algorithm: MAMQL) -> dict[str, Any]:
    """What training goes on from: weights, counters, replay, episodes, learning rates."""
    learner = algorithm.learner_group._learner
    replay = learner.get_data_state()["replay"]
    ids = replay["columns"]["eps_id"] if "eps_id" in replay["columns"] else []
    return {
        **{f"weights/{name}": value for name, value in weights(algorithm).items()},
        **{f"replay/{name}": value for name, value in replay["columns"].items()},
        "counters": (learner.updates, algorithm.iteration, replay["next"], replay["size"], len(ids)),
        "rates": [optimizer.param_groups[0]["lr"] for optimizer in learner.optimizers()],
    }


@pytest.mark.parametrize(
    ("runners", "way"),
    [
        (0, "from_checkpoint"),
        pytest.param(0, "restore_from_path", marks=pytest.mark.slow),
        pytest.param(2, "load_checkpoint", marks=pytest.mark.slow),
        pytest.param(2, "from_checkpoint", marks=pytest.mark.slow),
    ],
)
def test_a_restored_training_is_the_uninterrupted_one(
    dataset: str, tmp_path: pathlib.Path, runners: int, way: str
) -> None:
    """Checkpoints are of the middle of episodes, and of gradient steps that are owed: 0.55 a step."""

    def made() -> MAMQLConfig:
        found = config(dataset, updates_per_step=0.55, lr=[[0, 1e-3], [400, 1e-4]])
        return found.env_runners(num_env_runners=runners).reporting(min_sample_timesteps_per_iteration=60)

    first = made().build_algo()
    results = [first.train()]
    first.save_to_path(tmp_path)
    results += [first.train() for _ in range(2)]
    if way == "from_checkpoint":
        second = MAMQL.from_checkpoint(tmp_path)
    else:
        second = made().build_algo()
        getattr(second, way)(str(tmp_path))
    again = [second.train() for _ in range(2)]
    found, expected = everything(second), everything(first)
    assert found.keys() == expected.keys() and expected["rates"][0] < 1e-3
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    for ours, theirs in zip(again, results[1:], strict=True):
        for name in ("episode_return_mean", "num_episodes_lifetime", "num_env_steps_sampled_lifetime"):
            assert ours["env_runners"][name] == theirs["env_runners"][name], name
    act_at(tmp_path, 2.0, {})  # as it is chosen after training, in the document beside RLlib's part
    second.restore_from_path(str(tmp_path))
    assert evaluate_checkpoint(tmp_path, episodes=1).rationality == {"agent_0": 6.0, "agent_1": 6.0}
    acting = second.env_runner_group.foreach_env_runner(lambda runner: runner.module["agent_1"].evaluation_rationality)
    assert acting and set(acting) == {6.0} == {second.learner_group._learner.network("agent_1").evaluation_rationality}
    first.stop()
    second.stop()


@pytest.fixture(scope="module")
def ahead(ray_session: None, dataset: str) -> Iterator[MAMQL]:
    """An algorithm whose two runners sample the next round while it updates."""
    algorithm = config(dataset, rollout_staleness=1).env_runners(num_env_runners=2).build_algo()
    yield algorithm
    algorithm.stop()


def unpatch(runner: Any) -> None:
    """Takes back what tests put over a runner's methods."""
    for name in ("sample", "set_state"):
        vars(runner).pop(name, None)


def test_runners_sample_while_the_learners_update(ahead: MAMQL) -> None:
    group, before = ahead.env_runner_group, ahead.train()
    for round_ in range(1, 4):
        result = ahead.train()
        # A round is under way already, but counted only when it has been learned from.
        assert group.num_in_flight_async_reqs(tag=AHEAD) == 2
        assert steps(result) == steps(before) + 40 * round_
        assert updates(result) == updates(before) + 20 * round_
    assert len(ahead.learner_group._learner.replay) == steps(result), "every rollout row reaches the learner"
    while group.num_in_flight_async_reqs(tag=AHEAD):
        group.fetch_ready_async_reqs(tags=AHEAD, timeout_seconds=1.0)
    assert_runners_hold_the_weights(ahead)


def assert_runners_hold_the_weights(algorithm: MAMQL) -> None:
    acting = algorithm.env_runner_group.foreach_env_runner(lambda runner: runner.get_state()["rl_module"]["agent_0"])
    for name, value in weights(algorithm).items():
        if name.startswith("average."):
            for state in acting:
                np.testing.assert_array_equal(state[name], value)


def test_each_round_is_sampled_with_the_weights_of_the_round_before_last(ahead: MAMQL, tmp_path: pathlib.Path) -> None:
    """Also where runners are slow to take weights: RLlib drops what is sent while they are still at it."""
    group, watched = ahead.env_runner_group, "average.head.weight"

    def watch(runner: Any) -> None:
        take_state, sample = runner.set_state, runner.sample
        runner.acted_with = []

        def take_state_slowly(state: Any) -> None:
            time.sleep(0.3)
            take_state(state)

        def sample_and_note() -> Any:
            runner.acted_with.append(runner.get_state()["rl_module"]["agent_0"][watched].copy())
            return sample()

        runner.set_state, runner.sample = take_state_slowly, sample_and_note

    ahead.save_checkpoint(str(tmp_path))
    ahead.load_checkpoint(str(tmp_path))  # Nothing is under way: the next round is sampled with these weights.
    group.foreach_env_runner(watch, local_env_runner=False)
    try:
        learned = [weights(ahead)[watched]]
        for _ in range(4):
            ahead.train()
            learned.append(weights(ahead)[watched])
        # The fifth round is sampled ahead.
        for acted_with in group.foreach_env_runner(lambda runner: runner.acted_with, local_env_runner=False):
            np.testing.assert_array_equal(acted_with, [learned[0], *learned[:4]])
        assert_runners_hold_the_weights(ahead)
        ahead.save_checkpoint(str(tmp_path))
        ahead.train()
        ahead.load_checkpoint(str(tmp_path))
        assert_runners_hold_the_weights(ahead)
    finally:
        group.foreach_env_runner(unpatch, local_env_runner=False)


@pytest.mark.slow
def test_weights_are_sent_without_waiting_for_rollouts(dataset: str, tmp_path: pathlib.Path) -> None:
    """Fails if RLlib comes to wait for the weights just sent, instead of those before them."""
    # At the end of an iteration RLlib asks runners for the states of their connectors, unless told not to.
    made = config(dataset, rollout_staleness=1).env_runners(num_env_runners=2, merge_env_runner_states=False)
    algorithm, gate = made.build_algo(), tmp_path / "gate"

    def hold_the_second_rollout(runner: Any) -> None:
        sample, rollouts = runner.sample, []

        def held_sample() -> Any:
            deadline = time.monotonic() + 20.0
            while rollouts and not gate.exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            rollouts.append(sample())
            (tmp_path / f"{os.getpid()}-{len(rollouts)}").touch()
            return rollouts[-1]

        runner.sample = held_sample

    try:
        algorithm.env_runner_group.foreach_env_runner(hold_the_second_rollout, local_env_runner=False)
        assert updates(algorithm.train()) == 20
        assert not list(tmp_path.glob("*-2")), "training waited for rollouts that it does not need yet"
        gate.touch()
        assert updates(algorithm.train()) == 40
        assert_runners_hold_the_weights(algorithm)
    finally:
        algorithm.stop()


@pytest.mark.slow
def test_a_runner_that_dies_comes_back_with_the_weights(ahead: MAMQL) -> None:
    """Twice: the second death leaves no more behind than the first. `tests/benchmarks/soak.py` does so for hours."""
    group, held = ahead.env_runner_group, []
    for _ in range(2):
        before = updates(ahead.train())
        os.kill(group.foreach_env_runner(lambda runner: os.getpid(), local_env_runner=False)[0], signal.SIGKILL)
        assert updates(ahead.train()) > before
        for _ in range(20):
            ahead.train()
            if group.num_healthy_remote_env_runners() == 2:
                break
        before = steps(ahead.train())
        assert steps(ahead.train()) == before + 40
        assert len(group.foreach_env_runner(lambda runner: os.getpid(), local_env_runner=False)) == 2
        assert_runners_hold_the_weights(ahead)
        here = pathlib.Path("/proc/self")
        held.append({what: len(list((here / what).iterdir())) for what in ("fd", "task") if here.is_dir()})
    # Threads and connections of Ray's come and go by a few.
    assert all(held[1][what] <= held[0][what] + 4 for what in held[0]), held


def test_checkpoints_act_without_ray(dataset: str, tmp_path: pathlib.Path) -> None:
    algorithm = config(dataset, parameter_sharing="all").build_algo()
    algorithm.train()
    algorithm.save_checkpoint(str(tmp_path))
    algorithm.stop()
    stored = read_checkpoint(tmp_path)
    assert stored.module_of == {"agent_0": "shared", "agent_1": "shared"} and stored.env == TOY
    result = evaluate_checkpoint(tmp_path, episodes=5, seed=3)
    again = evaluate_checkpoint(tmp_path, episodes=5, seed=3)
    assert result == again and result.episodes == 5 and set(result.per_agent) == {"agent_0", "agent_1"}
    (tmp_path / "networks.npz").write_bytes(b"not a zip")
    with pytest.raises(ValueError, match="damaged"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("runners", "learners", "streamed"),
    [
        pytest.param(*each, marks=pytest.mark.slow)
        for each in ((1, 2, False), (2, 0, False), (0, 0, True), (0, 2, True))
    ],
)
def test_remote_runners_and_learners(
    dataset: str, runners: int, learners: int, streamed: bool, tmp_path: pathlib.Path
) -> None:
    made = config(dataset, expert_in_memory=not streamed).env_runners(num_env_runners=runners)
    algorithm = made.learners(num_learners=learners).build_algo()
    assert algorithm.offline_data.in_memory != streamed
    result = algorithm.train()
    result = algorithm.train()
    assert steps(result) == 80
    assert updates(result) == 40
    states = algorithm.learner_group.foreach_learner(
        lambda learner: (
            len(learner.replay),
            None if streamed else len(learner.expert),
            learner.module["agent_0"].unwrapped().critic.head.weight.detach().numpy().copy(),
        )
    )
    states = [state.get() for state in states]
    assert sum(state[0] for state in states) == 80, "every rollout row reaches exactly one learner"
    if not streamed:
        assert sum(state[1] for state in states) == 200, "every expert row reaches exactly one learner"
    assert len({state[0] for state in states}) == 1, "learners share alike"
    for state in states:
        np.testing.assert_array_equal(state[2], states[0][2])
    if learners:
        algorithm.save_checkpoint(str(tmp_path))
        algorithm.load_checkpoint(str(tmp_path))
        assert updates(algorithm.train()) == 60
    algorithm.stop()


def test_offline_takes_no_environment_step(dataset: str) -> None:
    algorithm = config(dataset, mode="offline", offline_updates=15).build_algo()
    result = algorithm.train()
    assert updates(result) == 15
    assert not result.get("env_runners", {}).get("num_env_steps_sampled_lifetime")
    algorithm.stop()


@pytest.mark.parametrize("runners", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_evaluation_as_rllib_users_know_it(dataset: str, runners: int) -> None:
    made = config(dataset).evaluation(evaluation_interval=1, evaluation_duration=6, evaluation_num_env_runners=runners)
    algorithm = made.build_algo()
    result = algorithm.train()
    assert result["evaluation"]["env_runners"]["num_episodes_lifetime"] >= 6
    algorithm.stop()


def test_a_dataset_of_another_environment_is_refused(dataset: str) -> None:
    with pytest.raises(ValueError, match=r"states 4.*states 5|shape"):
        config(dataset).environment(TOY, env_config={"states": 5}).build_algo()


def test_until_it_is_chosen_policies_act_as_in_training(dataset: str, tmp_path: pathlib.Path) -> None:
    algorithm = config(dataset, rationality=2.0).build_algo()
    algorithm.train()
    algorithm.save_checkpoint(str(tmp_path))
    algorithm.stop()
    stored = read_checkpoint(tmp_path)
    assert stored.settings["evaluation_rationality"] == "auto"
    assert {module.evaluation_rationality for module in stored.modules.values()} == {2.0}
    found = act_decidedly(stored, seed=1)
    again = read_checkpoint(tmp_path)
    assert {module.evaluation_rationality for module in again.modules.values()} == {2.0 * found.multiple}
    result = evaluate_checkpoint(tmp_path, episodes=2)
    assert set(result.rationality.values()) == {2.0 * found.multiple}
    assert result.chosen["acting_multiple"] == found.multiple and result.chosen["coming_back"] <= 1.0
    # Training goes on as it was.
    second = config(dataset, rationality=2.0).build_algo()
    second.load_checkpoint(str(tmp_path))
    second.train()
    second.stop()


def test_stops_where_held_out_play_gets_less_likely_and_goes_on_as_if_never_interrupted(
    dataset: str, tmp_path: pathlib.Path
) -> None:
    """Random play has nothing to learn but its 60 steps by heart."""

    def made() -> MAMQL:
        few = config(dataset, mode="offline", expert_steps=60, offline_updates=60, lr=0.01, weight_average=0.9)
        return few.build_algo()

    whole, first = made(), made()
    results = [whole.train() for _ in range(2)]
    for _ in range(2):
        first.train()
    first.save_checkpoint(str(tmp_path))
    first.stop()
    second = made()
    second.load_checkpoint(str(tmp_path))
    while not results[-1].get("done") and len(results) < 30:
        results.append(whole.train())
        again = second.train()
        assert again["held_out_loss"] == results[-1]["held_out_loss"]
    losses = [result["held_out_loss"] for result in results]
    assert results[-1].get("done") and whole.finished() and second.finished()
    best = 60 * (1 + int(np.argmin(losses)))
    assert best == results[-1]["best_updates"] and updates(results[-1]) == 2 * best
    assert whole.get_own_state()["watch"] == second.get_own_state()["watch"]
    whole.save_checkpoint(str(tmp_path / "end"))
    assert read_checkpoint(tmp_path / "end").settings["stopped_updates"] == 2 * best
    for name, value in weights(whole).items():
        np.testing.assert_array_equal(value, weights(second)[name])
    whole.stop()
    second.stop()
