"""What rewards pay for, and what of it is not determined, in words; without torch, for those who print."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FEWEST = 5
"""Steps of a kind below which its mean says nothing."""
NO_EVENT = "no event"
"""Kind of the steps at which an environment reports nothing."""

Paid = Mapping[str, Mapping[str, Any]]
"""``{kind: {"mean": reward, "sd": its standard deviation, "steps": how many}}`` of one agent."""


def in_words(unscaled: list[str], indifferent: list[str], paid: Mapping[str, Paid]) -> list[str]:
    """Sentences on what is not determined; none where nothing is known to be.

    Args:
        unscaled: Agents whose demonstrations larger rewards explain as well.
        indifferent: Agents that act alike wherever they are.
        paid: ``{agent: what it is paid for}``.
    """
    said = []
    if whose := [agent for agent in unscaled if agent not in indifferent]:
        kinds = sorted({kind for agent in whose for kind in paid.get(agent, {})} - {NO_EVENT})
        beside = f", nor how much {' and '.join(kinds)} are worth beside each other" if len(kinds) > 1 else ""
        said.append(
            f"the demonstrations do not determine the scale of the rewards of {', '.join(whose)}{beside}: they hardly "
            "ever err, and rewards twice as large explain them as well; demonstrators that err more when it costs "
            "less would tell"
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
    return said


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
