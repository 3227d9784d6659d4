"""``rllib inspect``: what is in a dataset, and what is wrong with it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from rllib_mamql.cli.messages import next_step
from rllib_mamql.cli.options import EXIT_USER, Place, json_option
from rllib_mamql.cli.paths import check_output, shown
from rllib_mamql.cli.working import working
from rllib_mamql.errors import UserError, one_line

NOTHING: dict[str, Any] = {"episodes": None, "steps": None, "agents": [], "spaces": {}, "return_mean": None}


@click.command()
@click.argument("folder", metavar="DIR", type=Place())
@json_option
def inspect(folder: str | Path, json_path: Path | None) -> None:
    """Check a dataset and print what is in it."""
    check_output(json_path, "--json")
    from rllib_mamql.cli.report import document, with_teams, write_json
    from rllib_mamql.cli.tables import print_dataset, print_problem
    from rllib_mamql.data.reading import read_dataset
    from rllib_mamql.data.summary import summarise

    try:
        with working(f"reading {shown(folder)}"):
            dataset = read_dataset(str(folder))
    except UserError as error:
        problem = one_line(error)
        write_json(json_path, document("inspect", path=folder, **NOTHING, problems=[problem]))
        print_problem(problem)
        sys.exit(EXIT_USER)
    summary = summarise(dataset)
    with_teams(summary, dataset.metadata.env)
    print_dataset(folder, dataset, summary)
    write_json(json_path, document("inspect", path=folder, **summary))
    next_step(f"rllib train --file FILE --set input_={shown(folder)}", "learns from it")
