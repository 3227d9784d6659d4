"""``rllib recover``: rewards of a checkpoint in a gauge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rllib_mamql.cli.fetching import give_back
from rllib_mamql.cli.messages import say
from rllib_mamql.cli.options import checkpoint_argument, count_option, data_option, seed_option
from rllib_mamql.cli.paths import newest_checkpoint, shown
from rllib_mamql.networks.choices import REWARD_GAUGES, REWARD_INPUTS, REWARD_NETWORKS
from rllib_mamql.rewards.settings import RecoverySettings as Default


@click.command()
@checkpoint_argument
@click.option("--gauge", type=click.Choice(REWARD_GAUGES), help=f"As trained with, or {Default.gauge}.")
@click.option(
    "--strength",
    type=click.FloatRange(min=0),
    help=f"Weight of the gauge; as trained with, or {Default.strength}.",
)
@click.option("--network", type=click.Choice(REWARD_NETWORKS), help=f"As trained with, or {Default.network}.")
@click.option(
    "--inputs",
    type=click.Choice(REWARD_INPUTS),
    help=f"What the reward depends on; as trained with, or {Default.inputs}.",
)
@count_option("--updates", Default.updates, "At most; held-out play says when it is enough.")
@count_option("--steps", Default.steps, "Joint steps to play.")
@click.option(
    "--explore",
    type=click.FloatRange(0, 1),
    default=Default.explore,
    show_default=True,
    help="Share of random actions.",
)
@count_option("--regression", Default.regression, "Updates of reward and potential once the critic is fitted.", low=0)
@click.option(
    "--budget",
    "budget_s",
    type=click.FloatRange(min=0, min_open=True),
    help="Processor seconds after which to end at the latest.",
)
@data_option("--data", "Use these rows in place of play.")
@seed_option
def recover(checkpoint: str | Path, data: str | Path | None, **settings: Any) -> None:
    """Recover the rewards of a checkpoint in a gauge, and write them into it."""
    folder = newest_checkpoint(checkpoint)
    from rllib_mamql.algorithms.registry import read_checkpoint
    from rllib_mamql.cli.advice import after_evaluation
    from rllib_mamql.cli.session import quiet
    from rllib_mamql.cli.tables import print_recovered
    from rllib_mamql.cli.working import working
    from rllib_mamql.rewards.recover import TOTAL, recover_checkpoint, trained_settings

    quiet(verbose=False)
    stored = read_checkpoint(folder)
    chosen = trained_settings(stored, **settings)
    say(f"recovering rewards of {shown(folder)}: gauge {chosen.gauge}")
    with working("recovering rewards", TOTAL) as watch:
        recovered = recover_checkpoint(stored, chosen, data, watch)
    give_back(folder)
    print_recovered(recovered)
    print(f"{shown(folder / 'rewards.npz')} ({recovered.seconds:.0f} s)")
    after_evaluation(checkpoint, has_rewards=True, recovered=True, playable=bool(stored.env))
