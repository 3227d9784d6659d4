"""Known ways in which imitation fails, told from numbers: pure functions, words for people."""

from __future__ import annotations

from collections.abc import Mapping

REGULAR = 0.2
"""Events an episode from which on the expert is held to show a kind regularly."""

COLLAPSED, KEPT = 0.5, 0.7
"""A kind below the first share of the expert's rate while another is above the second: play fell onto one kind."""

Events = Mapping[str, Mapping[str, float]]
"""``{agent: {kind: mean count an episode}}``."""


def over_agents(events: Events) -> dict[str, float]:
    """Sums over agents, ``{kind: count an episode}``, kinds in alphabetical order."""
    kinds = sorted({kind for counts in events.values() for kind in counts})
    return {kind: sum(counts.get(kind, 0.0) for counts in events.values()) for kind in kinds}


def event_ratio(learned: Events, expert: Events) -> dict[str, float | None]:
    """How often a kind of reward event happens, against the expert, over all agents.

    Args:
        learned: Of the learned policies.
        expert: Of the expert; empty if unknown.

    Returns:
        ``{kind: learned rate / expert's}`` for every kind of either; None where the expert shows none; empty where
        the expert is unknown.
    """
    if not expert:
        return {}
    mine, theirs = over_agents(learned), over_agents(expert)
    return {kind: mine.get(kind, 0.0) / theirs[kind] if theirs.get(kind) else None for kind in sorted({*mine, *theirs})}


def event_warnings(learned: Events, expert: Events) -> list[str]:
    """Says where play collapsed onto some kinds of reward events while the expert collects others as well.

    Rates are compared over all agents together: which agent does what may differ from the expert's division of work.

    Args:
        learned: Of the learned policies.
        expert: Of the expert; empty if unknown.

    Returns:
        One sentence for each kind that was lost.
    """
    ratios, mine, theirs = event_ratio(learned, expert), over_agents(learned), over_agents(expert)
    regular = {kind: ratio for kind, ratio in ratios.items() if ratio is not None and theirs[kind] >= REGULAR}
    kept = [kind for kind, ratio in regular.items() if ratio >= KEPT]
    return [
        f"play collapsed: {kind} happens {mine.get(kind, 0.0):.2f} times an episode, with the expert "
        f"{theirs[kind]:.2f}, while {' and '.join(kept)} {'is' if len(kept) == 1 else 'are'} kept; "
        "try more rollouts (a smaller updates_per_step), a lower rationality or a larger chi_square_scale"
        for kind, ratio in regular.items()
        if kept and ratio < COLLAPSED
    ]
