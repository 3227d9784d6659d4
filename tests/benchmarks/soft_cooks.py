"""A soft-optimal pair of cooks for cramped_room: ``python tests/benchmarks/soft_cooks.py --out DIR --table FILE.npz``.

The kitchen is small enough for tables, as long as nothing lies on its counters: what is dropped there is discarded.
This writes its transitions down, solves them for the pair in which each cook is soft-optimal for the soups of both
given the other's policy, and lets the pair play in the environment itself, which gives demonstrations that are
soft-optimal for the true reward up to what lies about: there, what is dropped lies on the counter, and the pair goes
on as if the counter were empty.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import math
import pathlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mamql_envs.overcooked_kitchen import (
    DISH,
    IDLE,
    INTERACT,
    NOTHING,
    NUM_ACTIONS,
    ONION,
    READY,
    RECIPES,
    Kitchen,
    cooking,
    load_kitchen,
)
from rllib_mamql.columns import TRUNCATEDS, Array, JointColumns, column, take
from rllib_mamql.data.schema import DatasetMetadata, ReturnSummary, spaces_from_gym
from rllib_mamql.data.validation import episode_order
from rllib_mamql.data.writing import write_dataset
from rllib_mamql.environments.registry import make_batch, make_env, resolve_env_config
from rllib_mamql.evaluation.evaluate import random_returns
from rllib_mamql.evaluation.record import RANDOM_EPISODES
from rllib_mamql.play.batched import BatchedRollout
from rllib_mamql.play.returns import mean_events, return_aggregation, summarise_returns
from rllib_mamql.play.rollout import Episode

ENV, LAYOUT = "overcooked", "cramped_room"
KITCHENS = 100
SCORED_EPISODES, SCORED_HORIZON = 100, 400

ONE, TWO, THREE = (RECIPES.index((onions, 0)) for onions in (1, 2, 3))

IntArray = NDArray[np.int64]


class Tables:
    """The kitchen as one finite game with empty counters.

    A state is the pair of poses (on distinct cells), what each cook holds and what is in the pot, in this order of
    significance. A soup of one onion and one of two are alike once they cook: neither pays.

    Attributes:
        states: How many states there are.
        nxt: ``(36, states)``: the state after a joint action, by ``6 * action of cook 0 + action of cook 1``.
        paid: ``(36, states)``: how many soups of three onions are delivered.
    """

    def __init__(self, kitchen: Kitchen) -> None:
        self._pot = range(len(kitchen.places))[kitchen.pots][0]
        times = kitchen.cook_times
        assert kitchen.players == 2 and times[ONE] == times[TWO], f"{kitchen.layout.name} is not such a kitchen"
        self._held = np.array([NOTHING, ONION, DISH, READY + THREE, READY + ONE])
        on_fire = [cooking(soup, left, times) for soup in (THREE, ONE) for left in range(1, times[soup] + 1)]
        idle = [IDLE + soup for soup in (ONE, TWO, THREE)]
        self._potted = np.array([NOTHING, *idle, *on_fire, READY + THREE, READY + ONE])
        # Numbers of things among those held and those in the pot; -1 for what does not occur.
        self._held_of = _inverse(self._held, len(kitchen.things))
        self._potted_of = _inverse(self._potted, len(kitchen.things))
        for left in range(times[TWO] + 1):
            self._potted_of[cooking(TWO, left, times)] = self._potted_of[cooking(ONE, left, times)]
        self._held_of[READY + TWO] = self._held_of[READY + ONE]
        poses = range(4 * len(kitchen.floor))
        self._pairs = np.array([pair for pair in itertools.product(poses, poses) if pair[0] // 4 != pair[1] // 4])
        self._pair_of = np.full((len(poses), len(poses)), -1)
        self._pair_of[tuple(self._pairs.T)] = np.arange(len(self._pairs))
        self.states = len(self._pairs) * len(self._held) ** 2 * len(self._potted)
        self.nxt, self.paid = self._transitions(kitchen)

    def encode(self, poses: IntArray, held: IntArray, lying: IntArray) -> IntArray:
        """States ``(n,)`` of kitchens as ``OvercookedBatch.state`` gives them; what lies on counters is left out.

        Raises:
            ValueError: There is something that the tables do not know, such as a tomato.
        """
        in_hand, in_pot = self._held_of[held], self._potted_of[lying[:, self._pot]]
        if min(in_hand.min(), in_pot.min()) < 0:
            raise ValueError(f"things held {np.unique(held)} and in pots: a cook holds a tomato, or one is in a pot")
        return self._join(self._pair_of[poses[0], poses[1]], in_hand, in_pot)

    def decode(self, states: IntArray) -> tuple[IntArray, IntArray, IntArray]:
        """Poses ``(2, n)``, things held ``(2, n)`` and things in the pot ``(n,)``."""
        pair, in_hand, in_pot = self._split(states)
        return self._pairs[pair].T, self._held[in_hand], self._potted[in_pot]

    def _join(self, pair: IntArray, in_hand: IntArray, in_pot: IntArray) -> IntArray:
        size = len(self._held)
        return ((pair * size + in_hand[0]) * size + in_hand[1]) * len(self._potted) + in_pot

    def _split(self, states: IntArray) -> tuple[IntArray, IntArray, IntArray]:
        rest, in_pot = np.divmod(states, len(self._potted))
        rest, second = np.divmod(rest, len(self._held))
        pair, first = np.divmod(rest, len(self._held))
        return pair, np.array([first, second]), in_pot

    def _transitions(self, kitchen: Kitchen) -> tuple[NDArray[np.int32], NDArray[np.int8]]:
        pair, in_hand, in_pot = self._split(np.arange(self.states))
        poses = self._pairs[pair].T
        changes = self._interactions(kitchen)
        places = kitchen.faced[poses]
        ticked = self._potted_of[kitchen.after[self._potted]]
        nxt = np.empty((NUM_ACTIONS**2, self.states), np.int32)
        paid = np.zeros((NUM_ACTIONS**2, self.states), np.int8)
        for joint, actions in enumerate(itertools.product(range(NUM_ACTIONS), repeat=2)):
            hands, pot = list(in_hand), in_pot
            for cook, action in enumerate(actions):
                if action == INTERACT:
                    hands[cook], pot, soups = changes[:, places[cook], hands[cook], pot]
                    paid[joint] += soups.astype(np.int8)
            after = np.array([kitchen.moved[NUM_ACTIONS * p + a] for p, a in zip(poses, actions, strict=True)])
            old, new = poses // 4, after // 4
            blocked = (new[0] == new[1]) | ((new[0] == old[1]) & (new[1] == old[0]))
            after = np.where(blocked, 4 * old + after % 4, after)
            nxt[joint] = self._join(self._pair_of[after[0], after[1]], np.array(hands), ticked[pot])
        return nxt, paid

    def _interactions(self, kitchen: Kitchen) -> IntArray:
        """``(3, places + 1, held, potted)``: what is held and in the pot afterwards, and soups paid; last: no place."""
        shape = (len(kitchen.places) + 1, len(self._held), len(self._potted))
        changes = np.array([*np.indices(shape)[1:], np.zeros(shape, np.int64)])
        for place, (_, kind) in enumerate(kitchen.places):
            for (h, held), (p, potted) in itertools.product(enumerate(self._held), enumerate(self._potted)):
                there = potted if kind == "pot" else NOTHING
                change = kitchen.rules.get((kind, int(held), int(there)))
                if change is not None:
                    in_hand, left_there, outcome = change
                    in_pot = self._potted_of[left_there] if kind == "pot" else p
                    changes[:, place, h, p] = self._held_of[in_hand], in_pot, kitchen.rewards[0, outcome] > 0
        return changes


def _inverse(things: IntArray, count: int) -> IntArray:
    numbers = np.full(count, -1)
    numbers[things] = np.arange(len(things))
    return numbers


@dataclass(frozen=True, eq=False)
class Pair:
    """A solved pair of cooks.

    Attributes:
        soup: What a soup is worth, in nats.
        discount: Discount of a step.
        sweeps: Sweeps that it took.
        values: ``(2, states)``: soft value of each cook.
        policies: ``(2, 6, states)``: probabilities of each cook's actions.
        changes: ``(sweeps, 3)``: in each sweep the largest change of a value, and the largest and the mean distance
            of a probability from that of the response to the other's policy.
    """

    soup: float
    discount: float
    sweeps: int
    values: NDArray[np.float32]
    policies: NDArray[np.float32]
    changes: NDArray[np.float64]


def solve(tables: Tables, soup: float, discount: float, sweeps: int) -> Pair:
    """Solves for a logit equilibrium by soft value iteration of both cooks at once.

    With ``r`` the soups paid times ``soup`` and ``-i`` the other cook, each sweep sets for both cooks

        Q_i(s, a_i) = sum_{a_-i} pi_-i(a_-i | s) (r(s, a) + discount W_i(s')),  W_i(s) = log mean_{a_i} exp Q_i(s, a_i)

    and moves ``pi_i(a_i | s)`` towards the response ``exp(Q_i(s, a_i) - W_i(s)) / 6``: half of the way, in the third
    quarter of the sweeps 0.15 of it, in the last 0.05, since two cooks that respond at once chase one another. Where
    nothing changes any more, each is soft-optimal (rationality 1) for both cooks' soups given the other. Where soups
    are worth much, a few states of ten thousand do not come to rest; the mean distance is then about 1e-4.

    Args:
        tables: The kitchen.
        soup: Worth of a soup in nats, > 0.
        discount: In [0, 1).
        sweeps: At least 1.
    """
    nxt = torch.from_numpy(tables.nxt).view(NUM_ACTIONS, NUM_ACTIONS, -1)
    reward = soup * torch.from_numpy(tables.paid).float().view(NUM_ACTIONS, NUM_ACTIONS, -1)
    values = torch.zeros(2, tables.states)
    policies = torch.full((2, NUM_ACTIONS, tables.states), 1 / NUM_ACTIONS)
    changes = np.zeros((sweeps, 3))
    for sweep in range(sweeps):
        new_values, responses = torch.empty_like(values), torch.empty_like(policies)
        for cook in (0, 1):
            scores = torch.zeros(NUM_ACTIONS, tables.states)
            for own, other in itertools.product(range(NUM_ACTIONS), repeat=2):
                joint = (own, other) if cook == 0 else (other, own)
                ahead = torch.add(reward[joint], values[cook].index_select(0, nxt[joint]), alpha=discount)
                scores[own].addcmul_(policies[1 - cook, other], ahead)
            total = torch.logsumexp(scores, 0)
            new_values[cook] = total - math.log(NUM_ACTIONS)
            responses[cook] = scores.sub_(total).exp_()
        distance = (responses - policies).abs()
        changes[sweep] = (new_values - values).abs().max(), distance.max(), distance.mean()
        values = new_values
        policies.lerp_(responses, 0.5 if 2 * sweep < sweeps else 0.15 if 4 * sweep < 3 * sweeps else 0.05)
        if (sweep + 1) % 20 == 0:
            print(f"sweep {sweep + 1}: {_described(changes[sweep])}", flush=True)
    return Pair(soup, discount, sweeps, values.numpy(), policies.numpy(), changes)


def _described(changes: NDArray[np.float64]) -> str:
    value, largest, mean = changes
    return f"values change by up to {value:.4f}, probabilities are off by up to {largest:.4f}, {mean:.6f} on average"


def stored(path: pathlib.Path, tables: Tables, **settings: Any) -> Pair:
    """The pair in a file, or a new one, which is put there.

    Args:
        path: The ``.npz`` file.
        tables: The kitchen.
        **settings: Arguments of :func:`solve`.

    Raises:
        ValueError: The file holds a pair that was solved with other settings.
    """
    if not path.exists():
        pair = solve(tables, **settings)
        with path.open("wb") as file:
            np.savez(file, **{field.name: getattr(pair, field.name) for field in fields(Pair)})
        return pair
    with np.load(path, allow_pickle=False) as found:
        pair = Pair(**{name: values if values.ndim else values.item() for name, values in found.items()})
    for name, value in settings.items():
        if getattr(pair, name) != value:
            raise ValueError(f"{path} was solved with {name}={getattr(pair, name)}, not {value}: name another file")
    return pair


def draw(policies: NDArray[np.float64], rng: np.random.Generator) -> IntArray:
    """Actions ``(2, N)`` of both cooks from their probabilities ``(2, 6, N)``."""
    ends = policies.cumsum(1)
    drawn = rng.random((2, 1, policies.shape[2])) * ends[:, -1:]
    return np.asarray((ends <= drawn).sum(1))


class Cooks:
    """Plays a pair in batches of kitchens and notes the mean entropy of its policies.

    Args:
        tables: The kitchen.
        pair: The pair.
        seed: Seed of its actions.
    """

    def __init__(self, tables: Tables, pair: Pair, seed: int) -> None:
        self._tables, self._pair = tables, pair
        self._rng = np.random.default_rng(seed)
        self.entropies: list[float] = []

    def play(
        self, config: Mapping[str, Any], episodes: int, seed: int, keep: bool
    ) -> tuple[JointColumns, list[Episode], ReturnSummary]:
        """Plays whole episodes; the joint steps are in the order of the episodes, and there may be more of them."""
        rollout = BatchedRollout(functools.partial(make_env, ENV, config), make_batch(ENV, config, KITCHENS), seed)

        def act(_: Mapping[str, Array], __: Mapping[str, Array]) -> dict[str, Array]:
            policies = self._pair.policies[:, :, self._tables.encode(*rollout.batch.state)].astype(np.float64)
            self.entropies.append(float(-(policies * np.log(policies + 1e-12)).sum(1).mean()))
            return dict(zip(rollout.agents, draw(policies, self._rng), strict=True))

        try:
            columns, finished = rollout.run(act, num_episodes=episodes, keep=keep)
            summary = summarise_returns(finished, return_aggregation(rollout.envs[0]))
        finally:
            rollout.close()
        if keep:
            columns = take(columns, episode_order(columns)[0])
        return columns, finished, summary


def write(cooks: Cooks, config: Mapping[str, Any], arguments: argparse.Namespace) -> DatasetMetadata:
    """Writes a dataset of ``arguments.steps`` joint steps; the last episode is cut by truncating its last row."""
    steps, seed = arguments.steps, arguments.seed
    columns, episodes, expert_return = cooks.play(config, math.ceil(steps / config["horizon"]), seed, keep=True)
    columns = take(columns, np.arange(steps))
    env = make_env(ENV, config)
    agents = list(env.possible_agents)
    for agent in agents:
        columns[column(TRUNCATEDS, agent)][-1] = True
    options = ("steps", "soup", "discount", "sweeps", "horizon", "random_starts", "seed")
    named = " ".join(f"--{name.replace('_', '-')} {getattr(arguments, name)}" for name in options)
    metadata = DatasetMetadata(
        agents=tuple(agents),
        spaces=spaces_from_gym(
            agents, {a: env.observation_space(a) for a in agents}, {a: env.action_space(a) for a in agents}
        ),
        env=ENV,
        env_config=dict(config),
        expert=f"soft-optimal pair ({arguments.soup:g} nats a soup, discount {arguments.discount:g})",
        seed=seed,
        licence="Apache-2.0",
        command=f"python tests/benchmarks/soft_cooks.py {named}",
        expert_return=expert_return,
        expert_events=mean_events(episodes),
        random_return=random_returns(ENV, config, episodes=RANDOM_EPISODES, seed=seed),
    )
    write_dataset(columns, metadata, arguments.out)
    return metadata


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the dataset, to create")
    parser.add_argument("--table", type=pathlib.Path, help=".npz file of the solved pair: read if it exists, else made")
    parser.add_argument("--steps", type=int, default=200_000, help="joint steps to write")
    parser.add_argument("--soup", type=float, default=150.0, help="worth of a soup, in nats")
    parser.add_argument("--discount", type=float, default=0.95)
    parser.add_argument("--sweeps", type=int, default=240)
    parser.add_argument("--horizon", type=int, default=40, help="steps in an episode")
    parser.add_argument("--random-starts", type=float, default=0.0, help="share of episodes that start anywhere")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    anywhere = {"random_starts": arguments.random_starts} if arguments.random_starts > 0 else {}
    config = resolve_env_config(ENV, {"layout": LAYOUT, "horizon": arguments.horizon, **anywhere})
    make_env(ENV, config).close()

    began = time.perf_counter()
    tables = Tables(load_kitchen(LAYOUT))
    print(f"{tables.states:,} states in {time.perf_counter() - began:.0f} s")
    began = time.perf_counter()
    settings = {"soup": arguments.soup, "discount": arguments.discount, "sweeps": arguments.sweeps}
    pair = stored(arguments.table, tables, **settings) if arguments.table else solve(tables, **settings)
    print(f"solved or read in {time.perf_counter() - began:.0f} s: {_described(pair.changes[-1])}")

    scored = Cooks(tables, pair, arguments.seed)
    whole = resolve_env_config(ENV, {"layout": LAYOUT, "horizon": SCORED_HORIZON})
    _, _, summary = scored.play(whole, SCORED_EPISODES, arguments.seed, keep=False)
    low, high = summary.ci95
    print(
        f"return of {SCORED_EPISODES} episodes of {SCORED_HORIZON} steps: {summary.mean:.1f} "
        f"({low:.1f} to {high:.1f}), entropy {np.mean(scored.entropies):.2f} nats"
    )
    metadata = write(Cooks(tables, pair, arguments.seed), config, arguments)
    assert metadata.expert_return is not None and metadata.random_return is not None
    print(f"wrote {arguments.steps:,} steps to {arguments.out}: return of the pair {metadata.expert_return.mean:.2f}, "
          f"of random play {metadata.random_return.mean:.2f}; {metadata.expert_events}")  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
