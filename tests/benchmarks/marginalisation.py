"""How the others' actions are marginalised, on solvable games: ``python tests/benchmarks/marginalisation.py``.

For 2 to 5 agents with 2 to 5 actions and three games each (cooperative, competitive, mixed), whose equilibria are known
exactly, agent 0's critic is studied with four estimates of ``Qbar(s, a) = E[Q(s, a, a_-i)]``: ``data`` (the marginal
critic: the network puts out Qbar, the expectation is taken by the data), and a joint critic with 1 or 5 samples of a_-i
or with full enumeration. Writes ``docs/results/marginalisation.json``, ``.md`` and ``.png``.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import platform
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rllib_mamql.algorithms.mamql import objective
from rllib_mamql.solvable import (
    EXAMPLES,
    Equilibrium,
    Game,
    all_rows,
    evidence,
    implied_reward,
    joint_values,
    marginals,
    occupancy,
    remove_shaping,
    soft_equilibrium,
)
from rllib_mamql.solvable.equilibrium import boltzmann
from rllib_mamql.solvable.estimates import DRAWS, estimates
from rllib_mamql.solvable.fitting import (
    CHI_SQUARE_SCALE,
    Rows,
    agent_rows,
    fit_joint,
    fit_marginal,
    loss_of_tables,
    total_variation,
)

ROOT = pathlib.Path(__file__).parents[2]
METHODS = ("data", "1", "5", "full")
AGENT = 0
BATCH = 256


# -- the estimate of the soft value, with the true joint critic ------------------------------------------


def successors(game: Game, found: Equilibrium) -> np.ndarray:
    """Probabilities ``(S,)`` of s' in the experts' play."""
    visited = occupancy(game, found.policies)
    return np.asarray((visited - (1 - game.discount) * game.start) / game.discount)


def study_estimates(game: Game, found: Equilibrium, joint: np.ndarray) -> dict[str, dict[str, float]]:
    """Bias, standard deviation and policy error by K, means over s' of the experts' play."""
    others = evidence(game, found.policies, AGENT).others
    weight = successors(game, found)
    exact = boltzmann((others[..., None] * joint).sum(1), game.rationality)
    result = {}
    for samples in (1, 5):
        one = estimates(joint, others, game.rationality, samples, seed=0)
        result[str(samples)] = {
            "bias": float(weight @ one["bias"]),
            "sd": float(np.sqrt(weight @ one["variance"])),
            "policy_tv": float(weight @ total_variation(one["policy"], exact)),
        }
    return result


# -- training with each estimate -------------------------------------------------------------------------


def marginaliser(method: str, policies: list[Tensor], generator: torch.Generator) -> Callable[[Tensor, Tensor], Tensor]:
    """``(table, states (N,)) -> Qbar (N, A)``; a joint table has a column for each joint action of the others."""
    counts = [policy.shape[1] for policy in policies]

    def data(table: Tensor, states: Tensor) -> Tensor:
        return table[states]

    def full(table: Tensor, states: Tensor) -> Tensor:
        q = table[states].movedim(1, -1)
        return objective.marginalise_full(q.reshape(*q.shape[:2], *counts), [policy[states] for policy in policies])

    def sampled(table: Tensor, states: Tensor) -> Tensor:
        index = torch.zeros(len(states), int(method), dtype=torch.long)
        for policy, count in zip(policies, counts, strict=True):
            drawn = torch.multinomial(policy[states], int(method), replacement=True, generator=generator)
            index = index * count + drawn
        return objective.marginalise_sampled(table[states.unsqueeze(-1), index])

    return {"data": data, "full": full}.get(method, sampled)


class Trainer:
    """A tabular critic of agent 0 under Adam on the critic's objective.

    The rows are all transitions with their probabilities, so that the only chance is that of the sampled a_-i; the
    others' policies are the experts'.
    """

    def __init__(self, game: Game, found: Equilibrium, method: str, updates: int, seed: int = 0) -> None:
        others = [torch.as_tensor(policy) for agent, policy in enumerate(found.policies) if agent != AGENT]
        joint = int(np.prod([policy.shape[1] for policy in others]))
        own = game.actions[AGENT]
        shape = (game.states, own) if method == "data" else (game.states, joint, own)
        self.game = game
        self.table = torch.zeros(*shape, dtype=torch.float64, requires_grad=True)
        self.optimiser = torch.optim.Adam([self.table], lr=0.1)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimiser, lambda step: max(0.0, 1.0 - step / updates))
        self.marginal = marginaliser(method, others, torch.Generator().manual_seed(seed))

    def update(self, rows: Rows) -> None:
        self.optimiser.zero_grad()
        q, next_q = self.marginal(self.table, rows.states), self.marginal(self.table, rows.next_states)
        loss_of_tables(q, next_q, rows, self.game, CHI_SQUARE_SCALE).total.backward()
        self.optimiser.step()
        self.schedule.step()


def study_training(game: Game, found: Equilibrium, updates: int) -> dict[str, dict[str, Any]]:
    """Errors of the recovered policy and reward by estimate, and the bias that the learned joint critic would have."""
    rows = agent_rows(game, all_rows(game, found.policies), AGENT)
    others = evidence(game, found.policies, AGENT).others
    result = {}
    for method in METHODS:
        trainer = Trainer(game, found, method, updates)
        for _ in range(updates):
            trainer.update(rows)
        table = trainer.table.detach().numpy()
        q = table if method == "data" else (others[..., None] * table).sum(1)
        learned = None
        if method != "data":
            learned = float(successors(game, found) @ estimates(table, others, game.rationality, 1, 0)["bias"])
        result[method] = {
            "policy_tv": float(
                occupancy(game, found.policies) @ total_variation(boltzmann(q, game.rationality), found.policies[AGENT])
            ),
            "reward_error": reward_error(game, found, q),
            "one_sample_bias_learned": learned,
        }
    return result


def reward_error(game: Game, found: Equilibrium, q: np.ndarray) -> float | None:
    """Root mean squared error of the implied reward against the true one, both less shaping, as a share of the latter.

    None where the true reward is nothing but shaping.
    """
    true, transition = marginals(game, found.policies, AGENT)
    implied = implied_reward(q, transition, game.discount, game.rationality)
    weight = np.ones_like(true)
    left, right = (remove_shaping(one, transition, game.discount, weight) for one in (implied, true))
    size = float(np.sqrt(np.mean(right**2)))
    return float(np.sqrt(np.mean((left - right) ** 2))) / size if size > 1e-6 else None


def study_time(game: Game, found: Equilibrium, updates: int = 15) -> dict[str, float]:
    """Median CPU time of an update on 256 rows, in milliseconds: other work on the machine does not count."""
    rows = agent_rows(game, all_rows(game, found.policies), AGENT)
    index = torch.arange(BATCH) % len(rows.states)
    batch = Rows(*(column[index] for column in (rows.states, rows.actions, rows.next_states, rows.weights)))
    result = {}
    for method in METHODS:
        trainer, times = Trainer(game, found, method, updates), []
        for _ in range(updates):
            start = time.process_time()
            trainer.update(batch)
            times.append(time.process_time() - start)
        result[method] = 1e3 * statistics.median(times)
    return result


def study_optimum(game: Game, found: Equilibrium) -> dict[str, float]:
    """Largest total variation, over agents and states, at the objective's optimum from exact expectations."""
    steps = all_rows(game, found.policies)
    marginal = [boltzmann(fit_marginal(game, steps, agent), game.rationality) for agent in range(game.agents)]
    joint = [boltzmann(fit_joint(game, steps, agent, marginal)[1], game.rationality) for agent in range(game.agents)]
    return {
        name: max(float(total_variation(*pair).max()) for pair in zip(policies, found.policies, strict=True))
        for name, policies in (("marginal", marginal), ("joint", joint))
    }


def study(name: str, agents: int, actions: int, updates: int) -> dict[str, Any]:
    """All figures of one game."""
    game = EXAMPLES[name](agents=agents, actions=actions)
    found = soft_equilibrium(game)
    joint = joint_values(game, found.values[AGENT], AGENT)
    flat = np.moveaxis(joint, 1 + AGENT, -1).reshape(game.states, -1, actions)
    return {
        "game": name,
        "agents": agents,
        "actions": actions,
        "states": game.states,
        "estimate": study_estimates(game, found, flat),
        "optimum_tv": study_optimum(game, found),
        "training": study_training(game, found, updates),
        "update_ms": study_time(game, found),
    }


# -- what is written -------------------------------------------------------------------------------------


def mean(cells: list[dict[str, Any]], *path: str) -> float:
    """Mean over games of a figure, those without it left out; nan if none has it."""
    values = []
    for cell in cells:
        value: Any = cell
        for key in path:
            value = value[key]
        if value is not None:
            values.append(value)
    return statistics.mean(values) if values else float("nan")


def grouped(cells: list[dict[str, Any]]) -> dict[tuple[int, int], list[dict[str, Any]]]:
    keys = sorted({(cell["agents"], cell["actions"]) for cell in cells})
    return {key: [cell for cell in cells if (cell["agents"], cell["actions"]) == key] for key in keys}


def rows_of(cells: list[dict[str, Any]], columns: list[tuple[str, str, tuple[str, ...]]]) -> str:
    """A Markdown table: one row a number of agents and actions; columns are (head, format, path)."""
    heads = ["agents", "actions", *(head for head, _, _ in columns)]
    lines = ["| " + " | ".join(heads) + " |", "| --- " * len(heads) + "|"]
    for (agents, actions), same in grouped(cells).items():
        figures = [format(mean(same, *path), spec) for _, spec, path in columns]
        lines.append(f"| {agents} | {actions} | " + " | ".join(figures) + " |")
    return "\n".join(lines) + "\n"


def table(result: dict[str, Any]) -> str:
    """The Markdown page."""
    cells = result["cells"]
    worst = {kind: max(cell["optimum_tv"][kind] for cell in cells) for kind in ("marginal", "joint")}
    estimate = [
        (f"{head}, K = {k}", ".3f", ("estimate", k, key))
        for head, key in (("bias", "bias"), ("sd", "sd"), ("policy TV", "policy_tv"))
        for k in ("1", "5")
    ]
    heads = {"data": "data", "1": "K = 1", "5": "K = 5", "full": "full"}
    training = [
        (f"{what}, {heads[method]}", ".4f" if key == "policy_tv" else ".3f", ("training", method, key))
        for what, key in (("policy TV", "policy_tv"), ("reward", "reward_error"))
        for method in METHODS
    ]
    learned = [(f"bias, {heads[m]}", ".3f", ("training", m, "one_sample_bias_learned")) for m in ("1", "5", "full")]
    times = [(f"ms, {heads[method]}", ".2f", ("update_ms", method)) for method in METHODS]
    return f"""# How the others' actions are marginalised: solvable games

In short: sampling inside the log-sum-exp costs bias, which five samples cut to about a quarter, and noise, which
grows with the number of joint actions. Enumeration costs time that grows as that number. The marginal critic costs
neither.

`python tests/benchmarks/marginalisation.py` writes this page, [the figures](marginalisation.json) and [the
plot](marginalisation.png); it took {result["cpu_s"]:.0f} s of one core. Each row is the mean over three games
(coordination, pursuit, congestion) at rationality 3 and discount 0.9, for agent 0.

| name | method |
| --- | --- |
| *data* | the marginal critic, which gives `Qbar(s, a)` itself |
| *K = 1*, *K = 5* | a joint critic, marginalised by so many samples of the others' actions |
| *full* | a joint critic, marginalised by enumeration |

At the objective's optimum (full batch of exact expectations, L-BFGS) the largest total variation between learned and
expert policy over all {len(cells)} games, agents and states is {worst["marginal"]:.1e} with the marginal critic and
{worst["joint"]:.1e} with the joint one.

![figures](marginalisation.png)

## The estimate, with the true joint critic

Bias and standard deviation of `Vbar(s')` in reward units, averaged over s' of the experts' play, and total variation
between the policy that the sampled values give on average and the expert's. By Jensen's inequality the bias is never
below 0. K = 1 is computed exactly, K = 5 from {DRAWS:,} draws a state; *data* and *full* have none of the three.

{rows_of(cells, estimate)}
## Training with it

{result["updates"]} updates of a table by Adam on all transitions with their probabilities. Sampling a_-i is the only
chance in it, and *data* and *full* have none. *Policy TV* is the occupancy-weighted total variation of the recovered
policy, with the joint critic marginalised exactly. *Reward* is the root mean squared error of the implied reward
against the true marginal one, both without shaping, as a share of the true one. Its mean leaves out pursuit with 2
agents of 5 actions, whose true reward is nothing but shaping.

A table carries nothing over between joint actions. With 5 agents of 5 actions it has 625 columns. One sample touches
one of them in each row and update, so that many are seldom or never trained.

{rows_of(cells, training)}
The bias that one sample would have in `Vbar(s')`, with the joint critic that was learned:

{rows_of(cells, learned)}
## Time an update

Median CPU time of an update on {BATCH} rows in one thread, with tables in place of networks. With networks the forward
pass of the joint critic grows with K or with the number of joint actions too.

{rows_of(cells, times)}"""


def plot(cells: list[dict[str, Any]], out: pathlib.Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(13, 4), layout="constrained")
    groups = grouped(cells)
    for actions, colour in zip((2, 3, 4, 5), ("C0", "C1", "C2", "C3"), strict=True):
        for k, style in (("1", "-"), ("5", "--")):
            bias = [mean(groups[agents, actions], "estimate", k, "bias") for agents in (2, 3, 4, 5)]
            axes[0].plot((2, 3, 4, 5), bias, style, color=colour, marker="o", label=f"{actions} actions, K = {k}")
    axes[0].set(xlabel="agents", ylabel="bias of the soft value", title="True joint critic", xticks=(2, 3, 4, 5))
    axes[0].margins(y=0.3)
    axes[0].legend(fontsize="x-small", ncols=4, loc="upper left", columnspacing=0.8, handlelength=1.5)
    keys = sorted(groups, key=lambda key: key[1] ** (key[0] - 1))
    sizes = [actions ** (agents - 1) for agents, actions in keys]
    for method in METHODS:
        label = method if method in ("data", "full") else f"K = {method}"
        axes[1].plot(sizes, [mean(groups[key], "training", method, "policy_tv") for key in keys], "o", label=label)
        axes[2].plot(sizes, [mean(groups[key], "update_ms", method) for key in keys], "o", label=label)
    axes[1].set(ylabel="total variation", title="Learned policy")
    axes[1].set_yscale("symlog", linthresh=1e-4)
    axes[2].set(ylabel="ms", yscale="log", title=f"Time of an update, {BATCH} rows")
    for axis in axes[1:]:
        axis.set(xscale="log", xlabel="joint actions of the others")
        axis.legend()
    figure.savefig(out, dpi=110)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, nargs="+", default=[2, 3, 4, 5])
    parser.add_argument("--actions", type=int, nargs="+", default=[2, 3, 4, 5])
    parser.add_argument("--updates", type=int, default=200)
    parser.add_argument("--json", type=pathlib.Path, default=ROOT / "docs" / "results" / "marginalisation.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    start, cells = time.process_time(), []
    for agents in arguments.agents:
        for actions in arguments.actions:
            cells += [study(name, agents, actions, arguments.updates) for name in EXAMPLES]
            print(f"{agents} agents, {actions} actions: {time.process_time() - start:.0f} s", flush=True)
    result = {
        "schema_version": 1,
        "command": "python tests/benchmarks/marginalisation.py",
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "torch": torch.__version__},
        "updates": arguments.updates,
        "cpu_s": time.process_time() - start,
        "cells": cells,
    }
    arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    arguments.json.with_suffix(".md").write_text(table(result))
    if len(grouped(cells)) == 16:
        plot(cells, arguments.json.with_suffix(".png"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
