"""How far training is, from a result of RLlib's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from numbers import Real
from typing import Any

from rllib_mamql.learning.metrics import NUM_GRADIENT_STEPS_LIFETIME


def lookup(result: Mapping[str, Any], path: str) -> Any:
    """Value at a ``/``-separated path of a nested result, or None."""
    value: Any = result
    for key in path.split("/"):
        if not isinstance(value, Mapping) or key not in value:
            return None
        value = value[key]
    return value


def env_steps(result: Mapping[str, Any]) -> int:
    """Joint environment steps taken so far."""
    for path in ("env_runners/num_env_steps_sampled_lifetime", "num_env_steps_sampled_lifetime"):
        value = lookup(result, path)
        if isinstance(value, Real):
            return int(float(value))
    return 0


def updates(result: Mapping[str, Any]) -> int:
    """Gradient steps taken so far; 0 where the algorithm does not count them."""
    return int(max(numbers_under(result.get("learners"), NUM_GRADIENT_STEPS_LIFETIME), default=0))


def numbers_under(value: Any, name: str) -> Iterator[float]:
    """Numbers under the key ``name``, at any depth."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key == name and isinstance(item, Real):
                yield float(item)
            else:
                yield from numbers_under(item, name)
