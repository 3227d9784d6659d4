"""The true reward, marginalised over the other agents' policies, by asking copies of the environment.

``rbar_i`` explains ``E_{a_-i ~ pi_-i}[ r_i(s, a_i, a_-i) ]``, not the reward of one joint action. Copies of the
environment are stepped once with every joint action; the environment's own course is not disturbed. Rewards that
depend on chance within a step are those of the copy's own random state.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

from rllib_mamql.errors import ConfigError

Array = NDArray[np.float64]
MOST_JOINT_ACTIONS = 300


def joint_rewards(env: ParallelEnv, agents: Sequence[str], action_sizes: Sequence[int]) -> Array:
    """Rewards of every agent for every joint action from the environment's present state.

    Args:
        env: An environment within an episode, which :func:`copy.deepcopy` can copy.
        agents: All agents in order; dead ones earn 0 whatever 'their' action is.
        action_sizes: Number of actions of each.

    Returns:
        ``(n, A_1, ..., A_n)``.

    Raises:
        ConfigError: If there are too many joint actions, or the environment cannot be copied.
    """
    count = int(np.prod(action_sizes))
    if count > MOST_JOINT_ACTIONS:
        raise ConfigError(
            f"there are {count} joint actions, more than {MOST_JOINT_ACTIONS}: the true reward cannot be marginalised "
            "by trying them all; use --sampled"
        )
    table = np.zeros((len(agents), *action_sizes))
    alive = [agent in env.agents for agent in agents]
    # What a dead agent 'does' changes nothing: one action of it is tried.
    ranges = [range(size) if living else range(1) for size, living in zip(action_sizes, alive, strict=True)]
    for joint in itertools.product(*ranges):
        try:
            twin = copy.deepcopy(env)
        except (TypeError, NotImplementedError) as error:
            raise ConfigError(
                f"{type(env.unwrapped).__name__} cannot be copied ({error}): use --sampled, which compares with the "
                "reward of the joint action taken"
            ) from error
        actions = {agent: joint[i] for i, agent in enumerate(agents) if alive[i]}
        _, rewards, *_ = twin.step(actions)
        where = tuple(joint[i] if alive[i] else slice(None) for i in range(len(agents)))
        for i, agent in enumerate(agents):
            table[i][where] = float(rewards.get(agent, 0.0))
    return table


def marginal_rewards(table: Array, policies: Sequence[Array]) -> list[Array]:
    """``E_{a_-i ~ pi_-i}[ r_i(s, ., a_-i) ]`` for each agent.

    Args:
        table: ``(n, A_1, ..., A_n)`` of :func:`joint_rewards`.
        policies: Each agent's probabilities ``(A_i,)``.

    Returns:
        For each agent its rewards ``(A_i,)``.
    """
    result = []
    for i in range(len(policies)):
        values = table[i]
        for other in reversed(range(len(policies))):
            if other != i:
                values = np.tensordot(values, policies[other], axes=([other], [0]))
        result.append(np.asarray(values))
    return result
