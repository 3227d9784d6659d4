"""Random and structured games: cooperative, competitive and mixed, of 2 to 5 agents with 2 to 5 actions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rllib_mamql.errors import ConfigError, nearest
from rllib_mamql.solvable.game import Array, Game

KINDS = ("cooperative", "competitive", "mixed")
SLIP = 0.1


def random_game(
    seed: int,
    *,
    kind: str = "mixed",
    states: int = 4,
    actions: Sequence[int] = (3, 2),
    discount: float = 0.9,
    rationality: float = 1.0,
) -> Game:
    """A game with normal rewards and uniformly drawn transition rows.

    Args:
        seed: Of the draw.
        kind: ``cooperative`` (all have the same reward), ``competitive`` (rewards sum to 0 over agents) or ``mixed``.
        states: S.
        actions: Action counts, one an agent.
        discount: gamma in [0, 1).
        rationality: lambda > 0.

    Raises:
        ConfigError: If the kind is unknown.
    """
    if kind not in KINDS:
        raise ConfigError(f"kind is {kind!r}: {nearest(kind, KINDS)}")
    rng = np.random.default_rng(seed)
    transitions = rng.dirichlet(np.ones(states), size=(states, *actions))
    rewards = rng.normal(size=(len(actions), states, *actions))
    if kind == "cooperative":
        rewards = np.repeat(rewards[:1], len(actions), axis=0)
    elif kind == "competitive":
        rewards = rewards - rewards.mean(axis=0)
        rewards *= np.sqrt(len(actions) / (len(actions) - 1))  # back to unit variance
    return Game(transitions, rewards, discount, rationality)


def _joint(actions: Sequence[int]) -> NDArray[np.int64]:
    """All joint actions ``(A_0, ..., A_n-1, n)``."""
    return np.stack(np.meshgrid(*(np.arange(count) for count in actions), indexing="ij"), axis=-1)


def _move(transitions: Array, state: int, joint: tuple[int, ...], target: int) -> None:
    """Goes to ``target``; with probability ``SLIP`` to any state."""
    row = (state, *joint)
    transitions[row] += SLIP / transitions.shape[0]
    transitions[row][target] += 1.0 - SLIP


def coordination(agents: int = 2, actions: int = 3, discount: float = 0.9, rationality: float = 3.0) -> Game:
    """Cooperative: each state calls for one action; it pays the share of agents that play it, 1 more if all do.

    If all do, the next state follows; else the state stays. One state an action.
    """
    counts = (actions,) * agents
    transitions = np.zeros((actions, *counts, actions))
    rewards = np.zeros((agents, actions, *counts))
    played = _joint(counts)
    for state in range(actions):
        share = (played == state).mean(-1)
        rewards[:, state] = share + (share == 1.0)
        for joint in np.ndindex(*counts):
            _move(transitions, state, joint, (state + 1) % actions if share[joint] == 1.0 else state)
    return Game(transitions, rewards, discount, rationality)


def pursuit(agents: int = 2, actions: int = 3, ring: int = 5, discount: float = 0.9, rationality: float = 3.0) -> Game:
    """Competitive (zero-sum): agent 0 flees on a ring, the others pull one net by the rounded mean of their moves.

    The state is the gap from net to prey, ``ring`` of them. Actions are moves ``a - A // 2``. While the gap is 0 the
    prey pays 1 a step, shared among the pursuers.
    """
    counts = (actions,) * agents
    transitions = np.zeros((ring, *counts, ring))
    rewards = np.zeros((agents, ring, *counts))
    moves = _joint(counts) - actions // 2
    pull = np.rint(moves[..., 1:].mean(-1)).astype(int)
    rewards[0, 0] = -1.0
    rewards[1:, 0] = 1.0 / (agents - 1)
    for state in range(ring):
        for joint in np.ndindex(*counts):
            _move(transitions, state, joint, int(state + moves[joint][0] - pull[joint]) % ring)
    return Game(transitions, rewards, discount, rationality)


def congestion(agents: int = 2, actions: int = 3, discount: float = 0.9, rationality: float = 3.0) -> Game:
    """Mixed: each agent takes one of several resources; the state's own pays 2, others 1, shared by who takes it.

    Agent i likes resource ``i mod A`` better by one half. The next state is the resource after the one most taken.
    """
    counts = (actions,) * agents
    transitions = np.zeros((actions, *counts, actions))
    rewards = np.zeros((agents, actions, *counts))
    taken = _joint(counts)
    crowd = np.stack([(taken == resource).sum(-1) for resource in range(actions)], axis=-1)
    for state in range(actions):
        for agent in range(agents):
            own = taken[..., agent]
            worth = 1.0 + (own == state) + 0.5 * (own == agent % actions)
            rewards[agent, state] = worth / np.take_along_axis(crowd, own[..., None], -1)[..., 0]
        for joint in np.ndindex(*counts):
            _move(transitions, state, joint, (int(crowd[joint].argmax()) + 1) % actions)
    return Game(transitions, rewards, discount, rationality)


def front(sides: Sequence[int] = (1, 1), actions: int = 3, discount: float = 0.9, rationality: float = 3.0) -> Game:
    """Zero-sum, two sides: attackers choose places, guards choose places, and the front moves to whoever is not met.

    The state is where the front stands, five places from the guards' gate (state 0) to the attackers' (state 4). An
    attack goes through if some attacked place has more attackers than guards: the front moves one state towards 0, else
    one towards 4. At a gate its owner's side loses 1, which the other side gains, and play begins in the middle again.
    At the first place one attacker counts for two. More attackers than guards always get through.

    Args:
        sides: How many attackers, who are the first agents, and how many guards.
        actions: Places.
        discount: gamma in [0, 1).
        rationality: lambda > 0.
    """
    attackers, guards = sides
    counts = (actions,) * (attackers + guards)
    played = _joint(counts)
    places = np.arange(actions)
    attack = (played[..., :attackers, None] == places).sum(-2) * np.where(places == 0, 2, 1)
    guarded = (played[..., attackers:, None] == places).sum(-2)
    through = (attack > guarded).any(-1)
    states, middle = 5, 2
    transitions = np.zeros((states, *counts, states))
    rewards = np.zeros((attackers + guards, states, *counts))
    for state, side in ((0, 1.0), (states - 1, -1.0)):
        rewards[:attackers, state] = side / attackers
        rewards[attackers:, state] = -side / guards
    for state in range(states):
        for joint in np.ndindex(*counts):
            at_gate = state in (0, states - 1)
            _move(transitions, state, joint, middle if at_gate else state + (-1 if through[joint] else 1))
    return Game(transitions, rewards, discount, rationality)


def with_rewards(game: Game, form: str, seed: int, *, pairs: int = 2) -> Game:
    """The same dynamics under rewards of which one knows what they depend on.

    Args:
        game: The game.
        form: ``own``: normal R_i(s, a_i); ``state``: normal R_i(s); ``sparse``: 1 at ``pairs`` pairs (s, a_i) of each
            agent and 0 elsewhere.
        seed: Of the draw.
        pairs: How many pairs pay, where sparse.

    Raises:
        ConfigError: If the form is unknown.
    """
    forms = ("own", "state", "sparse")
    if form not in forms:
        raise ConfigError(f"form is {form!r}: {nearest(form, forms)}")
    rng = np.random.default_rng(seed)
    tables = []
    for agent, count in enumerate(game.actions):
        own = np.repeat(rng.normal(size=(game.states, 1)), count, axis=1)
        if form == "own":
            own = rng.normal(size=(game.states, count))
        elif form == "sparse":
            own = np.zeros((game.states, count))
            own.reshape(-1)[rng.choice(own.size, pairs, replace=False)] = 1.0
        shape = [game.states] + [1] * game.agents
        shape[1 + agent] = count
        tables.append(np.broadcast_to(own.reshape(shape), game.transitions.shape[:-1]))
    return replace(game, rewards=np.stack(tables))


def another_law(game: Game, seed: int) -> Game:
    """The same rewards under other dynamics: transition rows drawn anew."""
    rng = np.random.default_rng(seed)
    return replace(game, transitions=rng.dirichlet(np.ones(game.states), size=game.transitions.shape[:-1]))


EXAMPLES: Mapping[str, Callable[..., Game]] = {
    "coordination": coordination,
    "pursuit": pursuit,
    "congestion": congestion,
}
"""Structured games by name; each takes ``agents``, ``actions``, ``discount`` and ``rationality``."""
