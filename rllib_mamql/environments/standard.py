"""Any parallel environment as this package steps it, and in one line what is wrong where it breaks its contract.

Agents are called by strings, observations are arrays of a Box, actions are numbers from 0 on. ``agents`` is followed:
agents may enter late and leave early. What an agent was promised is checked at every step.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from gymnasium.spaces import Box, Discrete
from pettingzoo import ParallelEnv
from pettingzoo.utils.wrappers import BaseParallelWrapper

from rllib_mamql.columns import ALL_AGENTS
from rllib_mamql.environments.actions import ActionCoding, action_coding
from rllib_mamql.environments.calls import call_environment, fault
from rllib_mamql.environments.masks import MaskCoding, has_mask
from rllib_mamql.environments.observations import ObservationCoding, observation_coding
from rllib_mamql.environments.turns import Turns
from rllib_mamql.errors import ConfigError, one_line

LARGEST_REWARD = 3e38
"""What float32, in which rewards are kept, can still hold."""
FORBIDDEN = set('<>:"/\\|?*')
"""Characters that no file can have in its name; modules are called after agents, and written to files."""


class StandardEnv(BaseParallelWrapper):
    """An environment behind the codings of its spaces, and behind checks of what it gives.

    Args:
        env: The environment; its spaces are looked at once.
        name: What users call it, for messages.
        masks_in_infos: Whether infos say what agents may do; observations that say it need not be announced.

    Raises:
        ConfigError: If agents or spaces are of a kind that nothing can be made of; says what to do.
    """

    def __init__(self, env: ParallelEnv[Any, Any, Any], name: str, masks_in_infos: bool = False) -> None:
        super().__init__(env)
        self.called = name
        ids = _agent_ids(env, name)
        self.possible_agents = list(ids)
        self._ids = ids
        self._names = {native: agent for agent, native in ids.items()}
        self._same_names = all(isinstance(native, str) for native in ids.values())
        self._seen: dict[str, ObservationCoding] = {}
        self._masked: dict[str, MaskCoding] = {}
        self._done: dict[str, ActionCoding] = {}
        for agent, native in ids.items():
            seen, done = (self._space(space, agent, native) for space in (env.observation_space, env.action_space))
            if masks_in_infos or has_mask(seen):
                in_info = not has_mask(seen)
                self._masked[agent] = self._coding(MaskCoding.of, agent, seen, done, in_info)
            else:
                self._seen[agent] = self._coding(observation_coding, agent, seen)
            self._done[agent] = self._coding(action_coding, agent, done)
        self._plain_actions = self._same_names and all(coding.plain for coding in self._done.values())
        self._acting: list[str] = []
        self._ended: set[str] = set()
        self._left: set[str] = set()
        self._t = 0
        self._native_observations: Mapping[Any, Any] = {}

    def _space(self, space_of: Callable[[Any], Any], agent: str, native: Any) -> Any:
        try:
            return space_of(native)
        except Exception as error:
            raise ConfigError(
                f"environment {self.called!r}: {getattr(space_of, '__name__', 'a space')}({native!r}) fails "
                f"({one_line(error)}): give every agent its spaces"
            ) from error

    def _coding(self, build: Callable[..., Any], agent: str, *described: Any) -> Any:
        try:
            return build(*described)
        except ConfigError as error:
            raise ConfigError(f"environment {self.called!r}, agent {agent!r}: {error}") from error

    def __deepcopy__(self, memo: dict[int, Any]) -> StandardEnv:
        """A copy that goes on by itself; the spaces are shared, since nothing changes them."""
        twin = copy.copy(self)
        twin.env = copy.deepcopy(self.env, memo)
        twin._acting, twin._ended, twin._left = list(self._acting), set(self._ended), set(self._left)
        return twin

    # -- what it looks like -------------------------------------------------------------------------------------

    @property
    def agents(self) -> list[str]:
        """Agents that act next; those that have ended are not among them, even where the environment keeps them."""
        return list(self._acting)

    def observation_space(self, agent: str) -> Box:
        """The Box that an agent's observations lie in; with what it may do, where the environment says that."""
        return self._masked[agent].space if agent in self._masked else self._seen[agent].space

    def action_space(self, agent: str) -> Discrete[Any]:
        """The agent's actions, from 0 on."""
        return self._done[agent].space

    def numbered_actions(self) -> dict[str, Discrete[Any]]:
        """The actions as datasets number them: from where the environment's own start, if that is Discrete."""
        return {
            agent: native if isinstance(native := self.env.action_space(self._ids[agent]), Discrete) else coding.space
            for agent, coding in self._done.items()
        }

    def seen(self) -> dict[Any, Any]:
        """Observations of those that act next, as the environment itself gave them: a scripted expert sees these.

        Where agents move in turns, those that wait are left out.
        """
        waiting = self._waiting()
        now = [native for native in map(self._ids.__getitem__, self._acting) if native not in waiting]
        return {native: self._native_observations[native] for native in now}

    def numbers(self, actions: Mapping[Any, Any]) -> dict[str, int]:
        """The environment's own actions, as a scripted expert gives them, as numbers from 0 on; who waits, waits."""
        numbered = {self._name(native): self._done[self._name(native)].number(a) for native, a in actions.items()}
        waiting = map(self._name, self._waiting())
        return numbered | {agent: int(self._done[agent].space.n) - 1 for agent in waiting}

    def _waiting(self) -> list[Any]:
        """The environment's own ids of agents whose turn it is not."""
        return self.env.waiting if isinstance(self.env, Turns) else []

    # -- stepping -----------------------------------------------------------------------------------------------

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        """As the environment's.

        Raises:
            EnvironmentFault: If it fails, or gives something else than observations and infos of its agents.
        """
        self._t = 0
        self._ended, self._left = set(), set()
        result = self._call("reset", seed=seed) if options is None else self._call("reset", seed=seed, options=options)
        if not isinstance(result, tuple) or len(result) != 2 or not isinstance(result[0], Mapping):
            self._fault(f"gives {_form(result)}, expected a pair (observations, infos) of dicts by agent")
        observations, infos = result
        self._acting = self._now()
        if not self._acting:
            self._fault("leaves no agents in env.agents, expected those that act first")
        self._native_observations = observations
        told = self._infos(infos, self._acting)
        return self._encoded(observations, self._acting, told), told

    def step(self, actions: dict[str, Any]) -> tuple[Any, Any, Any, Any, Any]:
        """As the environment's, for agents that act; afterwards ``agents`` are those that act next.

        Raises:
            EnvironmentFault: If it fails, loses an agent without an end, or says too little of one.
        """
        self._t += 1
        acted = [agent for agent in self._acting if agent in actions]
        result = self._call("step", self._native(actions))
        if (
            not isinstance(result, tuple)
            or len(result) != 5
            or not all(isinstance(each, Mapping) for each in result[:4])
        ):
            self._fault(
                f"gives {_form(result)}, expected five dicts by agent (observations, rewards, terminations, "
                "truncations, infos)"
            )
        observations, paid, terminations, truncations, infos = result
        now = self._now()
        rewards, terminateds, truncateds = {}, {}, {}
        seen = []
        for agent in acted:
            native = self._ids[agent]
            terminated = terminateds[agent] = self._flag(terminations, native, "terminations")
            truncated = truncateds[agent] = self._flag(truncations, native, "truncations")
            rewards[agent] = self._reward(paid, native)
            ended = terminated or truncated
            if ended:
                self._ended.add(agent)
            elif agent not in now:
                self._fault(
                    f"agent {agent!r} is gone from env.agents, but neither terminated nor truncated: set one of its "
                    "flags in its last step"
                )
            if native in observations and (not ended or observations[native] is not None):
                seen.append(agent)
            elif not terminated:
                why = "values go on beyond a truncation, so it needs one" if ended else "it acts next"
                self._fault(f"no observation of agent {agent!r}, though {why}: give it one")
        entering = self._entering(now, acted)
        self._acting = [agent for agent in now if agent not in self._ended]
        self._check_known(observations, "an observation")
        self._check_known(paid, "a reward")
        self._native_observations = observations
        told = self._infos(infos, [*acted, *entering])
        encoded = self._encoded(observations, [*seen, *entering], told)
        return encoded, rewards, terminateds, truncateds, told

    def _native(self, actions: Mapping[str, Any]) -> dict[Any, Any]:
        if self._plain_actions:
            return dict(actions)
        return {self._ids[agent]: self._done[agent].native(action) for agent, action in actions.items()}

    def _call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return call_environment(self.env, method, self.called, self._place, *args, **kwargs)

    def _now(self) -> list[str]:
        found = getattr(self.env, "agents", None)
        if found is None:
            self._fault("env.agents is not there, expected the list of agents that act next")
        return [self._name(native) for native in found]

    def _name(self, native: Any) -> str:
        name = self._names.get(native)
        if name is None:
            self._fault(f"agent {native!r} is in env.agents, but not in possible_agents {self.possible_agents}: add it")
        return name

    def _entering(self, now: list[str], acted: list[str]) -> list[str]:
        """Agents that act from the next step on; an agent that has left must stay away."""
        entering = [agent for agent in now if agent not in self._ended and agent not in acted]
        if self._ended:
            back = self._left.intersection(now)
            if back:
                self._fault(
                    f"agent {min(back)!r} enters again after its end, but agents live once in an episode: give it "
                    "another name"
                )
            self._left |= self._ended.difference(now)
        return entering

    def _encoded(
        self, observations: Mapping[Any, Any], agents: list[str], told: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, Any]:
        encoded = {}
        for agent in agents:
            native = self._ids[agent]
            if native not in observations:
                self._fault(f"no observation of agent {agent!r}, though it acts next: give it one")
            try:
                if agent in self._masked:
                    acts = agent in self._acting
                    encoded[agent] = self._masked[agent].encode(observations[native], told[agent], acts)
                else:
                    encoded[agent] = self._seen[agent].encode(observations[native])
            except (ValueError, TypeError, IndexError, OverflowError) as error:
                self._fault(f"the observation of agent {agent!r} {one_line(error)}: correct it, or its space", error)
        return encoded

    def _flag(self, flags: Mapping[Any, Any], native: Any, what: str) -> bool:
        if native not in flags:
            self._fault(f"nothing of agent {native!r} in {what}, though it acted: give one of every agent that acted")
        try:
            return bool(flags[native])
        except ValueError as error:
            self._fault(f"{what} of agent {native!r} is {flags[native]!r}, expected true or false", error)

    def _reward(self, rewards: Mapping[Any, Any], native: Any) -> float:
        if native not in rewards:
            self._fault(
                f"no reward of agent {native!r}, though it acted: give one of every agent that acted, 0 at least"
            )
        try:
            reward = float(rewards[native])
        except (TypeError, ValueError) as error:
            self._fault(f"the reward of agent {native!r} is {rewards[native]!r}, expected a number", error)
        if not abs(reward) < LARGEST_REWARD:  # NaN is not below anything either.
            self._fault(f"the reward of agent {native!r} is {reward}, expected a finite number that float32 can hold")
        return reward

    def _check_known(self, given: Mapping[Any, Any], what: str) -> None:
        if not given.keys() <= self._names.keys():
            odd = next(native for native in given if native not in self._names)
            if odd != ALL_AGENTS:
                self._fault(f"{what} of {odd!r}, which is not in possible_agents {self.possible_agents}: add it")

    def _infos(self, infos: Any, agents: list[str]) -> dict[str, Any]:
        given = infos if isinstance(infos, Mapping) else {}
        return {agent: given.get(self._ids[agent]) or {} for agent in agents}

    def _fault(self, text: str, cause: BaseException | None = None) -> NoReturn:
        fault(self.called, self._place(), text, cause)

    def _place(self) -> str:
        return f"step {self._t} of an episode" if self._t else "reset"


def _agent_ids(env: Any, name: str) -> dict[str, Any]:
    """``{name: the environment's own id}`` of all agents, in its order."""
    natives = list(getattr(env, "possible_agents", None) or ())
    if not natives:
        raise ConfigError(
            f"environment {name!r} has no possible_agents: list all agents that may ever act, in a fixed order"
        )
    ids = {str(native): native for native in natives}
    if len(ids) < len(natives):
        raise ConfigError(f"environment {name!r} has possible_agents {natives}: give each a name of its own")
    for agent in ids:
        if not agent or agent != agent.strip() or agent.endswith(".") or not FORBIDDEN.isdisjoint(agent):
            raise ConfigError(
                f"environment {name!r} has an agent {agent!r}: files are called after agents, so leave out "
                f"{' '.join(sorted(FORBIDDEN))}, and spaces and dots at the end"
            )
    return ids


def _form(result: Any) -> str:
    if isinstance(result, tuple):
        return f"{len(result)} values ({', '.join(type(each).__name__ for each in result)})"
    return f"a {type(result).__name__}"
