"""Small Markov games solved by enumeration: the ground that learned critics and rewards are held against."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Game:
    """A two-agent game.

    Attributes:
        transitions: ``(S, A0, A1, S)``, rows sum to 1.
        rewards: ``(2, S, A0, A1)``.
        discount: gamma.
        rationality: lambda.
    """

    transitions: np.ndarray
    rewards: np.ndarray
    discount: float
    rationality: float

    @property
    def states(self) -> int:
        return self.transitions.shape[0]

    @property
    def actions(self) -> tuple[int, int]:
        return self.transitions.shape[1], self.transitions.shape[2]


def random_game(
    seed: int, states: int = 4, actions: tuple[int, int] = (3, 2), discount: float = 0.9, rationality: float = 1.0
) -> Game:
    rng = np.random.default_rng(seed)
    transitions = rng.dirichlet(np.ones(states), size=(states, *actions))
    rewards = rng.normal(size=(2, states, *actions))
    return Game(transitions, rewards, discount, rationality)


def marginals(game: Game, policies: list[np.ndarray], agent: int) -> tuple[np.ndarray, np.ndarray]:
    """Reward ``(S, A)`` and transitions ``(S, A, S)`` that ``agent`` faces when the other plays its policy."""
    if agent == 0:
        reward = np.einsum("sab,sb->sa", game.rewards[0], policies[1])
        return reward, np.einsum("sabt,sb->sat", game.transitions, policies[1])
    reward = np.einsum("sab,sa->sb", game.rewards[1], policies[0])
    return reward, np.einsum("sabt,sa->sbt", game.transitions, policies[0])


def soft_equilibrium(game: Game, iterations: int = 4000, damping: float = 0.3) -> list[np.ndarray]:
    """Policies ``[(S, A0), (S, A1)]`` that are soft best responses to each other (damped iteration; checked)."""
    lam = game.rationality
    q = [np.zeros((game.states, a)) for a in game.actions]

    def policy(values: np.ndarray) -> np.ndarray:
        exponent = np.exp(lam * (values - values.max(-1, keepdims=True)))
        return exponent / exponent.sum(-1, keepdims=True)

    def backup(values: list[np.ndarray], agent: int) -> np.ndarray:
        reward, transition = marginals(game, [policy(v) for v in values], agent)
        top = values[agent].max(-1)
        value = top + np.log(np.exp(lam * (values[agent] - top[:, None])).sum(-1)) / lam
        return reward + game.discount * transition @ value

    for _ in range(iterations):
        q = [(1 - damping) * q[i] + damping * backup(q, i) for i in range(2)]
    residual = max(np.abs(backup(q, i) - q[i]).max() for i in range(2))
    assert residual < 1e-8, f"no equilibrium found: residual {residual}"
    return [policy(values) for values in q]


def occupancy(game: Game, policies: list[np.ndarray]) -> np.ndarray:
    """Normalised discounted state occupancy from a uniform start, ``(S,)``."""
    joint = np.einsum("sa,sb,sabt->st", policies[0], policies[1], game.transitions)
    start = np.full(game.states, 1.0 / game.states)
    identity = np.eye(game.states)
    return (1 - game.discount) * np.linalg.solve((identity - game.discount * joint).T, start)


def all_rows(game: Game, policies: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Every (s, a0, a1, s') with its probability under the expert: a dataset without sampling error."""
    s, a, b, t = (axis.ravel() for axis in np.meshgrid(*(np.arange(n) for n in game.transitions.shape), indexing="ij"))
    weight = occupancy(game, policies)[s] * policies[0][s, a] * policies[1][s, b] * game.transitions[s, a, b, t]
    return {"s": s, "actions": np.stack([a, b]), "next": t, "weight": weight}


def remove_shaping(game: Game, reward: np.ndarray, transition: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """What is left of a reward ``(S, A)`` after the best potential is taken out (weighted least squares).

    ``R + gamma E[Phi(s')] - Phi(s)`` explains the same behaviour for every potential: two rewards agree up to
    shaping exactly if these remainders agree.
    """
    states, actions = reward.shape
    shaping = game.discount * transition - np.eye(states)[:, None, :]
    basis = shaping.reshape(states * actions, states)
    root = np.sqrt(weight).reshape(-1)
    potential, *_ = np.linalg.lstsq(basis * root[:, None], reward.reshape(-1) * root, rcond=None)
    return (reward.reshape(-1) - basis @ potential).reshape(states, actions)
