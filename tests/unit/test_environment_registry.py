"""Environments that users register: named in configs, found by other processes, and refused in words where wrong."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import ray

from rllib_mamql import register_environment
from rllib_mamql.data.reading import read_metadata
from rllib_mamql.environments import registry
from rllib_mamql.environments.registry import (
    ENVIRONMENTS,
    has_expert,
    ignored_in_data,
    make_batch,
    make_env,
    make_expert,
    maps_of,
    resolve_env_config,
)
from rllib_mamql.environments.spaces import check_dataset
from rllib_mamql.errors import ConfigError, DatasetError, UnknownEnvironmentError
from rllib_mamql.evaluation.record import record_dataset
from tests.toy_env import ToyEnv

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def known() -> Iterator[None]:
    """Forgets what a test registered."""
    before = dict(ENVIRONMENTS)
    yield
    ENVIRONMENTS.clear()
    ENVIRONMENTS.update(before)


class Walker:
    """Both agents walk towards higher places."""

    def reset(self, env: Any, seed: int) -> None:
        self.seed = seed

    def act(self, env: Any, observations: dict[str, np.ndarray]) -> dict[str, int]:
        return dict.fromkeys(env.agents, 2)


def ring(steps: int = 7, scenery: str = "plain", render_mode: str | None = None) -> ToyEnv:
    return ToyEnv(steps=steps, render_mode=render_mode)


def test_a_callable_with_all_its_parts() -> None:
    batch = object()
    maps = SimpleNamespace(snapshot=lambda env: 0, probes=lambda *args: [])
    register_environment(
        "ring",
        ring,
        expert=Walker,
        batch=lambda n, **config: (batch, n, config),
        maps=maps,
        ignored_in_data=["scenery"],
    )
    assert make_env("ring", {"steps": 3}, render_mode="rgb_array").render_mode == "rgb_array"
    assert resolve_env_config("ring", {"steps": 3}) == {"steps": 3, "scenery": "plain"}
    assert make_batch("ring", {"steps": 3}, 4) == (batch, 4, {"steps": 3})
    assert isinstance(make_expert("ring"), Walker) and has_expert("ring")
    assert maps_of("ring") is maps
    assert ignored_in_data("ring") == {"scenery"}


def test_paths_are_imported_when_first_needed() -> None:
    register_environment("toy", "tests.toy_env", expert=f"{__name__}:Walker", maps="mamql_envs.gems_maps")
    assert make_env("toy", {"steps": 3}).steps == 3
    assert type(make_expert("toy")).__name__ == "Walker"
    assert callable(maps_of("toy").probes)
    register_environment("other", "tests.toy_env:ToyEnv")
    assert make_env("other").steps == 10
    assert make_batch("other", {}, 4) is None and not has_expert("other") and ignored_in_data("other") == frozenset()


def test_paths_that_lead_nowhere_say_so() -> None:
    register_environment("lost", "no.such.module", expert="tests.toy_env:NoSuchExpert")
    with pytest.raises(UnknownEnvironmentError, match=r"'lost': cannot import 'no\.such\.module'"):
        make_env("lost")
    with pytest.raises(UnknownEnvironmentError, match=r"'tests\.toy_env' has no function 'NoSuchExpert'"):
        make_expert("lost")


def test_what_is_missing_is_said_with_what_there_is() -> None:
    register_environment("ring", ring)
    with pytest.raises(ConfigError, match=r"'ring' has no scripted expert.*or name a checkpoint"):
        make_expert("ring")
    with pytest.raises(ConfigError, match=r"no maps of the rewards of environment 'ring': only of overcooked, gems"):
        maps_of("ring")
    with pytest.raises(UnknownEnvironmentError, match="did you mean 'ring'"):
        make_env("rings")
    with pytest.raises(ConfigError, match=r"'ring' refuses env_config.*stepz"):
        make_env("ring", {"stepz": 1})


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"name": ""}, "name is ''"),
        ({"name": 3}, "name is 3"),
        ({"name": "ñandú"}, "ASCII"),
        ({"name": "pettingzoo:x"}, "need not be registered"),
        ({"name": "overcooked"}, "'overcooked' is registered already"),
        ({"factory": 3}, "factory is 3"),
        ({"expert": "tests.toy_env"}, "expert is 'tests.toy_env': write 'module:attribute'"),
        ({"expert": 3}, "expert is 3"),
        ({"batch": "tests.toy_env:"}, "batch is 'tests.toy_env:'"),
        ({"maps": object()}, "no snapshot and no probes"),
        ({"ignored_in_data": "horizon"}, r"give a list of keywords, \['horizon'\]"),
        ({"ignored_in_data": [3]}, "holds 3"),
        (
            {"factory": lambda lock=sys.stdout.buffer: None},
            "cannot be sent to Ray's worker processes",
        ),
    ],
)
def test_wrong_arguments_are_one_clear_line(arguments: dict[str, Any], says: str) -> None:
    given = {"name": "ring", "factory": ring, **arguments}
    with pytest.raises(ConfigError, match=says) as caught:
        register_environment(**given)
    assert "\n" not in str(caught.value)
    assert "ring" not in ENVIRONMENTS


def test_the_same_again_changes_nothing_and_another_is_refused() -> None:
    register_environment("ring", ring, expert=Walker)
    register_environment("ring", ring, expert=Walker)
    with pytest.raises(ConfigError, match="registered already"):
        register_environment("ring", ring)
    assert has_expert("ring")


def test_demonstrations_fit_whatever_an_ignored_keyword_was(tmp_path: Path) -> None:
    register_environment("ring", ring, expert=Walker, ignored_in_data=["scenery"])
    metadata = record_dataset("ring", {"scenery": "hills"}, "scripted", 20, 0, tmp_path / "data")
    assert metadata.expert == "scripted"
    assert metadata.licence is None, "what others record of their own environments is theirs to license"
    check_dataset(read_metadata(str(tmp_path / "data")), "ring", {})
    with pytest.raises(DatasetError, match="steps 7, but steps 3"):
        check_dataset(metadata, "ring", {"steps": 3})


def test_this_package_licenses_what_its_experts_play(tmp_path: Path) -> None:
    assert record_dataset("gems", {}, "scripted", 20, 0, tmp_path / "gems").licence == "Apache-2.0"
    assert record_dataset("gems", {}, "random", 20, 0, tmp_path / "random").licence is None


def test_a_process_that_ray_starts_finds_what_the_program_registered(ray_session: None) -> None:
    places = 5

    class Stayer:
        def reset(self, env: Any, seed: int) -> None: ...

        def act(self, env: Any, observations: Any) -> dict[str, int]:
            return dict.fromkeys(env.agents, 0)

    register_environment("ring of five", lambda **config: ToyEnv(states=places, **config), expert=Stayer)

    @ray.remote
    def look() -> tuple[int, str, bool]:
        from rllib_mamql.environments import registry

        before = "ring of five" in registry.ENVIRONMENTS
        env = registry.make_env("ring of five", {"steps": 3})
        return env.states, type(registry.make_expert("ring of five")).__name__, before

    assert ray.get(look.remote()) == (5, "Stayer", False)


def test_an_env_runner_in_a_process_of_its_own_plays_it(ray_session: None, tmp_path: Path) -> None:
    from rllib_mamql import MAMQLConfig

    places = 5
    register_environment("ring of five", lambda **config: ToyEnv(states=places, **config))
    record_dataset("ring of five", {}, "random", 40, 0, tmp_path / "data")
    config = (
        MAMQLConfig()
        .environment("ring of five", env_config={"steps": 5})
        .offline_data(input_=str(tmp_path / "data"))
        .training(expert_batch_size=8, rollout_batch_size=8, replay_capacity=100)
        .env_runners(num_env_runners=1, num_envs_per_env_runner=2, rollout_fragment_length=5)
        .rl_module(model_config={"fcnet_hiddens": [8]})
        .reporting(min_sample_timesteps_per_iteration=10)
    )
    algorithm = config.build_algo()
    try:
        assert algorithm.train()["env_runners"]["num_env_steps_sampled_lifetime"] >= 10
    finally:
        algorithm.stop()


def test_rllib_finds_it_behind_the_adapter(ray_session: None) -> None:
    from rllib_mamql.environments.adapter import PettingZooAdapter
    from rllib_mamql.ray_internals import shared

    register_environment("ring", ring)
    create = shared("ring")
    ENVIRONMENTS.pop("ring")
    adapter = create({"steps": 2})
    assert isinstance(adapter, PettingZooAdapter) and adapter.par_env.steps == 2
    assert "ring" in registry.ENVIRONMENTS


def test_importing_the_package_loads_no_ray_and_freezes_nothing() -> None:
    code = (
        "import gc, sys; import rllib_mamql, rllib_mamql.environments.registry, rllib_mamql.ray_internals\n"
        "assert not any(m.partition('.')[0] in ('ray', 'torch') for m in sys.modules)\n"
        "from rllib_mamql import MAMQLConfig; MAMQLConfig()\n"
        "assert gc.get_freeze_count() == 0 and gc.isenabled()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
