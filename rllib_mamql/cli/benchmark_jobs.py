"""From a suite to what the benchmark's engine runs: demonstrations are recorded, experiments checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rllib_mamql.algorithms.registry import ALGORITHMS, is_ours
from rllib_mamql.cli.messages import say
from rllib_mamql.cli.numbers import clock, number
from rllib_mamql.cli.results import OPPOSED
from rllib_mamql.cli.settings import aggregation_of, find_algorithm, prepare
from rllib_mamql.cli.suite import Part, Suite, parts_of, settings_text
from rllib_mamql.cli.working import working
from rllib_mamql.errors import ConfigError
from rllib_mamql.evaluation.benchmark_cells import Cell, Job, in_order
from rllib_mamql.evaluation.benchmark_table import Row
from rllib_mamql.evaluation.record import record_once
from rllib_mamql.learning.algorithm import Imitation


def jobs_of(suite: Suite, storage: Path) -> list[Job]:
    """All cells of a suite; nothing is recorded or checked.

    Args:
        suite: The suite.
        storage: Folder for what is recorded and half done.

    Raises:
        ConfigError: If a problem's file or a method's algorithm is wrong.
    """
    found = [
        _job(suite, part, Cell(part.problem, size, part.method, seed, settings_text(part)), storage)
        for part in parts_of(suite, storage)
        for size in part.sizes
        for seed in range(part.seeds)
    ]
    return in_order(found)


def made_ready(suite: Suite, jobs: Sequence[Job], storage: Path) -> list[Job]:
    """Jobs that can run: their demonstrations are recorded, and everything is checked that can be known before.

    Args:
        suite: The suite.
        jobs: Those that are to run.
        storage: As for :func:`jobs_of`.

    Raises:
        UserError: If anything is wrong; then no cell has run.
    """
    ready: list[Job] = []
    for part in parts_of(suite, storage):
        mine = [job for job in jobs if (job.cell.problem, job.cell.method) == (part.problem, part.method)]
        if not mine:
            continue
        settings = part.experiment.settings
        if settings.env and aggregation_of(settings.env, settings.config) == OPPOSED:
            raise ConfigError(
                f"problems.{part.problem}: agents of {settings.env!r} have opponents, and a benchmark compares one "
                "return for all: leave the problem out, or choose others by --problem"
            )
        if part.recording is not None and part.folder is not None:
            asked = part.recording
            with working(f"recording {asked.steps:,} steps of {settings.env}"):
                record_once(
                    str(settings.env), settings.config["env_config"], asked.expert, asked.steps, asked.seed, part.folder
                )
        sizes = sorted({job.cell.expert_steps for job in mine})
        searched = {**settings.config, "expert_steps": {"grid_search": sizes}}
        checked = settings.model_copy(update={"config": searched})
        prepared = prepare(dataclasses.replace(part.experiment, settings=checked))
        space = prepared.param_space
        # Sizes of demonstrations take the same processes.
        resources = prepared.trials[0]
        ready += [
            dataclasses.replace(
                job,
                overrides={**space, "expert_steps": job.cell.expert_steps, "seed": job.cell.seed},
                resources=resources,
            )
            for job in mine
        ]
    return in_order(ready)


def _job(suite: Suite, part: Part, cell: Cell, storage: Path) -> Job:
    run = part.experiment.settings.run
    algorithm = find_algorithm(run)
    if not is_ours(algorithm):
        raise ConfigError(f"methods.{part.method}: run {run!r} learns from no demonstrations; give one of {_names()}")
    return Job(
        cell=cell,
        run=run,
        entry=ALGORITHMS[run],
        algorithm=algorithm,
        overrides={},
        iterations=None if ends_by_itself(algorithm) else part.iterations,
        episodes=part.episodes,
        curve_points=suite.curve.points,
        curve_episodes=suite.curve.episodes,
        half_done=str(storage / "half_done" / suite.name),
    )


def ends_by_itself(algorithm: type[Any]) -> bool:
    """Whether an algorithm that samples nothing chooses for itself how long it learns, as the clone does."""
    samples = algorithm.get_default_config().uses_rollouts
    return not samples and algorithm.finished is not Imitation.finished


def _names() -> str:
    return ", ".join(ALGORITHMS)


def tell(row: Row) -> None:
    """The line of a cell that has ended."""
    score = "" if row["score"] is None else f", score {number(row['score'])}"
    cell = f"{row['problem']}, {row['expert_steps']:,} steps, {row['method']}, seed {row['seed']}"
    say(f"{cell}: return {number(row['return_mean'])}{score} ({clock(row['wall_s'])})")
