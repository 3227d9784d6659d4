"""``rllib train``: experiments of a YAML file, through Ray Tune."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from rllib_mamql.cli.options import EXIT_FAILED, EXIT_INTERRUPTED, RunOptions, train_options
from rllib_mamql.cli.paths import check_output
from rllib_mamql.cli.working import working

AS_CONFIG = ("seed", "num_env_runners", "num_learners", "num_gpus_per_learner")
"""Options that are keys of ``config``."""


@click.command()
@click.option(
    "-f",
    "--file",
    "path",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="YAML of experiments.",
)
@train_options
def train(path: Path, **options: Any) -> None:
    """Train the experiments of a YAML file, through Ray Tune."""
    train_file(path, **options)


def train_file(path: Path, **options: Any) -> None:
    """Trains the experiments of a file; ``options`` are those of :func:`~rllib_mamql.cli.options.train_options`.

    Ends the process with a status of its own where a trial failed or the user stopped the run.
    """
    json_path = options["json_path"]
    check_output(json_path, "--json")
    from rllib_mamql.cli.experiment import Overrides, cpus_asked, load_experiments

    overrides = Overrides(
        sets=options["sets"],
        stops=options["stops"],
        config={key: options[key] for key in AS_CONFIG if options[key] is not None},
        name=options["name"],
        storage_path=options["storage_path"],
        num_samples=options["num_samples"],
        max_concurrent=options["max_concurrent"],
    )
    experiments = load_experiments(path, overrides)
    from rllib_mamql.cli.session import start_while_loading
    from rllib_mamql.cli.yaml_loader import parse_assignments

    stop = parse_assignments(options["stops"], "--stop")
    if options["ray_address"] is None:
        start_while_loading(max(cpus_asked(each.settings.config) for each in experiments), options["verbose"])
    with working("loading RLlib"):
        from rllib_mamql.cli.advice import after_training
        from rllib_mamql.cli.report import document, write_json
        from rllib_mamql.cli.trial_tables import print_trials
        from rllib_mamql.cli.tuning import Interrupted, run_experiments

    run = RunOptions(
        options["resume"],
        options["ray_address"],
        options["eval_episodes"],
        options["verbose"],
        options["wait_for_nodes"],
        stop,
    )
    try:
        reports = run_experiments(experiments, run)
    except Interrupted as stopped:
        click.echo(str(stopped), err=True)
        sys.exit(EXIT_INTERRUPTED)
    write_json(json_path, document("train", trials=[report.to_json() for report in reports]))
    print_trials(reports)
    after_training(path, experiments, reports)
    if any(report.status != "finished" for report in reports):
        sys.exit(EXIT_FAILED)
