"""The ``rllib`` command: its commands, exit statuses, and what it asks of its surroundings.

Exit status 0: all went well; 1: a trial failed; 2: something in the input is wrong; 130: interrupted.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from typing import Any, NoReturn

import click

from rllib_mamql.cli.benchmark import benchmark
from rllib_mamql.cli.convert import convert
from rllib_mamql.cli.evaluate import evaluate
from rllib_mamql.cli.example import example
from rllib_mamql.cli.export import export
from rllib_mamql.cli.inspect import inspect
from rllib_mamql.cli.map import map_rewards
from rllib_mamql.cli.options import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USER
from rllib_mamql.cli.record import record
from rllib_mamql.cli.recover import recover
from rllib_mamql.cli.relearn import relearn
from rllib_mamql.cli.reward import reward
from rllib_mamql.cli.status import status
from rllib_mamql.cli.train import train
from rllib_mamql.errors import UserError, no_space, one_line, printable, shortened
from rllib_mamql.ray_internals import FOLDER, VARIABLES

ENVIRONMENT = {**VARIABLES, "RLLIB_MAMQL_COMMAND_LINE": "1", "PYGAME_HIDE_SUPPORT_PROMPT": "1"}
"""Defaults of this process and the workers: no telemetry, no advertisements, signals are ours."""


TRACEBACK = "RLLIB_MAMQL_TRACEBACK"
"""Environment variable that shows the whole traceback of an error that no check has foreseen."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="rllib-mamql")
def cli() -> None:
    """Multi-agent inverse reinforcement learning from demonstrations, on RLlib."""


_COMMANDS = (
    train, status, evaluate, record, convert, inspect, recover, reward, map_rewards, relearn, export, example,
    benchmark,
)  # fmt: skip
for _command in _COMMANDS:
    cli.add_command(_command)


def main() -> NoReturn:
    """Runs the command line; the entry point of the console script."""
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    # Modules that env names are looked for in the current folder too, after all that is installed, and nothing else is:
    # a file called random.py there takes no library's place.
    os.environ[FOLDER] = os.getcwd()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        status = cli.main(standalone_mode=False)
    except click.exceptions.Exit as done:
        status = done.exit_code
    except click.exceptions.NoArgsIsHelpError as help_:
        click.echo(help_.format_message())
        status = 0
    except click.ClickException as error:
        status = _fail(error.format_message())
    except UserError as error:
        status = _fail(str(error))
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        status = EXIT_INTERRUPTED
    except BrokenPipeError:
        # Who reads the output has seen enough; nothing more can be written, not even at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        status = _unforeseen(error)
    sys.exit(status if isinstance(status, int) else 0)


def _fail(text: str) -> int:
    click.echo("error: " + shortened(printable(" ".join(text.split()))), err=True)
    return EXIT_USER


def _unforeseen(error: Exception) -> int:
    """A line on what no check has foreseen; where the disk is full, nothing in the input is wrong."""
    if full := no_space(error):
        _fail(full)
        return EXIT_FAILED
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if f"{os.sep}rllib_mamql{os.sep}" in frame.filename] or frames
    place = f"{os.path.basename(ours[-1].filename)}:{ours[-1].lineno}"
    what = f"{type(error).__name__}: {one_line(error)}" if str(error) else type(error).__name__
    return _fail(f"{shortened(what)} ({place}); correct the input, or set {TRACEBACK}=1 to see where it comes from")


def _interrupt(number: int, frame: Any) -> NoReturn:
    raise KeyboardInterrupt
