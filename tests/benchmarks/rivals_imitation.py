"""The package `imitation` on the CartPole steps of rivals_check.py, in a virtual environment of its own.

It asks for gymnasium 0.29, RLlib 2.60 for 1.2, so that it cannot stand beside this package. It was run with
stable-baselines3 2.2.1, gymnasium 0.29.1, numpy 2.4.6 and Python 3.11. Rows that the file has are not made again::

    python tests/benchmarks/rivals_check.py --demonstrations steps.npz
    python3.11 -m venv elsewhere && elsewhere/bin/pip install imitation==1.0.1 torch==2.13.0
    elsewhere/bin/python tests/benchmarks/rivals_imitation.py steps.npz --rows docs/results/rivals.jsonl

Its SQIL learns by Stable Baselines' DQN, whose value is a maximum and not soft. Each algorithm has the package's
defaults but for the sizes of networks and the number of steps.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import time
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from imitation.algorithms.adversarial.airl import AIRL
from imitation.algorithms.adversarial.gail import GAIL
from imitation.algorithms.bc import BC
from imitation.algorithms.sqil import SQIL
from imitation.data.types import Transitions
from imitation.rewards.reward_nets import BasicRewardNet, BasicShapedRewardNet
from imitation.util.networks import RunningNorm
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv

ENV_STEPS = 10_000
MORE_STEPS = 10
"""Environment steps of GAIL and AIRL, for each of the others': as in rivals_check.py."""
SIZES = (500, 50)
NETWORK = {"net_arch": [64, 64]}


def transitions(file: pathlib.Path, steps: int) -> Transitions:
    """The first steps of the demonstrations."""
    with np.load(file) as stored:
        columns = {name: stored[name][:steps] for name in ("obs", "next_obs", "acts", "dones")}
    infos = np.array([{}] * len(columns["obs"]))
    return Transitions(infos=infos, **columns)


def envs(seed: int) -> DummyVecEnv:
    """CartPole eight times."""
    made = DummyVecEnv([lambda: gym.make("CartPole-v1")] * 8)
    made.seed(seed)
    return made


def bc(steps: Transitions, seed: int) -> Any:
    """Behaviour cloning."""
    env, rng = gym.make("CartPole-v1"), np.random.default_rng(seed)
    batch = min(32, len(steps))
    learner = BC(
        observation_space=env.observation_space,
        action_space=env.action_space,
        demonstrations=steps,
        rng=rng,
        batch_size=batch,
    )
    learner.train(n_batches=2000, progress_bar=False)
    return learner.policy


def sqil(steps: Transitions, seed: int) -> Any:
    """SQIL, by DQN; a replay buffer of the demonstrations and one of play, half a minibatch each."""
    learner = SQIL(
        venv=envs(seed),
        demonstrations=steps,
        policy="MlpPolicy",
        rl_kwargs={
            "seed": seed, "policy_kwargs": NETWORK, "learning_starts": 500, "target_update_interval": 500,
            "train_freq": 1, "gradient_steps": 8,
        },
    )  # fmt: skip
    learner.train(total_timesteps=ENV_STEPS)
    return learner.policy


def generator(venv: DummyVecEnv, seed: int) -> PPO:
    """PPO with 1,024 steps a round, as many as each round of the discriminator sees."""
    return PPO("MlpPolicy", venv, seed=seed, n_steps=128, batch_size=64, policy_kwargs=NETWORK)


def gail(steps: Transitions, seed: int) -> Any:
    """GAIL, by PPO."""
    venv = envs(seed)
    policy = generator(venv, seed)
    discriminator = BasicRewardNet(venv.observation_space, venv.action_space)
    return adversarial(GAIL, steps, venv, policy, discriminator)


def airl(steps: Transitions, seed: int) -> Any:
    """AIRL, by PPO; its reward is shaped and sees what its authors' sees, scaled by running statistics."""
    venv = envs(seed)
    policy = generator(venv, seed)
    discriminator = BasicShapedRewardNet(
        venv.observation_space, venv.action_space, normalize_input_layer=RunningNorm, discount_factor=policy.gamma
    )
    return adversarial(AIRL, steps, venv, policy, discriminator)


def adversarial(kind: Any, steps: Transitions, venv: DummyVecEnv, policy: PPO, discriminator: Any) -> Any:
    """Trains either of them for ten times the environment steps."""
    learner = kind(
        demonstrations=steps,
        demo_batch_size=min(512, len(steps)),
        venv=venv,
        gen_algo=policy,
        reward_net=discriminator,
        allow_variable_horizon=True,
    )
    learner.train(MORE_STEPS * ENV_STEPS)
    return policy.policy


WAYS: dict[str, Callable[[Transitions, int], Any]] = {"BC": bc, "SQIL (DQN)": sqil, "GAIL": gail, "AIRL": airl}

PLAYED = {"SQIL (DQN)": ENV_STEPS, "GAIL": MORE_STEPS * ENV_STEPS, "AIRL": MORE_STEPS * ENV_STEPS}
"""Environment steps of each that takes some."""


def rows_of(file: pathlib.Path) -> list[dict[str, Any]]:
    """Rows that are there."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def main() -> None:
    """Adds a row for each run to a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", type=pathlib.Path)
    parser.add_argument("--rows", type=pathlib.Path, required=True)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for seed in range(arguments.seeds):
        for size in arguments.sizes:
            for name, learn in ((name, WAYS[name]) for name in arguments.ways):
                cell = {"part": "imitation", "steps": size, "way": f"`imitation` {name}", "seed": seed}
                if any(cell.items() <= row.items() for row in rows_of(arguments.rows)):
                    continue
                torch.manual_seed(seed)
                began = time.monotonic()
                policy = learn(transitions(arguments.steps, size), seed)
                took = time.monotonic() - began
                score, _ = evaluate_policy(policy, envs(seed + 1000), n_eval_episodes=50, deterministic=False)
                played = {"env_steps": PLAYED[name]} if name in PLAYED else {}
                row = cell | played | {"return": round(float(score), 3), "train_s": round(took, 1)}
                print(json.dumps(row), flush=True)
                with arguments.rows.open("a") as out:
                    out.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
