"""Writes a checkpoint's policies and recovered rewards for use without Ray; :mod:`rllib_mamql.export.read` reads them.

==========================  =============================================================================
``metadata.json``           environment, agents, spaces, rationality, gauge, versions, SHA-256 of each file
``policy-<module>.npz``     program of ``Q(s, .)``, the policy's logits at rationality 1: ``(B, *obs) -> (B, A)``
``reward-<module>.npz``     where there is one, program of ``R(s, ., a_-i)``: ``(B, *obs), (B, K, m) -> (B, K, A)``
``*.onnx``                  the same networks, where asked for
==========================  =============================================================================

Where agents have action masks, a policy's program takes them as well: ``(B, *obs), (B, A) -> (B, A)``. Where policies
have a history, observations are rows of ``data.memory``; ``spaces`` are those of single observations.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import math
import os
import pathlib
import re
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from rllib_mamql.data.masks import MaskedBox, seen_space
from rllib_mamql.data.metadata import package_versions
from rllib_mamql.data.schema import AgentSpaces
from rllib_mamql.errors import ConfigError
from rllib_mamql.export.files import FORMAT, METADATA, SCHEMA_VERSION, metadata_digest
from rllib_mamql.export.programs import to_bytes
from rllib_mamql.export.read import load
from rllib_mamql.export.tracing import to_program, trace
from rllib_mamql.learning.checkpoint import Checkpoint
from rllib_mamql.networks.history import history_steps
from rllib_mamql.networks.masks import ILLEGAL, is_legal
from rllib_mamql.networks.module import OTHER_ACTIONS
from rllib_mamql.networks.rewards import REWARD_INPUTS_KEY, REWARD_NETWORK_KEY
from rllib_mamql.play.actors import agents_by_module
from rllib_mamql.rewards.store import has_reward, read_with_rewards

ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
TOLERANCE = 1e-5
"""Most by which an exported network may differ from the checkpoint's, in parts of its largest value (at least 1)."""


def export_checkpoint(path: str | pathlib.Path, out: str | pathlib.Path, *, onnx: bool = False) -> pathlib.Path:
    """Writes an exported folder; it is read back and compared with the checkpoint before it gets its name.

    Args:
        path: A checkpoint folder.
        out: A new or empty folder, in a folder that exists.
        onnx: Writes ``.onnx`` files too.

    Returns:
        The folder.

    Raises:
        CheckpointError: If the folder is no checkpoint, or damaged.
        ConfigError: If ``out`` cannot be used, a package that ONNX needs is missing, or a network cannot be exported.
    """
    target = pathlib.Path(out).resolve()
    check_target(target, str(out))
    if onnx:
        check_onnx()
    stored, recovery = read_with_rewards(path)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as scratch:
        folder = pathlib.Path(scratch) / "export"
        folder.mkdir()
        modules = {
            module_id: _write_module(folder, stem, stored.modules[module_id], onnx)
            for module_id, stem in _stems(list(stored.modules)).items()
        }
        _write_metadata(folder, stored, recovery, modules)
        for backend in ("torch", "onnx") if onnx else ("torch",):
            _compare(folder, stored, backend)
        try:
            os.replace(folder, target)
        except OSError as error:
            raise ConfigError(f"--out {out} cannot be written ({error.strerror}); choose another name") from error
    return target


def check_target(target: pathlib.Path, given: str) -> None:
    """Refuses an output folder that holds something or could not be written.

    Raises:
        ConfigError: If it does not.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(f"--out {given} exists and is not an empty folder; choose another name or remove it")
    if not target.parent.is_dir():
        raise ConfigError(f"--out {given}: folder {target.parent} does not exist; create it first")
    if not os.access(target.parent, os.W_OK):
        raise ConfigError(f"--out {given}: folder {target.parent} is not writable")


def check_onnx() -> None:
    """Refuses ONNX output where a package is missing that it needs.

    Raises:
        ConfigError: If one is.
    """
    missing = [name for name in ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"--onnx needs packages that are not installed ({', '.join(missing)}): run `pip install "
            "rllib-mamql[onnx]`, or leave --onnx out"
        )


def _stems(modules: Sequence[str]) -> dict[str, str]:
    """File names of modules: their ids, where those are plain and differ."""
    plain = {module: re.sub(r"[^A-Za-z0-9_-]", "_", module) for module in modules}
    distinct = len({stem.lower() for stem in plain.values()}) == len(modules)
    return plain if distinct else {module: f"{index}" for index, module in enumerate(modules)}


def _write_module(folder: pathlib.Path, stem: str, module: Any, onnx: bool) -> dict[str, Any]:
    """Writes one module's networks; gives its entry in the metadata."""
    others = tuple(module.model_config[OTHER_ACTIONS])
    # Sizes above 1 that no network has: torch takes an example's size 1 for a constant.
    space = module.observation_space
    seen = seen_space(space)
    observations = torch.zeros((3, *seen.shape), dtype=getattr(torch, np.dtype(seen.dtype).name))
    actions = torch.zeros((3, 2 if others else 1, len(others)), dtype=torch.long)
    axes = {"observations": {0: "batch"}, "others": {0: "batch", 1: "draws"} if others else {0: "batch"}}
    policy, reward = module.average, module.reward if has_reward(module) else None
    inputs_of_policy = {"observations": observations}
    if isinstance(space, MaskedBox):
        policy, reward = MaskGiven(policy), None if reward is None else reward.network
        axes["action_mask"] = {0: "batch"}
        inputs_of_policy["action_mask"] = torch.ones((3, space.actions), dtype=torch.bool)
    networks: dict[str, tuple[nn.Module, dict[str, torch.Tensor]]] = {"policy": (policy, inputs_of_policy)}
    if reward is not None:
        networks["reward"] = (reward, {"observations": observations, "others": actions})
    entry: dict[str, Any] = {
        "rationality": module.rationality,
        "evaluation_rationality": module.evaluation_rationality,
        "other_actions": list(others),
    }
    if steps := history_steps(module.model_config):
        entry["history"] = steps
    for kind, (network, inputs) in networks.items():
        traced = trace(network, inputs, {name: axes[name] for name in inputs})
        files: dict[str, str | None] = {
            "program": f"{kind}-{stem}.npz",
            "onnx": f"{kind}-{stem}.onnx" if onnx else None,
        }
        if "action_mask" in inputs:
            files["second"] = "action_mask"
        (folder / f"{kind}-{stem}.npz").write_bytes(to_bytes(*to_program(traced)))
        if onnx:
            _write_onnx(traced, list(inputs), folder / f"{kind}-{stem}.onnx")
        entry[kind] = files
    return entry


class MaskGiven(nn.Module):
    """A network behind observations and masks that come apart.

    Args:
        network: Takes observations that carry masks.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, observations: torch.Tensor, action_mask: torch.Tensor) -> torch.Tensor:
        """What the network gives for ``(B, *obs)`` and ``(B, A)``."""
        joined = torch.cat([observations.flatten(1), action_mask.to(observations.dtype)], -1)
        values: torch.Tensor = self.network(joined)
        return values


def _write_onnx(traced: Any, inputs: list[str], file: pathlib.Path) -> None:
    # It warns of its own next release, and, in its log, of operators of packages that are not installed.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        written = torch.onnx.export(
            traced, input_names=inputs, output_names=["values"], dynamo=True, external_data=False, verbose=False
        )
    assert written is not None
    written.save(str(file), external_data=False)


def _write_metadata(
    folder: pathlib.Path, stored: Checkpoint, recovery: Mapping[str, Any] | None, modules: Mapping[str, Any]
) -> None:
    agents = list(stored.module_of)
    spaces = {}
    for agent, module_id in stored.module_of.items():
        module = stored.modules[module_id]
        spaces[agent] = AgentSpaces(module.observation_space, module.action_space).to_json()
    metadata = {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "env": stored.env or None,
        "env_config": stored.env_config,
        "agents": agents,
        "module_of": stored.module_of,
        "others": {agent: [other for other in agents if other != agent] for agent in agents},
        "spaces": spaces,
        "modules": modules,
        "gamma": stored.settings["gamma"],
        "rationality": stored.settings["rationality"],
        "evaluation_rationality": {name: entry["evaluation_rationality"] for name, entry in modules.items()},
        "settings": stored.settings,
        "reward": _describe_reward(stored, recovery),
        "versions": package_versions(*ONNX_PACKAGES),
        "files": {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())},
    }
    metadata = json.loads(json.dumps(_finite(metadata)))
    metadata["metadata_sha256"] = metadata_digest(metadata)
    (folder / METADATA).write_text(json.dumps(metadata, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _describe_reward(stored: Checkpoint, recovery: Mapping[str, Any] | None) -> dict[str, Any]:
    """Gauge and inputs of the rewards, if any; those that training regressed are the critic's own, gauge ``none``."""
    unit = "nats / rationality"
    if not any(has_reward(module) for module in stored.modules.values()):
        return {"source": "none"}
    if recovery is not None:
        settings = recovery["settings"]
        described = {name: settings[name] for name in ("gauge", "strength", "network", "inputs")}
        return {"source": "recovered", "unit": unit, **described, "recovery": dict(recovery)}
    config = next(iter(stored.modules.values())).model_config
    kind = {"network": config.get(REWARD_NETWORK_KEY, "plain"), "inputs": config.get(REWARD_INPUTS_KEY, "joint")}
    return {"source": "trained", "unit": unit, "gauge": "none", "strength": None, **kind, "recovery": None}


def _finite(value: Any) -> Any:
    """JSON knows no NaN and no infinity: null stands for them."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def masked_pair(space: gym.Space[Any], observations: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], ...]:
    """Observations, and behind them their masks, where there are any."""
    return space.split(observations) if isinstance(space, MaskedBox) else (observations,)


@torch.no_grad()
def _compare(folder: pathlib.Path, stored: Checkpoint, backend: str) -> None:
    """Refuses an export whose values are not the checkpoint's, at batches of 1 and 7 drawn from the spaces."""
    exported = load(folder, backend)
    rng = np.random.default_rng(0)
    for module_id, agents in agents_by_module(stored.module_of).items():
        module, agent = stored.modules[module_id], agents[0]
        module.observation_space.seed(0)
        for rows in (1, 7):
            observations = np.stack([module.observation_space.sample() for _ in range(rows)])
            sizes = tuple(module.model_config[OTHER_ACTIONS])
            others = rng.integers(0, np.array(sizes, dtype=np.int64), size=(rows, 2, len(sizes)))
            given = torch.from_numpy(observations)
            expected = [module.average(given)]
            found = [exported.policies[agent].q(*masked_pair(module.observation_space, observations))]
            if has_reward(module):
                expected += [module.reward(given, torch.from_numpy(others[:, k])) for k in (0, 1)]
                scored = exported.rewards[agent](masked_pair(module.observation_space, observations)[0], others)
                found += [scored[:, 0], scored[:, 1]]
            for ours, theirs in zip(expected, found, strict=True):
                wanted, legal = ours.double().numpy(), is_legal(ours).numpy()
                if not np.array_equal(legal, theirs > ILLEGAL / 2):
                    raise ConfigError(
                        f"module {module_id!r} as exported for {backend} allows other actions than the checkpoint's: "
                        "use an encoder of this package, or leave --onnx out"
                    )
                wanted, theirs = wanted[legal], theirs[legal]
                distance = float(np.abs(wanted - theirs).max())
                if not distance <= TOLERANCE * max(1.0, float(np.abs(wanted).max())):
                    raise ConfigError(
                        f"module {module_id!r} as exported for {backend} differs from the checkpoint by {distance:g}, "
                        f"more than {TOLERANCE:g}: use an encoder of this package, or leave --onnx out"
                    )
