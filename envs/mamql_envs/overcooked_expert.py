"""A scripted expert for Overcooked: a pair of the package's `GreedyHumanModel`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mamql_envs.overcooked_compat import Layout, actions, agent_random, greedy_agents

_ORDER = ("onion", "onion", "onion")


def check_layout(layout: Layout) -> None:
    """Raises ValueError where `GreedyHumanModel` cannot play: it knows two cooks and three-onion soup."""
    layout.activate()
    players = layout.mdp.num_players
    if players != 2:
        raise ValueError(f"the scripted expert is a pair, and layout {layout.name!r} has {players} player(s)")
    orders = [tuple(order["ingredients"]) for order in layout.mdp.start_all_orders]
    if orders != [_ORDER]:
        found = ", ".join("+".join(order) for order in sorted(orders))
        raise ValueError(
            f"the scripted expert cooks three-onion soup only, and layout {layout.name!r} takes other orders "
            f"({found}): choose a layout whose one order is {'+'.join(_ORDER)}"
        )


class ScriptedExpert:
    """Two `GreedyHumanModel` agents with the package's defaults and a random state of their own.

    Each goes for what looks most useful (an onion, a pot, a dish, the serving counter) by the shortest path;
    an agent finding both where they were a step ago makes a random move, and nothing else is random.

    A seed gives the same actions in any process; numpy's global random state is neither used nor changed.
    """

    def __init__(self) -> None:
        self._agents: list[Any] = []
        self._random = np.random.RandomState(0)

    def reset(self, env: Any, seed: int) -> None:
        """Prepares for an episode.

        Args:
            env: An `overcooked_v0` environment, wrapped or not.
            seed: A non-negative integer.

        Raises:
            ValueError: The pair cannot play the environment's layout.
        """
        layout = env.unwrapped.layout
        check_layout(layout)
        self._agents = greedy_agents(layout)
        # The legacy generator's stream is frozen, so that a seed means the same under every numpy.
        self._random = np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seed)))

    def act(self, env: Any, observations: Mapping[str, Any]) -> dict[str, int]:
        """Chooses an action for every agent.

        Args:
            env: The environment that `reset` was given.
            observations: Not used: the pair sees the whole state.
        """
        if not self._agents:
            raise RuntimeError("the expert is not prepared: call reset(env, seed) before act()")
        base = env.unwrapped
        state = base.overcooked_state
        order = actions()
        with agent_random(self._random):
            return {
                name: order.index(agent.action(state)[0]) for name, agent in zip(base.agents, self._agents, strict=True)
            }
