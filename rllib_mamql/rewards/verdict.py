"""How good recovered rewards are, in a sentence for each agent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from rllib_mamql.rewards.metrics import Metric

Scores: TypeAlias = "Mapping[str, Mapping[str, Metric]]"
"""``{predictor: {metric: value with interval}}`` of one agent."""

RECOVERED, IMPLIED = "recovered", "implied"
PEARSON = "pearson"
AGREES = ((0.7, "agrees with"), (0.4, "agrees in part with"), (0.1, "hardly agrees with"))
"""Least correlation with the true reward for each of the words."""
APART = ((0.2, "far better than"), (0.05, "better than"), (-0.05, "no better than"))
"""Least difference from another predictor's correlation for each of the words."""
PLACES = ("best", "second", "third", "fourth")

HIGHER = {"mse_affine": False, "pearson": True, "spearman": True, "epic": False, "ranking_accuracy": True}
"""Of every metric, whether a higher value is a better reward."""
DIRECTIONS = (
    "better: higher pearson, spearman and ranking_accuracy (1 at most); lower mse_affine and epic (0 is the same, "
    "0.71 an unrelated reward)"
)


def heading(metric: str) -> str:
    """A metric's name with an arrow that points at the better values."""
    return f"{metric} {'↑' if HIGHER[metric] else '↓'}"


def sentence(agent: str, scores: Mapping[str, Scores], paid: Mapping[str, Mapping[str, float]], steps: int) -> str:
    """What the scores say of one agent's recovered reward.

    Args:
        agent: The agent.
        scores: ``{states: scores}``, the states that count most first.
        paid: ``{states: {true reward: mean recovered reward}}``.
        steps: Joint steps of each kind of states.
    """
    telling = [states for states in scores if len(paid[states]) > 1]
    if not telling:
        least = min((kind for kinds in paid.values() for kind in kinds), default="reward 0")
        what = "true reward occurred" if least == "reward 0" else f"other true {least.replace(' ', ' than ')} occurred"
        return f"{agent}: no {what} in {steps:,} steps: play more (--steps)"
    first, *rest = telling
    found = scores[first][RECOVERED][PEARSON]
    if found.value is None:
        return f"{agent}: the recovered reward is the same at every step of {first} states: it says nothing"
    text = f"{agent}: {_word(found.value, AGREES, 'does not agree with')} the true reward: Pearson {_shown(found)}"
    text += f" on {first} states"
    others = [(states, scores[states][RECOVERED][PEARSON].value) for states in rest]
    if known := [f"{value:.2f} on {states} states" for states, value in others if value is not None]:
        text += f" ({', '.join(known)})"
    implied = scores[first][IMPLIED][PEARSON].value if IMPLIED in scores[first] else None
    if implied is not None:
        text += f", {_word(found.value - implied, APART, 'worse than')} the implied one ({implied:.2f})"
    return f"{text}; {_place(scores[first], found.value)}"


def _place(scores: Scores, value: float) -> str:
    """``best of 5 predictors``; those without a correlation are behind all others."""
    known = {name: metrics[PEARSON].value for name, metrics in scores.items() if name != RECOVERED}
    ahead = sorted(((v, name) for name, v in known.items() if v is not None and v > value), reverse=True)
    place = PLACES[len(ahead)] if len(ahead) < len(PLACES) else "last"
    behind = f", behind {', '.join(f'{name} ({v:.2f})' for v, name in ahead)}" if ahead else ""
    return f"{place} of {len(scores)} predictors{behind}"


def _word(value: float, words: tuple[tuple[float, str], ...], least: str) -> str:
    return next((word for low, word in words if value >= low), least)


def _shown(metric: Metric) -> str:
    interval = "" if metric.ci95 is None else f" [{metric.ci95[0]:.2f}, {metric.ci95[1]:.2f}]"
    return f"{metric.value:.2f}{interval}"
