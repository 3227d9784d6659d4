"""Checks of the environments' arguments: each gives the value back, or says what is wrong and what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray


def one_of(name: str, value: Any, known: Sequence[Any]) -> Any:
    """Returns `value` if it is known, and says what else it could be if not."""
    if not isinstance(value, bool) and value in known:
        return value
    words = isinstance(value, str) and isinstance(known[0], str)
    near = difflib.get_close_matches(value, known, n=1) if words else []
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(f"{name}={value!r} is not known; {hint}known: {', '.join(map(str, known))}")


def render_mode(value: Any, known: Sequence[str]) -> str | None:
    """Returns `value` if it is None or known."""
    return None if value is None else str(one_of("render_mode", value, known))


def flag(name: str, value: Any) -> bool:
    """Returns `value` as a bool if it is one."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name}={value!r} is neither true nor false")
    return bool(value)


def steps(name: str, value: Any) -> int:
    """Returns `value` as an int if it is a positive number of steps."""
    if not _is_positive(value):
        raise ValueError(f"{name}={value!r} is not a number of steps: give an integer of at least 1")
    return int(value)


def positive(name: str, value: Any) -> int:
    """Returns `value` as an int if it is a positive one."""
    if not _is_positive(value):
        raise ValueError(f"{name}={value!r} is not an integer of at least 1")
    return int(value)


def _is_positive(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1


def probability(name: str, value: Any) -> float:
    """Returns `value` as a float if it is a probability."""
    # NaN fails the comparison, too.
    if not isinstance(value, (int, float, np.integer, np.floating)) or isinstance(value, bool) or not 0 <= value <= 1:
        raise ValueError(f"{name}={value!r} is not a probability: give a number from 0 to 1")
    return float(value)


def action_of(agent: str, actions: Mapping[str, Any], agents: Sequence[str], count: int) -> int:
    """Returns an agent's action in a joint one if it is there and an integer below `count`."""
    action = actions.get(agent)
    if action is None:
        raise ValueError(f"there is no action for {agent}: step() needs one for each of {agents}")
    index = int(action)
    if not 0 <= index < count or index != action:
        raise ValueError(f"action {action!r} of {agent} is not an integer from 0 to {count - 1}")
    return index


def rows_and_seeds(indices: Any, seeds: Any) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Returns what `BatchedEnv.reset_envs` takes as arrays, if there is a non-negative seed for each environment."""
    rows, chosen = np.asarray(indices, np.int64), np.asarray(seeds)
    if chosen.shape != rows.shape or (chosen < 0).any():
        raise ValueError(f"reset_envs needs a non-negative seed for each of {len(rows)} environments, got {seeds}")
    return rows, chosen


def batch_of_actions(actions: Mapping[str, Any], agents: Sequence[str], num_envs: int, count: int) -> NDArray[np.int64]:
    """Returns what `BatchedEnv.step` takes as `(agents, num_envs)`, if all are integers below `count`."""
    missing = [agent for agent in agents if agent not in actions]
    if missing:
        raise ValueError(f"there are no actions for {missing[0]}: step() needs them for each of {list(agents)}")
    chosen = [np.asarray(actions[agent]) for agent in agents]
    for agent, found in zip(agents, chosen, strict=True):
        if found.shape != (num_envs,) or found.dtype.kind not in "iu":
            raise ValueError(
                f"actions of {agent} must be {num_envs} integers, got shape {found.shape} of {found.dtype}"
            )
    joint = np.array(chosen, np.int64)
    # As unsigned numbers negative ones are the largest.
    if np.maximum.reduce(joint.view(np.uint64), axis=None) >= count:
        wrong = next(row for row, found in enumerate(joint) if found.min() < 0 or found.max() >= count)
        raise ValueError(f"actions of {agents[wrong]} must be from 0 to {count - 1}, got {joint[wrong]}")
    return joint
