"""What rewards pay for, and what of it is not determined, in words; without torch, for those who print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

FEWEST = 5
"""Steps of a kind below which its mean says nothing."""
NO_EVENT = "no event"
"""Kind of the steps at which an environment reports nothing."""

Paid = Mapping[str, Mapping[str, Any]]
"""``{kind: {"mean": reward, "sd": its standard deviation, "steps": how many, "an_episode": how often}}`` of one agent;
where there is no event also ``beyond``: how often that is paid more than the kind that is paid most."""


def in_words(
    unscaled: Sequence[str], indifferent: Sequence[str], paid: Mapping[str, Paid], even: Sequence[str] = ()
) -> list[str]:
    """Sentences on what is not determined; none where nothing is known to be.

    Args:
        unscaled: Agents whose demonstrations larger rewards explain as well.
        indifferent: Agents that act alike wherever they are.
        paid: ``{agent: what it is paid for}``.
        even: Agents that err as often whatever it costs.
    """
    said = []
    if whose := [agent for agent in unscaled if agent not in indifferent]:
        beside = _beside(whose, paid)
        said.append(
            f"the demonstrations do not determine the scale of the rewards of {', '.join(whose)}"
            f"{beside and f', nor {beside}'}: they hardly "
            "ever err, and rewards twice as large explain them as well; demonstrators that err more when it costs "
            "less would tell"
        )
    if whose := [agent for agent in even if agent not in {*unscaled, *indifferent}]:
        what = _beside(whose, paid) or "how much one thing is worth beside another"
        said.append(
            f"the demonstrations do not determine {what} to {', '.join(whose)}: they err about as often where it costs "
            "much as where it costs little; demonstrators that err more when it costs less would tell"
        )
    if indifferent:
        said.append(
            f"the demonstrations determine no reward of {', '.join(indifferent)}: what they do does not depend on what "
            "they see"
        )
    for agent, rows in paid.items():
        if rare := [kind for kind, row in rows.items() if kind != NO_EVENT and row["steps"] < FEWEST]:
            counts = ", ".join(f"{kind} (x {rows[kind]['steps']})" for kind in rare)
            said.append(f"too seldom in this play to tell what {agent} is paid for it: {counts}")
    nameless: dict[str, list[str]] = {}
    for agent, rows in paid.items():
        best, beyond = best_kind(rows), rows.get(NO_EVENT, {}).get("beyond", 0.0)
        if best is not None and beyond > rows[best]["an_episode"] and agent not in {*unscaled, *indifferent, *even}:
            nameless.setdefault(best, []).append(f"{agent} (x {beyond:.0f})")
    for kind, whose in nameless.items():
        said.append(
            f"some steps without an event are paid more than {kind}, an episode: {', '.join(whose)}; something pays "
            "there that this environment reports no event for, and `rllib map` draws what"
        )
    return said


def best_kind(rows: Paid) -> str | None:
    """The kind of event that is paid most, of those that were seen often enough; None where there is none."""
    kinds = [kind for kind, row in rows.items() if kind != NO_EVENT and row["steps"] >= FEWEST]
    return max(kinds, key=lambda kind: float(rows[kind]["mean"]), default=None)


def _beside(agents: Sequence[str], paid: Mapping[str, Paid]) -> str:
    """What of the kinds is open where amounts are; empty where there are no two."""
    kinds = sorted({kind for agent in agents for kind in paid.get(agent, {})} - {NO_EVENT})
    return f"how much {' and '.join(kinds)} are worth beside each other" if len(kinds) > 1 else ""


def paid_or_not(row: Mapping[str, Any], nothing: Mapping[str, Any] | None) -> str:
    """What is paid for a kind of event, in a word, where amounts are not determined.

    Args:
        row: Of the kind.
        nothing: Of steps without an event; None where there are none.
    """
    if row["steps"] < FEWEST or nothing is None:
        return "too seldom to tell" if nothing is not None else "nothing to compare with"
    beyond = (row["mean"] - nothing["mean"]) / max(nothing["sd"], 1e-9)
    if abs(beyond) < 1.0:
        return "not told from no event"
    return "paid" if beyond > 0 else "costs"
