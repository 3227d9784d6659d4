"""Trains a tuned example without Ray's runners and measures it: ``python tests/benchmarks/small_data_trials.py gems``.

The learner, networks, sampling and minibatches are those of ``rllib train``, in one process and on one thread, so that
a trial costs seconds and its CPU time can be read. At each mark a line tells the mean return at several multiples of
the training rationality and the log-likelihood of expert actions in episodes that training did not use. The figures in
``docs/results/small_data.md`` come from here.
"""

from __future__ import annotations

import argparse
import pathlib
import time
from typing import Any

import numpy as np
import torch

from rllib_mamql.algorithms.mamql import objective
from rllib_mamql.algorithms.mamql.config import MAMQLConfig
from rllib_mamql.algorithms.mamql.learner import MAMQLLearner
from rllib_mamql.cli.experiment import Overrides, load_experiments
from rllib_mamql.cli.settings import resolve_input, to_overrides
from rllib_mamql.columns import ACTIONS, ALIVE, EPS_ID, OBS, JointColumns, column, num_rows, take
from rllib_mamql.data.reading import read_dataset
from rllib_mamql.data.selection import select_steps
from rllib_mamql.environments.registry import make_batch, make_env
from rllib_mamql.environments.spaces import environment_spaces
from rllib_mamql.evaluation.evaluate import play
from rllib_mamql.play.actors import module_actor
from rllib_mamql.play.batched import make_rollout
from rllib_mamql.play.returns import episode_return, mean_and_ci95

ROOT = pathlib.Path(__file__).parents[2]
HELD_OUT_ROWS = 4000
FORMERLY: dict[str, dict[str, Any]] = {
    "gems": {
        "rationality": 5.0, "chi_square_scale": 20.0, "weight_decay": 1.0, "gamma": 0.9, "rollout_batch_size": 64,
        "lr": [[0, 0.001], [1440, 0.001], [4800, 0.0]], "rollout_share": None, "symmetries": False,
    }
}  # fmt: skip
"""What a tuned example said when docs/results/small_data.md was made, and what it says by default since."""


class Trial:
    """One seed of one tuned example.

    Args:
        example: File under ``tuned_examples``, without ``.yaml``.
        sets: ``key=value`` texts, as for ``rllib train --set``.
        seed: Seed of everything, the choice of expert steps included.
    """

    def __init__(self, example: str, sets: list[str], seed: int) -> None:
        path = ROOT / "tuned_examples" / f"{example}.yaml"
        (experiment,) = load_experiments(path, Overrides(sets=tuple(sets), config={"seed": seed}))
        settings = {**FORMERLY.get(example, {}), **experiment.settings.config}
        self.env, self.env_config = str(experiment.settings.env), dict(settings.get("env_config", {}))
        settings["input_"] = resolve_input(settings["input_"], experiment.folder)
        # The reward regression changes no critic and no return.
        self.config = config = MAMQLConfig()
        config.update_from_dict(to_overrides({**settings, "learn_reward": False}, self.env, config))
        config.validate()
        torch.manual_seed(seed)
        module_of = config.module_of
        spaces = {module_of[a]: pair for a, pair in environment_spaces(self.env, self.env_config).items()}
        self.learner = MAMQLLearner(config=config, module_spec=config.get_multi_rl_module_spec(spaces=spaces))
        self.learner.build()
        data = read_dataset(settings["input_"]).columns
        expert = data if config.expert_steps is None else select_steps(data, config.expert_steps, seed)
        unused = np.flatnonzero(~np.isin(data[EPS_ID].astype(str), np.unique(expert[EPS_ID].astype(str))))
        self.held_out: JointColumns = take(data, unused[:HELD_OUT_ROWS])
        self.learner.set_expert(module_of, expert)
        self.rollout = make_rollout(
            lambda: make_env(self.env, self.env_config),
            lambda n: make_batch(self.env, self.env_config, n),
            config.num_envs_per_env_runner,
            seed,
        )
        self.act = module_actor(self.learner.module, module_of, torch.Generator().manual_seed(seed))
        self.env_steps, self.debt, self.cpu_s = 0, 0.0, 0.0

    def train(self, updates: int) -> None:
        """Trains until ``updates`` gradient steps are made (rounded up to whole rounds of sampling)."""
        started = time.process_time()
        steps = self.config.num_envs_per_env_runner * int(self.config.rollout_fragment_length)
        while self.learner.updates < updates:
            columns, _ = self.rollout.run(self.act, num_steps=steps)
            self.learner.replay.add(columns)
            self.env_steps += steps
            self.debt += steps * self.config.updates_per_step
            self.learner.update(
                timesteps={"num_env_steps_sampled_lifetime": self.env_steps}, num_updates=int(self.debt)
            )
            self.debt -= int(self.debt)
        self.cpu_s += time.process_time() - started

    def returns(self, multiple: float, episodes: int) -> tuple[float, float]:
        """Mean return, and half its 95% interval, at ``multiple`` times the training rationality."""
        for module in self.learner.module.values():
            module.unwrapped().evaluation_rationality = multiple * self.config.rationality
        generator = torch.Generator().manual_seed(1)
        actor = module_actor(self.learner.module, self.config.module_of, generator, explore=False)
        finished, aggregation = play(
            self.env, self.env_config, actor, episodes=episodes, seed=999, num_envs=min(100, episodes)
        )
        mean, (low, _) = mean_and_ci95([episode_return(episode.returns, aggregation) for episode in finished])
        return mean, mean - low

    @torch.no_grad()
    def held_out_log_likelihood(self) -> float:
        """Mean log-probability of expert actions in unused episodes; NaN where all are used."""
        if not num_rows(self.held_out):
            return float("nan")
        values = []
        for agent, module_id in self.config.module_of.items():
            alive = self.held_out[column(ALIVE, agent)].astype(bool)
            observations = torch.as_tensor(self.held_out[column(OBS, agent)][alive])
            actions = torch.as_tensor(self.held_out[column(ACTIONS, agent)][alive])
            q = self.learner.module[module_id].unwrapped().average(observations)
            log_policy = objective.log_policy(q, self.config.rationality)
            values.append(objective.take_actions(log_policy, actions).mean().item())
        return float(np.mean(values))


def main() -> int:
    """Runs one trial and prints a line at each mark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("example", help="a file under tuned_examples, without .yaml")
    parser.add_argument("--set", action="append", default=[], dest="sets", metavar="KEY=VALUE")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--updates", type=int, nargs="+", default=[1200], help="gradient steps at which to measure")
    parser.add_argument("--episodes", type=int, default=500)
    parser.add_argument("--multiples", type=float, nargs="+", default=[1.0, 2.0], help="of the training rationality")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    trial = Trial(arguments.example, arguments.sets, arguments.seed)
    print(" ".join(arguments.sets) or "as tuned", f"seed {arguments.seed}", flush=True)
    for mark in arguments.updates:
        trial.train(mark)
        text = ", ".join(
            "x{:g} {:.2f}+-{:.2f}".format(multiple, *trial.returns(multiple, arguments.episodes))
            for multiple in arguments.multiples
        )
        print(
            f"{trial.learner.updates} updates: return {text}, held-out log-likelihood "
            f"{trial.held_out_log_likelihood():.3f}, {trial.cpu_s:.0f} s CPU of training",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
