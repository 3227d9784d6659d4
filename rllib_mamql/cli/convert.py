"""``rllib convert``: demonstrations in the formats of others become a dataset."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rllib_mamql.cli.options import assignments, count_option, out_option
from rllib_mamql.cli.paths import check_new_folder
from rllib_mamql.errors import ConfigError

if TYPE_CHECKING:
    from rllib_mamql.data.sources.found import Found

HUMAN = "overcooked-human"
FORMS = ("csv", "parquet", "npz", "rllib", "minari", HUMAN)


@click.command()
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@click.option("--from", "form", type=click.Choice(FORMS), help="Format; told from the source by default.")
@out_option
@assignments("--column", help="MEANING=COLUMN of a table, such as agent_id=player or obs=x,y.")
@assignments("--agent", help="AGENT=NAME, where the source calls the environment's agent otherwise.")
@click.option("--env", help="Environment whose agents and spaces the demonstrations must fit.")
@assignments("--env-config", help="Setting of the environment.")
@click.option("--expert", metavar="TEXT", help="Who plays, to note in the dataset.")
@click.option("--licence", metavar="NAME", help="Licence to note in the dataset.")
@click.option("--trials", type=click.Choice(["train", "test"]), help=f"Which trials of {HUMAN}.  [default: train]")
@count_option("--random-episodes", 100, "Random play with --env, the lower end of scores; 0: none.", low=0)
def convert(out: Path, **options: Any) -> None:
    """Convert demonstrations to a dataset.

    SOURCE is a CSV, Parquet or .npz file, a folder of RLlib's recordings, AGENT=NAME of a Minari dataset (one for
    each agent), or overcooked-human, the people's play that overcooked-ai ships.
    """
    check_new_folder(out)
    from rllib_mamql.cli.messages import say
    from rllib_mamql.cli.report import with_teams
    from rllib_mamql.data.reading import read_dataset
    from rllib_mamql.data.sources.convert import renamed, write_found
    from rllib_mamql.data.summary import summarise

    found, about = _read(options)
    found = renamed(found, _pairs(options["agent"], "--agent"))
    spaces = None
    if "name" in about:
        from rllib_mamql.environments.spaces import environment_spaces

        spaces = environment_spaces(about["name"], about["env_config"])
        if options["random_episodes"]:
            from rllib_mamql.evaluation.evaluate import random_returns

            name, config = about["name"], about["env_config"]
            about["random_return"] = random_returns(name, config, episodes=options["random_episodes"], seed=0)
    for note in found.notes:
        say(note)
    write_found(found, out, spaces, command=_command(options), **about)
    dataset = read_dataset(str(out))
    summary = summarise(dataset)
    with_teams(summary, dataset.metadata.env)
    means = summary.get("return_per_team") or {"": summary["return_mean"]}
    told = [f"mean return {team and f'of {team} '}{mean:.2f}" for team, mean in means.items() if mean is not None]
    rewards = ", ".join(told) or "no rewards"
    print(f"{out}: {summary['steps']} joint steps, {summary['episodes']} episodes, {rewards}")
    if dataset.metadata.spaces_inferred:
        say("spaces are those of the values found: give --env to have them checked against an environment's")


def _read(options: dict[str, Any]) -> tuple[Found, dict[str, Any]]:
    """The episodes, and what is known about them; the environment's ``name`` and ``env_config`` where it is named."""
    from rllib_mamql.cli.yaml_loader import parse_assignments

    sources: Sequence[str] = options["sources"]
    form = options["form"] or _form(sources)
    env, env_config = options["env"], parse_assignments(options["env_config"], "--env-config")
    about = {name: options[name] for name in ("expert", "licence") if options[name]}
    if form == HUMAN:
        return _human(env, env_config, options["trials"] or "train", about)
    if env_config and env is None:
        raise ConfigError("--env-config is given without --env: name the environment")
    if options["trials"]:
        raise ConfigError(f"--trials is of {HUMAN} alone: leave it out")
    if env is not None:
        from rllib_mamql.environments.registry import resolve_env_config

        about |= {"name": env, "env_config": resolve_env_config(env, env_config)}
    return _found(form, sources, _pairs(options["column"], "--column")), about


def _human(
    env: str | None, env_config: dict[str, Any], trials: str, about: dict[str, Any]
) -> tuple[Found, dict[str, Any]]:
    from rllib_mamql.environments.human_play import ENVIRONMENT, LICENCE, human_trials

    if env not in (None, ENVIRONMENT):
        raise ConfigError(f"--env is {env!r}, but {HUMAN} was played in {ENVIRONMENT!r}: leave it out")
    played = human_trials(env_config, trials)
    known = {"expert": f"people, {trials} trials", "licence": LICENCE, "name": ENVIRONMENT}
    return played.found, {**known, "env_config": played.env_config, **about}


def _form(sources: Sequence[str]) -> str:
    first = sources[0].lower()
    if first == HUMAN:
        return HUMAN
    if "=" in first and not Path(sources[0]).exists():
        return "minari"
    return next((form for form in ("csv", "npz") if first.endswith(f".{form}")), "parquet")


def _found(form: str, sources: Sequence[str], columns: dict[str, str]) -> Found:
    from rllib_mamql.data.sources import minari_datasets, rllib_episodes, tables

    if form == "minari":
        if columns:
            raise ConfigError("--column is of tables, and Minari's datasets are none: leave it out")
        return minari_datasets.from_minari(_pairs(sources, "SOURCE"))
    if form in ("csv", "npz") and len(sources) > 1:
        raise ConfigError(f"{len(sources)} sources are given, expected one {form} file: convert them one by one")
    if form == "csv":
        return tables.from_table(tables.read_csv(sources[0]), columns)
    if form == "npz":
        return tables.from_arrays(tables.read_npz(sources[0]), columns)
    table = tables.read_parquet([_with_subfolders(source) for source in sources])
    if rllib_episodes.is_packed(table.schema):
        return rllib_episodes.from_rllib(rllib_episodes.unpack_episodes(table))
    return tables.from_table(table, columns)


def _with_subfolders(source: str) -> str:
    """RLlib's recorder writes into folders in folders."""
    folder = Path(source)
    return f"{source}/**/*.parquet" if folder.is_dir() and not any(folder.glob("*.parquet")) else source


def _pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    """``NAME=TEXT``, several times; unlike settings, the texts stay texts."""
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise ConfigError(f"{option} {text!r}: write NAME=VALUE")
        pairs[name] = value
    return pairs


def _command(options: dict[str, Any]) -> str:
    """What remakes the dataset, without its place."""
    words = ["rllib", "convert", *options["sources"]]
    for name in ("from", "column", "agent", "env", "env_config", "expert", "licence", "trials"):
        given = options["form" if name == "from" else name]
        for value in given if isinstance(given, tuple) else [given] * (given is not None):
            words += [f"--{name.replace('_', '-')}", str(value)]
    return " ".join(map(shlex.quote, words)) + " --out DIR"
