import math
from pathlib import Path
from typing import Any

import pytest

from rllib_mamql.cli.experiment import Overrides, cpus_asked, load_experiments, to_param_space, variants
from rllib_mamql.cli.room import largest
from rllib_mamql.errors import ConfigError, DatasetError, UserError

GOOD = """
walk:
  run: PPO
  env: pettingzoo:tests.toy_env
  stop: {training_iteration: 2}
  config:
    lr: 1e-3
    num_env_runners: 0
    env_config: {steps: 5}
"""


def load(tmp_path: Path, text: str = GOOD, **overrides: Any) -> Any:
    path = tmp_path / "file.yaml"
    path.write_text(text)
    return load_experiments(path, Overrides(**overrides))


def prepare(tmp_path: Path, text: str = GOOD, **overrides: Any) -> Any:
    from rllib_mamql.cli.settings import prepare as prepare_one

    return prepare_one(load(tmp_path, text, **overrides)[0])


def test_reads_what_it_says(tmp_path: Path) -> None:
    (experiment,) = load(tmp_path)
    assert experiment.name == "walk"
    assert experiment.settings.stop == {"training_iteration": 2}
    assert experiment.settings.config["lr"] == pytest.approx(0.001)
    assert experiment.settings.num_samples == 1


def test_several_experiments(tmp_path: Path) -> None:
    text = GOOD + GOOD.replace("walk", "run")
    assert [experiment.name for experiment in load(tmp_path, text)] == ["walk", "run"]
    with pytest.raises(ConfigError, match="--name names one experiment"):
        load(tmp_path, text, name="x")


def test_command_line_overrides(tmp_path: Path) -> None:
    (experiment,) = load(
        tmp_path,
        sets=("env_config.steps=7", "lr={grid_search: [1e-4, 1e-3]}", "num_samples=3", "model_config.use_lstm=true"),
        stops=("env_runners/episode_return_mean=4.5",),
        config={"seed": 5},
        name="other",
        storage_path="/somewhere",
    )
    assert experiment.name == "other"
    assert experiment.settings.config == {
        "lr": {"grid_search": [1e-4, 1e-3]},
        "num_env_runners": 0,
        "env_config": {"steps": 7},
        "model_config": {"use_lstm": True},
        "seed": 5,
    }
    assert experiment.settings.num_samples == 3
    assert experiment.settings.stop == {"training_iteration": 2, "env_runners/episode_return_mean": 4.5}
    assert experiment.settings.storage_path == "/somewhere"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GOOD.replace("run:", "runn:"), r"unknown key 'runn'; did you mean 'run'\?"),
        (GOOD.replace("stop: {training_iteration: 2}", "stop: {training_iteration: soon}"), "give a number"),
        (GOOD + "    lr: 3\n", "duplicate key 'lr'"),
        (GOOD + GOOD, "duplicate key 'walk'"),
        (GOOD.replace("  run: PPO\n", ""), "'run' is missing"),
        (GOOD + "  num_samples: 0\n", "num_samples is 0"),
        (GOOD + "  num_samples: two\n", "num_samples is 'two'"),
        ("run: PPO\n", "indent their keys"),
        ("", "has no experiment"),
        ("a: [1\n", "not valid YAML"),
        (GOOD.replace("1e-3", "{grid_search: []}"), "needs a list that is not empty"),
        (GOOD.replace("1e-3", "{grid_search: 3}"), "needs a list that is not empty"),
        (GOOD.replace("1e-3", "{loguniform: [0, 1]}"), "low bound above 0"),
        (GOOD.replace("1e-3", "{uniform: [2, 1]}"), "low < high"),
        (GOOD.replace("walk", "../walk"), "cannot name a results folder"),
        (GOOD.replace("config:", "config: 3 #").replace("    lr", "    # lr").split("    num")[0], "not a mapping"),
        (GOOD.replace("PPO", "!!python/object/apply:os.getcwd []"), "not valid YAML"),
    ],
)
def test_bad_file_is_one_clear_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        load(tmp_path, text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["lr", "=3", "lr={"])
def test_bad_assignment(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        load(tmp_path, sets=(text,))


def test_missing_file() -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_experiments(Path("no/such/file.yaml"))


def test_variants_cover_grids_and_ends() -> None:
    config = {"a": {"grid_search": [1, 2]}, "b": {"c": {"loguniform": [0.1, 10]}}, "d": 3}
    assert list(variants(config)) == [{"a": a, "b": {"c": c}, "d": 3} for a in (1, 2) for c in (0.1, 10)]
    many = {str(i): {"grid_search": [0, 1, 2]} for i in range(5)}
    assert len(list(variants(many))) == 1 + 5 * 2


def test_samples_become_tunes() -> None:
    space = to_param_space({"a": {"grid_search": [1]}, "b": {"uniform": [0, 1]}, "c": {"d": {"choice": [4, 5]}}})
    assert space["a"] == {"grid_search": [1]}
    assert 0 <= space["b"].sample() <= 1
    assert space["c"]["d"].sample() in (4, 5)


def test_prepared_is_what_departs_from_the_defaults(tmp_path: Path) -> None:
    prepared = prepare(tmp_path, sets=("model_config.fcnet_hiddens=[8]", "lambda=0.9"))
    space = prepared.param_space
    assert space["env"] == "pettingzoo:tests.toy_env"
    assert space["lambda_"] == 0.9
    assert space["_model_config"] == {"fcnet_hiddens": [8]}
    assert set(space["policies"]) == {"agent_0", "agent_1"}
    assert space["policy_mapping_fn"]("agent_1", None) == "agent_1"
    assert "gamma" not in space
    assert largest(prepared.trials, "CPU") >= 1


def test_trial_resources_follow_the_runners(tmp_path: Path) -> None:
    few = prepare(tmp_path)
    many = prepare(tmp_path, config={"num_env_runners": 2, "num_learners": 2})
    assert largest(many.trials, "CPU") >= largest(few.trials, "CPU") + 3


def test_samples_with_a_seed_get_a_seed_each(tmp_path: Path) -> None:
    prepared = prepare(tmp_path, sets=("num_samples=3",), config={"seed": 4})
    assert prepared.param_space["seed"] == {"grid_search": [4, 5, 6]}
    assert prepared.num_samples == 1
    assert prepare(tmp_path, sets=("num_samples=3",)).num_samples == 3


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("1e-3", "1e-3\n    gama: 0.9"), r"unknown key 'config.gama'; did you mean 'gamma'\?"),
        (("1e-3", "1e-3\n    training: {lr: 1}"), "unknown key 'config.training'"),
        (("1e-3", "1e-3\n    num_workers: 1"), "unknown key 'config.num_workers'"),
        (("1e-3", "1e-3\n    model_config: {fcnet_hidens: [8]}"), "did you mean 'fcnet_hiddens'"),
        (("1e-3", "1e-3\n    evaluation_config: {gama: 1}"), "'config.evaluation_config.gama'"),
        (("1e-3", "fast"), "config.lr is 'fast'; give a number"),
        (("1e-3", "{grid_search: [1e-3, fast]}"), "config.lr is 'fast'"),
        (("1e-3", "1e-3\n    explore: 1"), "give true or false"),
        (("1e-3", "1e-3\n    model_config: 3"), "give a mapping"),
        (("run: PPO", "run: MAQML"), r"unknown algorithm 'MAQML'; did you mean 'MAMQL'\?"),
        (("env: pettingzoo:tests.toy_env", "env: overcoked"), r"did you mean 'overcooked'\?"),
        (("  env: pettingzoo:tests.toy_env\n", ""), "key 'env' is missing"),
        (("steps: 5", "stps: 5"), "refuses env_config"),
        (("steps: 5", "steps: {grid_search: [3, 0]}"), "give at least 1"),
        (("num_env_runners: 0", "num_epochs: 0\n    minibatch_size: 100000"), "refuses the config"),
    ],
)
def test_wrong_settings_are_refused_before_a_run(tmp_path: Path, change: tuple[str, str], says: str) -> None:
    assert change[0] in GOOD
    with pytest.raises(UserError, match=says) as caught:
        prepare(tmp_path, GOOD.replace(*change))
    assert "\n" not in str(caught.value)
    assert "'walk'" in str(caught.value)


def test_input_is_found_from_the_files_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rllib_mamql.cli.settings import resolve_input

    (tmp_path / "data" / "toy").mkdir(parents=True)
    (tmp_path / "data" / "toy" / "a.parquet").touch()
    deep = tmp_path / "examples" / "search"
    deep.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert resolve_input("data/toy", deep) == str(tmp_path / "data" / "toy")
    assert resolve_input("data/toy/*.parquet", deep) == str(tmp_path / "data" / "toy" / "*.parquet")
    assert resolve_input("s3://bucket/key", deep) == "s3://bucket/key"
    with pytest.raises(DatasetError, match="no dataset 'data/toi'"):
        resolve_input("data/toi", deep)
    monkeypatch.chdir(tmp_path)
    assert resolve_input("data/toy", deep) == str(tmp_path / "data" / "toy")


@pytest.mark.parametrize(
    ("config", "cpus"),
    [
        ({"input_": "data"}, 1.0),
        ({}, 3.0),
        ({"input_": "data", "num_env_runners": 2, "num_learners": 1, "num_cpus_per_learner": 2}, 5.0),
        ({"input_": "data", "num_env_runners": 0, "num_cpus_per_env_runner": {"grid_search": [1, 2]}}, 1.0),
        ({"input_": "data", "num_env_runners": {"grid_search": [0, 8]}}, math.inf),
        ({"num_env_runners": 1, "evaluation_num_env_runners": 1, "num_cpus_for_main_process": 0.5}, 2.5),
    ],
)
def test_what_a_trial_asks_for_is_told_without_rllib(config: dict[str, Any], cpus: float) -> None:
    assert cpus_asked(config) == cpus
