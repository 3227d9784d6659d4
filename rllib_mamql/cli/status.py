"""``rllib status``: the runs in a folder of results."""

from __future__ import annotations

from pathlib import Path

import click

from rllib_mamql.cli.messages import next_step
from rllib_mamql.cli.options import DEFAULT_STORAGE, json_option
from rllib_mamql.cli.paths import check_output, shown
from rllib_mamql.cli.runs import is_being_trained, read_trial, runs_in, trials_of


@click.command()
@click.argument("folder", metavar="[DIR]", type=click.Path(path_type=Path), default=DEFAULT_STORAGE)
@json_option
def status(folder: Path, json_path: Path | None) -> None:
    """List the runs in DIR (default: results), or one: state, last return and score, newest checkpoint."""
    check_output(json_path, "--json")
    from rllib_mamql.cli.report import document, write_json
    from rllib_mamql.cli.trial_tables import print_runs, run_to_json

    runs = runs_in(folder)
    trials = [(run.name, read_trial(path, is_being_trained(run))) for run in runs for path in trials_of(run)]
    print_runs(trials)
    write_json(json_path, document("status", path=folder, trials=[run_to_json(*each) for each in trials]))
    if saved := [run for run in runs if any(name == run.name and trial.checkpoint for name, trial in trials)]:
        next_step(f"rllib evaluate {shown(saved[-1])}", "plays the newest run's policies")
