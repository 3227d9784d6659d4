"""Whether a cluster has room for a trial, and what is said while there is none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rllib_mamql.cli.options import RunOptions
from rllib_mamql.errors import ConfigError

Resources = Mapping[str, float]
"""How much of each, ``{"CPU": 2.0}``. What a trial asks for is a list of them: each part must be on one node."""

WAITING_S, WAITING_AGAIN_S = 8.0, 60.0
"""How long a trial waits for resources before a line says so, and how long until the next line."""

LOWER = (
    "lower num_env_runners, num_learners, or what each of them takes "
    "(num_cpus_per_env_runner, num_cpus_per_learner, num_gpus_per_learner)"
)


def total(parts: Sequence[Resources]) -> dict[str, float]:
    """What all parts come to, without what they ask none of."""
    names = sorted({name for part in parts for name, amount in part.items() if amount})
    return {name: sum(part.get(name, 0.0) for part in parts) for name in names}


def largest(trials: Iterable[Sequence[Resources]], name: str) -> float:
    """The most of a resource that a trial asks for."""
    return max((total(parts).get(name, 0.0) for parts in trials), default=0.0)


def too_large(parts: Sequence[Resources], nodes: Sequence[Resources]) -> Resources | None:
    """The first part that is larger than every node; None where there is no such part."""
    return next((part for part in parts if not any(_holds(node, part) for node in nodes)), None)


def are_placed(parts: Sequence[Resources], nodes: Sequence[Resources]) -> bool:
    """Whether all parts fit on the nodes at once, when the largest is placed first, as Ray does.

    Args:
        parts: What a trial asks for.
        nodes: What each node has.
    """
    left = [dict(node) for node in nodes]
    for part in sorted(parts, key=lambda part: (part.get("GPU", 0.0), part.get("CPU", 0.0)), reverse=True):
        node = next((node for node in left if _holds(node, part)), None)
        if node is None:
            return False
        for name, amount in part.items():
            node[name] = node.get(name, 0.0) - amount
    return True


def _holds(node: Resources, part: Resources) -> bool:
    # Ray counts in ten-thousandths.
    return all(amount <= node.get(name, 0.0) + 1e-6 for name, amount in part.items())


def living_nodes() -> list[dict[str, float]]:
    """What each node of the cluster has, free or not."""
    import ray

    return [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]


def words(resources: Resources) -> str:
    """Resources as a message has them, ``2 CPU, 1 GPU``."""
    return ", ".join(f"{amount:g} {name}" for name, amount in resources.items() if amount)


def check_room(options: RunOptions, trials: Sequence[Sequence[Resources]]) -> None:
    """Refuses a trial that a cluster without further nodes can never run.

    Args:
        options: How to run.
        trials: What each kind of trial asks for.

    Raises:
        ConfigError: Says what is asked for, what there is, and what to change.
    """
    if not options.ray_address or options.wait_for_nodes:
        return
    nodes = living_nodes()
    there = total(nodes)
    remedy = f"{LOWER}, or give --wait-for-nodes if the cluster adds nodes by itself"
    for parts in trials:
        for name, asked in total(parts).items():
            if asked > there.get(name, 0.0) + 1e-6:
                raise ConfigError(
                    f"a trial asks for {asked:g} {name}s, the cluster has {there.get(name, 0.0):g}: {remedy}"
                )
        if (part := too_large(parts, nodes)) is not None:
            largest = max(nodes, key=lambda node: (node.get("GPU", 0.0), node.get("CPU", 0.0)))
            found = words({name: largest.get(name, 0.0) for name in part}) or "none of it"
            raise ConfigError(
                f"one process of a trial asks for {words(part)}, the largest node of the cluster has {found}: {remedy}"
            )


class Waiting:
    """Notices that trials wait for resources that are not there, or that others hold."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._said: float | None = None

    def line(self, parts: Sequence[Resources], now: float) -> str | None:
        """What to tell the user now, or None.

        Args:
            parts: What the next trial asks for; none where no trial waits.
            now: Seconds, monotonic.
        """
        if not parts:
            self._since = self._said = None
            return None
        self._since = now if self._since is None else self._since
        if now < (self._since + WAITING_S if self._said is None else self._said + WAITING_AGAIN_S):
            return None
        import ray

        nodes = living_nodes()
        fits = are_placed(parts, nodes)
        if fits and not _a_group_waits():
            return None  # Its process is starting: that takes a while too, and looks alike.
        self._said = now
        there, free, asked = total(nodes), ray.available_resources(), total(parts)
        found = ", ".join(f"{there.get(name, 0.0):g} {name} ({free.get(name, 0.0):g} free)" for name in asked)
        over = [name for name in asked if asked[name] > there.get(name, 0.0)]
        if fits:
            remedy = "it starts when other work ends"
        elif over:
            remedy = f"it starts when nodes are added; else {LOWER}"
        else:
            remedy = f"but its processes do not fit on {len(nodes)} nodes side by side: add nodes, or {LOWER}"
        return f"waiting: a trial asks for {words(asked)}, the cluster has {found}; {remedy}"


def _a_group_waits() -> bool:
    """Whether Ray has a placement group, by which Tune asks for a trial's resources, that has no place yet."""
    from ray.util import placement_group_table

    return any(group.get("state") in ("PENDING", "RESCHEDULING") for group in placement_group_table().values())
