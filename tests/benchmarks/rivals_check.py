"""What MAMQL's rivals reach: ``python tests/benchmarks/rivals_check.py exact cartpole gems``, or some of these.

Rows are added to docs/results/rivals.jsonl, runs that it has are not repeated, and docs/results/rivals.md is written
from what there is; without a part only that. ``--ways`` and ``--seeds`` choose runs, ``--set key=value`` changes
settings of them (value in JSON), which the row then says.

* exact: every algorithm's own loss, on tables, with all steps of solved games at their probabilities; how far are the
  policies that come out from the experts'?
* cartpole: one agent (tests/support/cart_pole.py), from steps of a scripted controller. ``--demonstrations FILE``
  writes these for tests/benchmarks/rivals_imitation.py, which runs other people's code on them.
* gems: environment, data, encoder and budget of tuned_examples/gems.yaml; trials.
"""

from __future__ import annotations

import argparse
import functools
import json
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import ray
import torch

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from rllib_mamql.cli.experiment import Overrides, load_experiments
from rllib_mamql.columns import ACTIONS, NEXT_OBS, OBS, TERMINATEDS, column
from rllib_mamql.data.reading import read_dataset
from rllib_mamql.evaluation.evaluate import evaluate_checkpoint
from rllib_mamql.evaluation.record import record_dataset
from rllib_mamql.solvable import EXAMPLES, Game, random_game, soft_equilibrium
from rllib_mamql.solvable.examples import KINDS
from tests.benchmarks.cloning_study import KEPT, read
from tests.benchmarks.measuring import ROOT, experiment_of
from tests.support import cart_pole
from tests.support.tabular import uniform
from tests.support.tabular_rivals import Policies, distances, iq_learn, mifq, sqil

RESULTS = ROOT / "docs/results/rivals.jsonl"
PAGE = ROOT / "docs/results/rivals.md"
Row = dict[str, Any]
Job = tuple[Row, Callable[[], Row]]
"""What tells a run from others, and what makes it."""

# -- solved games -------------------------------------------------------------------------------------------------

PRODUCT = 50.0
"""Of the chi^2 scale and the rationality, at their defaults: policies hang on the product alone."""
EXACT: dict[str, Callable[[Game, Any], Policies]] = {
    "uniform policies": lambda game, experts: uniform(game),
    "IQLearnMA": lambda game, experts: iq_learn(game, experts, "independent"),
    "IQLearnMA, rollouts of random play": lambda game, experts: iq_learn(
        game, experts, "independent", rollouts=uniform(game)
    ),
    "IQLearnMA, chi^2 as by default": lambda game, experts: iq_learn(
        game, experts, "independent", scale=PRODUCT / game.rationality
    ),
    "IQLearnMA, joint": lambda game, experts: iq_learn(game, experts, "joint", iterations=200),
    "MIFQ": lambda game, experts: mifq(game, experts, 0, iterations=200),
    "MIFQ, all weights learned": lambda game, experts: mifq(game, experts, 0, equal=0.0, iterations=200),
    "MIFQ, 32 units": lambda game, experts: mifq(game, experts, 32, iterations=200),
    "SQIL, rationality 1": lambda game, experts: sqil(game, experts),
    "SQIL, the game's rationality": lambda game, experts: sqil(game, experts, rationality=game.rationality),
}


def games() -> dict[str, Game]:
    structured = {
        f"{name}, {agents} agents": make(agents=agents, actions=3)
        for name, make in EXAMPLES.items()
        for agents in (2, 3)
    }
    return structured | {f"random, {kind}": random_game(3, kind=kind, actions=(3, 2, 3)) for kind in KINDS}


def exact(ways: list[str] | None, seeds: int, sets: Row) -> Iterator[Job]:
    """Nothing is drawn here: there are no seeds, and no settings to change."""
    for name, game in games().items():
        for way in chosen(EXACT, ways):
            yield {"part": "exact", "game": name, "way": way}, functools.partial(exact_row, game, EXACT[way])


def exact_row(game: Game, fit: Callable[[Game, Any], Policies]) -> Row:
    experts = soft_equilibrium(game).policies
    worst, mean = distances(game, fit(game, experts), experts)
    return {"worst": float(f"{worst:.3g}"), "mean": float(f"{mean:.3g}")}


# -- CartPole -----------------------------------------------------------------------------------------------------

STEPS = 500
OFFLINE = {"mode": "offline", "rationality": 1000.0, "chi_square_states": "expert", "offline_updates": 2000}
"""As IQ-Learn's authors run it on CartPole: no rollouts, temperature 0.001."""
CARTPOLE: dict[str, Row] = {
    "MABC": {"run": "MABC"},
    "MAMQL": {"run": "MAMQL"},
    "IQLearnMA, offline": {"run": "IQLearnMA", **OFFLINE},
    "IQLearnMA": {"run": "IQLearnMA"},
    "MIFQ": {"run": "MIFQ"},
    "SQIL": {"run": "SQIL"},
    "MAGAIL": {"run": "MAGAIL"},
    "MAAIRL": {"run": "MAAIRL"},
}
ADVERSARIAL = ("MAGAIL", "MAAIRL")
MORE_STEPS = 10
"""Environment steps that adversarial methods may use, for each of the others'."""
SIZES = (500, 50)
"""Steps of demonstration."""


def cartpole(ways: list[str] | None, seeds: int, sets: Row) -> Iterator[Job]:
    cart_pole.register()
    for seed in range(seeds):
        for steps in SIZES:
            for way in chosen(CARTPOLE, ways):
                cell = {"part": "cartpole", "steps": steps, "way": way, "seed": seed} | with_sets(sets)
                yield cell, functools.partial(cartpole_row, CARTPOLE[way], steps, seed, sets)


def times(way: Row) -> int:
    """How many times the others' environment steps a way has."""
    return MORE_STEPS if way["run"] in ADVERSARIAL else 1


def record(folder: pathlib.Path) -> str:
    record_dataset(cart_pole.NAME, {}, "scripted", STEPS, 0, folder)
    return str(folder)


def cartpole_row(way: Row, steps: int, seed: int, sets: Row) -> Row:
    with tempfile.TemporaryDirectory() as name:
        budget = {} if way["run"] in ("MABC", *ADVERSARIAL) else {"updates_per_step": 1.0}
        config = {
            "input_": record(pathlib.Path(name) / "data"),
            "model_config": {"fcnet_hiddens": [64, 64]},
            "expert_steps": steps,
            **budget,
            **{key: value for key, value in way.items() if key != "run"},
        }
        document = {
            "run": way["run"],
            "env": cart_pole.NAME,
            "stop": {"training_iteration": 5 * times(way)},
            "config": config,
        }
        return train_and_score(document, seed, 50, sets)


def demonstrations(out: pathlib.Path) -> None:
    """Writes the controller's steps as plain arrays."""
    cart_pole.register()
    with tempfile.TemporaryDirectory() as name:
        columns = read_dataset(record(pathlib.Path(name) / "data")).columns
    names = {"obs": OBS, "next_obs": NEXT_OBS, "acts": ACTIONS, "dones": TERMINATEDS}
    np.savez(out, **{key: columns[column(prefix, cart_pole.AGENT)] for key, prefix in names.items()})  # type: ignore[arg-type]


# -- Gems ---------------------------------------------------------------------------------------------------------

GEMS: dict[str, Row] = {
    "MAMQL": {"run": "MAMQL"},
    "IQLearnMA": {"run": "IQLearnMA"},
    "IQLearnMA, joint": {"run": "IQLearnMA", "critic": "joint"},
    "MIFQ": {"run": "MIFQ"},
    "SQIL": {"run": "SQIL"},
    "MAGAIL": {"run": "MAGAIL"},
    "MAAIRL": {"run": "MAAIRL"},
}


def gems(ways: list[str] | None, seeds: int, sets: Row) -> Iterator[Job]:
    for seed in range(seeds):
        for way in chosen(GEMS, ways):
            cell = {"part": "gems", "steps": 1000, "way": way, "seed": seed} | with_sets(sets)
            yield cell, functools.partial(gems_row, GEMS[way], seed, sets)


def gems_row(way: Row, seed: int, sets: Row) -> Row:
    (found,) = load_experiments(ROOT / "tuned_examples/gems.yaml", Overrides())
    settings = found.settings
    config = {key: value for key, value in settings.config.items() if key in (*KEPT, "expert_steps")}
    config["input_"] = str(ROOT / config["input_"])
    config |= {key: value for key, value in way.items() if key != "run"}
    if way["run"] in ADVERSARIAL:
        # A round in each iteration; how often its steps are learned from is theirs.
        del config["updates_per_step"]
        config["train_batch_size_per_learner"] = config["min_sample_timesteps_per_iteration"]
    stop = {"training_iteration": settings.stop["training_iteration"] * times(way)}
    document = {"run": way["run"], "env": settings.env, "stop": stop, "config": config}
    return train_and_score(document, seed, 500, sets)


# -- training -----------------------------------------------------------------------------------------------------


def chosen(known: dict[str, Any], ways: list[str] | None) -> list[str]:
    return [way for way in known if ways is None or way in ways]


def with_sets(sets: Row) -> Row:
    return {"set": sets} if sets else {}


def train_and_score(document: Row, seed: int, episodes: int, sets: Row) -> Row:
    """Trains in this process and scores the last iterate; ``iterations`` among ``sets`` is how long."""
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, ignore_reinit_error=True)
    sets = dict(sets)
    iterations = int(sets.pop("iterations", document["stop"]["training_iteration"]))
    document = {**document, "config": {**document["config"], **sets, "seed": seed}}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "experiment.yaml").write_text(json.dumps({"check": document}))
        algorithm = experiment_of(folder / "experiment.yaml", Overrides())[0].build_algo()
        began, done, env_steps = time.monotonic(), False, 0
        try:
            # A clone ends by itself.
            while not done and (document["run"] == "MABC" or algorithm.iteration < iterations):
                result = algorithm.train()
                done = bool(result.get("done"))
                env_steps = int(result.get("env_runners", {}).get("num_env_steps_sampled_lifetime", 0))
            took = time.monotonic() - began
            updates = algorithm.learner_group._learner.updates
            (folder / "checkpoint").mkdir()
            algorithm.save_checkpoint(str(folder / "checkpoint"))
        finally:
            algorithm.stop()
        found = evaluate_checkpoint(folder / "checkpoint", episodes=episodes, seed=seed + 1000)
    scores = {"return": round(found.return_mean, 3), "expert": found.expert_return, "random": found.random_return}
    return scores | {"updates": updates, "env_steps": env_steps, "train_s": round(took, 1)}


# -- the page -----------------------------------------------------------------------------------------------------

HEAD = """# MAMQL's rivals, checked

`python tests/benchmarks/rivals_check.py exact cartpole gems` makes the runs that docs/results/rivals.jsonl lacks, and
writes this page. What the rivals are stands in [rivals.md](../rivals.md).
"""


def page(rows: list[Row]) -> str:
    parts = {name: [row for row in rows if row["part"] == name] for name in ("exact", "cartpole", "imitation", "gems")}
    return "\n".join([HEAD, *exact_lines(parts["exact"]), *cartpole_lines(parts), *gems_lines(parts["gems"])]) + "\n"


def exact_lines(rows: list[Row]) -> list[str]:
    worst = {(row["way"], row["game"]): row["worst"] for row in rows}
    names, ways = (
        list(dict.fromkeys(row["game"] for row in rows)),
        [way for way in EXACT if any(way in key for key in worst)],
    )
    return [
        "## On solved games",
        "",
        "Total variation from the experts' policies, in the worst state of any agent, in [0, 1]. Each algorithm's own",
        "loss on tables, minimised by L-BFGS on all steps of the experts at their probabilities; chi^2 is weak",
        "(c = 10,000) where nothing else is said.",
        "",
        "| loss | " + " | ".join(names) + " |",
        "| --- |" + " --- |" * len(names),
        *(
            f"| {way} | "
            + " | ".join(f"{worst[way, name]:.2g}" if (way, name) in worst else "" for name in names)
            + " |"
            for way in ways
        ),
        "",
        EXACT_NOTE,
    ]


EXACT_NOTE = """Inverse soft Q-learning of each agent finds the experts' policies, with critics of own and of joint
actions, offline and with rollouts by others; the penalty at its default strength (c times the
rationality is 50) moves them by less than 0.004. SQIL converges to policies that are not the experts':
its reward is 1 where experts are more often than its own play, which is not what the experts were paid
by; `uniform policies` says how far that is.

MIFQ learns its mixing weights by the objective of the agents. Where all of them are learned, by a
softmax, the weight goes to the agent whose actions are easiest to explain, and the others' policies stay
where they were. With half of the weight dealt out equally (the default), and linear mixing, the experts'
policies are the optimum. With a layer of 32 units between they are not.

MAAIRL's discriminator, with a reward of states alone, finds the true reward of a deterministic game up to a
constant, times the rationality, where rollouts are by the experts' policies: tests/unit/test_adversarial.py asserts
that it is within 1% of the reward's range. Its training and MAGAIL's as a whole were not run on these games."""


def returns_table(rows: list[Row], by: str, heads: tuple[str, ...]) -> list[str]:
    """One line for each way and its settings, one column for each value of ``by``; all seeds in a cell."""
    values = list(dict.fromkeys(row[by] for row in rows))
    labels: dict[str, dict[Any, list[Row]]] = {}
    for row in rows:
        changed = ", ".join(f"`{key}: {json.dumps(value)}`" for key, value in row.get("set", {}).items())
        label = row["way"] + (f" with {changed}" if changed else "")
        labels.setdefault(label, {}).setdefault(row[by], []).append(row)
    lines = ["| " + " | ".join(heads) + " |", "| " + " | ".join("---" for _ in heads) + " |"]
    for label, cells in labels.items():
        shown = [" / ".join(f"{row['return']:.4g}" for row in cells.get(value, [])) for value in values]
        one = next(iter(cells.values()))[0]
        effort = f"{one['updates']:,}" if "updates" in one else ""
        played = f"{one['env_steps']:,}" if "env_steps" in one else ""
        lines.append(f"| {label} | " + " | ".join(shown) + f" | {played} | {effort} | {one['train_s']:.0f} s |")
    return [*lines, ""]


IMITATION_NOTE = [
    "Lines of `imitation` are that package's own algorithms, version 1.0.1 (tests/benchmarks/rivals_imitation.py).",
]


def cartpole_lines(parts: dict[str, list[Row]]) -> list[str]:
    rows = parts["cartpole"] + parts["imitation"]
    if not rows:
        return []
    heads = ("algorithm", *(f"{steps} steps" for steps in dict.fromkeys(row["steps"] for row in rows)))
    return [
        "",
        "## One agent: CartPole",
        "",
        "Trials, not a study. Mean return of 50 episodes, one number a seed; the expert, a scripted controller,",
        "returns 500, random play about 20. Networks of 64 x 64 units, one gradient step for each environment step.",
        "Adversarial methods have ten times the environment steps; their updates are the discriminators'.",
        *(IMITATION_NOTE if parts["imitation"] else []),
        "",
        *returns_table(rows, "steps", (*heads, "env steps", "updates", "training")),
    ]


def gems_lines(rows: list[Row]) -> list[str]:
    if not rows:
        return []
    return [
        "",
        "## Gems, 1,000 steps: trials",
        "",
        "Trials of one to three seeds, not a study. Mean return an agent of 500 episodes, one number a seed; the",
        "scripted expert returns 13.25, random play 0.4. Environment, data, encoder, sharing and (unless said) budget",
        "are those of `tuned_examples/gems.yaml`; all else is each algorithm's default.",
        "",
        *returns_table(rows, "steps", ("algorithm", "return", "env steps", "updates", "training")),
    ]


PARTS = {"exact": exact, "cartpole": cartpole, "gems": gems}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--ways", nargs="+")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], help="key=value, value in JSON")
    parser.add_argument("--demonstrations", type=pathlib.Path, help="write CartPole's steps to this .npz and stop")
    arguments = parser.parse_args()
    if arguments.demonstrations:
        demonstrations(arguments.demonstrations)
        return
    torch.set_num_threads(1)
    sets = {key: json.loads(value) for key, value in (text.split("=", 1) for text in arguments.set)}
    for part in arguments.parts:
        for cell, make in PARTS[part](arguments.ways, arguments.seeds, sets):
            if any({key: row.get(key) for key in ("set", *cell)} == {"set": None} | cell for row in read(RESULTS)):
                continue
            row = cell | make()
            print(json.dumps(row), flush=True)
            with RESULTS.open("a") as out:
                out.write(json.dumps(row) + "\n")
    PAGE.write_text(page(read(RESULTS)))


if __name__ == "__main__":
    main()
