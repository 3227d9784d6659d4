"""``rllib relearn``: new agents from scratch on recovered rewards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from rllib_mamql.cli.report import check_output, document, interval, number, write_json
from rllib_mamql.cli.tools import newest_checkpoint
from rllib_mamql.cli.yaml_loader import parse_assignment
from rllib_mamql.errors import ConfigError


def relearn(
    checkpoint: Path,
    algo: str,
    reward: str,
    shaped: bool,
    data: Path | None,
    clone_updates: int | None,
    clone_steps: int | None,
    env_config: Sequence[str],
    judged_in: Sequence[str],
    reference: Path | None,
    sticky_actions: float,
    iterations: int,
    episodes: int,
    sets: Sequence[str],
    seed: int,
    out: Path,
    json_path: Path | None,
) -> None:
    """Trains an RLlib algorithm on a checkpoint's rewards and prints the true return that it reaches."""
    check_output(json_path, "--json")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"--out {out} exists and is not an empty folder; choose another name or remove it")
    folder = newest_checkpoint(checkpoint)
    from rllib_mamql.algorithms.registry import is_ours
    from rllib_mamql.cli.settings import check_keys, find_algorithm
    from rllib_mamql.cli.train import RunOptions, quiet, ray_session, say
    from rllib_mamql.data.reading import read_metadata
    from rllib_mamql.rewards.clone import clone_of
    from rllib_mamql.rewards.relearn import RelearnSettings, build_env
    from rllib_mamql.rewards.relearn import relearn as learn
    from rllib_mamql.rewards.sources import reward_source
    from rllib_mamql.rewards.store import read_with_rewards

    quiet(verbose=False)
    algorithm = find_algorithm(algo)
    if is_ours(algorithm):
        raise ConfigError(f"--algo {algo} learns from demonstrations, not from rewards: name PPO or another of RLlib's")
    changes = dict(parse_assignment(text, "--set") for text in sets)
    check_keys(changes, algorithm.get_default_config(), "--set")
    stored, how = read_with_rewards(folder)
    if reward == "recovered" and how is None:
        say(f"{folder} holds no rewards in a gauge, only those that training regressed; `rllib recover` recovers them")
    clone = None
    if reward == "cloning" and data is not None:
        say(f"a behaviour clone learns from {data}")
        clone = clone_of(stored, data, clone_steps, clone_updates, seed)
        say(clone.summary())
    source = reward_source(stored, reward, clone, shaped)
    against = read_metadata(str(reference)) if reference is not None else None
    settings = RelearnSettings(
        env_config=dict(parse_assignment(text, "--env-config") for text in env_config),
        judged_in=dict(parse_assignment(text, "--judged-in") for text in judged_in),
        sticky_actions=sticky_actions,
        iterations=iterations,
        episodes=episodes,
        seed=seed,
        algorithm=changes,
    )
    inside = {**stored.env_config, **settings.env_config}
    for config in (inside, {**inside, **settings.judged_in}):
        build_env(stored.env, config, sticky_actions, None).close()
    out.mkdir(parents=True, exist_ok=True)
    with ray_session(RunOptions(), []):
        result = learn(stored, source, algorithm, settings, out, say, against)
    table = Table(title=f"{algo} from scratch on the {reward} reward", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("")
    table.add_column("true return [95% CI]", justify="right")
    table.add_row("all", interval(result.returns.mean, result.returns.ci95))
    for agent, summary in result.returns.per_agent.items():
        table.add_row(agent, interval(summary["mean"], tuple(summary["ci95"])))
    if result.normalised_score is not None:
        table.add_row("normalised score", number(result.normalised_score, 3))
    Console().print(table)
    print(f"{result.checkpoint}: {result.env_steps:,} joint steps, {result.train_time_s:.0f} s")
    expert = (against or stored.metadata).expert_return
    fields: dict[str, Any] = {
        "env": stored.env, "env_config": inside, "judged_in": {**inside, **settings.judged_in}, "seed": seed,
        "algo": algo, "reward": reward, "shaped": shaped, "sticky_actions": sticky_actions,
        "clone_updates": clone and clone.updates, "clone_held_out": clone and clone.held_out,
        "return_mean": result.returns.mean, "return_ci95": result.returns.ci95, "per_agent": result.returns.per_agent,
        "expert_return": expert.mean if expert else None, "normalised_score": result.normalised_score,
        "curve": result.curve, "env_steps": result.env_steps, "train_time_s": result.train_time_s,
    }  # fmt: skip
    write_json(json_path, document("relearn", checkpoint=folder, **fields))
