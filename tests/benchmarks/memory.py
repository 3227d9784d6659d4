"""What a history is worth where nothing can be done without one: ``python tests/benchmarks/memory.py --seeds 3``.

A cue of four is shown once and asked for ``--delay`` steps later (``tests/support/cue_env.py``): without memory the
best expected return is 1/4. Records demonstrations, trains without a history and with one in each way of reading it,
and prints the returns as a table. ``--online`` learns from rollouts as well, so many iterations at the defaults, in
place of ``--updates`` gradient steps on demonstrations alone.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
import tempfile
from typing import Any

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "envs")]

import ray  # noqa: E402

import rllib_mamql  # noqa: E402
from rllib_mamql.evaluation.evaluate import evaluate_checkpoint  # noqa: E402
from rllib_mamql.evaluation.record import record_dataset  # noqa: E402
from rllib_mamql.networks.history import HISTORY_ENCODERS  # noqa: E402

CUE = "pettingzoo:tests.support.cue_env"


def trained_return(options: argparse.Namespace, data: str, model: dict[str, Any], seed: int) -> float:
    """The return of policies after a training."""
    env_config = {"delay": options.delay}
    config = getattr(rllib_mamql, f"{options.algorithm}Config")().environment(CUE, env_config=env_config)
    config.offline_data(input_=data).debugging(seed=seed).training(parameter_sharing="all")
    config.rl_module(model_config={"fcnet_hiddens": [32], **model})
    if not options.online:
        config.training(mode="offline", offline_updates=options.updates, lr=5e-3)
    algorithm = config.build_algo()
    try:
        for _ in range(options.online or 1):
            algorithm.train()
        with tempfile.TemporaryDirectory() as folder:
            algorithm.save_checkpoint(folder)
            return evaluate_checkpoint(folder, episodes=options.episodes, seed=7, rewards=False).return_mean
    finally:
        algorithm.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--algorithm", default="MAMQL")
    parser.add_argument("--delay", type=int, default=3)
    parser.add_argument("--steps", type=int, default=800, help="demonstrated steps")
    parser.add_argument("--updates", type=int, default=300)
    parser.add_argument("--online", type=int, default=0, metavar="ITERATIONS")
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    models = [{}, *({"history": options.delay, "history_encoder": kind} for kind in HISTORY_ENCODERS)]
    with tempfile.TemporaryDirectory() as folder:
        data = f"{folder}/data"
        expert = "tests.support.cue_env:Remembers"
        recorded = record_dataset(CUE, {"delay": options.delay}, expert, options.steps, 0, data)
        assert recorded.expert_return is not None and recorded.random_return is not None
        print(f"expert {recorded.expert_return.mean:.2f}, random play {recorded.random_return.mean:.2f}\n")
        print("| `model_config` | return, by seed |\n| --- | --- |")
        for model in models:
            found = [trained_return(options, data, model, seed) for seed in range(options.seeds)]
            said = ", ".join(f"{key}: {value}" for key, value in model.items()) or "no history"
            print(f"| {said} | {', '.join(f'{value:.2f}' for value in found)} |", flush=True)
    ray.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
