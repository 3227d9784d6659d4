"""``rllib evaluate``: what a checkpoint's policies score, and what happens on the way."""

from __future__ import annotations

from pathlib import Path

import click

from rllib_mamql.cli.fetching import place_of
from rllib_mamql.cli.options import (
    EVALUATION_EPISODES,
    checkpoint_argument,
    count_option,
    data_option,
    file_option,
    json_option,
    seed_option,
)
from rllib_mamql.cli.paths import check_output, newest_checkpoint, shown
from rllib_mamql.cli.working import working
from rllib_mamql.errors import ConfigError
from rllib_mamql.networks.choices import NO_GAUGE


@click.command()
@checkpoint_argument
@count_option("--episodes", EVALUATION_EPISODES)
@click.option("--greedy", is_flag=True, help="Take the most likely action in place of sampling.")
@seed_option
@file_option("--video", "Film one episode: .gif, .mp4 or .png.")
@data_option("--data", "Demonstrations to compare play with.  [default: those of training, if they are there]")
@json_option
def evaluate(
    checkpoint: str | Path,
    episodes: int,
    greedy: bool,
    seed: int,
    video: Path | None,
    data: str | Path | None,
    json_path: Path | None,
) -> None:
    """Play episodes with a checkpoint, or with the newest one of a trial or of a run's best trial."""
    check_output(json_path, "--json")
    check_output(video, "--video")
    folder = newest_checkpoint(checkpoint)
    with working("loading RLlib"):
        from rllib_mamql.algorithms.registry import read_checkpoint
        from rllib_mamql.cli.advice import after_evaluation
        from rllib_mamql.cli.report import document, write_json
        from rllib_mamql.cli.session import quiet
        from rllib_mamql.cli.tables import in_words, print_evaluation
        from rllib_mamql.evaluation.evaluate import evaluate_checkpoint
        from rllib_mamql.evaluation.likelihood import held_out_likelihood
        from rllib_mamql.rewards.store import REWARDS

        quiet(verbose=False)
    if (stored := read_checkpoint(folder)).env == "" and video is None:
        found = held_out_likelihood(stored, data)
        if found is None:
            raise ConfigError(f"{shown(folder)} has no environment to play in: name demonstrations with --data")
        print(f"{shown(folder)}: {in_words(found)}")
        write_json(json_path, document("evaluate", checkpoint=place_of(folder), held_out_likelihood=vars(found)))
        after_evaluation(checkpoint, has_rewards=True, recovered=(folder / REWARDS).is_file(), playable=False)
        return
    with working(f"evaluating {shown(folder)}", 2 * episodes if greedy else episodes) as watch:
        result = evaluate_checkpoint(
            folder, episodes=episodes, greedy=greedy, seed=seed, video=video, data=data, watch=watch
        )
    print(f"{shown(folder)}: {result.episodes} episodes of {result.env}, {result.policy} policy")
    print_evaluation(result)
    if video is not None:
        print(f"film: {video}")
    write_json(json_path, document("evaluate", checkpoint=place_of(folder), seed=seed, **vars(result)))
    recovered = result.reward_gauge != NO_GAUGE
    after_evaluation(checkpoint, has_rewards=bool(result.recovered_rewards), recovered=recovered)
