"""Results for people: the tables that commands print."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rllib_mamql.cli.layout import as_it_is, fits, show, table_of, tell
from rllib_mamql.cli.numbers import interval, number
from rllib_mamql.cli.report import TrialReport
from rllib_mamql.errors import printable
from rllib_mamql.evaluation.diagnostics import over_agents
from rllib_mamql.rewards.paid import NO_EVENT, paid_or_not
from rllib_mamql.rewards.verdict import DIRECTIONS, heading

if TYPE_CHECKING:
    from rllib_mamql.data.reading import JointDataset
    from rllib_mamql.evaluation.evaluate import EvaluationResult
    from rllib_mamql.evaluation.likelihood import HeldOutLikelihood
    from rllib_mamql.play.returns import TeamReturn
    from rllib_mamql.rewards.dependence import Dependence
    from rllib_mamql.rewards.relearn import Relearned
    from rllib_mamql.rewards.scoring import StateScores
    from rllib_mamql.rewards.store import Recovered


def print_play(play: TrialReport | EvaluationResult, title: str, whose: str = "") -> None:
    """Reward events against the expert's, the environment's own numbers, and warnings.

    Args:
        play: What was found.
        title: Of the table.
        whose: Before each line that is not in the table.
    """
    expert = over_agents(play.expert_events)
    kinds = list(dict.fromkeys([*play.events, *expert]))
    rows = []
    for kind in kinds:
        ratio = play.event_ratio.get(kind)
        share = "-" if ratio is None else f"{ratio:.0%}"
        rows.append([kind, number(play.events.get(kind, 0.0)), number(expert.get(kind)), share])
    rows += [[name, number(value), "-", "-"] for name, value in play.metrics.items()]
    if rows:
        caption = "reward events, all agents together" if kinds else ""
        show(table_of(("", "learned", "expert", "ratio"), rows), title, caption)
    if play.rationality:
        shown = {name: f"{value:.3g}" for name, value in play.rationality.items()}
        same = len(set(shown.values())) == 1
        text = next(iter(shown.values())) if same else ", ".join(f"{name} {value}" for name, value in shown.items())
        tell(f"{whose}acting at rationality {text}")
    if play.chosen:
        from rllib_mamql.algorithms.mamql.chosen import in_words

        for line in in_words(play.chosen):
            tell(whose + line)
    for warning in play.warnings:
        Console().print(f"[bold yellow]warning:[/] {escape(printable(whose + warning))}", highlight=False)


def print_rewards(told: TrialReport | EvaluationResult, whose: str = "") -> None:
    """What rewards pay for, by kind of event and agent; nothing where there are no rewards.

    Args:
        told: What was found.
        whose: The trial's name.
    """
    paid = told.recovered_rewards
    if not paid:
        return
    kind_of = "implied" if told.reward_gauge == "none" else "recovered"
    before = f"{whose}: " if whose else ""
    kinds = list(dict.fromkeys(kind for rows in paid.values() for kind in rows))
    if kinds != [NO_EVENT]:
        cells = [[_paid(paid[agent], kind, agent in told.unscaled) for agent in paid] for kind in kinds]
        table = table_of(("at steps with", *paid), [[kind, *row] for kind, row in zip(kinds, cells, strict=True)])
        if not fits(table):
            # Many agents: a line for each, and each kind.
            rows = [
                [kind, agent, cell]
                for kind, row in zip(kinds, cells, strict=True)
                for agent, cell in zip(paid, row, strict=True)
            ]
            table = table_of(("at steps with", "agent", f"{kind_of} reward"), rows, words=(0, 1))
        amounts = "mean reward (x how often an episode), known up to potential shaping"
        caption = "(x how often an episode)" if set(paid) <= set(told.unscaled) else amounts
        show(table, f"What the {kind_of} rewards{f' of {whose}' if whose else ''} pay for", caption)
    else:
        tell(
            f"{before}the environment reports no events in its infos, so that there is no telling what the {kind_of} "
            "rewards pay for; `rllib map` shows what they depend on"
        )
    for text in told.undetermined:
        Console().print(f"[bold]note:[/] {escape(before + text)}", highlight=False)


def print_dependence(found: Mapping[str, Dependence]) -> None:
    """The rows that tell most about each agent's reward."""
    for name, one in found.items():
        if not one.rules:
            tell(f"{name}: the reward is the same wherever it was seen, in {one.states:,} states")
            continue
        headings: tuple[str, ...] = ("where", "reward", "elsewhere", "share", "explains")
        rows = [
            [rule.where, f"{rule.mean:+.3f}", f"{rule.elsewhere:+.3f}", f"{rule.share:.1%}", f"{rule.telling:.0%}"]
            for rule in one.rules
        ]
        caption = "share: of visited states and own actions, all of which are asked; [3] is column 3 of what is seen"
        if one.saliency is not None:
            headings, caption = ("where", "change of the reward", "of all change"), "if the patch is painted over"
            rows = [[rule.where, f"{rule.mean:.3f}", f"{rule.telling:.0%}"] for rule in one.rules]
        show(table_of(headings, rows), f"What the reward of {name} depends on", caption)


def _paid(rows: Mapping[str, Mapping[str, Any]], kind: str, unscaled: bool) -> str:
    row = rows.get(kind)
    if row is None:
        return ""
    if not unscaled:
        text = f"{row['mean']:+.2f}"
    else:
        text = "-" if kind == NO_EVENT else paid_or_not(row, rows.get(NO_EVENT))
    return f"{text} (x {row['an_episode']:.1f})"


def in_words(likelihood: HeldOutLikelihood) -> str:
    """How likely demonstrations are that were not learned from."""
    return (
        f"log-likelihood {likelihood.mean:.3f} nats a step on {likelihood.steps:,} held-out joint steps "
        f"({likelihood.uniform:.3f} for random actions)"
    )


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
    if result.teams:
        print_teams(result.teams)
        rows = agents_rows(result.per_agent)
    else:
        assert result.return_mean is not None and result.return_ci95 is not None
        rows = returns_rows(result.return_mean, result.return_ci95, result.per_agent)
    for name, value in (("expert", result.expert_return), ("random", result.random_return)):
        if value is not None:
            rows.append([name, number(value)])
    if result.normalised_score is not None:
        rows.append(["normalised score", number(result.normalised_score, 3)])
    show(table_of(("", "return [95% CI]"), rows))
    if not result.teams and (text := unscored(result.expert_return, result.random_return)):
        tell(text)
    print_play(result, "What happens in an episode")
    print_rewards(result)


def print_teams(teams: Mapping[str, TeamReturn], title: str = "Returns by team") -> None:
    """How each side did, where agents have opponents."""
    rows = [
        [team, number(len(one.agents), 0), interval(one.mean, one.ci95)]
        + [number(value, digits) for value, digits in ((one.expert, 2), (one.random, 2), (one.score, 3))]
        for team, one in teams.items()
    ]
    headings = ("team", "agents", "return [95% CI]", "experts", "random", "score")
    show(table_of(headings, rows), title, "each against the others, who learned too; no mean over opponents")


def print_relearned(title: str, found: Relearned) -> None:
    """True returns of agents that learned anew."""
    returns = found.returns
    if found.teams:
        print_teams(found.teams)
        rows = agents_rows(returns.per_agent)
    else:
        rows = returns_rows(returns.mean, returns.ci95, returns.per_agent)
    if found.normalised_score is not None:
        rows.append(["normalised score", number(found.normalised_score, 3)])
    show(table_of(("", "true return [95% CI]"), rows), title)


def returns_rows(mean: float, ci95: tuple[float, float], per_agent: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """The return of all, then each agent's."""
    return [["all", interval(mean, ci95)], *agents_rows(per_agent)]


def agents_rows(per_agent: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Each agent's return."""
    return [[agent, interval(summary["mean"], tuple(summary["ci95"]))] for agent, summary in per_agent.items()]


def print_recovered(recovered: Recovered) -> None:
    """How well the recovered rewards explain each module's policy, and how large they are."""
    rows = [
        [
            name,
            number(recovered.policy_error.get(name), 3),
            number(recovered.mean_absolute.get(name), 3),
            f"{recovered.updates.get(name, 0):,}",
        ]
        for name in recovered.rewards
    ]
    show(table_of(("module", "policy error [nats]", "mean |r| [nats]", "updates"), rows), caption="on held-out play")


def print_verdicts(sentences: Iterable[str]) -> None:
    """How good the rewards are, a sentence an agent, and which way the numbers of the tables below point."""
    for text in sentences:
        Console().print(text, markup=False, highlight=False)
    Console().print(DIRECTIONS, style="dim", highlight=False)


def print_scores(scored: StateScores) -> None:
    """A table for each agent, with the mean recovered reward where something is paid below it."""
    for agent, scores in scored.scores.items():
        _print_scores(f"{scored.states} states, {agent}", scores, scored.where_paid[agent])


def _print_scores(title: str, scores: dict[str, dict[str, Any]], events: dict[str, float]) -> None:
    paid = ", ".join(f"{kind} is paid: {mean:.2f}" for kind, mean in events.items())
    caption = f"mean recovered where {paid}"
    metrics = list(next(iter(scores.values())))
    rows = [[name, *(_short(values[metric]) for metric in metrics)] for name, values in scores.items()]
    table = table_of(("predictor", *map(heading, metrics)), rows)
    if not fits(table):
        rows = [
            [name, heading(metric), _short(values[metric])] for name, values in scores.items() for metric in metrics
        ]
        table = table_of(("predictor", "metric", ""), rows, words=(0, 1))
    show(table, title, caption)


def _short(metric: Any) -> str:
    """A metric and half its interval, to fit a terminal; the JSON has both ends."""
    if metric.value is None:
        return "-"
    return f"{metric.value:.2f}" + ("" if metric.ci95 is None else f" +-{(metric.ci95[1] - metric.ci95[0]) / 2:.2f}")


def print_problem(problem: str) -> None:
    """What is wrong with a dataset."""
    Console().print(printable(f"problem: {problem}"), style="red", markup=False, soft_wrap=True)


def print_dataset(folder: str | Path, dataset: JointDataset, summary: dict[str, Any]) -> None:
    """What a dataset says about itself, and what is in it.

    Args:
        folder: Where it is.
        dataset: The dataset.
        summary: What :func:`~rllib_mamql.data.summary.summarise` says of it.
    """
    tell(str(folder))
    table = Table(show_header=False, box=SIMPLE_HEAD)
    table.add_column()
    table.add_column(overflow="fold")
    metadata = dataset.metadata
    expert, random = metadata.expert_return, metadata.random_return
    teams = summary.get("return_per_team", {})
    recorded = "no rewards recorded" if summary["return_per_agent"] is None else number(summary["return_mean"])
    rows = {
        "environment": metadata.env,
        "env_config": metadata.env_config,
        "expert": metadata.expert,
        "licence": metadata.licence,
        "files": len(dataset.files),
        "episodes": summary["episodes"],
        "joint steps": summary["steps"],
        "episode lengths": "{min} to {max}, mean {mean:.1f}".format(**summary["episode_lengths"]),
        **({f"mean return, {team}": number(mean) for team, mean in teams.items()} or {"mean return": recorded}),
        "expert's return": None if teams else expert and interval(expert.mean, expert.ci95),
        "random return": None if teams else random and interval(random.mean, random.ci95),
    }
    for name, value in rows.items():
        if value is not None:
            table.add_row(name, as_it_is(str(value)))
    for agent in metadata.agents:
        table.add_row(as_it_is(agent), as_it_is(_describe(summary, agent)))
    table.add_row("problems", "none")
    Console().print(table)
    if metadata.command is not None:
        tell(f"remade by: {metadata.command}")


def _describe(summary: dict[str, Any], agent: str) -> str:
    spaces = summary["spaces"][agent]
    box, shares = spaces["observation"], summary["action_shares"][agent]
    actions = " ".join(f"{share:.0%}" for share in shares)
    kind = "masked actions" if spaces.get("action_mask") else "actions"
    parts = [f"observation {tuple(box['shape'])} {box['dtype']}", f"{spaces['action']['n']} {kind} ({actions})"]
    if summary["return_per_agent"] is not None:
        parts.append(f"return {summary['return_per_agent'][agent]:.2f}")
    presence = summary["presence"][agent]
    said = {"late": "enters late in", "early": "leaves early in", "absent": "is absent from"}
    parts += [
        f"{text} {presence[key]} of {summary['episodes']} episodes" for key, text in said.items() if presence[key]
    ]
    return ", ".join(parts)
