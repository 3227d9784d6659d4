"""What to do next: the line at a command's end, where it depends on what the command found."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rllib_mamql.algorithms.registry import ALGORITHMS
from rllib_mamql.cli.messages import next_step
from rllib_mamql.cli.paths import shown
from rllib_mamql.networks.choices import NO_GAUGE

if TYPE_CHECKING:
    from rllib_mamql.cli.experiment import Experiment
    from rllib_mamql.cli.report import TrialReport

DATA = "demonstrations"
"""Folder that is proposed for recordings."""


def after_training(file: Path, experiments: Sequence[Experiment], reports: Sequence[TrialReport]) -> None:
    """Says what to do with trained policies, a search's winner, or a trial that failed.

    Args:
        file: The experiments' file.
        experiments: Those that it holds.
        reports: Of their trials.
    """
    if any(report.error for report in reports):
        next_step(f"rllib train --file {shown(file)} --verbose", "shows what Ray logs of the error")
        return
    if winner := next((report for report in reports if report.settings), None):
        next_step(f"rllib train --file {shown(str(winner.settings))}", "trains with the best trial's settings")
        return
    saved = [report for report in reports if report.checkpoint]
    if not saved:
        return
    last = next(each.settings for each in experiments if each.name == saved[-1].experiment)
    run = str(saved[-1].checkpoint).rsplit("/", 2)[0]
    if last.run not in ALGORITHMS:
        record_play(str(last.env), saved[-1].config.get("env_config") or {}, run)
    elif saved[-1].return_mean is None and not saved[-1].teams and last.env:
        next_step(f"rllib evaluate {shown(run)}", "plays the policies")
    else:
        last_of = saved[-1]
        has_rewards = bool(last_of.recovered_rewards) or not last.env
        recovered = last_of.reward_gauge != NO_GAUGE
        after_evaluation(run, has_rewards=has_rewards, recovered=recovered, playable=bool(last.env))


def record_play(env: str, env_config: Mapping[str, Any], expert: str | Path) -> None:
    """Says how policies of RLlib's own are recorded, in the environment that they know."""
    changed = "".join(f" --env-config {shlex.quote(f'{key}={json.dumps(value)}')}" for key, value in env_config.items())
    command = f"rllib record --env {env}{changed} --expert {shown(expert)} --steps 2000 --out {DATA}"
    next_step(command, "records what they do")


def after_evaluation(checkpoint: str | Path, *, has_rewards: bool, recovered: bool, playable: bool = True) -> None:
    """Says what to do with policies that are good enough, and with their rewards.

    Args:
        checkpoint: Theirs.
        has_rewards: Whether there are rewards, or some can be recovered.
        recovered: Whether they were recovered in a gauge.
        playable: Whether there is an environment, whose true rewards they can be scored against.
    """
    if has_rewards and recovered and playable:
        next_step(f"rllib reward {shown(checkpoint)}", "scores the rewards against the true ones")
    elif has_rewards and not recovered:
        next_step(f"rllib recover {shown(checkpoint)}", "finds the rewards that explain the policies")
    else:
        next_step(f"rllib export {shown(checkpoint)} --out policies", "writes the policies for use without Ray")
