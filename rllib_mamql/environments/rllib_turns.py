"""RLlib's environments in which agents wait: those act that were given an observation, as RLlib has it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Discrete

from rllib_mamql.columns import ALL_AGENTS
from rllib_mamql.environments.calls import call_environment
from rllib_mamql.environments.masks import MASK_KEY
from rllib_mamql.environments.turns import Turns, without_masks
from rllib_mamql.errors import EnvironmentFault

LOOKED_AT = 10
"""Steps of an episode that are tried to see whether agents wait."""
WAIT_KEY = "agents_wait"
"""Of an environment's ``metadata``: says so, where it does not show in these steps."""


def agents_wait(env: Any, spaces: Mapping[Any, tuple[gym.Space[Any], gym.Space[Any]]], called: str) -> bool:
    """Whether agents of RLlib's environment wait at times, which no space says: some steps are tried.

    What is wrong with them is told where the environment is tried out.

    Args:
        env: RLlib's ``MultiAgentEnv``.
        spaces: ``{agent: (observations, actions)}``.
        called: Its name.
    """
    if (getattr(env, "metadata", None) or {}).get(WAIT_KEY):
        return True
    rng = np.random.default_rng(0)
    try:
        observations, infos = call_environment(env, "reset", called, str, seed=0)
        ended: set[Any] = set()  # Who has ended is shown its last observation, but does not act on it.
        for _ in range(LOOKED_AT):
            acting = [agent for agent in spaces if agent in observations and agent not in ended]
            actions = {
                agent: _drawn(spaces[agent][1], observations[agent], (infos or {}).get(agent), rng) for agent in acting
            }
            observations, _, *ends, infos = call_environment(env, "step", called, str, actions)
            if any(end.get(ALL_AGENTS, False) for end in ends):
                return False
            ended |= {agent for agent in acting if any(end.get(agent) for end in ends)}
            if any(agent not in observations and agent not in ended for agent in acting):
                return True
    except Exception:
        return False
    return False


def _drawn(space: gym.Space[Any], observation: Any, info: Any, rng: np.random.Generator) -> Any:
    """A random legal action."""
    mask = (info or {}).get(MASK_KEY)
    if isinstance(observation, Mapping):
        mask = observation.get(MASK_KEY, mask)
    if isinstance(space, Discrete):
        legal = np.arange(int(space.n)) if mask is None else np.flatnonzero(np.asarray(mask))
        return int(space.start) + int(rng.choice(legal))
    drawn = copy.deepcopy(space)
    drawn.seed(0)
    return drawn.sample()


class RLlibTurns(Turns):
    """RLlib's ``MultiAgentEnv`` in which agents wait: those act that the last step gave an observation.

    An agent enters with its first observation. While it waits, it sees its last one again, and is paid in the row in
    which the environment pays it. Rows in which everybody waits are steps without an action.

    Args:
        env: The environment.
        spaces: ``{agent: (observations, actions)}``, agents in order; actions are Discrete.
        name: What users call it, for messages.

    Raises:
        ConfigError: If an agent's actions are not Discrete.
    """

    def __init__(self, env: Any, spaces: Mapping[Any, tuple[gym.Space[Any], gym.Space[Any]]], name: str) -> None:
        super().__init__(spaces, lambda agent: spaces[agent][0], lambda agent: spaces[agent][1], name)
        self.rllib_env = env
        self.metadata = dict(getattr(env, "metadata", None) or {})
        self.render_mode = getattr(env, "render_mode", None)
        self._last: dict[Any, Any] = {}
        self._turn: set[Any] = set()

    @property
    def unwrapped(self) -> Any:
        """RLlib's environment."""
        return self.rllib_env

    @property
    def waiting(self) -> list[Any]:
        """Agents that were given no observation by the last step."""
        return [agent for agent in self.agents if agent not in self._turn]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        """As RLlib's environment's, of those that act first."""
        observations, infos = self.rllib_env.reset(seed=seed, options=options)
        self._last, self._turn, self._owed = dict(observations), set(observations), dict[Any, float]()
        self.agents = [agent for agent in self.possible_agents if agent in observations]
        return self._seen_now(self.agents, infos), without_masks(self.agents, infos)

    def step(self, actions: dict[Any, Any]) -> tuple[Any, Any, Any, Any, Any]:
        """Makes the moves of those whose turn it is; ``__all__`` ends everyone.

        Raises:
            EnvironmentFault: If one of them waits, or the environment gives an observation of nobody that it knows.
        """
        acted = list(self.agents)
        movers = [agent for agent in acted if agent in self._turn]
        for agent in movers:
            self.check_moves(agent, actions[agent])
        moves = {agent: actions[agent] for agent in movers}
        observations, rewards, terminateds, truncateds, infos = self.rllib_env.step(moves)
        for agent in observations:
            if agent not in self._seen:
                raise EnvironmentFault(
                    f"an observation of {agent!r}, which is not in possible_agents {self.possible_agents}: add it"
                )
        over, cut = bool(terminateds.get(ALL_AGENTS, False)), bool(truncateds.get(ALL_AGENTS, False))
        terminated = {agent: bool(terminateds.get(agent, False)) or over for agent in acted}
        truncated = {agent: (bool(truncateds.get(agent, False)) or cut) and not terminated[agent] for agent in acted}
        going_on = [agent for agent in acted if not (terminated[agent] or truncated[agent])]
        entering = [agent for agent in self.possible_agents if agent in observations and agent not in acted]
        self._last |= observations
        self._turn = set(observations)
        self.agents = [] if over or cut else [*going_on, *entering]
        shown = [*acted, *(agent for agent in entering if agent in self.agents)]
        # Who has not entered yet is paid in its first row.
        self._owed |= {a: self._owed.get(a, 0.0) + value for a, value in rewards.items() if a not in acted}
        paid = {agent: rewards.get(agent, 0.0) + self._owed.pop(agent, 0.0) for agent in acted}
        return self._seen_now(shown, infos), paid, terminated, truncated, without_masks(shown, infos)

    def _seen_now(self, agents: list[Any], infos: Any) -> dict[Any, Any]:
        told = infos or {}
        return {
            agent: self.told(agent, self._last[agent], told.get(agent), waits=agent not in self._turn)
            for agent in agents
        }

    def render(self) -> Any:
        """As RLlib's environment's."""
        return self.rllib_env.render()

    def close(self) -> None:
        """Closes RLlib's environment."""
        self.rllib_env.close()
