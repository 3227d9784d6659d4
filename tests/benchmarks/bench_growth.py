"""Cost of an update against agents, rows and entities: ``python tests/benchmarks/bench_growth.py``.

With marginal critics and one module an agent an update should cost as much more as there are more agents. The exponent
is the slope of log cost against log size by least squares, taken within each round of measurements, sizes in turns.
"""

from __future__ import annotations

import functools
import pathlib
import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from rllib_mamql.algorithms.mamql.config import MAMQLConfig
from tests.benchmarks.bench_update import learner_group, random_play
from tests.benchmarks.measuring import PLAIN, Ratio, Result, exponent, interleave, run_alone, seconds

ENV = "pettingzoo:tests.benchmarks.many_agents"
AGENTS = (2, 4, 8, 16)
BATCHES = (64, 128, 256, 512, 1024)
ENTITIES = (4, 8, 16, 32)
TARGET = 1.05
"""Largest exponent of the cost by agents that is aimed at."""


def update_cost(group: Any, updates: int) -> float:
    """CPU seconds of an update."""
    return seconds(lambda: group.update(episodes=[], timesteps={}, num_updates=updates)) / updates


def group_of(agents: int, shape: tuple[int, ...], rows: int, model_config: dict[str, Any]) -> Any:
    """A learner of so many agents, half of whose batch of ``rows`` rows is the expert's."""
    env_config = {"agents": agents, "shape": list(shape)}
    config = (
        MAMQLConfig()
        .environment(ENV, env_config=env_config)
        .offline_data(input_="held in memory")
        .training(expert_batch_size=rows // 2, rollout_batch_size=rows // 2, **PLAIN)
        .rl_module(model_config=model_config)
        .debugging(seed=0)
    )
    expert, rollouts = (random_play(ENV, env_config, 400, seed) for seed in (0, 1))
    return learner_group(config, expert, rollouts)


def costs(groups: dict[int, Any], updates: int, repetitions: int) -> dict[int, list[float]]:
    """Seconds an update by size, sizes in turns."""
    taken = interleave(
        {str(size): functools.partial(update_cost, group, updates) for size, group in groups.items()}, repetitions
    )
    return {int(size): values for size, values in taken.items()}


def fitted(by_size: Mapping[int, Sequence[float]], target: float | None = None) -> Ratio:
    """Exponent by round."""
    slopes = [exponent(list(by_size), round_) for round_ in zip(*by_size.values(), strict=True)]
    return Ratio(statistics.median(slopes), min(slopes), max(slopes), higher_is_better=False, target=target)


def measure(quick: bool) -> Result:
    """All three series; a quick run has only the agents'."""
    repetitions = 5 if quick else 9
    small = {"fcnet_hiddens": [64, 64]}
    series: dict[str, tuple[dict[int, Any], float | None]] = {
        "agents": ({n: group_of(n, (32,), 128, small) for n in AGENTS}, TARGET)
    }
    if not quick:
        wide = {"fcnet_hiddens": [256, 256]}
        series["rows of a batch"] = ({rows: group_of(2, (64,), rows, wide) for rows in BATCHES}, None)
        series["entities"] = ({n: group_of(2, (n, 13), 128, {}) for n in ENTITIES}, None)
    ratios, rows = {}, []
    for name, (groups, target) in series.items():
        taken = costs(groups, 8, repetitions)
        ratios[f"growth/{name}"] = fitted(taken, target)
        cells = [f"{size}: {1e3 * statistics.median(values):.2f}" for size, values in taken.items()]
        rows.append((name, ", ".join(cells), ratios[f"growth/{name}"].value))
    return Result("Growth of an update's cost", ratios, ("against", "milliseconds by size", "exponent"), rows)


if __name__ == "__main__":
    sys.exit(run_alone(measure, __doc__))
