"""The learner on a GPU: ``python tests/benchmarks/bench_gpu.py``; says so and stops where there is none.

Two agents on Gems. First the losses of the same rows and weights on CPU and GPU are compared, then updates a second on
both, over batch sizes and networks: where a GPU begins to pay.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import sys
import time
from typing import Any

import torch

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from rllib_mamql.config import MAMQLConfig
from tests.benchmarks.bench_update import random_play
from tests.benchmarks.measuring import plain_process

NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "fcnet 256x256": ("vector", {"fcnet_hiddens": [256, 256]}),
    "fcnet 1024x1024": ("vector", {"fcnet_hiddens": [1024, 1024]}),
    "entity_attention": ("entities", {}),
    "entity_attention, 256 wide": ("entities", {"entity_dim": 256, "entity_layers": 2}),
}
BATCHES = (128, 512, 2048, 8192)
TOLERANCE = 1e-4
"""Of a loss, relative: float32 sums in another order."""


def learner(network: str, rows: int, gpus: float) -> Any:
    """A learner in this process, with random play on its device."""
    from rllib_mamql.config import environment_spaces

    observation, model_config = NETWORKS[network]
    env_config = {"observation": observation}
    config = (
        MAMQLConfig()
        .environment("gems", env_config=env_config)
        .offline_data(input_="held in memory")
        .training(expert_batch_size=rows // 2, rollout_batch_size=rows // 2)
        .learners(num_learners=0, num_gpus_per_learner=gpus)
        .rl_module(model_config=model_config)
    )
    config.validate()
    torch.manual_seed(0)
    by_agent = environment_spaces("gems", env_config)
    group = config.build_learner_group(spaces={module: by_agent[agent] for agent, module in config.module_of.items()})
    built = group._learner
    built.set_expert(config.module_of, random_play("gems", env_config, 4000, 0))
    built.replay.add(random_play("gems", env_config, 4000, 1))
    return group


def losses(group: Any, seed: int = 0) -> dict[str, float]:
    """Losses of one minibatch; draws are made on the CPU, so that every device gets the same rows."""
    built = group._learner
    built.generator.manual_seed(seed)
    built._log_this_step = False
    batch = built._minibatch()
    outputs = {name: built._unwrapped(name)._forward_train(part) for name, part in batch.items()}
    return {name: float(value) for name, value in built.compute_losses(fwd_out=outputs, batch=batch).items()}


def updates_per_second(group: Any, updates: int) -> float:
    def run() -> float:
        started = time.perf_counter()
        group.update(episodes=[], timesteps={}, num_updates=updates)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return updates / (time.perf_counter() - started)

    run()
    return statistics.median(run() for _ in range(3))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=pathlib.Path)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("there is no GPU here: this benchmark has not run")
        return 0
    plain_process()
    device = torch.cuda.get_device_name()
    print(
        f"| networks | rows | CPU updates/s, one thread | {device} updates/s | ratio |\n| --- | --- | --- | --- | --- |"
    )
    found = []
    for network in NETWORKS:
        for rows in BATCHES:
            cpu, gpu = learner(network, rows, 0), learner(network, rows, 1)
            gpu._learner.set_state({**gpu._learner.get_state(), "rl_module": cpu._learner.get_state()["rl_module"]})
            first, second = losses(cpu), losses(gpu)
            for name, value in first.items():
                assert abs(value - second[name]) <= TOLERANCE * max(1.0, abs(value)), (network, name, first, second)
            rates = updates_per_second(cpu, 5 if rows > 1000 else 20), updates_per_second(gpu, 50)
            found.append({"network": network, "rows": rows, "cpu": rates[0], "gpu": rates[1]})
            print(f"| {network} | {rows} | {rates[0]:.1f} | {rates[1]:.1f} | {rates[1] / rates[0]:.1f} |", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps({"device": device, "rates": found}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
