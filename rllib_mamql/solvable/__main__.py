"""Prints what may be believed of a recovered reward: ``python -m rllib_mamql.solvable``.

The tables of ``docs/results/identifiability.md``, in Markdown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from rllib_mamql.rewards.metrics import epic_tabular
from rllib_mamql.solvable import (
    EXAMPLES,
    Evidence,
    Game,
    all_rows,
    another_law,
    estimate,
    estimated_evidence,
    evidence,
    exploitability,
    front,
    identify,
    implied_reward,
    marginals,
    pursuit,
    random_game,
    sample_steps,
    soft_equilibrium,
    sparsest,
    state_only,
    with_rewards,
)
from rllib_mamql.solvable.equilibrium import boltzmann
from rllib_mamql.solvable.examples import KINDS
from rllib_mamql.solvable.fitting import fit_marginal, total_variation
from rllib_mamql.solvable.game import Array
from rllib_mamql.solvable.gauge import sparsest_is_unique

SAMPLES = 300_000
SIZES = (4_000, 16_000, 64_000, 256_000)
SEEDS = 8


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "| --- " * len(heads) + "|"]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _largest(values: Iterable[float]) -> str:
    return f"{max(values):.2g}"


def _gauged(game: Game, samples: int | None) -> tuple[list[dict[str, float]], bool, bool]:
    """EPIC distances by gauge an agent; whether the true reward is the sparsest; whether one state reward fits best."""
    policies = soft_equilibrium(game).policies
    steps = all_rows(game, policies) if samples is None else sample_steps(game, policies, samples, 0, chains=5_000)
    distances, unique, state = [], True, True
    for agent in range(game.agents):
        true, transition = marginals(game, policies, agent)
        unique &= sparsest_is_unique(true, transition, game.discount)
        state &= state_only(true, transition, game.discount).undetermined == 1
        if samples is not None:
            transition = estimate(game, steps, agent)[1]
        implied = implied_reward(fit_marginal(game, steps, agent), transition, game.discount, game.rationality)
        rewards = {
            "none": implied,
            "sparse": sparsest(implied, transition, game.discount).reward,
            "state": state_only(implied, transition, game.discount).reward,
        }
        distances.append({name: epic_tabular(one, true, game.discount) for name, one in rewards.items()})
    return distances, unique, state


def policies() -> str:
    """How close recovered policies are, and what a best response would gain against them."""
    games = {f"{name}, {agents} agents": make(agents=agents) for name, make in EXAMPLES.items() for agents in (2, 3)}
    games |= {f"random, {kind}": random_game(3, kind=kind, actions=(3, 2, 4)) for kind in KINDS}
    games |= {"front, 1 against 1 (zero-sum)": front(), "front, 2 against 2 (zero-sum)": front((2, 2))}
    rows: list[list[object]] = []
    for name, game in games.items():
        experts = soft_equilibrium(game).policies
        random = [np.full_like(policy, 1.0 / policy.shape[1]) for policy in experts]
        for exact in (True, False):
            steps = all_rows(game, experts) if exact else sample_steps(game, experts, SAMPLES, 0, chains=5_000)
            found = [boltzmann(fit_marginal(game, steps, agent), game.rationality) for agent in range(game.agents)]
            worst = max(float(total_variation(*pair).max()) for pair in zip(found, experts, strict=True))
            plain = [f"{exploitability(game, each):.3f}" for each in (experts, found, random)]
            left = f"{exploitability(game, found, regularised=True):.1e}"
            rows.append([name, "exact" if exact else f"{SAMPLES:,} steps", f"{worst:.1e}", *plain, left])
    heads = ["game", "data", "policy TV, worst", "exploitability, experts", "recovered", "random play"]
    return _table([*heads, "recovered, regularised"], rows)


def gauges() -> str:
    """Which gauge recovers which reward from critics that the objective fitted."""
    games = {
        "pursuit, 2 agents (state reward)": pursuit(2, 3),
        "pursuit, 3 agents (state reward)": pursuit(3, 3),
        "random, state rewards": with_rewards(random_game(0), "state", 0),
        "pursuit, sparse rewards": with_rewards(pursuit(), "sparse", 1),
        "congestion, sparse rewards": with_rewards(EXAMPLES["congestion"](), "sparse", 1),
        "random, 3 agents, sparse rewards": with_rewards(random_game(1, states=5, actions=(3, 2, 3)), "sparse", 1),
        "random, dense rewards": random_game(0),
        "front, 1 against 1 (state reward)": front(),
    }
    rows: list[list[object]] = []
    for name, game in games.items():
        for samples in (None, SAMPLES):
            distances, unique, state = _gauged(game, samples)
            data = "exact" if samples is None else f"{samples:,} steps"
            marks = ["yes" if unique else "no", "yes" if state else "no"]
            rows.append([name, data, *marks, *(_largest(d[g] for d in distances) for g in ("none", "sparse", "state"))])
    heads = ["game", "data", "truth is the sparsest", "state rewards show", "EPIC, no gauge", "sparse", "state-only"]
    return _table(heads, rows)


def _environments(game: Game) -> dict[str, tuple[list[Game], str]]:
    """Sets of environments with the same reward, and the family in which it is sought."""
    laws = [game, *(another_law(game, 100 + k) for k in range(6))]
    own = with_rewards(game, "own", 0)
    idle = replace(own, transitions=np.broadcast_to(own.transitions[:, :1, :1], own.transitions.shape).copy())
    return {
        "one; R(s, a_i)": ([own], "own"),
        "two discounts (0.9, 0.5); R(s, a_i)": ([own, replace(own, discount=0.5)], "own"),
        "two transition laws; R(s, a_i)": ([own, another_law(own, 100)], "own"),
        "two discounts, no action moves the state; R(s, a_i)": ([idle, replace(idle, discount=0.5)], "own"),
        "two transition laws; R(s, a_i, a_-i) taken for R(s, a_i)": (laws[:2], "own"),
        "two transition laws; R(s, a_i, a_-i)": (laws[:2], "joint"),
        "three transition laws; R(s, a_i, a_-i)": (laws[:3], "joint"),
        "six transition laws; R(s, a_i, a_-i)": (laws[:6], "joint"),
    }


def _seen(games: Sequence[Game], agent: int) -> list[Evidence]:
    return [evidence(game, soft_equilibrium(game).policies, agent) for game in games]


def environments() -> str:
    """What one and more environments identify, exactly."""
    rows: list[list[object]] = []
    for name, (games, family) in _environments(random_game(0)).items():
        for agent, count in enumerate(games[0].actions):
            found = identify(_seen(games, agent), family)
            true = marginals(games[0], soft_equilibrium(games[0]).policies, agent)[0]
            distance = epic_tabular(found.reward, true, games[0].discount)
            numbers = [f"{found.residual:.1g}", f"{found.conditioning:.1g}", f"{distance:.1g}"]
            rows.append([name, f"{agent} ({count} actions)", found.undetermined, *numbers])
    return _table(["environments; reward", "agent", "undetermined", "misfit", "conditioning", "EPIC"], rows)


def _error(games: Sequence[Game], policies: Sequence[Sequence[Array]], family: str, steps: int) -> float:
    """Root mean squared distance from the true reward, up to what is undetermined, over seeds."""
    true = marginals(games[0], policies[0], 0)[0]
    squares = []
    for seed in range(SEEDS):
        seen = []
        for index, (game, own) in enumerate(zip(games, policies, strict=True)):
            data = sample_steps(game, own, steps, 10 * seed + index, chains=2_000)
            seen.append(estimated_evidence(game, data, 0))
        squares.append(identify(seen, family).distance(true) ** 2)
    return float(np.sqrt(np.mean(squares)))


def samples() -> str:
    """How the error falls with the sample."""
    game = with_rewards(random_game(0), "own", 0)
    cases = {
        "state reward, one environment (pursuit)": ([pursuit(2, 3)], "state"),
        "two transition laws": ([game, another_law(game, 50)], "own"),
        "two discounts (0.9, 0.5)": ([game, replace(game, discount=0.5)], "own"),
    }
    rows: list[list[object]] = []
    for name, (games, family) in cases.items():
        policies = [soft_equilibrium(one).policies for one in games]
        errors = [_error(games, policies, family, steps) for steps in SIZES]
        exponent = np.polyfit(np.log(SIZES), np.log(errors), 1)[0]
        spread = float(np.std(marginals(games[0], policies[0], 0)[0]))
        rows.append([name, f"{spread:.2f}", *(f"{error:.3f}" for error in errors), f"{exponent:.2f}"])
    return _table(["what identifies", "true sd", *(f"{steps:,} steps" for steps in SIZES), "exponent"], rows)


if __name__ == "__main__":
    for section in (policies, gauges, environments, samples):
        print(f"<!-- {section.__name__} -->\n{section()}", flush=True)
