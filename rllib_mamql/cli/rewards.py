"""``rllib recover``, ``rllib reward`` and ``rllib map``: rewards in a gauge, how good they are, what they value."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from rllib_mamql.cli.report import check_output, document, number, write_json
from rllib_mamql.cli.tools import newest_checkpoint
from rllib_mamql.errors import ConfigError

PICTURES = (".png", ".svg", ".pdf")


def recover(checkpoint: Path, data: Path | None, **settings: Any) -> None:
    """Recovers the rewards of a checkpoint and writes them into it."""
    folder = newest_checkpoint(checkpoint)
    from rllib_mamql.cli.train import quiet, say

    quiet(verbose=False)
    chosen = trained_settings(folder, **settings)
    say(f"recovering rewards of {folder}: gauge {chosen.gauge}, {chosen.updates} updates")
    recovered = recover_checkpoint(folder, chosen, data)
    table = Table(box=SIMPLE_HEAD)
    for name in ("module", "policy error [nats]", "mean |r| [nats]"):
        table.add_column(name, justify="left" if name == "module" else "right")
    for module_id in recovered.rewards:
        table.add_row(
            module_id,
            number(recovered.policy_error.get(module_id), 3),
            number(recovered.mean_absolute.get(module_id), 3),
        )
    Console().print(table)
    print(f"{folder}/rewards.npz ({recovered.seconds:.0f} s); `rllib reward {folder}` scores it")


def trained_settings(folder: Path, **changes: Any) -> Any:
    """The recovery settings that a checkpoint was trained with, with changes that are not None.

    A checkpoint trained with gauge ``none`` is recovered from with ``sparse``, unless told otherwise.
    """
    from rllib_mamql.algorithms.registry import read_checkpoint
    from rllib_mamql.rewards.recover import RecoverySettings

    trained = read_checkpoint(folder).settings
    names = {"gauge": "reward_gauge", "strength": "reward_gauge_strength"}
    names |= {"network": "reward_network", "inputs": "reward_inputs"}
    kept = {key: trained[name] for key, name in names.items() if name in trained}
    if kept.get("gauge") == "none":
        del kept["gauge"]
    return RecoverySettings(**kept | {key: value for key, value in changes.items() if value is not None})


def recover_checkpoint(folder: Path, settings: Any, data: Path | None = None) -> Any:
    """Recovers a checkpoint's rewards from exploring play, or from a dataset's rows, and writes them into it."""
    from rllib_mamql.algorithms.registry import read_checkpoint
    from rllib_mamql.learning.demonstrations import read_demonstrations
    from rllib_mamql.rewards.exploration import explore
    from rllib_mamql.rewards.recover import recover as fit
    from rllib_mamql.rewards.store import write_rewards

    stored = read_checkpoint(folder)
    if data is None:
        columns = explore(stored, settings.steps, settings.explore, settings.seed)
    else:
        columns = read_demonstrations(stored, data)
    recovered = fit(stored, columns, settings)
    write_rewards(folder, recovered, settings)
    return recovered


def reward(
    checkpoint: Path,
    data: Path | None,
    clone_updates: int | None,
    clone_steps: int | None,
    steps: int,
    seed: int,
    sampled: bool,
    resamples: int,
    json_path: Path | None,
    plot: Path | None,
) -> None:
    """Scores the recovered rewards of a checkpoint against the true ones."""
    check_output(json_path, "--json")
    check_output(plot, "--plot")
    if plot is not None:
        check_picture(plot, "--plot")
    folder = newest_checkpoint(checkpoint)
    from rllib_mamql.cli.train import quiet, say
    from rllib_mamql.environments.registry import has_expert
    from rllib_mamql.rewards.clone import clone_of
    from rllib_mamql.rewards.scoring import by_event, play_held_out, score
    from rllib_mamql.rewards.store import read_with_rewards

    quiet(verbose=False)
    stored, how = read_with_rewards(folder)
    gauge = "none (as training regressed it)" if how is None else how["settings"]["gauge"]
    clone = None
    if data is not None:
        say(f"a behaviour clone learns from {data}")
        clone = clone_of(stored, data, clone_steps, clone_updates, seed)
        say(clone.summary())
    kinds = ["policy", "exploring"] + (["expert"] if has_expert(stored.env) else [])
    console = Console()
    console.print(f"{folder}: rewards in gauge {gauge}", markup=False, soft_wrap=True)
    results: dict[str, dict[str, Any]] = {}
    paid: dict[str, dict[str, dict[str, float]]] = {}
    for kind in kinds:
        started = time.monotonic()
        held_out = play_held_out(stored, kind, steps=steps, seed=seed, exact=not sampled)
        results[kind], paid[kind] = {}, {}
        for agent in stored.module_of:
            scores = score(stored, held_out, agent, clone=clone, resamples=resamples)
            results[kind][agent] = {
                name: {metric: value.value for metric, value in metrics.items()}
                | {f"{metric}_ci95": value.ci95 for metric, value in metrics.items()}
                for name, metrics in scores.items()
            }
            paid[kind][agent] = by_event(stored, held_out, agent)
            console.print(_table(f"{kind} states, {agent}", scores, paid[kind][agent]))
        say(f"{kind} states: {steps} joint steps, {time.monotonic() - started:.0f} s")
    fields = {
        "recovery": how, "seed": seed, "clone_updates": clone and clone.updates,
        "clone_held_out": clone and clone.held_out, "exact": not sampled, "states": results, "mean_where_paid": paid,
    }  # fmt: skip
    write_json(json_path, document("reward", checkpoint=folder, **fields))
    if plot is not None:
        from rllib_mamql.rewards.plots import plot_scores

        plot_scores(results, plot)
        print(f"plot: {plot}")


def map_rewards(checkpoint: Path, plot: Path, steps: int, seed: int) -> None:
    """Draws the recovered rewards of a checkpoint over the places of its environment."""
    check_output(plot, "--plot")
    check_picture(plot, "--plot")
    folder = newest_checkpoint(checkpoint)
    from rllib_mamql.cli.train import quiet, say
    from rllib_mamql.rewards.maps import reward_maps
    from rllib_mamql.rewards.plots import plot_maps
    from rllib_mamql.rewards.store import read_with_rewards

    quiet(verbose=False)
    stored, how = read_with_rewards(folder)
    started = time.monotonic()
    maps = reward_maps(stored, steps=steps, seed=seed)
    gauge = "none: as training regressed it" if how is None else how["settings"]["gauge"]
    plot_maps(maps, f"What the recovered rewards of {stored.env} value (gauge {gauge})", plot)
    say(f"maps from {steps} joint steps, {time.monotonic() - started:.0f} s")
    print(f"plot: {plot}")


def check_picture(path: Path, option: str) -> None:
    """Refuses a picture whose ending says no known format.

    Raises:
        ConfigError: If it does not.
    """
    if path.suffix not in PICTURES:
        raise ConfigError(f"{option} {str(path)!r} has no known ending: use one of {', '.join(PICTURES)}")


def _table(title: str, scores: dict[str, dict[str, Any]], events: dict[str, float]) -> Table:
    paid = ", ".join(f"{kind} is paid: {mean:.2f}" for kind, mean in events.items())
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, caption=f"mean recovered where {paid}")
    table.add_column("predictor")
    metrics = list(next(iter(scores.values())))
    for metric in metrics:
        table.add_column(metric, justify="right")
    for name, values in scores.items():
        table.add_row(name, *(_short(values[metric]) for metric in metrics))
    return table


def _short(metric: Any) -> str:
    """A metric and half its interval, to fit a terminal; the JSON has both ends."""
    if metric.value is None:
        return "-"
    return f"{metric.value:.2f}" + ("" if metric.ci95 is None else f" +-{(metric.ci95[1] - metric.ci95[0]) / 2:.2f}")
