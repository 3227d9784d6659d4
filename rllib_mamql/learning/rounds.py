"""Rounds of rollouts: what every env runner samples before the learners update."""

from __future__ import annotations

import functools
from typing import Any

import ray
from ray.rllib.env.env_runner_group import EnvRunnerGroup

from rllib_mamql.errors import EnvironmentFault, EnvironmentHang

AHEAD = "rollouts"
"""Tag of requests for rollouts that run while the learners update."""
WAIT_S = 1.0
"""Seconds of each wait for such rollouts; a runner that fails in the meantime is given up by RLlib."""

Rollout = tuple[list[ray.ObjectRef], int, Any]
"""What a runner sampled: a reference for each learner, joint steps, and RLlib's metrics."""


class Rounds:
    """Asks runners for rollouts, so that an iteration has as many joint steps with any number of them.

    That many are what one runner alone samples in whole rounds until ``min_sample_timesteps_per_iteration`` are there.
    Several runners share its last round among them, to single steps of all environments of a runner.
    """

    def __init__(self, group: EnvRunnerGroup, config: Any) -> None:
        self._group = group
        self._remote = group.num_remote_env_runners() > 0
        self._runners = max(1, group.num_remote_env_runners())
        self._shares = max(1, config.num_learners)
        self._ahead = self._remote and config.staleness > 0
        self._envs = config.num_envs_per_env_runner
        self._fragment = config.get_rollout_fragment_length()
        whole = self._fragment * self._envs
        least = config.min_sample_timesteps_per_iteration or 1
        self._iteration = -(-least // whole) * self._fragment
        self._left = self._iteration
        self._requested = 0

    def begin_iteration(self) -> None:
        """The next rounds are those of a new iteration, the first of which may be under way."""
        under_way = self._group.num_in_flight_async_reqs(tag=AHEAD) if self._ahead else 0
        self._left = self._iteration - (self._requested if under_way else 0)

    def steps(self) -> list[int]:
        """Steps of all its environments that each runner makes in the next round; not below 0, not all 0."""
        if self._left <= 0:
            self._left = self._iteration
        together = min(self._left, self._fragment * self._runners)
        self._left -= together
        self._requested = together
        each, rest = divmod(together, self._runners)
        return [each + (index < rest) for index in range(self._runners)]

    def collect(self) -> list[Rollout | EnvironmentFault]:
        """A round of rollouts from every runner, or the fault of its environment.

        With ``rollout_staleness`` 1 the next round is already under way when this returns, with the weights that this
        one had; a runner works through its requests in order, so that new weights reach it in between two rounds.
        """
        if not self._ahead:
            return list(self._group.foreach_env_runner(self._sampling(), local_env_runner=not self._remote))
        if not self._group.num_in_flight_async_reqs(tag=AHEAD):
            self._group.foreach_env_runner_async(self._sampling(), tag=AHEAD)
        results: list[Any] = []
        while self._group.num_in_flight_async_reqs(tag=AHEAD):
            ready = self._group.fetch_ready_async_reqs(tags=AHEAD, timeout_seconds=WAIT_S)
            results += [result for _, result in sorted(ready, key=lambda pair: pair[0])]
        self._group.foreach_env_runner_async(self._sampling(), tag=AHEAD)
        return results

    def _sampling(self) -> Any:
        return functools.partial(_sample, steps=[each * self._envs for each in self.steps()], shares=self._shares)


def _sample(runner: Any, steps: list[int], shares: int) -> Rollout | EnvironmentFault:
    """Samples on a runner; the rollout stays in its object store, one share a learner, only references come back.

    An environment's fault is given back: RLlib would start a runner that raises anew, and say nothing.

    Args:
        runner: An env runner, the local one or one of those that are numbered from 1.
        steps: Joint steps that each samples, in the order of their numbers.
        shares: How many learners there are.
    """
    wanted = steps[max(0, runner.worker_index - 1)]
    try:
        rollouts = runner.sample(num_timesteps=wanted) if wanted else []
    except EnvironmentHang as hang:
        runner.replace_env()
        which = f"env runner {runner.worker_index}: " if runner.worker_index else ""
        return EnvironmentHang(which + str(hang))
    except EnvironmentFault as fault:
        return EnvironmentFault(str(fault))  # Its cause may be of a kind that other processes cannot read.
    references = [ray.put([rollout.share(rank, shares) for rollout in rollouts]) for rank in range(shares)]
    return references, sum(rollout.env_steps() for rollout in rollouts), runner.get_metrics()
