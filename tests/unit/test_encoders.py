"""Encoders by name: the package's own, and those that users register."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import ray
import torch
from torch import nn

from rllib_mamql import MAMQLConfig, register_encoder
from rllib_mamql.errors import ConfigError
from rllib_mamql.networks.encoders import ENCODERS, CatalogEncoder, EntityAttention, FlatEncoder, build_encoder
from rllib_mamql.play.actors import module_actor

ACTIONS = gym.spaces.Discrete(3)


@pytest.fixture(autouse=True)
def known() -> Iterator[None]:
    """Forgets what a test registered."""
    before = dict(ENCODERS)
    yield
    ENCODERS.clear()
    ENCODERS.update(before)


def box(*shape: int) -> gym.spaces.Box:
    return gym.spaces.Box(0.0, 1.0, shape, np.float32)


def narrow(observation_space: Any, action_space: Any, model_config: dict[str, Any]) -> nn.Module:
    return nn.Linear(observation_space.shape[0], model_config.get("width", 4))


@pytest.mark.parametrize(
    ("shape", "settings", "kind"),
    [
        ((5,), {}, CatalogEncoder),
        ((5,), {"encoder": "catalog"}, CatalogEncoder),
        ((8, 8, 3), {"conv_filters": [[4, 2, 2]]}, CatalogEncoder),
        ((4, 5), {}, EntityAttention),
        ((4, 5), {"encoder": "entity_attention", "entity_dim": 8}, EntityAttention),
    ],
)
def test_the_packages_own(shape: tuple[int, ...], settings: dict[str, Any], kind: type) -> None:
    built = build_encoder(box(*shape), ACTIONS, {"fcnet_hiddens": [6], **settings})
    assert type(built) is kind
    assert built(torch.zeros(2, *shape)).shape == (2, built.out_features)


@pytest.mark.parametrize(
    ("shape", "name", "says"),
    [
        ((5,), "atuo", r"encoder is 'atuo': did you mean 'auto'\? \(one of auto, catalog, entity_attention\)"),
        ((5,), ["auto"], r"encoder is \['auto'\]"),
        ((4, 5), "catalog", r"observations of shape \(4, 5\) have no encoder"),
        ((2, 2, 2, 2), "auto", r"observations of shape \(2, 2, 2, 2\) have no encoder"),
        ((5,), "entity_attention", "needs observations of shape"),
    ],
)
def test_what_does_not_fit_is_refused(shape: tuple[int, ...], name: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        build_encoder(box(*shape), ACTIONS, {"encoder": name})


def test_a_users_own_is_built_by_its_name() -> None:
    register_encoder("narrow", narrow)
    register_encoder("narrow", narrow)
    assert build_encoder(box(5), ACTIONS, {"encoder": "narrow", "width": 7}).out_features == 7
    with pytest.raises(ConfigError, match="did you mean 'narrow'"):
        build_encoder(box(5), ACTIONS, {"encoder": "narow"})


def test_modules_learn_and_act_with_it() -> None:
    register_encoder("narrow", narrow)
    config = MAMQLConfig().environment("pettingzoo:tests.toy_env").offline_data(input_="somewhere")
    config.rl_module(model_config={"encoder": "narrow", "width": 6}).validate()
    spaces = {agent: (box(8), ACTIONS) for agent in config.module_of}
    modules = config.get_multi_rl_module_spec(spaces=spaces).build()
    module = modules["agent_0"]
    assert module.critic.encoder.out_features == module.reward.encoder.out_features == 6
    actor = module_actor(modules, config.module_of, torch.Generator())
    chosen = actor({agent: np.zeros((2, 8), np.float32) for agent in spaces}, {})
    assert all(actions.shape == (2,) for actions in chosen.values())


@pytest.mark.parametrize(
    ("name", "build", "says"),
    [
        ("", narrow, "name is ''"),
        ("auto", narrow, "'auto' is registered already"),
        ("mine", 3, "build is 3"),
        ("mine", lambda a, b, c, lock=sys.stdout.buffer: None, "cannot be sent to Ray's worker processes"),
    ],
)
def test_wrong_registrations_are_refused(name: str, build: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        register_encoder(name, build)
    assert set(ENCODERS) == {"auto", "catalog", "entity_attention"}


def test_what_is_no_encoder_is_refused() -> None:
    register_encoder("flat", lambda *given: nn.Flatten())
    with pytest.raises(ConfigError, match=r"encoder 'flat' is a Flatten: build .* with an integer out_features"):
        build_encoder(box(5), ACTIONS, {"encoder": "flat"})


def test_a_process_that_ray_starts_builds_it(ray_session: None) -> None:
    width = 9
    register_encoder("of the driver", lambda space, actions, config: nn.Linear(space.shape[0], width))

    @ray.remote
    def build() -> int:
        from rllib_mamql.networks.encoders import build_encoder

        return build_encoder(gym.spaces.Box(-1.0, 1.0, (5,)), ACTIONS, {"encoder": "of the driver"}).out_features

    assert ray.get(build.remote()) == width


def test_the_name_is_the_packages(tmp_path: Path) -> None:
    import rllib_mamql

    assert rllib_mamql.register_encoder is register_encoder
    assert {"register_encoder", "register_environment", "MAMQLConfig"} <= set(dir(rllib_mamql))


def test_a_table_whose_first_column_is_no_flag_is_read_as_a_vector() -> None:
    for space, scale in (
        (gym.spaces.Box(-1.0, 1.0, (4, 5), np.float32), 1.0),
        (gym.spaces.Box(0, 255, (4, 5), np.uint8), 1.0 / 255.0),
        (gym.spaces.Box(0.0, 1.0, (4, 1), np.float32), 1.0),
    ):
        built = build_encoder(space, ACTIONS, {"fcnet_hiddens": [6]})
        table = torch.as_tensor(np.stack([space.sample() for _ in range(3)]))
        flat = next(part for part in built.modules() if isinstance(part, FlatEncoder))
        torch.testing.assert_close(built(table), flat.encoder(table.float().flatten(1) * scale))
    assert type(build_encoder(gym.spaces.Box(-np.inf, np.inf, (4, 5), np.float32), ACTIONS, {})) is EntityAttention


@pytest.mark.parametrize("shape", [(5, 7, 3), (40, 30, 1), (137, 60, 3)])
def test_images_of_any_size_have_convolutions(shape: tuple[int, ...]) -> None:
    built = build_encoder(gym.spaces.Box(0, 255, shape, np.uint8), ACTIONS, {})
    assert built(torch.zeros((2, *shape), dtype=torch.uint8)).shape == (2, built.out_features)
    assert 50 < built.out_features < 10_000
