"""``rllib evaluate``, ``record`` and ``inspect``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from rllib_mamql.cli.report import check_output, document, interval, number, print_play, rewards_table, write_json
from rllib_mamql.cli.yaml_loader import parse_assignment
from rllib_mamql.errors import ConfigError, DatasetError, UserError
from rllib_mamql.ray_internals import RLLIB_DOCUMENT

EXIT_INVALID = 2


def newest_checkpoint(path: Path) -> Path:
    """The checkpoint folder itself, or the newest one below a trial's or a run's folder.

    Raises:
        ConfigError: If there is none.
    """
    if (path / RLLIB_DOCUMENT).is_file() or (path / "mamql.json").is_file():
        return path
    if not path.is_dir():
        raise ConfigError(f"{path} is no folder; give a checkpoint, or the folder of a trial or a run")
    found = [*path.glob("checkpoint_*"), *path.glob("*/checkpoint_*")]
    found = [folder for folder in found if re.fullmatch(r"checkpoint_\d+", folder.name) and folder.is_dir()]
    if not found:
        raise ConfigError(f"{path} holds no checkpoint; give a checkpoint, or the folder of a trial or a run")
    return max(found, key=lambda folder: (folder.stat().st_mtime, folder.name))


def evaluate(
    checkpoint: Path,
    episodes: int,
    greedy: bool,
    seed: int,
    video: Path | None,
    data: Path | None,
    json_path: Path | None,
) -> None:
    """Plays a checkpoint and prints its returns."""
    check_output(json_path, "--json")
    check_output(video, "--video")
    folder = newest_checkpoint(checkpoint)
    from rllib_mamql.cli.train import quiet
    from rllib_mamql.evaluation.evaluate import evaluate_checkpoint

    quiet(verbose=False)
    result = evaluate_checkpoint(folder, episodes=episodes, greedy=greedy, seed=seed, video=video, data=data)
    print(f"{folder}: {result.episodes} episodes of {result.env}, {result.policy} policy")
    table = Table(box=SIMPLE_HEAD)
    table.add_column("")
    table.add_column("return [95% CI]", justify="right")
    table.add_row("all", interval(result.return_mean, result.return_ci95))
    for agent, summary in result.per_agent.items():
        table.add_row(agent, interval(summary["mean"], tuple(summary["ci95"])))
    if result.expert_return is not None:
        table.add_row("expert", number(result.expert_return))
    if result.random_return is not None:
        table.add_row("random", number(result.random_return))
    if result.normalised_score is not None:
        table.add_row("normalised score", number(result.normalised_score, 3))
    Console().print(table)
    print_play(result, "What happens in an episode", Console())
    if result.recovered_rewards:
        Console().print(rewards_table(result.recovered_rewards, "What the recovered rewards pay for"))
    if video is not None:
        print(f"film: {video}")
    write_json(json_path, document("evaluate", checkpoint=folder, seed=seed, **vars(result)))


def record(
    env: str, expert: str, steps: int, seed: int, out: Path, env_config: Sequence[str], licence: str | None
) -> None:
    """Records a dataset of expert play."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"--out {out} exists and is not an empty folder; choose another name or remove it")
    config = dict(parse_assignment(text, "--env-config") for text in env_config)
    if expert not in ("scripted", "random"):
        if not Path(expert).exists():
            raise ConfigError(f"--expert {expert!r}: write scripted, random, or a checkpoint's folder")
        expert = str(newest_checkpoint(Path(expert)))
    from rllib_mamql.cli.train import quiet
    from rllib_mamql.evaluation.record import record_dataset

    quiet(verbose=False)

    command = _command(env, expert, steps, seed, env_config, licence)
    metadata = record_dataset(env, config, expert, steps, seed, out, command, licence)
    print(f"{out}: {steps} joint steps of {env}")
    for name, summary in (("expert", metadata.expert_return), ("random", metadata.random_return)):
        if summary is not None:
            print(f"{name} return {interval(summary.mean, summary.ci95)}, {summary.episodes} episodes")


def _command(env: str, expert: str, steps: int, seed: int, env_config: Sequence[str], licence: str | None) -> str:
    """What remakes the dataset, without its place: the same command gives the same bytes anywhere."""
    words = ["rllib", "record", "--env", env, "--expert", expert, "--steps", str(steps), "--seed", str(seed)]
    for text in env_config:
        words += ["--env-config", text]
    if licence is not None:
        words += ["--licence", licence]
    return " ".join(map(shlex.quote, words)) + " --out DIR"


def inspect(folder: Path, json_path: Path | None) -> int:
    """Checks a dataset and prints what is in it; gives the exit status."""
    check_output(json_path, "--json")
    from rllib_mamql.data.reading import read_dataset

    console = Console()
    try:
        dataset = read_dataset(str(folder))
    except (DatasetError, UserError) as error:
        problem = " ".join(str(error).split())
        write_json(
            json_path,
            document("inspect", path=folder, episodes=None, steps=None, agents=[], spaces={}, return_mean=None)
            | {"problems": [problem]},
        )
        console.print(f"problem: {problem}", style="red", markup=False, soft_wrap=True)
        return EXIT_INVALID
    summary = summarise(dataset)
    table = Table(title=str(folder), show_header=False, title_justify="left", box=SIMPLE_HEAD)
    table.add_column()
    table.add_column(overflow="fold")
    metadata = dataset.metadata
    rows = {
        "environment": metadata.env,
        "env_config": metadata.env_config,
        "expert": metadata.expert,
        "remade by": metadata.command,
        "licence": metadata.licence,
        "files": len(dataset.files),
        "episodes": summary["episodes"],
        "joint steps": summary["steps"],
        "mean return": number(summary["return_mean"]),
        "expert's return": metadata.expert_return
        and interval(metadata.expert_return.mean, metadata.expert_return.ci95),
        "random return": metadata.random_return and interval(metadata.random_return.mean, metadata.random_return.ci95),
    }
    for name, value in rows.items():
        if value is not None:
            table.add_row(name, str(value))
    for agent in metadata.agents:
        table.add_row(agent, _describe(summary, agent))
    table.add_row("problems", "none")
    console.print(table)
    write_json(json_path, document("inspect", path=folder, **summary))
    return 0


def summarise(dataset: Any) -> dict[str, Any]:
    """What is in a valid dataset, as ``inspect --json`` says it."""
    from rllib_mamql.columns import ACTIONS, ALIVE, EPS_ID, REWARDS, column, num_rows

    columns, metadata = dataset.columns, dataset.metadata
    episodes, number_of = np.unique(np.asarray(columns[EPS_ID]).astype(str), return_inverse=True)
    returns, shares = {}, {}
    for agent in metadata.agents:
        alive = np.asarray(columns[column(ALIVE, agent)], dtype=bool)
        rewards = np.where(alive, columns[column(REWARDS, agent)], 0.0)
        returns[agent] = float(np.bincount(number_of, rewards, minlength=len(episodes)).mean())
        actions = np.asarray(columns[column(ACTIONS, agent)])[alive]
        counts = np.bincount(actions, minlength=int(metadata.spaces[agent].action.n))
        shares[agent] = (counts / max(counts.sum(), 1)).tolist()
    return {
        "episodes": len(episodes),
        "steps": num_rows(columns),
        "agents": list(metadata.agents),
        "spaces": {agent: metadata.spaces[agent].to_json() for agent in metadata.agents},
        "return_mean": float(np.mean(list(returns.values()))),
        "return_per_agent": returns,
        "action_shares": shares,
        "problems": [],
    }


def _describe(summary: dict[str, Any], agent: str) -> str:
    spaces = summary["spaces"][agent]
    box, shares = spaces["observation"], summary["action_shares"][agent]
    actions = " ".join(f"{share:.0%}" for share in shares)
    return (
        f"observation {tuple(box['shape'])} {box['dtype']}, {spaces['action']['n']} actions ({actions}), "
        f"return {summary['return_per_agent'][agent]:.2f}"
    )
