"""PPO's iterations on recovered rewards: ``python tests/benchmarks/bench_relearn.py CHECKPOINT``.

The environments step in a batch that is paid once a round, and one by one in RLlib's own runner, in turns in one run:
the ratio of the medians is what counts.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
import time
from pathlib import Path

import ray
from ray.rllib.algorithms.ppo import PPO

sys.path.insert(0, str(Path(__file__).parents[2]))

from rllib_mamql.cli.paths import newest_checkpoint
from rllib_mamql.rewards.relearn import _Learner, build_env
from rllib_mamql.rewards.settings import RelearnSettings
from rllib_mamql.rewards.sources import reward_source
from rllib_mamql.rewards.store import read_with_rewards

FORMS = {"batch": {}, "one by one": {"batch_mode": "truncate_episodes"}}
"""Settings of PPO: one of RLlib's runner's own asks for that."""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoint")
    parser.add_argument("--times", type=int, default=3)
    arguments = parser.parse_args()
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    stored, _ = read_with_rewards(newest_checkpoint(arguments.checkpoint))
    outside = functools.partial(build_env, stored.env, stored.env_config, 0.0, history=stored.history)
    settings = {form: RelearnSettings(iterations=arguments.times + 1, algorithm=words) for form, words in FORMS.items()}
    learners = {
        form: _Learner(stored, reward_source(stored), PPO, one, outside, lambda line: None)
        for form, one in settings.items()
    }
    taken: dict[str, list[float]] = {form: [] for form in FORMS}
    for _ in range(arguments.times + 1):
        for form, learner in learners.items():
            started = time.monotonic()
            learner.trainer.train()
            taken[form].append(time.monotonic() - started)
    medians = {form: statistics.median(times[1:]) for form, times in taken.items()}
    told = ", ".join(f"{form} {seconds:.2f} s" for form, seconds in medians.items())
    print(f"an iteration of 4,000 joint steps: {told}, ratio {medians['one by one'] / medians['batch']:.1f}")


if __name__ == "__main__":
    main()
