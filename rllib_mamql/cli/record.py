"""``rllib record``: a dataset of expert play."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import click

from rllib_mamql.cli.messages import next_step, say
from rllib_mamql.cli.options import assignments, out_option, seed_option
from rllib_mamql.cli.paths import check_new_folder, newest_checkpoint, shown
from rllib_mamql.data.places import is_elsewhere
from rllib_mamql.errors import ConfigError


@click.command()
@click.option("--env", required=True, help="Name of an environment, or pettingzoo:<module path>.")
@click.option("--expert", required=True, metavar="scripted|random|MODULE:FUNCTION|CHECKPOINT", help="Who plays.")
@click.option("--steps", type=click.IntRange(min=1), required=True, help="Joint steps to record.")
@seed_option
@out_option
@assignments("--env-config", help="Setting of the environment.")
@click.option("--licence", metavar="NAME", help="Licence to note in the dataset, for example Apache-2.0.")
def record(
    env: str, expert: str, steps: int, seed: int, out: Path, env_config: Sequence[str], licence: str | None
) -> None:
    """Record a dataset of expert play."""
    check_new_folder(out)
    from rllib_mamql.cli.numbers import interval
    from rllib_mamql.cli.session import quiet
    from rllib_mamql.cli.working import in_turn
    from rllib_mamql.cli.yaml_loader import parse_assignments

    config = parse_assignments(env_config, "--env-config")
    if is_elsewhere(expert) or (Path(expert).exists() and expert not in ("scripted", "random")):
        expert = str(newest_checkpoint(expert))
    elif expert not in ("scripted", "random") and ":" not in expert:
        raise ConfigError(f"--expert {expert!r}: write scripted, random, or a checkpoint's folder, or module:function")
    from rllib_mamql.environments.trust import named_by_the_user, remember
    from rllib_mamql.evaluation.record import record_dataset

    named_by_the_user(env)
    quiet(verbose=False)
    command = _command(env, expert, steps, seed, env_config, licence)
    with in_turn() as begin:
        metadata = record_dataset(env, config, expert, steps, seed, out, command, licence, begin)
    remember(env)
    print(f"{out}: {steps} joint steps of {env}")
    for name, summary in (("expert", metadata.expert_return), ("random", metadata.random_return)):
        if summary is not None:
            print(f"{name} return {interval(summary.mean, summary.ci95)}, {summary.episodes} episodes")
    if metadata.expert_return is None:
        say("no episode ended, so that there is no return to compare with; give the environment a time limit")
    next_step(f"rllib inspect {shown(out)}", "checks what was recorded")


def _command(env: str, expert: str, steps: int, seed: int, env_config: Sequence[str], licence: str | None) -> str:
    """What remakes the dataset, without its place: the same command gives the same bytes anywhere."""
    words = ["rllib", "record", "--env", env, "--expert", expert, "--steps", str(steps), "--seed", str(seed)]
    for text in env_config:
        words += ["--env-config", text]
    if licence is not None:
        words += ["--licence", licence]
    return " ".join(map(shlex.quote, words)) + " --out DIR"
