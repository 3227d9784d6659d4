"""Results for people: the tables that commands print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rllib_mamql.cli.report import TrialReport, interval, number
from rllib_mamql.evaluation.diagnostics import over_agents

if TYPE_CHECKING:
    from rllib_mamql.data.reading import JointDataset
    from rllib_mamql.data.schema import ReturnSummary
    from rllib_mamql.evaluation.evaluate import EvaluationResult
    from rllib_mamql.rewards.scoring import StateScores
    from rllib_mamql.rewards.store import Recovered


def print_trials(reports: Sequence[TrialReport]) -> None:
    """The table at the end of training, and below it what the trials' folders and errors are."""
    from rllib_mamql.cli.progress import clock

    console = Console()
    reports = best_first(reports)
    table = Table(title="Final evaluation of the last checkpoints", title_justify="left", box=SIMPLE_HEAD)
    varied = _varied([report.config for report in reports])
    table.add_column("trial", overflow="fold")
    for heading in varied:
        table.add_column(heading, overflow="fold")
    for heading in ("return [95% CI]", "expert", "random", "score", "wall time"):
        table.add_column(heading, justify="right", no_wrap=True)
    for report in reports:
        table.add_row(
            _name(report) + ("" if report.error is None else " (failed)"),
            *(str(_flatten(report.config).get(key)) for key in varied),
            interval(report.return_mean, report.return_ci95),
            number(report.expert_return),
            number(report.random_return),
            number(report.normalised_score, 3),
            clock(report.wall_time_s),
        )
    console.print(table)
    played = [r for r in reports if r.return_mean is not None and "input_" in r.config]
    for text in dict.fromkeys(unscored(r.expert_return, r.random_return) for r in played):
        if text:
            console.print(text, markup=False, highlight=False, soft_wrap=True)
    for best in winners(reports):
        found = ", ".join(f"{key} {_flatten(best.config).get(key)}" for key in varied)
        console.print(f"best: {_name(best)}" + (f" ({found})" if found else ""), markup=False, highlight=False)
    for report in reports:
        print_play(report, f"What happens in an episode of {_name(report)}", console)
    for report in reports:
        if report.recovered_rewards:
            console.print(
                rewards_table(report.recovered_rewards, f"What the recovered rewards of {_name(report)} pay for")
            )
    for report in reports:
        name = _name(report)
        if report.checkpoint:
            print(f"checkpoint of {name}: {report.checkpoint}")
        if report.error:
            print(f"error of {name}: {report.error}")


def best_first(reports: Sequence[TrialReport]) -> list[TrialReport]:
    """Trials by experiment, in the order of the file; within one by return, those without one last."""
    experiments = list(dict.fromkeys(report.experiment for report in reports))

    def place(report: TrialReport) -> tuple[int, bool, float]:
        return experiments.index(report.experiment), report.return_mean is None, -(report.return_mean or 0.0)

    return sorted(reports, key=place)


def winners(reports: Sequence[TrialReport]) -> list[TrialReport]:
    """The best trial of each experiment that has several with a return, of trials that are sorted already."""
    scored: dict[str, list[TrialReport]] = {}
    for report in reports:
        if report.return_mean is not None:
            scored.setdefault(report.experiment, []).append(report)
    return [found[0] for found in scored.values() if len(found) > 1]


def print_play(play: TrialReport | EvaluationResult, title: str, console: Console) -> None:
    """Reward events against the expert's, the environment's own numbers, and warnings."""
    expert = over_agents(play.expert_events)
    kinds = list(dict.fromkeys([*play.events, *expert]))
    if kinds or play.metrics:
        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
        for heading in ("", "learned", "expert", "ratio"):
            table.add_column(heading, justify="left" if not heading else "right")
        for kind in kinds:
            ratio = play.event_ratio.get(kind)
            table.add_row(
                kind,
                number(play.events.get(kind, 0.0)),
                number(expert.get(kind)),
                "-" if ratio is None else f"{ratio:.0%}",
            )
        for name, value in play.metrics.items():
            table.add_row(name, number(value), "-", "-")
        if kinds:
            table.caption = "reward events, all agents together"
        console.print(table)
    if play.rationality:
        shown = {name: f"{value:.3g}" for name, value in play.rationality.items()}
        same = len(set(shown.values())) == 1
        text = next(iter(shown.values())) if same else ", ".join(f"{name} {value}" for name, value in shown.items())
        console.print(f"acting at rationality {text}")
    if play.chosen:
        from rllib_mamql.algorithms.mamql.coverage import in_words

        console.print(in_words(play.chosen), markup=False, highlight=False)
    for warning in play.warnings:
        console.print(f"[bold yellow]warning:[/] {escape(warning)}")


def rewards_table(recovered: Mapping[str, Mapping[str, Any]], title: str) -> Table:
    """Mean recovered reward by kind of event and agent."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("at steps with")
    for agent in recovered:
        table.add_column(agent, justify="right")
    kinds = dict.fromkeys(kind for rows in recovered.values() for kind in rows)
    for kind in kinds:
        cells = []
        for rows in recovered.values():
            row = rows.get(kind)
            cells.append("" if row is None else f"{row['mean']:+.3f} (x {row['an_episode']:.1f})")
        table.add_row(kind, *cells)
    table.caption = "mean recovered reward (x how often an episode); rewards are known up to potential shaping"
    return table


def unscored(expert: float | None, random: float | None) -> str:
    """Why there is no normalised score; empty where both of its ends are known."""
    ends = {
        "the expert's return (the demonstrations have no rewards, and their metadata no expert_return)": expert,
        "the return of random play (the metadata has no random_return)": random,
    }
    unknown = [text for text, value in ends.items() if value is None]
    return f"no normalised score, for lack of {' and of '.join(unknown)}" if unknown else ""


def print_evaluation(result: EvaluationResult) -> None:
    """Returns, what happens in an episode, and what recovered rewards pay for."""
    table = returns_table("return", result.return_mean, result.return_ci95, result.per_agent)
    if result.expert_return is not None:
        table.add_row("expert", number(result.expert_return))
    if result.random_return is not None:
        table.add_row("random", number(result.random_return))
    if result.normalised_score is not None:
        table.add_row("normalised score", number(result.normalised_score, 3))
    console = Console()
    console.print(table)
    text = unscored(result.expert_return, result.random_return)
    if text:
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    print_play(result, "What happens in an episode", console)
    if result.recovered_rewards:
        console.print(rewards_table(result.recovered_rewards, "What the recovered rewards pay for"))


def print_relearned(title: str, returns: ReturnSummary, normalised_score: float | None) -> None:
    """True returns of agents that learned anew."""
    table = returns_table("true return", returns.mean, returns.ci95, returns.per_agent, title)
    if normalised_score is not None:
        table.add_row("normalised score", number(normalised_score, 3))
    Console().print(table)


def returns_table(
    heading: str,
    mean: float,
    ci95: tuple[float, float],
    per_agent: Mapping[str, Mapping[str, Any]],
    title: str | None = None,
) -> Table:
    """The return of all, then each agent's."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("")
    table.add_column(f"{heading} [95% CI]", justify="right")
    table.add_row("all", interval(mean, ci95))
    for agent, summary in per_agent.items():
        table.add_row(agent, interval(summary["mean"], tuple(summary["ci95"])))
    return table


def print_recovered(recovered: Recovered) -> None:
    """How well the recovered rewards explain each module's policy, and how large they are."""
    table = Table(box=SIMPLE_HEAD)
    for name in ("module", "policy error [nats]", "mean |r| [nats]"):
        table.add_column(name, justify="left" if name == "module" else "right")
    for module_id in recovered.rewards:
        numbers = (recovered.policy_error.get(module_id), recovered.mean_absolute.get(module_id))
        table.add_row(module_id, *(number(value, 3) for value in numbers))
    Console().print(table)


def print_scores(scored: StateScores) -> None:
    """A table for each agent, with the mean recovered reward where something is paid below it."""
    for agent, scores in scored.scores.items():
        paid = scored.where_paid[agent]
        Console().print(_scores_table(f"{scored.states} states, {agent}", scores, paid))


def _scores_table(title: str, scores: dict[str, dict[str, Any]], events: dict[str, float]) -> Table:
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


def print_problem(problem: str) -> None:
    """What is wrong with a dataset."""
    Console().print(f"problem: {problem}", style="red", markup=False, soft_wrap=True)


def print_dataset(folder: Path, dataset: JointDataset, summary: dict[str, Any]) -> None:
    """What a dataset says about itself, and what is in it.

    Args:
        folder: Where it is.
        dataset: The dataset.
        summary: What :func:`~rllib_mamql.data.summary.summarise` says of it.
    """
    table = Table(title=str(folder), show_header=False, title_justify="left", box=SIMPLE_HEAD)
    table.add_column()
    table.add_column(overflow="fold")
    metadata = dataset.metadata
    expert, random = metadata.expert_return, metadata.random_return
    rows = {
        "environment": metadata.env,
        "env_config": metadata.env_config,
        "expert": metadata.expert,
        "remade by": metadata.command,
        "licence": metadata.licence,
        "files": len(dataset.files),
        "episodes": summary["episodes"],
        "joint steps": summary["steps"],
        "episode lengths": "{min} to {max}, mean {mean:.1f}".format(**summary["episode_lengths"]),
        "mean return": "no rewards recorded" if summary["return_mean"] is None else number(summary["return_mean"]),
        "expert's return": expert and interval(expert.mean, expert.ci95),
        "random return": random and interval(random.mean, random.ci95),
    }
    for name, value in rows.items():
        if value is not None:
            table.add_row(name, str(value))
    for agent in metadata.agents:
        table.add_row(agent, _describe(summary, agent))
    table.add_row("problems", "none")
    Console().print(table)


def _describe(summary: dict[str, Any], agent: str) -> str:
    spaces = summary["spaces"][agent]
    box, shares = spaces["observation"], summary["action_shares"][agent]
    actions = " ".join(f"{share:.0%}" for share in shares)
    parts = [f"observation {tuple(box['shape'])} {box['dtype']}", f"{spaces['action']['n']} actions ({actions})"]
    if summary["return_per_agent"] is not None:
        parts.append(f"return {summary['return_per_agent'][agent]:.2f}")
    presence, outside = summary["presence"][agent], summary["out_of_bounds"][agent]
    said = {"late": "enters late in", "early": "leaves early in", "absent": "is absent from"}
    parts += [
        f"{text} {presence[key]} of {summary['episodes']} episodes" for key, text in said.items() if presence[key]
    ]
    if outside["values"]:
        parts.append(f"{outside['values']} values outside the bounds ({outside['lowest']:g} to {outside['highest']:g})")
    return ", ".join(parts)


def _name(report: TrialReport) -> str:
    return f"{report.experiment} {report.trial.split('_')[-1]}"


def _varied(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Dotted names of the settings that are not the same in all trials."""
    flat = [_flatten(config) for config in configs]
    names = sorted({name for config in flat for name in config})
    return [name for name in names if len({repr(config.get(name)) for config in flat}) > 1]


def _flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, Mapping):
            flat.update(_flatten(item, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = item
    return flat
