"""The learner on a GPU: ``python tests/benchmarks/bench_devices.py``; says so and stops where there is none.

For networks, numbers of agents and batch sizes, first the losses of the same rows and weights on CPU and GPU are
compared, and losses after some updates from there; then updates a second are timed on the CPU, on the GPU, and on the
GPU with critics stacked, networks in bfloat16, or both: where a GPU begins to pay, and what helps it.

``--rehearse`` runs the script with the CPU in place of the GPU at a small size, to see that it works: its figures say
nothing.
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

from rllib_mamql.algorithms.mamql.config import MAMQLConfig
from tests.benchmarks.bench_growth import ENV
from tests.benchmarks.bench_update import learner_group, random_play
from tests.benchmarks.measuring import PLAIN, plain_process

NETWORKS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "fcnet 256x256": ((64,), {"fcnet_hiddens": [256, 256]}),
    "fcnet 1024x1024": ((64,), {"fcnet_hiddens": [1024, 1024]}),
    "entity_attention": ((13, 13), {}),
    "entity_attention, 256 wide": ((13, 13), {"entity_dim": 256, "entity_layers": 2}),
}
AGENTS = (2, 8)
BATCHES = (128, 512, 2048, 8192)
REHEARSED = 16
VARIANTS: dict[str, dict[str, Any]] = {
    "gpu": {"stack_networks": False},
    "gpu stacked": {"stack_networks": True},
    "gpu bfloat16": {"stack_networks": False, "autocast": "bfloat16"},
    "gpu stacked bfloat16": {"stack_networks": True, "autocast": "bfloat16"},
}
TOLERANCES = {"none": 1e-4, "bfloat16": 2e-2}
"""Of a loss, relative: float32 sums in another order, or numbers of two to three digits."""
UPDATES_COMPARED = 8
"""After so many updates losses must still agree, to ten times the tolerance."""


def learner(network: str, agents: int, rows: int, gpus: float, settings: dict[str, Any]) -> Any:
    """A learner group in this process, with random play on its device."""
    shape, model_config = NETWORKS[network]
    env_config = {"agents": agents, "shape": list(shape)}
    config = (
        MAMQLConfig()
        .environment(ENV, env_config=env_config)
        .offline_data(input_="held in memory")
        .training(expert_batch_size=rows // 2, rollout_batch_size=rows // 2, **{**PLAIN, **settings})
        .learners(num_learners=0, num_gpus_per_learner=gpus)
        .rl_module(model_config=model_config)
    )
    expert, rollouts = (random_play(ENV, env_config, 2000, seed) for seed in (0, 1))
    return learner_group(config, expert, rollouts)


def losses(group: Any, seed: int) -> dict[str, float]:
    """Losses of one minibatch; draws are made on the CPU, so that every device gets the same rows."""
    built = group._learner
    built.generator.manual_seed(seed)
    built._report = False
    batch = built._minibatch()
    return {
        name: float(loss) for name, loss in built.compute_losses(fwd_out=built._forward(batch), batch=batch).items()
    }


def check_agreement(cpu: Any, other: Any, tolerance: float) -> float:
    """Largest relative difference of losses, before any update; both are the same distance into training.

    Raises:
        AssertionError: If losses differ before, or after some updates.
    """
    worst = 0.0
    other._learner.set_state({**other._learner.get_state(), "rl_module": cpu._learner.get_state()["rl_module"]})
    for factor in (1.0, 10.0):
        first, second = losses(cpu, 0), losses(other, 0)
        for name, value in first.items():
            difference = abs(value - second[name]) / max(1.0, abs(value))
            assert difference <= factor * tolerance, (name, first, second)
            worst = max(worst, difference) if factor == 1.0 else worst
        for each in (cpu, other):
            each.update(episodes=[], timesteps={}, num_updates=UPDATES_COMPARED)
    return worst


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
    parser.add_argument("--rehearse", action="store_true", help="the CPU in place of the GPU, at a small size")
    arguments = parser.parse_args()
    rehearse = arguments.rehearse
    if not torch.cuda.is_available():
        print("there is no GPU here: this benchmark has not run")
        if not rehearse:
            return 0
    plain_process()
    device = "REHEARSAL on a CPU" if rehearse else torch.cuda.get_device_name()
    print(f"{device}; updates/s; the CPU's with one thread")
    heads = ["networks", "agents", "rows", "cpu", *VARIANTS, "best / cpu", "largest difference of losses"]
    print("| " + " | ".join(heads) + " |\n|" + " --- |" * len(heads))
    found = []
    for network in NETWORKS:
        for agents in AGENTS[:1] if rehearse else AGENTS:
            for rows in (REHEARSED,) if rehearse else BATCHES:
                slow, fast = (1, 2) if rehearse else (5 if rows > 1000 else 20, 50)
                rates, worst = {}, {}
                for name, settings in VARIANTS.items():
                    cpu = learner(network, agents, rows, 0, {"stack_networks": False})
                    gpu = learner(network, agents, rows, 0 if rehearse else 1, settings)
                    tolerance = TOLERANCES[settings.get("autocast", "none")]
                    worst[name] = check_agreement(cpu, gpu, tolerance)
                    rates[name] = updates_per_second(gpu, fast)
                    if "cpu" not in rates:
                        rates = {"cpu": updates_per_second(cpu, slow), **rates}
                best = max(rates[name] for name in VARIANTS) / rates["cpu"]
                found.append({"network": network, "agents": agents, "rows": rows, "rates": rates, "differences": worst})
                cells = [f"{rate:.1f}" for rate in rates.values()]
                differences = ", ".join(f"{value:.1g}" for value in worst.values())
                print(
                    f"| {network} | {agents} | {rows} | {' | '.join(cells)} | {best:.1f} | {differences} |", flush=True
                )
    if arguments.json:
        arguments.json.write_text(json.dumps({"device": device, "rates": found}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
