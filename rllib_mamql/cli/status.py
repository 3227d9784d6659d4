"""``rllib status``: the runs in a folder of results."""

from __future__ import annotations

from pathlib import Path

import click

from rllib_mamql.cli.messages import next_step
from rllib_mamql.cli.options import DEFAULT_STORAGE, json_option
from rllib_mamql.cli.paths import check_output, shown
from rllib_mamql.cli.runs import is_being_trained, is_of_this_package, read_trial, runs_in, trials_of


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
    saved = [trial for _, trial in trials if trial.checkpoint is not None]
    if ours := [trial for trial in saved if is_of_this_package(trial.checkpoint)]:
        next_step(f"rllib evaluate {shown(ours[-1].path.parent)}", "plays the newest run's policies")
    elif saved:
        run = shown(saved[-1].path.parent)
        next_step(f"rllib record --env ENV --expert {run} --steps 2000 --out DIR", "records what the newest run's do")
    else:
        next_step("rllib train --file FILE --resume", "goes on with a run that has no checkpoint yet")
