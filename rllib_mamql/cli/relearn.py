"""``rllib relearn``: new agents from scratch on recovered rewards."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rllib_mamql.cli.fetching import place_of
from rllib_mamql.cli.messages import say
from rllib_mamql.cli.options import (
    RunOptions,
    assignments,
    checkpoint_argument,
    clone_options,
    count_option,
    data_option,
    json_option,
    out_option,
    seed_option,
)
from rllib_mamql.cli.paths import check_new_folder, check_output, newest_checkpoint, shown
from rllib_mamql.errors import ConfigError
from rllib_mamql.rewards.settings import REWARD_KINDS, RelearnSettings

if TYPE_CHECKING:
    from rllib_mamql.learning.checkpoint import Checkpoint
    from rllib_mamql.rewards.explanation import Explanation
    from rllib_mamql.rewards.refits import Refits
    from rllib_mamql.rewards.sources import RewardSource


@click.command()
@checkpoint_argument
@click.option("--algo", default="PPO", show_default=True, help="An algorithm of RLlib's own.")
@click.option(
    "--reward",
    type=click.Choice(REWARD_KINDS),
    default=REWARD_KINDS[0],
    show_default=True,
    help="What the new agents are paid.",
)
@click.option("--shaped", is_flag=True, help="Add the recovered potential: a dense reward, which is learned sooner.")
@data_option("--data", "Demonstrations, for --reward cloning.")
@clone_options
@assignments("--env-config", help="Changes the environment.")
@assignments("--judged-in", help="Changes it for measuring the true return only.")
@data_option("--reference", "Data whose expert and random play normalise the score; the checkpoint's own by default.")
@click.option(
    "--sticky-actions",
    type=click.FloatRange(0, 1, max_open=True),
    default=RelearnSettings.sticky_actions,
    show_default=True,
)
@count_option("--iterations", RelearnSettings.iterations)
@count_option("--episodes", RelearnSettings.episodes, "Of the final evaluation.")
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    help="Parts of the training; between them recovered rewards are fitted to the learners' play too.  "
    "[default: 10 where the dynamics are those of training, else 1]",
)
@assignments("--set", "sets", help="Change a setting of the algorithm.")
@seed_option
@out_option
@json_option
def relearn(checkpoint: str | Path, algo: str, out: Path, json_path: Path | None, **options: Any) -> None:
    """Train new agents from scratch on recovered rewards, and score them by the true return."""
    check_output(json_path, "--json")
    check_new_folder(out)
    folder = newest_checkpoint(checkpoint)
    from rllib_mamql.cli.advice import record_play
    from rllib_mamql.cli.report import document, write_json
    from rllib_mamql.cli.session import quiet, ray_session
    from rllib_mamql.cli.tables import print_relearned
    from rllib_mamql.data.reading import read_metadata
    from rllib_mamql.rewards.refits import usual_rounds
    from rllib_mamql.rewards.relearn import check_environments, env_configs
    from rllib_mamql.rewards.relearn import relearn as learn
    from rllib_mamql.rewards.store import REWARDS, cut_short, read_explanations, read_with_rewards

    quiet(verbose=False)
    algorithm, settings = _algorithm(algo, options["sets"]), _settings(options)
    stored, how = read_with_rewards(folder)
    explanations = {} if how is None else read_explanations(stored, how)
    if options["rounds"] is None and options["reward"] == "recovered":
        settings = dataclasses.replace(settings, rounds=usual_rounds(explanations, settings))
    if options["reward"] == "recovered" and how is None:
        where = shown(folder)
        say(f"{where} holds no rewards in a gauge, only those that training regressed; `rllib recover` recovers them")
    elif options["reward"] == "recovered" and cut_short(how):
        say(
            "its recovery was ended by a budget: new agents may find what it pays by mistake (`rllib recover` has none)"
        )
    source, clone = _source(stored, options)
    refits = _refits(stored, how, explanations, source, settings)
    reference = options["reference"]
    against = None if reference is None else read_metadata(str(reference))
    check_environments(stored, settings, algorithm)
    out.mkdir(parents=True, exist_ok=True)
    with ray_session(RunOptions()):
        result = learn(stored, source, algorithm, settings, out, say, against, refits)
    print_relearned(f"{algo} from scratch on the {source.kind} reward", result)
    print(f"{shown(result.checkpoint)}: {result.env_steps:,} joint steps, {result.train_time_s:.0f} s")
    if refits is not None:
        print(f"{shown(out / REWARDS)}: the rewards that it was paid last")
    inside, judged_in = env_configs(stored, settings)
    expert = (against or stored.metadata).expert_return
    fields: dict[str, Any] = {
        "env": stored.env, "env_config": inside, "judged_in": judged_in, "seed": settings.seed, "algo": algo,
        "reward": source.kind, "shaped": options["shaped"], "sticky_actions": settings.sticky_actions,
        "rounds": settings.rounds,
        "clone_updates": clone and clone.updates, "clone_held_out": clone and clone.held_out,
        "return_mean": None if result.teams else result.returns.mean,
        "return_ci95": None if result.teams else result.returns.ci95,
        "per_agent": result.returns.per_agent, "teams": result.teams,
        "expert_return": expert.mean if expert and not result.teams else None,
        "normalised_score": result.normalised_score,
        "curve": result.curve, "env_steps": result.env_steps, "train_time_s": result.train_time_s,
    }  # fmt: skip
    write_json(json_path, document("relearn", checkpoint=place_of(folder), **fields))
    record_play(stored.env, judged_in, result.checkpoint)


def _algorithm(algo: str, sets: Sequence[str]) -> type[Any]:
    """RLlib's Algorithm class, whose settings ``--set`` may change."""
    from rllib_mamql.algorithms.registry import is_ours
    from rllib_mamql.cli.settings import check_keys, find_algorithm
    from rllib_mamql.cli.yaml_loader import parse_assignments

    algorithm = find_algorithm(algo)
    if is_ours(algorithm):
        raise ConfigError(f"--algo {algo} learns from demonstrations, not from rewards: name PPO or another of RLlib's")
    check_keys(parse_assignments(sets, "--set"), algorithm.get_default_config(), "--set")
    return algorithm


def _settings(options: dict[str, Any]) -> RelearnSettings:
    from rllib_mamql.cli.yaml_loader import parse_assignments

    return RelearnSettings(
        env_config=parse_assignments(options["env_config"], "--env-config"),
        judged_in=parse_assignments(options["judged_in"], "--judged-in"),
        algorithm=parse_assignments(options["sets"], "--set"),
        rounds=options["rounds"] or RelearnSettings.rounds,
        **{name: options[name] for name in ("sticky_actions", "iterations", "episodes", "seed")},
    )


def _refits(
    stored: Checkpoint,
    how: dict[str, Any] | None,
    explanations: dict[str, Explanation],
    source: RewardSource,
    settings: RelearnSettings,
) -> Refits | None:
    """What fits rewards anew between the rounds, where there are several."""
    from rllib_mamql.cli.working import working
    from rllib_mamql.rewards.refits import TOTAL, Refits

    if settings.rounds == 1:
        return None
    if source.kind != "recovered" or how is None:
        raise ConfigError(
            f"--rounds {settings.rounds} fits rewards anew: it needs --reward recovered, and rewards that "
            "`rllib recover` has written"
        )
    return Refits(stored, how, explanations, lambda: working("fitting rewards to the learners' play", TOTAL))


def _source(stored: Checkpoint, options: dict[str, Any]) -> tuple[RewardSource, Any]:
    """What the new agents are paid, and the behaviour clone behind it, where there is one."""
    from rllib_mamql.cli.session import learn_clone
    from rllib_mamql.rewards.sources import reward_source

    data = options["data"] if options["reward"] == "cloning" else None
    clone = learn_clone(stored, data, options["clone_steps"], options["clone_updates"], options["seed"])
    return reward_source(stored, options["reward"], clone, options["shaped"]), clone
