"""How much faster two env runners sample than one: ``python tests/benchmarks/bench_scaling.py``.

The intersection as ``tuned_examples/intersection.yaml`` has it, its runners in processes of their own. What one runner
samples in a round alone, two then share; both are asked in turns, as training asks them, and the medians count. Scaling
is the time of one over twice that of two: 1 is perfect. It asks for as many idle cores as runners, so the load is told
beside it. Processor seconds are told as well: those of the slower of two runners against half of those of the one say
what the split itself costs, whatever else the machine does.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import sys
import time
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from rllib_mamql.cli.experiment import Overrides
from rllib_mamql.learning.rounds import _sample
from tests.benchmarks.measuring import ROOT, experiment_of, interleave

RUNNERS = 2


def _timed(runner: Any, steps: list[int]) -> float:
    """Processor seconds of a runner's own part of a round, in its process."""
    began = time.process_time()
    result = _sample(runner, steps, 1)
    assert isinstance(result, tuple), result
    return time.process_time() - began


def measured(group: Any, steps: list[int]) -> tuple[float, float]:
    """Wall seconds of a round, and processor seconds of the runner that needs most of them."""
    began = time.monotonic()
    own = group.foreach_env_runner(lambda runner: _timed(runner, steps), local_env_runner=False)
    return time.monotonic() - began, max(own)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=3200, help="joint steps of a round")
    parser.add_argument("--repetitions", type=int, default=9, help="rounds of each that count")
    parser.add_argument("--json", type=pathlib.Path, help="where the figures go")
    arguments = parser.parse_args()
    os.chdir(ROOT)
    import ray

    ray.init(address="local", num_cpus=RUNNERS + 1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    config, _ = experiment_of(
        ROOT / "tuned_examples" / "intersection.yaml", Overrides(config={"num_env_runners": RUNNERS, "seed": 0})
    )
    algorithm = config.build_algo()
    group, seconds = algorithm.env_runner_group, dict[str, list[float]]()
    half = arguments.steps // RUNNERS
    asked = {"one": [half * RUNNERS, *[0] * (RUNNERS - 1)], "two": [half] * RUNNERS}
    cpu: dict[str, list[float]] = {name: [] for name in asked}

    def task(name: str) -> float:
        wall, own = measured(group, asked[name])
        cpu[name].append(own)
        return wall

    try:
        before = os.getloadavg()[0]
        seconds = interleave({name: (lambda name=name: task(name)) for name in asked}, arguments.repetitions)  # type: ignore[misc]
        load = (before, os.getloadavg()[0])
    finally:
        algorithm.stop()
        ray.shutdown()
    wall = {name: statistics.median(values) for name, values in seconds.items()}
    own = {name: statistics.median(values[1:]) for name, values in cpu.items()}
    pairs = [one / RUNNERS / two for one, two in zip(seconds["one"], seconds["two"], strict=True)]
    found = {
        "steps a second": {name: round(half * RUNNERS / value) for name, value in wall.items()},
        "scaling": round(wall["one"] / RUNNERS / wall["two"], 3),
        "scaling of each pair of rounds": [round(pair, 3) for pair in pairs],
        "scaling in processor seconds": round(own["one"] / RUNNERS / own["two"], 3),
        "processor seconds": {name: round(value, 4) for name, value in own.items()},
        "load before and after": [round(value, 1) for value in load],
        "cores": os.cpu_count(), "steps": half * RUNNERS, "repetitions": arguments.repetitions,
    }  # fmt: skip
    print(json.dumps(found, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
