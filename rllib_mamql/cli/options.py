"""Options and exit statuses that several commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import click

from rllib_mamql.data.places import is_elsewhere
from rllib_mamql.environments.trust import allow_import

EXIT_FAILED, EXIT_USER, EXIT_INTERRUPTED = 1, 2, 130
DEFAULT_STORAGE = "results"
EVALUATION_EPISODES = 100

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class RunOptions:
    """How to run, apart from what to run.

    Attributes:
        resume: Go on with the experiment in the results folder.
        ray_address: Cluster to join; None starts Ray on this machine.
        eval_episodes: Episodes of the final evaluation; 0 leaves it out.
        verbose: Show the logs of Ray and its workers.
        wait_for_nodes: Whether trials that the cluster has no room for wait until it has.
        stop: Criteria of ``--stop``, by which a resumed run trains longer.
    """

    resume: bool = False
    ray_address: str | None = None
    eval_episodes: int = EVALUATION_EPISODES
    verbose: bool = False
    wait_for_nodes: bool = False
    stop: Mapping[str, float] = field(default_factory=dict)


class Place(click.Path):
    """A path, or a URI (``s3://bucket/folder``) as it was written."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The URI as a text, anything else as a path."""
        return value if is_elsewhere(value) else Path(str(super().convert(value, param, ctx)))


def data_option(name: str, help: str) -> Callable[[Function], Function]:
    """An option that takes a dataset's folder, or a URI of one."""
    return click.option(name, type=Place(), metavar="DIR", help=help)


def file_option(name: str, help: str, *, required: bool = False) -> Callable[[Function], Function]:
    """An option that takes a file's path."""
    return click.option(name, type=click.Path(path_type=Path), metavar="FILE", help=help, required=required)


def folder_option(name: str, help: str, *, required: bool = False) -> Callable[[Function], Function]:
    """An option that takes a folder's path."""
    return click.option(name, type=click.Path(path_type=Path), metavar="DIR", help=help, required=required)


def count_option(name: str, default: int, help: str | None = None, *, low: int = 1) -> Callable[[Function], Function]:
    """An option that takes a whole number from ``low`` on."""
    return click.option(name, type=click.IntRange(min=low), default=default, show_default=True, help=help)


def assignments(*names: str, help: str) -> Callable[[Function], Function]:
    """An option that takes ``KEY=VALUE``, several times."""
    return click.option(*names, multiple=True, metavar="KEY=VALUE", help=help)


def checkpoint_argument(command: Function) -> Function:
    """A checkpoint, trial or run, and the modules that its environment may be in."""
    allow = click.option(
        "--allow-import",
        multiple=True,
        metavar="MODULE",
        expose_value=False,
        callback=lambda context, parameter, modules: allow_import(modules),
        help="Let the checkpoint's environment be imported from a module of this name.",
    )
    return click.argument("checkpoint", type=Place())(allow(command))


seed_option = count_option("--seed", 0, low=0)
out_option = folder_option("--out", "A new or empty folder.", required=True)
json_option = click.option(
    "--json", "json_path", type=click.Path(path_type=Path), metavar="FILE", help="Write the result as JSON."
)


def clone_options(command: Function) -> Function:
    """The options of a behaviour clone that ``reward`` and ``relearn`` share."""
    options = (
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
    return functools.reduce(lambda made, option: option(made), reversed(options), command)


def train_options(command: Function) -> Function:
    """The options that ``train`` and ``example run`` share."""
    options = (
        assignments("--set", "sets", help="Change a config key; dots nest."),
        assignments("--stop", "stops", help="Add or change a criterion."),
        click.option("--seed", type=click.IntRange(min=0), help="Seed; samples get seed, seed + 1, ..."),
        click.option("--num-samples", type=click.IntRange(min=1), help="Trials of a search, a grid point each."),
        click.option("--max-concurrent", type=click.IntRange(min=1), help="Trials at once."),
        click.option("--storage-path", metavar="DIR", help=f"Where results go.  [default: {DEFAULT_STORAGE}]"),
        click.option("--name", help="Name of the results folder, in place of the experiment's."),
        click.option("--resume", is_flag=True, help="Go on from the last checkpoints of an earlier run."),
        click.option("--ray-address", metavar="ADDRESS", help="Join a cluster in place of a local Ray."),
        click.option("--wait-for-nodes", is_flag=True, help="The cluster adds nodes by itself: wait for them."),
        click.option("--num-env-runners", type=click.IntRange(min=0), help="Processes that sample."),
        click.option("--num-learners", type=click.IntRange(min=0), help="Processes that learn; 0: in the trial's."),
        click.option("--num-gpus-per-learner", type=click.FloatRange(min=0), help="GPUs of each learner."),
        count_option("--eval-episodes", EVALUATION_EPISODES, "Episodes of the final evaluation; 0: none.", low=0),
        json_option,
        click.option("-v", "--verbose", is_flag=True, help="Show the logs of Ray and its workers."),
    )
    return functools.reduce(lambda made, option: option(made), reversed(options), command)
