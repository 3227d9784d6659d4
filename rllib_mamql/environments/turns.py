"""Environments with agents in turns as parallel ones: who waits has one legal action, to wait."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete
from pettingzoo import AECEnv, ParallelEnv

from rllib_mamql.environments.masks import MASK_KEY, has_mask
from rllib_mamql.errors import ConfigError, EnvironmentFault


class Turns(ParallelEnv[Any, Any, Any]):
    """A parallel environment of which some agents wait at times.

    Agents have one action more than they had, the last, which is to wait. The mask allows it, and nothing else, to
    those whose turn it is not; the others' legal moves are the environment's own.

    Args:
        agents: All agents, in order.
        seen: Gives an agent's space of observations.
        own: Gives an agent's space of actions, Discrete.
        name: What users call the environment, for messages.

    Raises:
        ConfigError: If an agent's actions are not Discrete.
    """

    def __init__(
        self, agents: Iterable[Any], seen: Callable[[Any], gym.Space[Any]], own: Callable[[Any], Any], name: str
    ) -> None:
        self.possible_agents = list(agents)
        self.agents: list[Any] = []
        self._own: dict[Any, Discrete[Any]] = {agent: own(agent) for agent in self.possible_agents}
        for agent, space in self._own.items():
            if not isinstance(space, Discrete):
                raise ConfigError(
                    f"environment {name!r} has agents that act in turns, and actions of {agent!r} are {space}: "
                    "offer them as a Discrete, to which waiting can be added; or name one whose agents all act at once"
                )
        self._seen = {agent: seen(agent) for agent in self.possible_agents}

    @property
    @abstractmethod
    def waiting(self) -> list[Any]:
        """Agents whose turn it is not."""

    def observation_space(self, agent: Any) -> Dict:
        """What the environment shows, with a mask of all actions and waiting."""
        seen = self._seen[agent]
        rest = dict(seen.spaces) if isinstance(seen, Dict) and has_mask(seen) else {"observation": seen}
        mask: gym.Space[Any] = Box(0, 1, (int(self._own[agent].n) + 1,), np.int8)
        return Dict({**rest, MASK_KEY: mask})

    def action_space(self, agent: Any) -> Discrete[Any]:
        """The environment's actions, and to wait."""
        own = self._own[agent]
        return Discrete(int(own.n) + 1, start=int(own.start))

    def told(self, agent: Any, given: Any, info: Mapping[str, Any] | None, waits: bool) -> dict[str, Any]:
        """An observation with the mask of all actions and waiting.

        Args:
            agent: Whose.
            given: The environment's observation.
            info: The agent's, which may hold the mask.
            waits: Whether it is not the agent's turn.
        """
        seen, count = self._seen[agent], int(self._own[agent].n)
        rest, legal = {"observation": given}, (info or {}).get(MASK_KEY)
        if isinstance(seen, Dict) and has_mask(seen):
            rest, legal = {key: part for key, part in given.items() if key != MASK_KEY}, given[MASK_KEY]
        mask = np.zeros(count + 1, np.int8)
        if waits:
            mask[count] = 1
        else:
            mask[:count] = 1 if legal is None else np.asarray(legal) != 0
        return {**rest, MASK_KEY: mask}

    def check_moves(self, agent: Any, action: Any) -> None:
        """Refuses to wait of an agent whose turn it is.

        Raises:
            EnvironmentFault: If it waits.
        """
        space = self.action_space(agent)
        if int(action) == int(space.start) + int(space.n) - 1:
            raise EnvironmentFault(f"agent {agent!r} waits, though it is its turn: choose a move that its mask allows")


def without_masks(agents: Iterable[Any], infos: Mapping[Any, Any] | None) -> dict[Any, Any]:
    """Infos of agents without masks, which are a part of the observations."""
    given = infos or {}
    return {agent: {k: v for k, v in (given.get(agent) or {}).items() if k != MASK_KEY} for agent in agents}


class TurnsParallel(Turns):
    """PettingZoo's environment in turns (AEC): every turn is a step, in which one agent moves and the others wait.

    Each agent is paid in every step, so what it is paid while it waits is paid in the row in which it waits. Agents end
    at the step whose flags say so, whoever moved.

    Args:
        env: Its actions are Discrete.
        name: What users call it, for messages.

    Raises:
        ConfigError: If an agent's actions are not Discrete.
    """

    def __init__(self, env: AECEnv[Any, Any, Any], name: str) -> None:
        self.aec_env = env
        agents = getattr(env, "possible_agents", None) or ()
        super().__init__(agents, env.observation_space, env.action_space, name)
        self.metadata = dict(getattr(env, "metadata", None) or {})
        self.render_mode = getattr(env, "render_mode", None)

    @property
    def unwrapped(self) -> Any:
        """The environment in turns, without its wrappers."""
        return self.aec_env.unwrapped

    @property
    def waiting(self) -> list[Any]:
        """Agents whose turn it is not."""
        return [agent for agent in self.agents if agent != self.aec_env.agent_selection]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        """As the environment's."""
        self.aec_env.reset(seed=seed, options=options)
        self._let_the_dead_leave()
        self.agents = self._living()
        return {agent: self._observe(agent) for agent in self.agents}, without_masks(self.agents, self.aec_env.infos)

    def step(self, actions: dict[Any, Any]) -> tuple[Any, Any, Any, Any, Any]:
        """Makes the move of the agent whose turn it is.

        Raises:
            EnvironmentFault: If that agent waits.
        """
        env, acted = self.aec_env, list(self.agents)
        mover = env.agent_selection
        self.check_moves(mover, actions[mover])
        env.step(actions[mover])
        rewards = {agent: env.rewards.get(agent, 0.0) for agent in acted}
        terminated = {agent: bool(env.terminations.get(agent, False)) for agent in acted}
        truncated = {agent: bool(env.truncations.get(agent, False)) for agent in acted}
        shown = [*acted, *(agent for agent in env.agents if agent not in acted)]
        infos = without_masks(shown, env.infos)
        # Those that ended are seen before they leave: environments need not know of them afterwards.
        last_seen = {agent: self._observe(agent) for agent in acted if terminated[agent] or truncated[agent]}
        self._let_the_dead_leave()
        self.agents = self._living()
        observations = last_seen | {agent: self._observe(agent) for agent in self.agents}
        return observations, rewards, terminated, truncated, infos

    def _observe(self, agent: Any) -> dict[str, Any]:
        """What an agent sees, and may do now."""
        env = self.aec_env
        return self.told(agent, env.observe(agent), env.infos.get(agent), waits=agent != env.agent_selection)

    def _living(self) -> list[Any]:
        env = self.aec_env
        living = [a for a in env.agents if not (env.terminations.get(a, False) or env.truncations.get(a, False))]
        if living and env.agent_selection not in living:
            raise EnvironmentFault(
                f"agent_selection is {env.agent_selection!r}, whose part is over, while {living} are there still: "
                "select one of these"
            )
        return living

    def _let_the_dead_leave(self) -> None:
        """Takes the steps in which agents that have ended leave, as PettingZoo asks for."""
        env = self.aec_env
        for _ in range(len(env.agents)):
            turn = env.agent_selection
            if not env.agents or not (env.terminations.get(turn, False) or env.truncations.get(turn, False)):
                return
            env.step(None)

    def render(self) -> Any:
        """As the environment's."""
        return self.aec_env.render()

    def close(self) -> None:
        """Closes the environment."""
        self.aec_env.close()
