"""``rllib reward``: how good recovered rewards are."""

from __future__ import annotations

from pathlib import Path

import click

from rllib_mamql.cli.fetching import place_of
from rllib_mamql.cli.messages import next_step, say
from rllib_mamql.cli.options import (
    checkpoint_argument,
    clone_options,
    count_option,
    data_option,
    file_option,
    json_option,
    seed_option,
)
from rllib_mamql.cli.paths import check_output, check_picture, newest_checkpoint, shown
from rllib_mamql.cli.working import working
from rllib_mamql.rewards.settings import ScoringSettings


@click.command()
@checkpoint_argument
@data_option("--data", "The expert's data: adds a clone's reward.")
@clone_options
@count_option("--steps", ScoringSettings.steps, "Joint steps of each kind.")
@click.option("--sampled", is_flag=True, help="Compare with the reward paid; do not try all joint actions.")
@count_option("--resamples", ScoringSettings.resamples, "Of the bootstrap.", low=0)
@seed_option
@file_option("--plot", "Draw the scores: .png, .svg or .pdf.")
@json_option
def reward(
    checkpoint: str | Path,
    data: str | Path | None,
    clone_updates: int | None,
    clone_steps: int | None,
    steps: int,
    sampled: bool,
    resamples: int,
    seed: int,
    plot: Path | None,
    json_path: Path | None,
) -> None:
    """Score recovered rewards against the true ones, on held-out play."""
    check_output(json_path, "--json")
    check_picture(plot, "--plot")
    folder = newest_checkpoint(checkpoint)
    from rllib_mamql.cli.report import document, write_json
    from rllib_mamql.cli.session import learn_clone, quiet
    from rllib_mamql.cli.tables import print_scores, print_verdicts
    from rllib_mamql.rewards.plots import plot_scores
    from rllib_mamql.rewards.scoring import StateScores, score_states, states_of
    from rllib_mamql.rewards.store import check_rewards, read_with_rewards
    from rllib_mamql.rewards.verdict import sentence

    quiet(verbose=False)
    stored, how = read_with_rewards(folder)
    check_rewards(stored)
    clone = learn_clone(stored, data, clone_steps, clone_updates, seed)
    settings = ScoringSettings(steps=steps, exact=not sampled, resamples=resamples, seed=seed)
    gauge = "none (as training regressed it)" if how is None else how["settings"]["gauge"]
    click.echo(f"{shown(folder)}: rewards in gauge {gauge}")
    scored: list[StateScores] = []
    for states in states_of(stored):
        with working(f"scoring on {states} states", steps) as watch:
            scored.append(score_states(stored, states, settings, clone, watch))
        say(f"{states} states: {steps} joint steps, {scored[-1].seconds:.0f} s")
    verdicts = {
        agent: sentence(
            agent,
            {each.states: each.scores[agent] for each in scored},
            {each.states: each.where_paid[agent] for each in scored},
            steps,
        )
        for agent in stored.module_of
    }
    print_verdicts(verdicts.values())
    for each in scored:
        print_scores(each)
    results = {each.states: each.to_json() for each in scored}
    paid = {each.states: each.where_paid for each in scored}
    fields = {
        "recovery": how, "seed": seed, "clone_updates": clone and clone.updates,
        "clone_held_out": clone and clone.held_out, "exact": not sampled, "states": results, "mean_where_paid": paid,
        "verdicts": verdicts,
    }  # fmt: skip
    write_json(json_path, document("reward", checkpoint=place_of(folder), **fields))
    if plot is not None:
        plot_scores(results, plot)
        print(f"plot: {plot}")
    next_step(f"rllib map {shown(checkpoint)} --plot map.png", "draws what the rewards value")
