"""Ray still has every private name that this package relies on; ``make ray-next`` asks the newest Ray."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import ray
from torch import nn

from rllib_mamql import ray_internals
from rllib_mamql.errors import ConfigError
from rllib_mamql.ray_internals import NAMES, RayName

PACKAGE = Path(ray_internals.__file__).parent


@pytest.mark.parametrize("name", NAMES, ids=lambda name: f"{name.owner} {name.text}".strip())
def test_ray_has(name: RayName) -> None:
    what = f"no {name.text} in {name.owner}" if name.text else f"no {name.owner}"
    assert name.exists(), f"Ray {ray.__version__} has {what}; used by {name.used_by}, because: {name.why}"


@pytest.mark.parametrize(
    ("owner", "text"),
    [
        ("ray.no_such_module:x", ""),
        ("ray.tune.registry:_no_such_registry", ""),
        ("ray.rllib.core.learner.learner:Learner._no_such_attribute", ""),
        ("ray.rllib.core.learner.learner:NoSuchLearner.update", ""),
        ("ray.tune.constants", "TUNE_NO_SUCH_VARIABLE"),
    ],
)
def test_what_is_gone_is_noticed(owner: str, text: str) -> None:
    assert not RayName(owner, "why", "who", text).exists()


def test_the_list_names_files_that_there_are() -> None:
    files = {name.used_by for name in NAMES if " " not in name.used_by}
    assert "ray_internals.py" in files
    assert [file for file in files if not (PACKAGE / file).is_file()] == []


def test_values_are_those_of_ray() -> None:
    from ray._common.deprecation import DEPRECATED_VALUE
    from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
    from ray.tune.impl.tuner_internal import _TUNER_PKL

    assert ray_internals.DEPRECATED == DEPRECATED_VALUE
    assert ray_internals.TUNER_FILE == _TUNER_PKL
    config = AlgorithmConfig()
    assert set(ray_internals.NOT_A_SETTING) <= vars(config).keys()
    assert {"lr", "gamma", "num_env_runners"} <= ray_internals.known_settings(config).keys()


def test_every_variable_is_listed() -> None:
    assert {name.removeprefix("RAY_") for name in ray_internals.VARIABLES} <= {
        name.text.removeprefix("RAY_") for name in NAMES
    }


def test_private_names_of_ray_are_imported_here_only() -> None:
    private = re.compile(r"^\s*(from ray\S* import .*\b_[a-z]|from ray\S*\._|import ray\S*\._)", re.MULTILINE)
    for file in PACKAGE.rglob("*.py"):
        if file.name != "ray_internals.py":
            assert not private.search(file.read_text()), f"{file} imports a private name of Ray: see ray_internals.py"


def test_model_config_is_what_was_set() -> None:
    from ray.rllib.algorithms.ppo import PPOConfig

    config = PPOConfig().rl_module(model_config={"fcnet_hiddens": [7]})
    assert ray_internals.own_model_config(config) == {"fcnet_hiddens": [7]}
    config.update_from_dict({ray_internals.MODEL_CONFIG: {"fcnet_hiddens": [8]}})
    assert config.model_config["fcnet_hiddens"] == [8]


@pytest.mark.parametrize(
    ("shape", "layers"), [((5,), ray_internals.layers_of_mlp), ((8, 8, 3), ray_internals.layers_of_cnn)]
)
def test_layers_of_a_catalog_encoder_are_found(shape: tuple[int, ...], layers: Any) -> None:
    model = {"fcnet_hiddens": [6], "conv_filters": [[4, 2, 2]]}
    space = gym.spaces.Box(-1.0, 1.0, shape, np.float32)
    encoder, width = ray_internals.build_catalog_encoder(space, gym.spaces.Discrete(2), model)
    found = layers(encoder)
    assert found and any(isinstance(layer, (nn.Linear, nn.Conv2d)) for layer in found)
    assert width > 0
    other = ray_internals.layers_of_cnn if layers is ray_internals.layers_of_mlp else ray_internals.layers_of_mlp
    assert other(encoder) is None


def test_nothing_is_shared_where_nothing_was_registered(ray_session: None) -> None:
    assert ray_internals.shared("no such environment") is None
    assert ray_internals.shared("ñandú") is None
    assert not ray_internals.is_registered_trainable("no such algorithm")


@ray.remote
def _find(name: str) -> Any:
    found = ray_internals.shared(name)
    return None if found is None else found()


def test_other_processes_find_what_is_shared(ray_session: None) -> None:
    words = ["of", "the", "driver"]
    ray_internals.share("rllib_mamql/test", lambda: words, "a test")
    assert ray_internals.shared("rllib_mamql/test")() == words
    assert ray.get(_find.remote("rllib_mamql/test")) == words
    assert ray.get(_find.remote("rllib_mamql/nothing")) is None


def test_what_cannot_be_pickled_is_refused_and_forgotten() -> None:
    with pytest.raises(ConfigError, match="a test cannot be sent to Ray's worker processes"):
        ray_internals.share("rllib_mamql/never", lambda lock=sys.stdout.buffer: None, "a test")
    assert "rllib_mamql/never" not in ray_internals._SHARED


def test_a_ray_that_starts_later_gets_what_was_shared_before(ray_session: None) -> None:
    from ray._private import worker
    from ray.tune.registry import ENV_CREATOR, _global_registry

    ray_internals.share("rllib_mamql/later", lambda: 7, "a test")
    _global_registry.unregister(ENV_CREATOR, "rllib_mamql/later")
    assert ray_internals.shared("rllib_mamql/later") is None
    for hook in worker._post_init_hooks:
        hook()
    assert ray.get(_find.remote("rllib_mamql/later")) == 7


@pytest.mark.slow
def test_starting_ray_imports_nothing_of_ray_that_is_not_named() -> None:
    # RLlib is imported by a thread meanwhile; a module that both import could be seen half made.
    code = (
        "import importlib, sys, ray; from rllib_mamql.ray_internals import INIT_IMPORTS, job_config\n"
        "for name in INIT_IMPORTS: importlib.import_module(name)\n"
        "before = set(sys.modules)\n"
        "ray.init(address='local', num_cpus=1, include_dashboard=False, job_config=job_config(), log_to_driver=False)\n"
        "print(*(name for name in set(sys.modules) - before if name.startswith('ray')))\n"
        "import rllib_mamql.startup\n"
        "from ray.tune.registry import _global_registry; print(_global_registry._registered)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["", "set()"]
