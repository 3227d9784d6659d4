"""Critics together or one by one: ``python tests/benchmarks/bench_stacking.py``, updates of 2 to 16 agents.

For each network, number of agents and batch an update is timed with ``stack_networks`` false and true in turns, and
what ``auto`` would choose is named. It is not part of ``make bench``.
"""

from __future__ import annotations

import functools
import pathlib
import statistics
import sys
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from rllib_mamql.networks.together_learning import NetworkStack
from tests.benchmarks.bench_growth import group_of, update_cost
from tests.benchmarks.measuring import Result, interleave, ratio, run_alone

NETWORKS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "fcnet 64x64": ((32,), {"fcnet_hiddens": [64, 64]}),
    "fcnet 256x256": ((64,), {"fcnet_hiddens": [256, 256]}),
    "entity_attention": ((12, 13), {}),
}
AGENTS = (2, 4, 8, 16)
BATCHES = (64, 256)


def critics(group: Any, stack: bool | str) -> NetworkStack:
    """How a learner would evaluate its critics under a setting."""
    learner = group._learner
    return NetworkStack({name: learner.network(name) for name in learner.agents_of}, stack)


def cost(group: Any, stack: bool, updates: int) -> float:
    """CPU seconds of an update."""
    group._learner._networks = critics(group, stack)
    return update_cost(group, updates)


def measure(quick: bool) -> Result:
    """All networks; a quick run has the extreme numbers of agents only."""
    ratios, rows = {}, []
    for network, (shape, model_config) in NETWORKS.items():
        for agents in AGENTS[:: 3 if quick else 1]:
            for batch in BATCHES:
                group = group_of(agents, shape, batch, model_config)
                tasks = {str(stack): functools.partial(cost, group, stack, 8) for stack in (False, True)}
                taken = interleave(tasks, 3 if quick else 5)
                name = f"stacking/{network}, {agents} agents, batch {batch}"
                ratios[name] = ratio(taken["False"], taken["True"])
                automatic = any(each.worth_it(2 * batch) for each in critics(group, "auto")._groups)
                alone, together = (1e3 * statistics.median(taken[key]) for key in ("False", "True"))
                rows.append((network, agents, batch, alone, together, ratios[name].value, "yes" if automatic else "no"))
                print(rows[-1], file=sys.stderr, flush=True)
    columns = ("networks", "agents", "rows", "one by one, ms", "together, ms", "speed-up", "auto stacks")
    return Result("Critics evaluated together", ratios, columns, rows)


if __name__ == "__main__":
    sys.exit(run_alone(measure, __doc__))
