"""Maps of rewards: a known reward shows up where it is paid, and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rllib_mamql.algorithms.mamql.config import MAMQLConfig
from rllib_mamql.algorithms.registry import read_checkpoint
from rllib_mamql.environments.spaces import environment_spaces
from rllib_mamql.errors import ConfigError
from rllib_mamql.learning.checkpoint import Checkpoint
from rllib_mamql.rewards.maps import RewardMap, reward_maps
from rllib_mamql.rewards.plots import colour_limit, plot_maps

ROOT = Path(__file__).parents[2]
MOVES = torch.tensor([[0, -1], [0, 1], [-1, 0], [1, 0], [0, 0]]).float()


class TrueGems(nn.Module):
    """The game's own reward, read off an observation of entities and the joint action."""

    def forward(self, observations: Tensor, others: Tensor) -> Tensor:
        offset = (observations[:, :, 6:8] * 14).round()
        mine = MOVES.expand(len(offset), others.shape[1], 5, 2)
        other = (offset[:, None, 1] + MOVES[others[..., 0]])[:, :, None]
        own = stands_on(mine, offset[:, 2:5])
        shared = stands_on(mine, offset[:, 8:]) & stands_on(other, offset[:, 8:])
        return own.float() + 6.0 * shared.float()


def stands_on(place: Tensor, gems: Tensor) -> Tensor:
    return (place[..., None, :] == gems[:, None, None]).all(-1).any(-1)


class Constant(nn.Module):
    """Pays each own action a number, whatever the state."""

    def __init__(self, values: list[float]) -> None:
        super().__init__()
        self.values = torch.tensor(values)

    def forward(self, observations: Tensor, others: Tensor) -> Tensor:
        return self.values.expand(*others.shape[:-1], len(self.values))


def untrained(env: str, env_config: dict[str, Any], sharing: str = "none") -> Checkpoint:
    config = (
        MAMQLConfig()
        .environment(env, env_config=env_config)
        .offline_data(input_="unused")
        .training(parameter_sharing=sharing)
        .rl_module(model_config={"fcnet_hiddens": [8]})
    )
    config.validate()
    torch.manual_seed(0)
    spaces = {config.module_of[agent]: pair for agent, pair in environment_spaces(env, env_config).items()}
    module = config.get_multi_rl_module_spec(spaces=spaces).build()
    metadata: Any = None
    return Checkpoint(
        Path("nowhere"), config.NAME, env, env_config, config.module_of, dict(module.items()), metadata,
        {"gamma": config.gamma, "rationality": config.rationality},
    )  # fmt: skip


def test_gems_are_worth_what_the_game_pays() -> None:
    stored = read_checkpoint(ROOT / "offline_data/gems/soft_expert")
    for module in stored.modules.values():
        module.reward = TrueGems()
    for agent, maps in reward_maps(stored, steps=600).items():
        at_gem = [float(found.values[found.probe.focus]) for found in maps]
        assert at_gem[0] == pytest.approx(1.0), agent
        assert at_gem[1] == at_gem[4] == 0.0, "the other's gem, and a shared one while the other is far away"
        assert 0.2 < at_gem[2] < 6.0 and 0.2 < at_gem[3] < 6.0, "shared gems, by how likely the other takes part"
        for found in maps:
            elsewhere = found.values.copy()
            elsewhere[found.probe.focus] = 0.0
            assert np.allclose(elsewhere, 0.0), found.probe.title


def test_the_kitchen_tells_interacting_from_moving() -> None:
    stored = untrained("overcooked", {"layout": "cramped_room", "horizon": 50})
    for module in stored.modules.values():
        module.reward = Constant([1.0, 1.0, 1.0, 1.0, 1.0, -2.0])
    maps = reward_maps(stored, steps=800)["agent_0"]
    assert [found.probe.title for found in maps] == ["holding nothing", "holding onion", "holding dish", "holding soup"]
    empty = maps[0].values
    assert empty.shape == (4, 5) and np.isnan(empty[0, 0]), "nobody reaches the corner"
    assert np.allclose(empty[1:3, 1:4], 1.0), "the floor"
    edge = np.concatenate([empty[0], empty[3], empty[:, 0], empty[:, 4]])
    assert np.isfinite(edge).any() and np.allclose(edge[np.isfinite(edge)], -2.0)
    assert maps[0].probe.marks[(0, 2)] == "P" and maps[0].probe.marks[(3, 3)] == "S"


@pytest.mark.parametrize("observation", ["entities", "vector"])
def test_the_crossing_has_maps_for_each_action(observation: str) -> None:
    stored = untrained("intersection", {"vehicles": 4, "observation": observation}, sharing="all")
    stored.modules["shared"].reward = Constant([0.0, 1.0, 2.0])
    rows = reward_maps(stored, steps=120)
    assert list(rows) == ["agent_0 to\nagent_3"], "agents that share a module share a row"
    (maps,) = rows.values()
    assert [found.probe.title for found in maps] == ["slower", "idle", "faster"] * 2
    for place, found in enumerate(maps):
        known = found.values[np.isfinite(found.values)]
        assert len(known) and np.allclose(known, place % 3)


def test_an_environment_without_places_is_refused() -> None:
    with pytest.raises(ConfigError, match="only of overcooked, gems, intersection"):
        reward_maps(untrained("pettingzoo:tests.toy_env", {}))


def test_pictures_are_written_and_the_scale_ignores_single_cells(tmp_path: Path) -> None:
    rows = reward_maps(read_checkpoint(ROOT / "offline_data/gems/soft_expert"), steps=200)
    plot_maps(rows, "title", tmp_path / "map.png")
    assert (tmp_path / "map.png").read_bytes()[:4] == b"\x89PNG"
    probe = untrained_probe()
    values = np.linspace(-1.0, 1.0, 100).reshape(10, 10)
    values[0, 0] = 1000.0
    assert 0.9 < colour_limit([RewardMap(values, probe)]) < 1.1
    assert colour_limit([RewardMap(np.full((2, 2), np.nan), probe)]) == 1.0
    assert colour_limit([RewardMap(np.zeros((2, 2)), probe)]) == 1.0


def untrained_probe() -> Any:
    from mamql_envs.maps import Probe

    return Probe("", (10, 10), {}, {}, np.zeros((0, 1), dtype=np.int64))
