"""Recovered rewards beside a checkpoint, in one file that is replaced as a whole: ``rewards.npz``.

It holds the weights, named ``<module>/<parameter>``, ``potential:<module>/<parameter>`` and
``explanation:<module>/<parameter>``, and a JSON document (as bytes, key ``document``) with how they were recovered.
What training itself wrote stays as it is.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from rllib_mamql.algorithms.registry import read_checkpoint
from rllib_mamql.data.untrusted import StoredArrays, parse_json
from rllib_mamql.errors import ConfigError
from rllib_mamql.learning.checkpoint import DAMAGE, Checkpoint, CheckpointError
from rllib_mamql.networks.module import OTHER_ACTIONS
from rllib_mamql.networks.rewards import build_potential, build_reward, reward_model_config
from rllib_mamql.rewards.explanation import Explanation
from rllib_mamql.rewards.settings import RecoverySettings

REWARDS = "rewards.npz"
FORMAT_VERSION = 1
POTENTIAL = "potential:"
"""Weights of potentials start with this; files of earlier releases have none."""
EXPLANATION = "explanation:"
"""Likewise of explanations, which rewards are the regression of."""


@dataclass(frozen=True)
class Recovered:
    """Recovered rewards.

    Attributes:
        rewards: ``{module: network}``, ``(observations (B, *obs), others (B, m)) -> (B, A)``.
        policy_error: ``{module: KL(pi || explanation)}`` on held-out rows, in nats.
        mean_absolute: ``{module: E|r|}`` there, in nats.
        seconds: Wall seconds of the fit.
        potentials: ``{module: network}``, ``observations (B, *obs) -> (B,)``, in the units of the rewards.
        updates: ``{module: gradient steps of the whole explanation}``, after those of its heads alone and of
            a falling scale.
        ended_by: ``{module: why there were no more}``: ``judged`` (held-out rows gained no more), ``budget``, or
            ``updates`` (as many as were allowed).
        explanations: ``{module: what its reward is the regression of}``; none of gauge ``none``.
    """

    rewards: dict[str, nn.Module]
    policy_error: dict[str, float] = field(default_factory=dict)
    mean_absolute: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    potentials: dict[str, nn.Module] = field(default_factory=dict)
    updates: dict[str, int] = field(default_factory=dict)
    ended_by: dict[str, str] = field(default_factory=dict)
    explanations: dict[str, Explanation] = field(default_factory=dict)


def write_rewards(path: pathlib.Path, recovered: Recovered, settings: RecoverySettings) -> pathlib.Path:
    """Writes recovered rewards into a checkpoint folder; an earlier file is replaced at once, never half.

    Returns:
        The file.
    """
    document = {
        "format_version": FORMAT_VERSION,
        "settings": dataclasses.asdict(settings),
        "policy_error": recovered.policy_error,
        "mean_absolute": recovered.mean_absolute,
        "updates": recovered.updates,
        "ended_by": recovered.ended_by,
    }
    arrays: dict[str, Any] = {"document": np.frombuffer(json.dumps(document).encode(), dtype=np.uint8)}
    written: tuple[tuple[str, Mapping[str, nn.Module]], ...] = (
        ("", recovered.rewards), (POTENTIAL, recovered.potentials), (EXPLANATION, recovered.explanations)
    )  # fmt: skip
    for prefix, networks in written:
        for module_id, network in networks.items():
            named = {f"{prefix}{module_id}/{name}": value for name, value in network.state_dict().items()}
            arrays |= {name: value.cpu().numpy() for name, value in named.items()}
    file = path / REWARDS
    # A new file of its own, whatever lies there under any name, a link to elsewhere perhaps.
    with tempfile.NamedTemporaryFile(dir=path, prefix=f".{REWARDS}", delete=False) as draft:
        try:
            np.savez(draft, **arrays)
            draft.close()
            os.chmod(draft.name, 0o644)
            os.replace(draft.name, file)
        except BaseException:
            os.unlink(draft.name)
            raise
    return file


def read_with_rewards(path: str | pathlib.Path) -> tuple[Checkpoint, dict[str, Any] | None]:
    """A checkpoint whose modules hold the recovered rewards, and how those were recovered.

    Returns:
        The checkpoint, and the document of ``rewards.npz``; None where there is none, then the modules hold the
        rewards that training regressed.

    Raises:
        CheckpointError: If a file is missing, damaged or of another format.
    """
    stored = read_checkpoint(path)
    file = stored.path / REWARDS
    if not file.is_file():
        return stored, None
    try:
        arrays = StoredArrays(file).read()
        document = parse_json(arrays.pop("document").tobytes().decode())
        if document["format_version"] != FORMAT_VERSION:
            raise CheckpointError(
                f"{file} has format version {document['format_version']}, this package reads {FORMAT_VERSION}: "
                "recover the rewards anew with `rllib recover`"
            )
        for module_id, module in stored.modules.items():
            config = dict(module.model_config)
            small = reward_model_config(config)
            network = build_reward(
                module.observation_space,
                module.action_space,
                small,
                tuple(config[OTHER_ACTIONS]),
                network=document["settings"]["network"],
                inputs=document["settings"]["inputs"],
            )
            network.load_state_dict(_states(arrays, f"{module_id}/"))
            module.reward = network.requires_grad_(False).eval()
            states = _states(arrays, f"{POTENTIAL}{module_id}/")
            if states:
                potential = build_potential(module.observation_space, module.action_space, small)
                potential.load_state_dict(states)
                stored.potentials[module_id] = potential.requires_grad_(False).eval()
    except CheckpointError:
        raise
    except DAMAGE as error:
        raise _damaged(file, error) from error
    return stored, document


def read_explanations(stored: Checkpoint, how: Mapping[str, Any]) -> dict[str, Explanation]:
    """What a checkpoint's recovered rewards are the regression of, by module.

    Args:
        stored: The checkpoint, as :func:`read_with_rewards` read it.
        how: The document that came with it.

    Returns:
        None at all where they are of gauge ``none``, or of an earlier release.

    Raises:
        CheckpointError: If they are damaged.
    """
    file, found = stored.path / REWARDS, {}
    try:
        arrays = StoredArrays(file).read()
        settings = RecoverySettings(**how["settings"])
        for module_id, module in stored.modules.items():
            if not (states := _states(arrays, f"{EXPLANATION}{module_id}/")):
                return {}
            other_actions = tuple(dict(module.model_config)[OTHER_ACTIONS])
            explanation = Explanation(module, other_actions, float(stored.settings["gamma"]), settings)
            explanation.follower = None
            explanation.load_state_dict(states)
            found[module_id] = explanation.requires_grad_(False).eval()
    except DAMAGE as error:
        raise _damaged(file, error) from error
    return found


def _damaged(file: pathlib.Path, error: BaseException) -> CheckpointError:
    return CheckpointError(
        f"{file} is damaged ({type(error).__name__}): remove it, or recover the rewards anew with `rllib recover`"
    )


def cut_short(how: Mapping[str, Any] | None) -> list[str]:
    """Modules whose recovery was ended by its budget, as :func:`read_with_rewards` says how it went."""
    return [] if how is None else [name for name, why in how.get("ended_by", {}).items() if why == "budget"]


def has_reward(module: Any) -> bool:
    """Whether a module holds a reward network: the algorithm trained one, or one was recovered."""
    return getattr(module, "reward", None) is not None


def check_rewards(stored: Checkpoint) -> None:
    """Refuses a checkpoint without rewards.

    Raises:
        ConfigError: If a module has none.
    """
    if not all(has_reward(module) for module in stored.modules.values()):
        raise ConfigError(
            f"{stored.path} holds no rewards, {stored.algorithm} learns policies alone: "
            "`rllib recover` finds rewards that explain them"
        )


def _states(arrays: dict[str, Any], prefix: str) -> dict[str, torch.Tensor]:
    return {k[len(prefix) :]: torch.from_numpy(v.copy()) for k, v in arrays.items() if k.startswith(prefix)}
