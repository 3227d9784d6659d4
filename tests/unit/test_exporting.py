"""Exported policies and rewards are the checkpoint's, and nothing but an intact folder is read."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete

from rllib_mamql.algorithms.mamql.others import joint_marginal
from rllib_mamql.algorithms.registry import read_checkpoint
from rllib_mamql.data.schema import AgentSpaces
from rllib_mamql.errors import ConfigError
from rllib_mamql.export import write as exporting
from rllib_mamql.export.files import METADATA, metadata_digest
from rllib_mamql.export.read import ExportError, load
from rllib_mamql.export.write import export_checkpoint
from rllib_mamql.learning.checkpoint import Checkpoint
from rllib_mamql.rewards.store import read_with_rewards
from tests.support.random_checkpoint import MODULE_OF, SPACES, add_rewards, observations, write_checkpoint

AGENTS = list(MODULE_OF)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("export") / "checkpoint")


@pytest.fixture(scope="module")
def folder(checkpoint: Path) -> Path:
    return export_checkpoint(checkpoint, checkpoint.parent / "exported")


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    import shutil

    return Path(shutil.copytree(folder, tmp_path / "copy"))


def policies(stored: Checkpoint, seen: dict[str, np.ndarray], rationality: float) -> dict[str, torch.Tensor]:
    return {
        agent: torch.softmax(rationality * stored.modules[module].average(torch.from_numpy(seen[agent])), -1).detach()
        for agent, module in stored.module_of.items()
    }


def same_as_checkpoint(stored: Checkpoint, exported: Any, spaces: dict[str, AgentSpaces], rows: int) -> None:
    seen = observations(spaces, rows)
    played, trained = policies(stored, seen, 5.0), policies(stored, seen, 2.0)
    rng = np.random.default_rng(1)
    for agent, module in stored.module_of.items():
        np.testing.assert_allclose(exported.policies[agent].probabilities(seen[agent]), played[agent], atol=1e-5)
        others = [other for other in stored.module_of if other != agent]
        actions = rng.integers(0, [spaces[other].action.n for other in others] or 1, size=(rows, 4, len(others)))
        reward = stored.modules[module].reward
        given = torch.from_numpy(seen[agent])
        expected = reward(given, torch.from_numpy(actions[:, 0]))
        found = exported.rewards[agent](seen[agent], actions[:, 0])
        assert found.shape == (rows, spaces[agent].action.n)
        np.testing.assert_allclose(found, expected.detach(), atol=1e-5)
        np.testing.assert_allclose(exported.rewards[agent](seen[agent], actions)[:, 0], found, atol=1e-5)
        marginal = joint_marginal(reward, given, [trained[other] for other in others], samples=None)
        np.testing.assert_allclose(exported.rewards[agent].marginal(seen), marginal.detach(), atol=1e-5)


@pytest.mark.parametrize("rows", [1, 7])
def test_trained_networks_give_the_checkpoints_values(checkpoint: Path, folder: Path, rows: int) -> None:
    same_as_checkpoint(read_checkpoint(checkpoint), load(folder), SPACES, rows)


@pytest.mark.parametrize("network, inputs", [("plain", "state_action"), ("entity_additive", "joint")])
def test_recovered_rewards_take_the_place_of_the_trained_ones(network: str, inputs: str, tmp_path: Path) -> None:
    module_of = {"one": "walkers", "two": "walkers"}
    spaces = {agent: SPACES[agent] for agent in module_of}
    path = write_checkpoint(tmp_path / "checkpoint", module_of, spaces)
    add_rewards(path, read_checkpoint(path), gauge="state_only", strength=0.3, network=network, inputs=inputs)
    exported = load(export_checkpoint(path, tmp_path / "out"))
    stored, _ = read_with_rewards(path)
    for rows in (1, 7):
        same_as_checkpoint(stored, exported, spaces, rows)
    described = exported.metadata["reward"]
    assert {key: described[key] for key in ("source", "gauge", "strength", "network", "inputs")} == {
        "source": "recovered", "gauge": "state_only", "strength": 0.3, "network": network, "inputs": inputs,
    }  # fmt: skip
    assert described["recovery"]["policy_error"] == {"walkers": None}  # NaN is no JSON


def test_an_agent_on_its_own_with_an_image(tmp_path: Path) -> None:
    spaces = {"solo": AgentSpaces(Box(0.0, 1.0, (6, 6, 2), np.float32), Discrete(4))}
    path = write_checkpoint(
        tmp_path / "checkpoint", {"solo": "solo"}, spaces, conv_filters=[[4, 3, 2]], conv_activation="silu"
    )
    exported = load(export_checkpoint(path, tmp_path / "out"))
    for rows in (1, 7):
        same_as_checkpoint(read_checkpoint(path), exported, spaces, rows)


def test_the_metadata_says_what_it_is(folder: Path) -> None:
    exported = load(folder)
    metadata = exported.metadata
    assert exported.agents == ("one", "two", "it/self")
    assert exported.rewards["two"].others == ("one", "it/self")
    assert (metadata["env"], metadata["env_config"], metadata["gamma"]) == ("toy", {"steps": 10}, 0.9)
    assert metadata["module_of"] == MODULE_OF
    assert metadata["spaces"]["one"]["observation"]["shape"] == [4, 5]
    assert metadata["rationality"] == 2.0
    assert metadata["evaluation_rationality"] == {"walkers": 5.0, "it/self": 5.0}
    assert metadata["reward"]["source"] == "trained" and metadata["reward"]["gauge"] == "none"
    assert metadata["versions"]["torch"] == torch.__version__
    assert set(metadata["files"]) == {file.name for file in folder.iterdir()} - {METADATA}


def test_rationality_can_be_chosen(checkpoint: Path, folder: Path) -> None:
    seen = observations(SPACES, 3)
    policy = load(folder).policies["one"]
    expected = policies(read_checkpoint(checkpoint), seen, 0.5)["one"]
    np.testing.assert_allclose(policy.probabilities(seen["one"], 0.5), expected, atol=1e-5)
    np.testing.assert_allclose(policy.probabilities(seen["one"], 1e6).max(-1), 1.0)
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="rationality is"):
            policy.probabilities(seen["one"], wrong)


def test_actions_are_drawn_from_the_policy(folder: Path) -> None:
    seen = np.repeat(observations(SPACES, 1)["one"], 6_000, axis=0)
    policy = load(folder).policies["one"]
    actions = policy.act(seen, np.random.default_rng(0), rationality=0.5)
    shares = np.bincount(actions, minlength=3) / len(actions)
    np.testing.assert_allclose(shares, policy.probabilities(seen[:1], 0.5)[0], atol=0.03)
    np.testing.assert_array_equal(actions, policy.act(seen, np.random.default_rng(0), rationality=0.5))
    greedy = policy.act(seen[:5], np.random.default_rng(0), greedy=True)
    assert greedy.dtype == np.int64 and (greedy == policy.q(seen[:5]).argmax(-1)).all()


def test_agents_that_have_left_play_action_0(folder: Path) -> None:
    seen = observations(SPACES, 4)
    reward = load(folder).rewards["one"]
    left = reward.marginal({"one": seen["one"]})
    np.testing.assert_allclose(left, reward(seen["one"], np.zeros((4, 2), int)), atol=1e-6)
    certain = reward.marginal(seen, {"two": 1e9, "it/self": 1e9})
    actions = [load(folder).policies[other].act(seen[other], np.random.default_rng(), True) for other in AGENTS[1:]]
    np.testing.assert_allclose(certain, reward(seen["one"], np.stack(actions, -1)), atol=1e-6)


def test_wrong_inputs_are_named(folder: Path) -> None:
    exported, seen = load(folder), observations(SPACES, 2)
    reward = exported.rewards["one"]
    with pytest.raises(ValueError, match=r"shape \(4, 5\), expected \(B, 4, 5\)"):
        exported.policies["one"].q(seen["one"][0])
    with pytest.raises(ValueError, match=r"expected \(2, 2\) or \(2, K, 2\), columns \['two', 'it/self'\]"):
        reward(seen["one"], np.zeros((2, 1), int))
    for actions in ([[0, 2], [0, 0]], [[-1, 0], [0, 0]], [[0.5, 0], [0, 0]]):
        with pytest.raises(ValueError, match=r"whole numbers from 0 to below \[3, 2\]"):
            reward(seen["one"], np.array(actions))
    with pytest.raises(ValueError, match="give those of 'one'"):
        reward.marginal({"two": seen["two"]})
    with pytest.raises(ValueError, match="give those of 'one'"):
        reward.marginal({**seen, "nobody": seen["one"]})
    with pytest.raises(ValueError, match="give equally many"):
        reward.marginal({**seen, "two": seen["two"][:1]})


# -- damage ---------------------------------------------------------------------------------------------------------


def flip_a_byte(folder: Path) -> None:
    file = folder / "policy-walkers.npz"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def edit(folder: Path, *, sign: bool = True, **changes: Any) -> None:
    metadata = json.loads((folder / METADATA).read_text()) | changes
    if sign:
        metadata["metadata_sha256"] = metadata_digest(metadata)
    (folder / METADATA).write_text(json.dumps(metadata))


def cut_metadata(folder: Path) -> None:
    (folder / METADATA).write_text((folder / METADATA).read_text()[:-20])


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "flipped byte": (flip_a_byte, "policy-walkers.npz is damaged: its SHA-256 is"),
    "missing file": (lambda folder: (folder / "reward-walkers.npz").unlink(), "incomplete: reward-walkers.npz"),
    "cut metadata": (cut_metadata, "metadata.json is damaged"),
    "edited metadata": (lambda folder: edit(folder, sign=False, gamma=0.5), "was edited"),
    "other version": (lambda folder: edit(folder, schema_version=99), "schema version 99, this package reads 1"),
    "other format": (lambda folder: edit(folder, format="zip"), "not of format"),
    "no modules": (lambda folder: edit(folder, modules={}), "not as `rllib export` writes it"),
    "file elsewhere": (lambda folder: edit(folder, files={"../secret": "0"}), "not in the folder itself"),
    "no metadata": (lambda folder: (folder / METADATA).unlink(), "not an exported folder"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_folders_are_refused(name: str, copied: Path) -> None:
    damage, says = DAMAGES[name]
    damage(copied)
    with pytest.raises(ExportError, match=says):
        load(copied)


def test_backends_are_named(folder: Path) -> None:
    with pytest.raises(ExportError, match="backend is 'jax'"):
        load(folder, "jax")
    with pytest.raises(ExportError, match="holds no ONNX files"):
        load(folder, "onnx")


def test_nothing_is_unpickled(copied: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (copied / "unpickled",))

    file = copied / "policy-walkers.npz"
    for content in ("pickle", "npz"):
        if content == "pickle":
            file.write_bytes(pickle.dumps(Bomb()))
        else:
            with file.open("wb") as stream:
                np.savez(stream, document=np.array([Bomb()], dtype=object))
        files = json.loads((copied / METADATA).read_text())["files"]
        edit(copied, files=files | {file.name: hashlib.sha256(file.read_bytes()).hexdigest()})
        with pytest.raises(ExportError, match="holds no program"):
            load(copied)
    assert not (copied / "unpickled").exists()


# -- writing --------------------------------------------------------------------------------------------------------


def test_only_new_or_empty_folders_are_written(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    (tmp_path / "file").touch()
    for name, says in (("full", "not an empty folder"), ("file", "not an empty folder"), ("no/where", "create it")):
        with pytest.raises(ConfigError, match=says):
            export_checkpoint(checkpoint, tmp_path / name)
    (tmp_path / "empty").mkdir()
    assert load(export_checkpoint(checkpoint, tmp_path / "empty")).agents == tuple(AGENTS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file", "full"]


def test_a_failed_export_leaves_nothing(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "TOLERANCE", -1.0)
    with pytest.raises(ConfigError, match="differs from the checkpoint by"):
        export_checkpoint(checkpoint, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_onnx_names_what_to_install(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install rllib-mamql\[onnx\]"):
        export_checkpoint(checkpoint, tmp_path / "out", onnx=True)
    assert not list(tmp_path.iterdir())


def test_onnxruntime_gives_the_checkpoints_values(checkpoint: Path, tmp_path: Path) -> None:
    for package in exporting.ONNX_PACKAGES:
        pytest.importorskip(package)
    folder = export_checkpoint(checkpoint, tmp_path / "out", onnx=True)
    for rows in (1, 7):
        same_as_checkpoint(read_checkpoint(checkpoint), load(folder, "onnx"), SPACES, rows)


def test_names_that_files_cannot_tell_apart_are_numbered() -> None:
    assert exporting._stems(["a/b", "c"]) == {"a/b": "a_b", "c": "c"}
    assert exporting._stems(["a/b", "a_b"]) == {"a/b": "0", "a_b": "1"}
