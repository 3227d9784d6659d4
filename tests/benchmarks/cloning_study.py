"""MAMQL, its corners and the clone on every problem and size: ``python tests/benchmarks/cloning_study.py --seeds 10``.

A row a run is added to docs/results/cloning.jsonl; runs that it has are not repeated, so that the study goes on where
it was stopped. ``--half 0`` and ``--half 1`` share the runs between two processes, ``--problem`` and ``--ways`` choose
some of them, and ``--page`` writes docs/results/cloning.md from what there is. Trials, with other settings
(``--set key=value``, ``iterations`` among them) or at other multiples of the rationality, go elsewhere: ``--out``.

Of the tuned examples only environment, data, encoder and budget are taken: every other setting is the default, the
same on all problems. Each run is scored at the rationality of training and at twice that.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy import stats

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from rllib_mamql.algorithms.registry import read_checkpoint
from rllib_mamql.cli.experiment import Overrides, load_experiments
from rllib_mamql.evaluation.decided import act_decidedly
from rllib_mamql.evaluation.evaluate import evaluate_checkpoint
from rllib_mamql.evaluation.record import record_once
from tests.benchmarks.measuring import ROOT, experiment_of
from tests.support.acting import acting_at

RESULTS = ROOT / "docs/results/cloning.jsonl"
BUDGET = ("updates_per_step", "min_sample_timesteps_per_iteration")
KEPT = ("env_config", "input_", "parameter_sharing", "model_config", *BUDGET)
"""Settings that are taken from the tuned examples: environment, data, encoder and budget."""
MULTIPLES = (1.0, 2.0)
"""Multiples of the training rationality at which runs are scored."""
WAYS: dict[str, dict[str, Any]] = {
    "MAMQL": {},
    "clone": {},
    "no rollouts": {"rollout_share": 0.0},
    "all rollouts": {"rollout_share": None},
}
"""The recipe, the clone, and MAMQL's corners; each with the settings that make it."""


@dataclass(frozen=True)
class Problem:
    """What is learned, and from how much.

    Attributes:
        example: The tuned example that has its environment, data, encoder and budget.
        sizes: Joint steps of demonstrations.
        episodes: Of each evaluation.
        env_config: Keywords of the environment that differ from the example's.
        record: Joint steps to record where no dataset is shipped, or None.
    """

    example: str
    sizes: tuple[int, ...]
    episodes: int
    env_config: dict[str, Any] = field(default_factory=dict)
    record: int | None = None


PROBLEMS = {
    "Gems": Problem("gems", (100, 250, 1000, 10_000), 500),
    "intersection, 4 vehicles": Problem("intersection", (1000, 5000), 200),
    "intersection, 6 vehicles": Problem("intersection_6", (1000, 5000), 200),
    "intersection, 8 vehicles": Problem("intersection_6", (1000, 5000), 200, {"vehicles": 8}, record=5000),
    "cramped_room": Problem("overcooked", (100, 400, 2000), 100),
    "asymmetric_advantages": Problem("overcooked_asymmetric_advantages", (100, 400, 2000), 100),
    "simple_spread": Problem("simple_spread", (500, 4000), 500),
    "speaker_listener": Problem("speaker_listener", (500, 4000), 500),
    "pursuit": Problem("pursuit", (500, 4000), 200),
}


def experiment(
    problem: Problem, size: int, way: str, seed: int, cache: pathlib.Path, sets: dict[str, Any]
) -> dict[str, Any]:
    """The experiment as a YAML file would have it."""
    (found,) = load_experiments(ROOT / "tuned_examples" / f"{problem.example}.yaml", Overrides())
    settings = found.settings
    config = {key: value for key, value in settings.config.items() if key in KEPT}
    config["input_"] = str(ROOT / config["input_"])
    config["env_config"] = {**config.get("env_config", {}), **problem.env_config}
    if problem.record is not None:
        folder = cache / f"{settings.env}-{'-'.join(map(str, problem.env_config.values()))}-{problem.record}"
        record_once(settings.env, config["env_config"], "scripted", problem.record, 0, folder)
        config["input_"] = str(folder)
    config |= {"expert_steps": size, "seed": seed} | WAYS[way] | sets
    iterations = config.pop("iterations", settings.stop.get("training_iteration"))
    if way == "clone":
        alone = {key: value for key, value in config.items() if key not in BUDGET}
        return {"run": "MABC", "env": settings.env, "config": alone}
    return {"run": "MAMQL", "env": settings.env, "stop": {"training_iteration": iterations}, "config": config}


def run(
    cell: dict[str, Any],
    cache: pathlib.Path,
    sets: dict[str, Any],
    multiples: tuple[float, ...],
    keep: pathlib.Path | None = None,
) -> dict[str, Any]:
    """Trains and scores in this process; ``keep`` is a folder for a copy of the checkpoint."""
    problem, size, way, seed = PROBLEMS[cell["problem"]], cell["steps"], cell["way"], cell["seed"]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        file = folder / "experiment.yaml"
        made = experiment(problem, size, way, seed, cache, sets)
        file.write_text(json.dumps({"study": made}))
        algorithm = experiment_of(file, Overrides())[0].build_algo()
        began = time.monotonic()
        try:
            for _ in range(int(made.get("stop", {}).get("training_iteration", 10**6))):
                if algorithm.train().get("done"):
                    break
            took = time.monotonic() - began
            updates = algorithm.course.chosen if way == "clone" else algorithm.learner_group._learner.updates
            checkpoint = folder / "checkpoint"
            checkpoint.mkdir()
            algorithm.save_checkpoint(str(checkpoint))
        finally:
            algorithm.stop()
        if keep is not None:
            shutil.copytree(checkpoint, keep / f"{problem.example}-{size}-{way}-{seed}".replace(" ", "-"))
        rationality = read_checkpoint(checkpoint).settings["rationality"]
        row: dict[str, Any] = {"updates": updates, "train_s": round(took, 1), "returns": {}, "scores": {}}
        for multiple in multiples:
            acting = acting_at(multiple * rationality, checkpoint, folder / f"acting-{multiple}")
            result = evaluate_checkpoint(acting, episodes=problem.episodes, seed=seed + 1000)
            row["returns"][str(multiple)] = round(result.return_mean, 4)
            if result.normalised_score is not None:
                row["scores"][str(multiple)] = round(result.normalised_score, 4)
        if read_checkpoint(checkpoint).settings["evaluation_rationality"] == "auto":
            multiple = act_decidedly(read_checkpoint(checkpoint), seed=seed).multiple
            if str(multiple) not in row["returns"]:
                result = evaluate_checkpoint(checkpoint, episodes=problem.episodes, seed=seed + 1000)
                row["returns"][str(multiple)] = round(result.return_mean, 4)
            row["used"] = row["returns"][str(multiple)]
        return row | {"expert": result.expert_return, "random": result.random_return, "chosen": result.chosen}


def cells(names: list[str], ways: list[str], seeds: int, sizes: list[int] | None) -> Iterator[dict[str, Any]]:
    """Runs in the order in which they are made: a seed of everything, then the next."""
    for seed in range(seeds):
        for name in names:
            for size in PROBLEMS[name].sizes:
                for way in ways:
                    if sizes is None or size in sizes:
                        yield {"problem": name, "steps": size, "way": way, "seed": seed}


def read(path: pathlib.Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


# -- the page -----------------------------------------------------------------------------------------------------


def middle(values: list[float]) -> tuple[float, float, float]:
    """Interquartile mean and its 95% bootstrap interval; the mean of all where there are fewer than four."""
    mean = stats.trim_mean(values, 0.25)
    if len(values) < 2 or min(values) == max(values):
        return mean, mean, mean
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = stats.bootstrap(
            (np.asarray(values),), lambda x, axis: stats.trim_mean(x, 0.25, axis=axis), method="percentile",
            vectorized=True, rng=np.random.default_rng(0),
        ).confidence_interval  # fmt: skip
    return mean, found.low, found.high


def in_cell(values: list[float]) -> str:
    if not values:
        return ""
    mean, low, high = middle(values)
    return f"{mean:.2f} [{low:.2f}, {high:.2f}]" if len(values) > 1 else f"{mean:.2f}"


def page(rows: list[dict[str, Any]]) -> str:
    """The results as Markdown."""
    shown: list[tuple[str, str, Callable[[dict[str, Any]], float | None]]] = [
        ("MAMQL", "MAMQL, as trained", lambda row: row["returns"]["1.0"]),
        ("clone", "clone, as trained", lambda row: row["returns"]["1.0"]),
        ("MAMQL", "MAMQL, as used", lambda row: row.get("used")),
        ("clone", "clone, twice", lambda row: row["returns"]["2.0"]),
        ("no rollouts", "no rollouts", lambda row: row["returns"]["1.0"]),
        ("all rollouts", "all rollouts", lambda row: row["returns"]["1.0"]),
    ]
    shown = [each for each in shown if any(row["way"] == each[0] for row in rows)]
    lines = [f"| | steps | expert | {' | '.join(title for _, title, _ in shown)} | lowest as used | seeds |"]
    lines.append("| --- | --- | --- |" + " --- |" * (len(shown) + 2))
    for name, problem in PROBLEMS.items():
        for size in problem.sizes:
            mine = [row for row in rows if row["problem"] == name and row["steps"] == size]
            if not mine:
                continue
            cells = []
            for way, _, value in shown:
                found = [value(row) for row in mine if row["way"] == way]
                cells.append(in_cell([each for each in found if each is not None]))
            used = [row["used"] for row in mine if "used" in row]
            seeds = [str(sum(row["way"] == way for row in mine)) for way in ("MAMQL", "clone")]
            lines.append(
                f"| {name} | {size:,} | {mine[0]['expert']:.2f} | {' | '.join(cells)} | "
                f"{format(min(used), '.2f') if used else ''} | {', '.join(seeds)} |"
            )
    times = [row["train_s"] for row in rows if row["way"] == "MAMQL"]
    lines += ["", f"Training of MAMQL, on one core: median {np.median(times):.0f} s, longest {max(times):.0f} s."]
    return "\n".join(lines) + "\n"


HEAD = """# MAMQL, its corners and behaviour cloning

Return an agent (or the team's) of the last iterate: interquartile mean over seeds (the mean of fewer than four) with
its 95% bootstrap interval. MAMQL is run with its default settings everywhere: an example gives environment, data,
encoder and budget, nothing else. The clone has the same encoder and parameter sharing, and chooses its number of
updates on held-out episodes (on blocks of time where there is one episode only).

*As trained* acts at the rationality of training, *as used* at the one that is chosen afterwards (decided.md), *twice*
is the clone at twice its own. *No rollouts* and *all rollouts* are MAMQL with `rollout_share` 0 and `null`, as
trained. Evaluations are of 100 to 500 episodes.

Remade by `python tests/benchmarks/cloning_study.py --seeds 10`, which goes on from docs/results/cloning.jsonl; `--page`
writes this page. The study grows seed by seed: the last column says how many MAMQL and the clone have.

"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--problem", choices=list(PROBLEMS), nargs="+", default=list(PROBLEMS))
    parser.add_argument("--steps", type=int, nargs="+", help="sizes; all without")
    parser.add_argument("--ways", choices=list(WAYS), nargs="+", default=["MAMQL", "clone"])
    parser.add_argument("--half", type=int, choices=(0, 1), help="every other size, beside another process")
    parser.add_argument("--out", type=pathlib.Path, default=RESULTS)
    parser.add_argument("--cache", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()) / "mamql-study")
    parser.add_argument("--set", action="append", default=[], help="key=value, value in JSON")
    parser.add_argument("--multiples", type=float, nargs="+", default=MULTIPLES)
    parser.add_argument("--keep", type=pathlib.Path, help="folder for the checkpoints; without, they are thrown away")
    parser.add_argument("--page", action="store_true")
    arguments = parser.parse_args()
    if arguments.page:
        (ROOT / "docs/results/cloning.md").write_text(HEAD + page(read(arguments.out)))
        return
    torch.set_num_threads(1)
    sets = {key: json.loads(value) for key, value in (text.split("=", 1) for text in arguments.set)}
    wanted = list(cells(arguments.problem, arguments.ways, arguments.seeds, arguments.steps))
    for number, cell in enumerate(wanted):
        if arguments.half is not None and number // len(arguments.ways) % 2 != arguments.half:
            continue
        cell |= {"set": sets} if sets else {}
        if any({key: row.get(key) for key in ("set", *cell)} == {"set": None} | cell for row in read(arguments.out)):
            continue
        row = cell | run(cell, arguments.cache, sets, tuple(arguments.multiples), arguments.keep)
        print(json.dumps(row), flush=True)
        with arguments.out.open("a") as out:
            out.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
