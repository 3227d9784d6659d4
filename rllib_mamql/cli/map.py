"""``rllib map``: what recovered rewards value, over the places of an environment, or by what agents see and do."""

from __future__ import annotations

import time
from pathlib import Path

import click

from rllib_mamql.cli.messages import next_step, say
from rllib_mamql.cli.options import checkpoint_argument, count_option, file_option, seed_option
from rllib_mamql.cli.paths import check_picture, newest_checkpoint, shown
from rllib_mamql.rewards.settings import MapSettings


@click.command("map")
@checkpoint_argument
@file_option("--plot", "The picture: .png, .svg or .pdf.", required=True)
@count_option("--steps", MapSettings.steps, "Joint steps to play.")
@seed_option
def map_rewards(checkpoint: str | Path, plot: Path, steps: int, seed: int) -> None:
    """Draw what recovered rewards value.

    Over the places of gems, overcooked or intersection; elsewhere by what agents see and do, with a table of the most
    telling rows.
    """
    check_picture(plot, "--plot")
    folder = newest_checkpoint(checkpoint)
    from rllib_mamql.cli.session import quiet
    from rllib_mamql.cli.tables import print_dependence
    from rllib_mamql.cli.working import working
    from rllib_mamql.environments.registry import has_maps
    from rllib_mamql.rewards.store import read_with_rewards

    quiet(verbose=False)
    stored, how = read_with_rewards(folder)
    started = time.monotonic()
    gauge = "none: as training regressed it" if how is None else how["settings"]["gauge"]
    title = f"recovered rewards of {stored.env} {{}} (gauge {gauge})"
    with working(f"playing {steps} joint steps", steps) as watch:
        if has_maps(stored.env):
            from rllib_mamql.rewards.maps import reward_maps
            from rllib_mamql.rewards.plots import plot_maps

            plot_maps(
                reward_maps(stored, steps=steps, seed=seed, watch=watch), f"What the {title.format('value')}", plot
            )
            found = {}
        else:
            from rllib_mamql.rewards.dependence import reward_dependence
            from rllib_mamql.rewards.dependence_plots import plot_dependence

            found = reward_dependence(stored, steps=steps, seed=seed, watch=watch)
            plot_dependence(found, f"What the {title.format('depend on')}", plot)
    print_dependence(found)
    say(f"drawn from {steps} joint steps, {time.monotonic() - started:.0f} s")
    print(f"plot: {plot}")
    next_step(f"rllib relearn {shown(checkpoint)} --out new", "trains new agents on these rewards")
