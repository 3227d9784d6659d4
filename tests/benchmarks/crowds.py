"""Marginals over many agents, on games solved by counts: ``python tests/benchmarks/crowds.py``.

For 8 to 64 agents and three congestion games, random by seed, agent 0's marginal critic is known exactly. Held against
it are the marginal critic (``data``), a joint critic with 1 or 5 samples of a_-i, and a mean-field critic, which sees
how often the others are expected to take each action. Cells are kept in ``docs/results/many_agents.jsonl`` as they are
measured, and are not measured again; the page ``docs/results/many_agents.md`` is written from all of them.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rllib_mamql.algorithms.mamql import objective
from rllib_mamql.networks.heads import JointHead, MarginalCritic, MeanFieldHead
from rllib_mamql.solvable.anonymous import (
    AnonymousGame,
    anonymous_equilibrium,
    at_mean_counts,
    faced,
    joint_critic,
    marginal,
    visited,
)
from rllib_mamql.solvable.crowds import CROWDS
from rllib_mamql.solvable.equilibrium import Equilibrium, boltzmann, soft_values
from rllib_mamql.solvable.estimates import estimates
from rllib_mamql.solvable.fitting import CHI_SQUARE_SCALE, Rows, loss_of_tables, total_variation
from rllib_mamql.solvable.gauge import implied_reward, remove_shaping

ROOT = pathlib.Path(__file__).parents[2]
OUT = ROOT / "docs" / "results" / "many_agents.jsonl"
SIZES = (8, 16, 32, 64)
METHODS = ("data", "1", "5", "mean field")
HEADS = {"data": "marginal", "1": "K = 1", "5": "K = 5", "mean field": "mean field"}
UPDATES = 300
STEPS = 20_000
WIDTH = 32
ADVICE = """**What to choose with many agents: `critic: marginal`, the default.** Its policies are within 0.01 of the
experts' (total variation) with 8 agents as with 64, for 2 ms an update whatever their number: the data take the
expectation over the others. `critic: joint` cannot enumerate (3^63 joint actions) and has to sample: in `sharing` and
`capacity` the error of its policies grows with the agents (one sample: from 0.02 to 0.08 and 0.06; five: from 0.01 to
0.03 and 0.02), that of its rewards in all three games, and an update takes nine times as long with 64. Five samples
mostly cut the error of one to between a third and two thirds at the same cost here: take no single one. `critic:
mean_field` learns policies as good as the marginal critic's at 1.2 to 1.9 times its cost, for where it is trained,
at the expected frequencies, it is a function of the state as well; its rewards are worse in `channels`. What it adds,
values at other frequencies, may be believed only where no single agent matters: with the true joint critic its error
falls as 1 / n in `sharing`, and stays near half a reward unit in `capacity` and `channels`, where five samples are as
near or nearer. Take it to ask what an agent would do if a smooth crowd behaved otherwise.
"""
SHOWN = 4_000
"""Draws of joint actions with which a learned joint critic is marginalised when all is done."""


# -- with the true joint critic ---------------------------------------------------------------------------


def study_estimates(game: AnonymousGame, found: Equilibrium, seed: int) -> dict[str, dict[str, float]]:
    """Errors of each estimate of agent 0's marginal critic, weighted by the states of the experts' play."""
    others, lam = game.others_of(0, found.policies), game.rationality
    joint = joint_critic(game, 0, found.values[0])
    exact, weight = marginal(joint, others), visited(game, found.policies)
    variance = marginal((joint - exact[..., None]) ** 2, others).mean(-1)
    result = {"data": {"q_error": 0.0, "bias": 0.0, "policy_tv": 0.0}}
    for samples in (1, 5):
        one = estimates(np.moveaxis(joint, 1, -1), others, lam, samples, seed)
        result[str(samples)] = {
            "q_error": float(np.sqrt(weight @ variance / samples)),
            "bias": float(weight @ one["bias"]),
            "policy_tv": float(weight @ total_variation(one["policy"], boltzmann(exact, lam))),
        }
    numbers = np.array(game.kinds) - (np.arange(len(game.kinds)) == 0)
    guess = at_mean_counts(joint, np.einsum("k,ksa->sa", numbers, np.stack(found.policies)))
    result["mean field"] = {
        "q_error": float(np.sqrt(weight @ ((guess - exact) ** 2).mean(-1))),
        "bias": float(weight @ (soft_values(guess, lam) - soft_values(exact, lam))),
        "policy_tv": float(weight @ total_variation(boltzmann(guess, lam), boltzmann(exact, lam))),
    }
    return result


# -- learned from demonstrations --------------------------------------------------------------------------


def demonstrated(game: AnonymousGame, found: Equilibrium, seed: int) -> Rows:
    """Agent 0's distinct transitions in ``STEPS`` steps, drawn as often as the discounted occupancy says."""
    transition = faced(game, 0, found.policies)[1]
    chances = visited(game, found.policies)[:, None, None] * found.policies[0][..., None] * transition
    seen = np.random.default_rng(seed).multinomial(STEPS, (chances / chances.sum()).ravel()).reshape(chances.shape)
    states, actions, next_states = (torch.as_tensor(axis) for axis in np.nonzero(seen))
    return Rows(states, actions, next_states, torch.as_tensor(seen[seen > 0] / STEPS))


def critic_of(
    method: str, game: AnonymousGame, found: Equilibrium, seed: int
) -> tuple[nn.Module, Callable[..., Tensor]]:
    """A network of the algorithm's own kind, and ``(states (N,), samples) -> Qbar (N, A)``; the others are experts."""
    states, actions = game.states, game.actions
    torch.manual_seed(seed)
    encoder = nn.Sequential(nn.Linear(states, WIDTH), nn.ReLU())
    kind_of = np.repeat(np.arange(len(game.kinds)), game.kinds)[1:]
    policies = [torch.as_tensor(found.policies[kind], dtype=torch.float32) for kind in kind_of]
    inputs = torch.eye(states)
    if method == "data":
        plain = MarginalCritic(encoder, WIDTH, actions)
        return plain, lambda rows, samples: plain(inputs[rows])
    if method == "mean field":
        field, expected = MeanFieldHead(encoder, WIDTH, actions, (actions,) * len(policies)), torch.stack(policies)
        return field, lambda rows, samples: field(inputs[rows], objective.action_frequencies(list(expected[:, rows])))
    joint = JointHead(encoder, WIDTH, actions, (actions,) * len(policies))
    generator = torch.Generator().manual_seed(seed)

    def sampled(rows: Tensor, samples: int) -> Tensor:
        drawn = [torch.multinomial(policy[rows], samples, replacement=True, generator=generator) for policy in policies]
        return objective.marginalise_sampled(joint(inputs[rows], torch.stack(drawn, dim=-1)))

    return joint, sampled


def study_training(game: AnonymousGame, found: Equilibrium, seed: int) -> dict[str, dict[str, float]]:
    """Errors of agent 0's recovered policy and reward, and the CPU time of an update."""
    rows, weight = demonstrated(game, found, seed), visited(game, found.policies)
    true, transition = faced(game, 0, found.policies)
    plain = remove_shaping(true, transition, game.discount, np.ones_like(true))
    result = {}
    for method in METHODS:
        network, q_of = critic_of(method, game, found, seed)
        samples = int(method) if method.isdigit() else 1
        optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1.0 - step / UPDATES)
        times = []
        for _ in range(UPDATES):
            start = time.process_time()
            optimiser.zero_grad()
            q, next_q = q_of(rows.states, samples), q_of(rows.next_states, samples)
            loss_of_tables(q, next_q, rows, game, CHI_SQUARE_SCALE).total.backward()
            optimiser.step()
            schedule.step()
            times.append(time.process_time() - start)
        with torch.no_grad():
            learned = q_of(torch.arange(game.states), SHOWN).double().numpy()
        implied = implied_reward(learned, transition, game.discount, game.rationality)
        left = remove_shaping(implied, transition, game.discount, np.ones_like(true))
        result[method] = {
            "policy_tv": float(weight @ total_variation(boltzmann(learned, game.rationality), found.policies[0])),
            "reward_error": float(np.sqrt(np.mean((left - plain) ** 2) / np.mean(plain**2))),
            "update_ms": 1e3 * statistics.median(times),
        }
    return result


def study(name: str, agents: int, seed: int) -> dict[str, Any]:
    """All figures of one game."""
    game = CROWDS[name](agents, seed)
    found = anonymous_equilibrium(game)
    return {
        "game": name,
        "agents": agents,
        "seed": seed,
        "residual": found.residual,
        "estimate": study_estimates(game, found, seed),
        "training": study_training(game, found, seed),
    }


# -- what is written --------------------------------------------------------------------------------------


def figure(cells: list[dict[str, Any]], part: str, method: str, key: str, spec: str) -> str:
    """Mean over seeds, and the highest where seeds differ."""
    values = [cell[part][method][key] for cell in cells]
    mean, most = format(statistics.mean(values), spec), format(max(values, key=abs), spec)
    return mean if mean == most else f"{mean} ({most})"


def rows_of(cells: list[dict[str, Any]], part: str, key: str, spec: str = ".3f") -> str:
    """A Markdown table: one row a game and number of agents, one column a method."""
    methods = [method for method in METHODS if part == "training" or method != "data"]
    heads = ["game", "agents", *(HEADS[method] for method in methods)]
    lines = ["| " + " | ".join(heads) + " |", "| --- " * len(heads) + "|"]
    for name in CROWDS:
        for agents in SIZES:
            same = [cell for cell in cells if (cell["game"], cell["agents"]) == (name, agents)]
            if same:
                figures = [figure(same, part, method, key, spec) for method in methods]
                lines.append(f"| {name} | {agents} | " + " | ".join(figures) + " |")
    return "\n".join(lines) + "\n"


def page(cells: list[dict[str, Any]]) -> str:
    """The Markdown page."""
    seeds, residual = len({cell["seed"] for cell in cells}), max(cell["residual"] for cell in cells)
    return f"""# Many agents: congestion games of 8 to 64, solved by counts

{ADVICE}
`python tests/benchmarks/crowds.py` writes this page and [the figures](many_agents.jsonl). Each figure is the mean over
{seeds} random games (seeds) of three actions, three states and three kinds of agents, at rationality 3 and discount
0.9, for agent 0; in brackets the largest, where it differs. What the others do matters only by how many take each
action, so that expectations over them are sums over at most 2,080 vectors of counts
(`rllib_mamql.solvable.anonymous`); the largest violation of the soft Bellman equations is {residual:.0e}.

| game | what an agent is paid |
| --- | --- |
| `sharing` | smooth: an action's worth falls with the share of the others that take it |
| `capacity` | sharp: the worth while at most a third of all take the action, nothing beyond |
| `channels` | single others matter: 2 to who is alone on a channel, -1 to all who collide, 1 to who waits |

In all three the next state follows from the action most taken.

| name | method |
| --- | --- |
| *marginal* | `critic: marginal`, which gives `Qbar(s, a)` itself |
| *K = 1*, *K = 5* | `critic: joint`, marginalised by so many samples of the others' actions (`marginal_samples`) |
| *mean field* | `critic: mean_field`, at the frequencies with which the others are expected to act |

## The estimate, with the true joint critic

The error that remains where the joint critic is exactly right; the marginal critic has none by definition. Between
whole counts the mean field interpolates. Root mean squared error of `Qbar(s, a)` over the states of the experts' play,
reward units:

{rows_of(cells, "estimate", "q_error")}
Bias of the soft value `Vbar(s)`, reward units. That of samples is never below 0 (Jensen); K = 1 is computed exactly:

{rows_of(cells, "estimate", "bias")}
Total variation between the policy that the estimate gives on average and the expert's:

{rows_of(cells, "estimate", "policy_tv")}
## Learned from {STEPS:,} steps

The algorithm's own networks ({WIDTH} hidden units on the state), {UPDATES} updates by Adam on agent 0's transitions,
against experts. Joint critics are marginalised by {SHOWN:,} draws when all is done. Total variation of the recovered
policy, weighted by the states of play:

{rows_of(cells, "training", "policy_tv")}
Root mean squared error of the implied reward against the true marginal one, both without shaping, as a share of the
latter:

{rows_of(cells, "training", "reward_error")}
CPU milliseconds an update, one thread:

{rows_of(cells, "training", "update_ms", ".1f")}"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--games", nargs="+", default=list(CROWDS), choices=list(CROWDS))
    parser.add_argument("--seeds", type=int, default=5, help="how many, from 0")
    parser.add_argument("--out", type=pathlib.Path, default=OUT, help="figures; the page is written beside them")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cells = [json.loads(line) for line in arguments.out.read_text().splitlines()] if arguments.out.exists() else []
    done = {(cell["game"], cell["agents"], cell["seed"]) for cell in cells}
    for seed in range(arguments.seeds):
        for agents in arguments.agents:
            for name in arguments.games:
                if (name, agents, seed) not in done:
                    cells.append(study(name, agents, seed))
                    with arguments.out.open("a") as file:
                        file.write(json.dumps(cells[-1]) + "\n")
                    print(f"{name}, {agents} agents, seed {seed}", flush=True)
    arguments.out.with_suffix(".md").write_text(page(cells))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
