"""The ``rllib`` command: arguments, exit statuses and nothing else.

Exit status 0: all went well; 1: a trial failed; 2: something in the input is wrong; 130: interrupted.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from rllib_mamql.errors import UserError
from rllib_mamql.ray_internals import VARIABLES

EXIT_FAILED, EXIT_USER, EXIT_INTERRUPTED = 1, 2, 130

ENVIRONMENT = {**VARIABLES, "RLLIB_MAMQL_COMMAND_LINE": "1", "PYGAME_HIDE_SUPPORT_PROMPT": "1"}
"""Defaults of this process and the workers: no telemetry, no advertisements, signals are ours."""

CLONE_OPTIONS = (
    click.option(
        "--clone-updates",
        type=click.IntRange(min=1),
        metavar="N",
        help="Gradient steps of the clone; chosen by the likelihood of held-out episodes by default.",
    ),
    click.option(
        "--clone-steps",
        type=click.IntRange(min=1),
        metavar="N",
        help="Joint steps of --data for the clone, drawn as training draws expert_steps at the same --seed.",
    ),
)
JSON_OPTION = click.option(
    "--json", "json_path", type=click.Path(path_type=Path), metavar="FILE", help="Write the result as JSON."
)


def clone_options(command: Any) -> Any:
    """The options of a behaviour clone that ``reward`` and ``relearn`` share."""
    return functools.reduce(lambda made, option: option(made), reversed(CLONE_OPTIONS), command)


def train_options(command: Any) -> Any:
    """The options that ``train`` and ``example run`` share."""
    options = [
        click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Change a config key; dots nest."),
        click.option("--stop", "stops", multiple=True, metavar="KEY=VALUE", help="Add or change a criterion."),
        click.option("--seed", type=click.IntRange(min=0), help="Seed; samples get seed, seed + 1, ..."),
        click.option("--storage-path", metavar="DIR", help="Where results go.  [default: results]"),
        click.option("--name", help="Name of the results folder, in place of the experiment's."),
        click.option("--resume", is_flag=True, help="Go on from the last checkpoints of an earlier run."),
        click.option("--ray-address", metavar="ADDRESS", help="Join a cluster in place of a local Ray."),
        click.option("--num-env-runners", type=click.IntRange(min=0), help="Processes that sample."),
        click.option("--num-learners", type=click.IntRange(min=0), help="Processes that learn; 0: in the trial's."),
        click.option("--num-gpus-per-learner", type=click.FloatRange(min=0), help="GPUs of each learner."),
        click.option(
            "--eval-episodes",
            type=click.IntRange(min=0),
            default=100,
            show_default=True,
            help="Episodes of the final evaluation; 0: none.",
        ),
        JSON_OPTION,
        click.option("-v", "--verbose", is_flag=True, help="Show the logs of Ray and its workers."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="rllib-mamql")
def cli() -> None:
    """Multi-agent inverse reinforcement learning from demonstrations, on RLlib."""


@cli.command()
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
    _train(path, **options)


@cli.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--episodes", type=click.IntRange(min=1), default=100, show_default=True)
@click.option("--greedy", is_flag=True, help="Take the most likely action in place of sampling.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--video", type=click.Path(path_type=Path), metavar="FILE", help="Film one episode: .gif, .mp4 or .png.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Demonstrations to compare play with.  [default: those of training, if they are there]",
)
@JSON_OPTION
def evaluate(**options: Any) -> None:
    """Play episodes with a checkpoint, or the newest one of a trial's or a run's folder."""
    from rllib_mamql.cli import tools

    tools.evaluate(**options)


@cli.command()
@click.option("--env", required=True, help="Name of an environment, or pettingzoo:<module path>.")
@click.option("--expert", required=True, metavar="scripted|random|CHECKPOINT", help="Who plays.")
@click.option("--steps", type=click.IntRange(min=1), required=True, help="Joint steps to record.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="A new or empty folder.")
@click.option("--env-config", multiple=True, metavar="KEY=VALUE", help="Setting of the environment.")
@click.option("--licence", metavar="NAME", help="Licence to note in the dataset, for example Apache-2.0.")
def record(**options: Any) -> None:
    """Record a dataset of expert play."""
    from rllib_mamql.cli import tools

    tools.record(**options)


@cli.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--gauge", type=click.Choice(["sparse", "state_only", "none"]), help="As trained with, or sparse.")
@click.option("--strength", type=click.FloatRange(min=0), help="Weight of the gauge; as trained with, or 0.1.")
@click.option("--network", type=click.Choice(["plain", "entity_additive"]), help="As trained with, or plain.")
@click.option(
    "--inputs",
    type=click.Choice(["joint", "state_action", "state"]),
    help="What the reward depends on; as trained with, or joint.",
)
@click.option("--updates", type=click.IntRange(min=1), default=3000, show_default=True)
@click.option("--steps", type=click.IntRange(min=1), default=30000, show_default=True, help="Joint steps to play.")
@click.option("--explore", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="Share of random actions.")
@click.option(
    "--regression",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Updates of reward and potential once the critic is fitted.",
)
@click.option("--data", type=click.Path(path_type=Path), metavar="DIR", help="Use these rows in place of play.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
def recover(**options: Any) -> None:
    """Recover the rewards of a checkpoint in a gauge, and write them into it."""
    from rllib_mamql.cli import rewards

    rewards.recover(**options)


@cli.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option(
    "--data", type=click.Path(path_type=Path), metavar="DIR", help="The expert's data: adds a clone's reward."
)
@clone_options
@click.option("--steps", type=click.IntRange(min=1), default=2000, show_default=True, help="Joint steps of each kind.")
@click.option("--sampled", is_flag=True, help="Compare with the reward paid; do not try all joint actions.")
@click.option("--resamples", type=click.IntRange(min=0), default=500, show_default=True, help="Of the bootstrap.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE", help="Draw the scores: .png, .svg or .pdf.")
@JSON_OPTION
def reward(**options: Any) -> None:
    """Score recovered rewards against the true ones, on held-out play."""
    from rllib_mamql.cli import rewards

    rewards.reward(**options)


@cli.command("map")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option(
    "--plot", type=click.Path(path_type=Path), required=True, metavar="FILE", help="The picture: .png, .svg or .pdf."
)
@click.option("--steps", type=click.IntRange(min=1), default=3000, show_default=True, help="Joint steps to play.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
def map_rewards(**options: Any) -> None:
    """Draw what recovered rewards value, over the places of gems, overcooked or intersection."""
    from rllib_mamql.cli import rewards

    rewards.map_rewards(**options)


@cli.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--algo", default="PPO", show_default=True, help="An algorithm of RLlib's own.")
@click.option(
    "--reward",
    type=click.Choice(["recovered", "implied", "cloning", "true"]),
    default="recovered",
    show_default=True,
    help="What the new agents are paid.",
)
@click.option("--shaped", is_flag=True, help="Add the recovered potential: a dense reward, which is learned sooner.")
@click.option("--data", type=click.Path(path_type=Path), metavar="DIR", help="Demonstrations, for --reward cloning.")
@clone_options
@click.option("--env-config", multiple=True, metavar="KEY=VALUE", help="Changes the environment.")
@click.option("--judged-in", multiple=True, metavar="KEY=VALUE", help="Changes it for measuring the true return only.")
@click.option(
    "--reference",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Data whose expert and random play normalise the score; the checkpoint's own by default.",
)
@click.option("--sticky-actions", type=click.FloatRange(0, 1, max_open=True), default=0.0, show_default=True)
@click.option("--iterations", type=click.IntRange(min=1), default=30, show_default=True)
@click.option("--episodes", type=click.IntRange(min=1), default=200, show_default=True, help="Of the final evaluation.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Change a setting of the algorithm.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="A new or empty folder.")
@JSON_OPTION
def relearn(**options: Any) -> None:
    """Train new agents from scratch on recovered rewards, and score them by the true return."""
    from rllib_mamql.cli import relearn as command

    command.relearn(**options)


@cli.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="A new or empty folder.")
@click.option("--onnx", is_flag=True, help="Write ONNX files too; needs rllib-mamql[onnx].")
def export(**options: Any) -> None:
    """Write policies and recovered rewards for use without Ray."""
    from rllib_mamql.cli import export

    export.export(**options)


@cli.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@JSON_OPTION
def inspect(**options: Any) -> None:
    """Check a dataset and print what is in it."""
    from rllib_mamql.cli import tools

    sys.exit(tools.inspect(**options))


@cli.group()
def example() -> None:
    """The tuned examples: list them, run one."""


@example.command("list")
def example_list() -> None:
    """Names and what each is about."""
    from rllib_mamql.cli import examples

    examples.print_list()


@example.command("run")
@click.argument("example_name", metavar="NAME")
@train_options
def example_run(example_name: str, **options: Any) -> None:
    """Train a tuned example by its name."""
    from rllib_mamql.cli import examples

    _train(examples.find(example_name), **options)


def _train(path: Path, **options: Any) -> None:
    from rllib_mamql.cli.experiment import Overrides, load_experiments
    from rllib_mamql.cli.report import check_output, document, print_trials, write_json

    json_path = options["json_path"]
    check_output(json_path, "--json")
    config = {
        key: options[key]
        for key in ("seed", "num_env_runners", "num_learners", "num_gpus_per_learner")
        if options[key] is not None
    }
    overrides = Overrides(
        sets=options["sets"],
        stops=options["stops"],
        config=config,
        name=options["name"],
        storage_path=options["storage_path"],
    )
    experiments = load_experiments(path, overrides)

    from rich.console import Console

    from rllib_mamql.cli.train import Interrupted, RunOptions, run_experiments

    run = RunOptions(options["resume"], options["ray_address"], options["eval_episodes"], options["verbose"])
    try:
        reports = run_experiments(experiments, run)
    except Interrupted as stopped:
        click.echo(str(stopped), err=True)
        sys.exit(EXIT_INTERRUPTED)
    write_json(json_path, document("train", trials=[report.to_json() for report in reports]))
    print_trials(reports, Console())
    if any(report.status != "finished" for report in reports):
        sys.exit(EXIT_FAILED)


def main() -> NoReturn:
    """Runs the command line; the entry point of the console script."""
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    # A module of the user's own (env: pettingzoo:my_env) is looked for in the current folder.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        status = cli.main(standalone_mode=False)
    except click.exceptions.Exit as done:
        status = done.exit_code
    except click.ClickException as error:
        status = _fail(error.format_message())
    except UserError as error:
        status = _fail(str(error))
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        status = EXIT_INTERRUPTED
    sys.exit(status if isinstance(status, int) else 0)


def _fail(text: str) -> int:
    click.echo("error: " + " ".join(text.split()), err=True)
    return EXIT_USER


def _interrupt(number: int, frame: Any) -> NoReturn:
    raise KeyboardInterrupt
