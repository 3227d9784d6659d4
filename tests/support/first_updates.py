"""MAMQL's weights after its first 20 updates, as digests: what a change of the code's structure must not change.

``python -m tests.support.first_updates`` writes ``first_updates.json`` beside this file.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
import platform
from typing import Any
from unittest import mock

import numpy as np
import torch

RECORDED = pathlib.Path(__file__).with_suffix(".json")
DATA = pathlib.Path(__file__).parents[2] / "offline_data"
UPDATES = 20

SETTINGS: dict[str, dict[str, Any]] = {
    "gems_entities": {
        "env": "gems", "env_config": {"observation": "entities"}, "input_": DATA / "gems/entities",
        "parameter_sharing": "all", "gamma": 0.9, "rationality": 5.0, "chi_square_scale": 20.0, "weight_decay": 1.0,
        "rollout_batch_size": 64, "lr": [[0, 0.001], [20, 0.001], [80, 0.0]], "expert_steps": 1000,
        "symmetries": False, "rollout_share": None,
    },
    "overcooked_vector": {
        "env": "overcooked", "env_config": {"layout": "cramped_room", "horizon": 400},
        "input_": DATA / "overcooked/cramped_room", "rollout_share": None, "chi_square_scale": 1.0,
    },
    "joint_critic": {
        "env": "overcooked", "env_config": {"layout": "cramped_room", "horizon": 400},
        "input_": DATA / "overcooked/cramped_room", "critic": "joint", "marginal_samples": 3,
        "value_term": "initial", "chi_square_scale": 1.0,
    },
    "two_modules_shared": {
        "env": "intersection", "env_config": {"vehicles": 4, "observation": "entities"},
        "input_": DATA / "intersection/4", "weight_decay": 0.1, "rollout_share": None, "chi_square_scale": 1.0,
        "parameter_sharing": {"left": ["agent_0", "agent_1"], "right": ["agent_2", "agent_3"]},
    },
}  # fmt: skip


def machine() -> str:
    """What decides the last bits of a floating-point sum: processor, vector instructions, torch."""
    text = (
        pathlib.Path("/proc/cpuinfo").read_text() if pathlib.Path("/proc/cpuinfo").is_file() else platform.processor()
    )
    core = text.partition("\n\n")[0].splitlines()
    told = ("model name", "cpu family", "model", "stepping", "flags")
    found = [line.partition(":")[2].strip() for line in core if line.partition(":")[0].strip() in told]
    processor = hashlib.sha256("; ".join(found).encode()).hexdigest()[:16]
    return f"{processor}; {torch.backends.cpu.get_cpu_capability()}; torch {torch.__version__}; one thread"


def first_updates(name: str) -> dict[str, dict[str, Any]]:
    """Trains for ``UPDATES`` updates and gives, by ``module/parameter``, digest, sum and size of the weights."""
    from rllib_mamql import MAMQLConfig
    from rllib_mamql.learning import env_runner

    torch.set_num_threads(1)
    settings = dict(SETTINGS[name])
    settings["input_"] = str(settings["input_"])
    config = MAMQLConfig().update_from_dict(
        {
            **settings, "seed": 7, "num_envs_per_env_runner": 8, "rollout_fragment_length": 5,
            "updates_per_step": 0.5, "min_sample_timesteps_per_iteration": 0,
        }
    )  # fmt: skip
    # Recorded before environments had seeds of their own.
    with mock.patch.object(env_runner, "environment_seed", int):
        algorithm = config.build_algo()
    try:
        algorithm.train()
        learner = algorithm.learner_group._learner
        assert learner.updates == UPDATES, learner.updates
        _, weights = learner.describe()
    finally:
        algorithm.stop()
    return {
        f"{module}/{parameter}": {
            "sha256": hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest(),
            "sum": float(np.asarray(value, np.float64).sum()),
            "size": float(np.abs(np.asarray(value, np.float64)).sum()),
        }
        for module, states in sorted(weights.items())
        for parameter, value in sorted(states.items())
    }


def main() -> None:
    """Records."""
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    found = {name: first_updates(name) for name in SETTINGS}
    ray.shutdown()
    RECORDED.write_text(json.dumps({"machine": machine(), "weights": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
