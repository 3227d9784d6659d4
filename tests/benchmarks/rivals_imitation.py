"""The package `imitation` on the CartPole steps of rivals_check.py, in a virtual environment of its own.

It asks for an older gymnasium than RLlib does, so that it cannot stand beside this package::

    python tests/benchmarks/rivals_check.py --demonstrations steps.npz
    python3.11 -m venv elsewhere && elsewhere/bin/pip install imitation==1.0.1
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
from imitation.algorithms.adversarial.gail import GAIL
from imitation.algorithms.bc import BC
from imitation.algorithms.sqil import SQIL
from imitation.data.types import Transitions
from imitation.rewards.reward_nets import BasicRewardNet
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv

ENV_STEPS = 10_000
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


def gail(steps: Transitions, seed: int) -> Any:
    """GAIL, by PPO."""
    venv = envs(seed)
    generator = PPO("MlpPolicy", venv, seed=seed, n_steps=128, batch_size=64, policy_kwargs=NETWORK)
    discriminator = BasicRewardNet(venv.observation_space, venv.action_space)
    learner = GAIL(
        demonstrations=steps,
        demo_batch_size=min(512, len(steps)),
        venv=venv,
        gen_algo=generator,
        reward_net=discriminator,
        allow_variable_horizon=True,
    )
    learner.train(ENV_STEPS)
    return generator.policy


WAYS: dict[str, Callable[[Transitions, int], Any]] = {"BC": bc, "SQIL (DQN)": sqil, "GAIL": gail}


def main() -> None:
    """Adds a row for each run to a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", type=pathlib.Path)
    parser.add_argument("--rows", type=pathlib.Path, required=True)
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for seed in range(arguments.seeds):
        for size in SIZES:
            for name, learn in WAYS.items():
                torch.manual_seed(seed)
                began = time.monotonic()
                policy = learn(transitions(arguments.steps, size), seed)
                took = time.monotonic() - began
                score, _ = evaluate_policy(policy, envs(seed + 1000), n_eval_episodes=50, deterministic=False)
                row = {"part": "imitation", "steps": size, "way": f"`imitation` {name}", "seed": seed}
                row |= {"return": round(float(score), 3), "train_s": round(took, 1)}
                print(json.dumps(row), flush=True)
                with arguments.rows.open("a") as out:
                    out.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
