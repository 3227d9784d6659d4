"""``rllib benchmark``: methods x problems x sizes x seeds of a suite, through Ray Tune."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from rllib_mamql.cli.messages import next_step, say
from rllib_mamql.cli.options import DEFAULT_STORAGE, EXIT_FAILED, RunOptions, file_option, folder_option
from rllib_mamql.cli.paths import shown
from rllib_mamql.cli.working import working


@click.command()
@file_option("--suite", "YAML of a suite, such as tuned_examples/suites/quick.yaml.", required=True)
@folder_option("--out", "Results, tables and plots.  [default: results/benchmark/NAME]")
@click.option("--method", "methods", multiple=True, metavar="NAME", help="One of the suite's, or an algorithm.")
@click.option("--problem", "problems", multiple=True, metavar="NAME", help="One of the suite's.")
@click.option("--seeds", type=click.IntRange(min=1), help="Seeds of each cell, in place of the suite's number.")
@click.option("--page", is_flag=True, help="Run nothing: rewrite tables and plots from the results.")
@folder_option("--storage-path", f"Recorded data, half-done cells and Tune's logs.  [default: {DEFAULT_STORAGE}]")
@click.option("--ray-address", metavar="ADDRESS", help="Join a cluster in place of a local Ray.")
@click.option("-v", "--verbose", is_flag=True, help="Show the logs of Ray and its workers.")
def benchmark(
    suite: Path,
    out: Path | None,
    methods: tuple[str, ...],
    problems: tuple[str, ...],
    seeds: int | None,
    page: bool,
    storage_path: Path | None,
    ray_address: str | None,
    verbose: bool,
) -> None:
    """Compare methods on a suite of problems; cells that have a result are never run again."""
    from rllib_mamql.cli.session import quiet, ray_session
    from rllib_mamql.cli.suite import load_suite

    whole = load_suite(suite)
    chosen = whole.only(methods, problems, seeds)
    storage = (storage_path or Path(DEFAULT_STORAGE)).expanduser().resolve()
    folder = out or Path(DEFAULT_STORAGE) / "benchmark" / whole.name
    quiet(verbose)
    failed: dict[str, BaseException] = {}
    if not page:
        with working("loading RLlib"):
            from rllib_mamql.cli.benchmark_jobs import jobs_of, made_ready, tell
            from rllib_mamql.cli.room import check_room, largest
            from rllib_mamql.cli.runs import training
            from rllib_mamql.errors import last_line
            from rllib_mamql.evaluation.benchmark_run import run_jobs
            from rllib_mamql.evaluation.benchmark_table import Results

        jobs = jobs_of(chosen, storage)
        # Tune writes there as well; the folder of the results holds what is kept.
        with training(storage / f"benchmark-{whole.name}"):
            missing = Results(folder).missing(jobs)
            say(f"{len(jobs)} cells, {len(jobs) - len(missing)} of them have a result: {len(missing)} to run")
            if missing:
                with working("checking the cells"):
                    ready = made_ready(chosen, missing, storage)
                options = RunOptions(ray_address=ray_address, verbose=verbose)
                asked = [job.resources for job in ready]
                with ray_session(options, largest(asked, "CPU"), largest(asked, "GPU")):
                    check_room(options, asked)
                    failed = run_jobs(ready, folder, tell, say, name=f"benchmark-{whole.name}", storage=str(storage))
        for cell, error in failed.items():
            say(f"FAILED {cell}: {last_line(error)}")
    from rllib_mamql.evaluation.benchmark_report import write_report

    if failed and not (folder / "results.parquet").exists():
        sys.exit(EXIT_FAILED)
    words = ["rllib", "benchmark", "--suite", shown(suite), "--out", shown(folder)]
    for option, values in (("--method", methods), ("--problem", problems), ("--seeds", [seeds] if seeds else [])):
        words += [word for value in values for word in (option, shlex.quote(str(value)))]
    if storage_path is not None:
        words += ["--storage-path", shown(storage_path)]
    command = " ".join(words)
    file = write_report(folder, whole.name, command, list(whole.problems), [*whole.methods, *methods])
    print(shown(file))
    if failed:
        next_step(command, f"tries the {len(failed)} cells again that failed")
        sys.exit(EXIT_FAILED)
