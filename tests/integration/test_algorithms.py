"""Behaviour cloning, MAMQL's rivals and a third algorithm go through the whole house, from YAML to exports."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from rllib_mamql.algorithms.registry import ALGORITHMS, read_checkpoint, register_algorithm
from rllib_mamql.cli.experiment import Overrides, load_experiments
from rllib_mamql.cli.options import RunOptions
from rllib_mamql.cli.tuning import run_experiments
from rllib_mamql.errors import ConfigError
from rllib_mamql.evaluation.evaluate import evaluate_checkpoint
from rllib_mamql.evaluation.record import record_dataset
from rllib_mamql.export.read import load
from rllib_mamql.export.write import export_checkpoint
from tests.support.toy_data import TOY, write_toy_dataset

THIRD = "tests.support.third_algorithm:Margin"
NETWORK = {"fcnet_hiddens": [16]}
COMMON = {"model_config": NETWORK, "seed": 0, "num_cpus_per_learner": 0.25}
FEW = {"min_sample_timesteps_per_iteration": 160}
ROUND = {"train_batch_size_per_learner": 160, "minibatch_size": 40, "num_epochs": 2, "updates_per_step": 0.5, **FEW}
CHOICE: dict[str, dict[str, Any]] = {
    "MABC": {"config": {"clone_updates": 60, "offline_updates": 20}, "stop": {}},
    "Margin": {
        "config": {"margin": 1.0, "min_sample_timesteps_per_iteration": 160},
        "stop": {"training_iteration": 1},
    },
    "IQLearnMA": {"config": {"critic": "joint", "parameter_sharing": "all", **FEW}, "stop": {"training_iteration": 1}},
    "SQIL": {"config": FEW, "stop": {"training_iteration": 1}},
    "MIFQ": {"config": FEW, "stop": {"training_iteration": 1}},
    "MAGAIL": {"config": {"parameter_sharing": "all", **ROUND}, "stop": {"training_iteration": 1}},
    "MAAIRL": {"config": ROUND, "stop": {"training_iteration": 1}},
}
RIVALS = ["IQLearnMA", "SQIL", "MIFQ"]
ADVERSARIAL = ["MAGAIL", "MAAIRL"]


@pytest.fixture(scope="module", autouse=True)
def third() -> Iterator[None]:
    register_algorithm("Margin", THIRD, "rllib_mamql.networks.module:BoltzmannModule")
    yield
    del ALGORITHMS["Margin"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_dataset(tmp_path_factory.mktemp("data") / "toy", rows=100)


def train(folder: Path, data: Path, names: list[str], **config: Any) -> dict[str, Any]:
    """What ``rllib train`` reports of algorithms in one YAML file, by name; on the tests' own Ray, which goes on."""
    experiments = {
        name: {
            "run": name,
            "env": TOY,
            "stop": CHOICE[name]["stop"],
            "config": {"input_": str(data), **COMMON, **CHOICE[name]["config"], **config},
        }
        for name in names
    }
    file = folder / "experiments.yaml"
    file.write_text(yaml.safe_dump(experiments))
    loaded = load_experiments(file, Overrides(storage_path=str(folder / "results")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ray.init", lambda **settings: None)
        patch.setattr("ray.shutdown", lambda: None)
        reports = run_experiments(loaded, RunOptions(eval_episodes=4))
    return {report.experiment: report for report in reports}


def test_an_algorithm_trains_from_a_file(ray_session: None, data: Path, tmp_path: Path) -> None:
    report = train(tmp_path, data, ["MABC"])["MABC"]
    assert report.status == "finished", report.error
    assert report.updates >= 60
    go_through_the_house("MABC", Path(report.checkpoint), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["MABC", "Margin"])
def test_an_algorithm_trains_with_two_learners(name: str, ray_session: None, data: Path, tmp_path: Path) -> None:
    report = train(tmp_path, data, [name], num_learners=2)[name]
    assert report.status == "finished", report.error
    assert report.updates >= 60
    if name == "Margin":
        go_through_the_house(name, Path(report.checkpoint), tmp_path)


def updated(algorithm: Any) -> Any:
    """The trained networks, by module."""
    return algorithm.on_learner(0, lambda learner: learner.describe())[1]


@pytest.mark.slow
def test_rivals_train_with_two_learners_and_go_through_the_house(ray_session: None, data: Path, tmp_path: Path) -> None:
    reports = train(tmp_path, data, [RIVALS[-1], "MAAIRL"], num_learners=2)
    for name, report in reports.items():
        assert report.status == "finished", report.error
        assert report.updates >= 60
        go_through_the_house(name, Path(report.checkpoint), tmp_path / name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*RIVALS, *ADVERSARIAL])
def test_a_rival_goes_on_from_where_it_was_stopped(name: str, ray_session: None, data: Path, tmp_path: Path) -> None:
    import rllib_mamql

    def build() -> Any:
        config = getattr(rllib_mamql, f"{name}Config")().environment(TOY).offline_data(input_=str(data))
        config.debugging(seed=3).training(lr=1e-2).rl_module(model_config=NETWORK)
        if name in ADVERSARIAL:
            config.training(train_batch_size_per_learner=40, minibatch_size=20, num_epochs=2, updates_per_step=0.1)
        config.env_runners(num_envs_per_env_runner=2, rollout_fragment_length="auto" if name in ADVERSARIAL else 10)
        config.min_sample_timesteps_per_iteration = 40
        return config.build_algo()

    first, second = build(), build()
    try:
        first.train()
        second.restore(first.save(str(tmp_path / "checkpoint")).checkpoint.path)
        before, found = updated(first), updated(second)
        for module, weights in before.items():
            for parameter, values in weights.items():
                np.testing.assert_array_equal(found[module][parameter], values, err_msg=f"{module}/{parameter}")
        second.train()
        moved = [np.abs(updated(second)[m][p] - v).max() for m, ws in before.items() for p, v in ws.items() if v.size]
        assert max(moved) > 0 and np.isfinite(moved).all()
    finally:
        first.stop()
        second.stop()


@pytest.mark.slow
@pytest.mark.parametrize("name", [RIVALS[0], ADVERSARIAL[0]])
def test_a_rival_goes_through_the_whole_house(name: str, ray_session: None, data: Path, tmp_path: Path) -> None:
    report = train(tmp_path, data, [name])[name]
    assert report.status == "finished", report.error
    assert report.updates >= 60
    go_through_the_house(name, Path(report.checkpoint), tmp_path)


def go_through_the_house(name: str, checkpoint: Path, tmp_path: Path) -> None:
    """Evaluates, films, exports and records from a checkpoint."""
    tmp_path.mkdir(exist_ok=True)
    stored = read_checkpoint(checkpoint)
    shared = "parameter_sharing" in CHOICE[name]["config"]
    assert stored.algorithm == name and set(stored.modules) == ({"shared"} if shared else {"agent_0", "agent_1"})
    result = evaluate_checkpoint(checkpoint, episodes=3, video=tmp_path / "play.gif")
    assert np.isfinite(result.return_mean) and (tmp_path / "play.gif").stat().st_size > 0
    assert result.recovered_rewards == {}
    exported = load(export_checkpoint(checkpoint, tmp_path / "exported"))
    assert set(exported.policies) == {"agent_0", "agent_1"} and not exported.rewards
    metadata = record_dataset(TOY, {}, str(checkpoint), 20, 0, tmp_path / "play")
    assert name in str(metadata.expert)


def test_a_clone_that_was_stopped_goes_on_as_if_it_had_not_been(ray_session: None, data: Path, tmp_path: Path) -> None:
    from rllib_mamql import MABCConfig

    def build() -> Any:
        config = MABCConfig().environment(TOY).offline_data(input_=str(data)).debugging(seed=3)
        config.training(clone_updates=50, offline_updates=20, lr=1e-2).rl_module(model_config=NETWORK)
        return config.build_algo()

    whole, first = build(), build()
    second = build()
    try:
        assert [bool(whole.train().get("done")) for _ in range(3)] == [False, False, True]
        first.train()
        second.restore(first.save(str(tmp_path / "checkpoint")).checkpoint.path)
        second.train()
        assert second.train()["done"] and second.train()["done"]
        ours, theirs = (algorithm.on_learner(0, lambda learner: learner.describe())[1] for algorithm in (second, whole))
        for module, weights in theirs.items():
            for parameter, values in weights.items():
                np.testing.assert_array_equal(ours[module][parameter], values, err_msg=f"{module}/{parameter}")
    finally:
        for algorithm in (whole, first, second):
            algorithm.stop()


def test_a_clone_chooses_its_updates_and_says_so_in_its_results(
    ray_session: None, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rllib_mamql import MABCConfig
    from rllib_mamql.learning import course

    monkeypatch.setattr(course, "FEWEST", 5)
    monkeypatch.setattr(course, "MOST", 20)
    config = MABCConfig().environment(TOY).offline_data(input_=str(data)).debugging(seed=3)
    algorithm = config.rl_module(model_config=NETWORK).build_algo()
    try:
        results = [algorithm.train()]
        while not results[-1].get("done"):
            results.append(algorithm.train())
        assert algorithm.course.chosen in (5, 10, 20)
        assert results[-1]["held_out_loss"] == pytest.approx(algorithm.course.losses[-1])
    finally:
        algorithm.stop()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "online"}, "a clone takes no environment step"),
        ({"clone_updates": 0}, "clone_updates"),
        ({"clone_updates": "many"}, "clone_updates"),
        ({"lr": [[0, 0.1]]}, "falls to zero by itself"),
        ({"chi_square_scale": 1.0}, "chi_square_scale.*it is a setting of MAMQL"),
    ],
)
def test_settings_that_a_clone_cannot_have_are_named(settings: dict[str, Any], message: str, data: Path) -> None:
    from rllib_mamql import MABCConfig
    from rllib_mamql.cli.settings import check_keys

    with pytest.raises(ConfigError, match=message):
        check_keys(settings, MABCConfig())
        config = MABCConfig().environment(TOY).offline_data(input_=str(data))
        config.update_from_dict(settings)
        config.validate()


def test_a_taken_name_and_a_path_without_a_class_are_refused() -> None:
    with pytest.raises(ConfigError, match="registered already"):
        register_algorithm("MAMQL", THIRD, "rllib_mamql.networks.module:BoltzmannModule")
    with pytest.raises(ConfigError, match=r"package\.module:Class"):
        register_algorithm("Other", "tests.support.third_algorithm", "rllib_mamql.networks.module:BoltzmannModule")
    assert "Other" not in ALGORITHMS


def test_a_checkpoint_of_an_unknown_algorithm_is_refused(tmp_path: Path) -> None:
    from tests.support.random_checkpoint import write_checkpoint

    folder = write_checkpoint(tmp_path / "checkpoint")
    document = json.loads((folder / "mamql.json").read_text())
    (folder / "mamql.json").write_text(json.dumps(document | {"algorithm": "MAMQI"}))
    with pytest.raises(ConfigError, match="did you mean 'MAMQL'"):
        read_checkpoint(folder)
