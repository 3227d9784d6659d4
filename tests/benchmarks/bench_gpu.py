"""What CUDA graphs and the compiler make of a GPU learner: ``python tests/benchmarks/bench_gpu.py --out FOLDER``.

Sections, in the order of their importance; one that fails is reported and the rest goes on, and what the time does not
suffice for is named:

* ``equality``: after 100 updates from the same random numbers, weights with and without graphs, and after a resume;
* ``targets``: updates/s of two agents on Gems at 256 rows, as it was (host draws, operations one by one) and with
  graphs, beside the bare loop of ``bench_update``, eager and captured; kernels and device time an update, and the share
  of the time that the card is busy;
* ``compiled``: the same with compiled losses;
* ``repeatability``: two runs from one seed, and what torch's deterministic mode costs;
* ``grid``: updates/s and memory at 2 and 8 agents, 256, 2,048 and 8,192 rows, both networks;
* ``score``: seconds until the tuned Gems plays like its expert, with and without graphs;
* ``sampling``: seconds of training with 0, 1, 4 and 8 remote env runners, which sample ahead or are waited for.

``--rehearse`` runs on the CPU at a small size, without graphs, to see that the script works.
"""

from __future__ import annotations

import argparse
import functools
import json
import logging
import math
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from rllib_mamql.algorithms.mamql.config import MAMQLConfig
from rllib_mamql.learning.counts import updates
from tests.benchmarks.bare_graph import GraphedBareLoop
from tests.benchmarks.bench_growth import ENV
from tests.benchmarks.bench_update import CASES, BareLoop, learner_group, random_play
from tests.benchmarks.measuring import PLAIN, ROOT, plain_process

NETWORKS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "fcnet 256x256": ((64,), {"fcnet_hiddens": [256, 256]}),
    "entity_attention": ((13, 13), {}),
}
AGENTS, BATCHES = (2, 8), (256, 2048, 8192)
UPDATES_COMPARED = 100
TARGETS = (
    ("graphs / bare graph", "graphs", "bare graph", 0.8),
    ("graphs / today", "graphs", "today", 7.0),
    ("compiled graphs / today", "compiled graphs", "today", 10.0),
    ("compiled graphs / compiled bare graph", "compiled graphs", "bare compiled graph", 0.8),
)
VARIANTS: dict[str, dict[str, Any]] = {
    "today": {"cuda_graphs": False},
    "graphs": {},
    "compiled graphs": {"compiled": True},
}
BUSY_TARGET = 0.7
SAMPLED = ("gems", "intersection")
SAMPLERS = ((0, "auto"), (1, 0), (1, "auto"), (4, 0), (4, "auto"), (8, "auto"))
"""Remote env runners, and ``rollout_staleness``."""
SEEDS = 5
LONGEST = 14
"""Operations of the device that a profile names."""


class Report:
    """What was found: printed as it comes, written as JSON and as a page."""

    def __init__(self, out: pathlib.Path, budget_s: float, quick: bool, rehearse: bool) -> None:
        self.out, self.quick, self.rehearse = out, quick, rehearse
        self.began, self.budget_s = time.perf_counter(), budget_s
        self.found: dict[str, Any] = {}
        self.lines: list[str] = []

    @property
    def left(self) -> float:
        """Seconds left."""
        return self.budget_s - (time.perf_counter() - self.began)

    def say(self, line: str) -> None:
        """Prints a line with the time, and keeps it."""
        print(f"[{time.perf_counter() - self.began:5.0f} s] {line}", flush=True)
        self.lines.append(line)
        self.save()

    def table(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Prints and keeps a table."""
        self.found[name] = rows
        heads = list(dict.fromkeys(key for row in rows for key in row))
        lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
        lines += ["| " + " | ".join(_cell(row.get(head, "")) for head in heads) + " |" for row in rows]
        print("\n".join(lines), flush=True)
        self.lines += ["", f"## {name}", "", *lines, ""]
        self.save()

    def section(self, name: str, at_least_s: float, run: Callable[[], None]) -> None:
        """Runs a section, unless the time does not suffice; a failure is reported and the others go on."""
        if self.left < at_least_s:
            self.say(f"SKIPPED {name}: {self.left:.0f} s left, {at_least_s:.0f} s needed")
            return
        self.say(f"-- {name}")
        try:
            run()
        except Exception:
            self.say(f"FAILED {name}:\n{traceback.format_exc()}")

    def save(self) -> None:
        """Writes what there is so far."""
        self.out.mkdir(parents=True, exist_ok=True)
        (self.out / "bench_gpu.json").write_text(json.dumps(self.found, indent=1) + "\n")
        (self.out / "bench_gpu.md").write_text("\n".join(self.lines) + "\n")


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)


# -- what is measured ----------------------------------------------------------------------------------------------


@functools.cache
def played(env: str, agents: int, what: str, seed: int) -> Any:
    """Random play."""
    env_config = {"observation": what} if env == "gems" else {"agents": agents, "shape": list(NETWORKS[what][0])}
    return random_play(env, env_config, 4000 if env == "gems" else 1000, seed)


def group_of(
    report: Report, network: str, *, env: str = "gems", agents: int = 2, rows: int = 256, compiled: bool = False,
    **settings: Any,
) -> Any:  # fmt: skip
    """A learner group in this process with random play."""
    if env == "gems":
        what, model_config = CASES[network]
        env_config: dict[str, Any] = {"observation": what}
    else:
        what, model_config = network, NETWORKS[network][1]
        env_config = {"agents": agents, "shape": list(NETWORKS[network][0])}
    if compiled:
        torch._dynamo.reset()  # it compiles a function for a few objects only
    config = (
        MAMQLConfig()
        .environment(env, env_config=env_config)
        .offline_data(input_="held in memory")
        .training(expert_batch_size=rows // 2, rollout_batch_size=rows // 2, weight_decay=0.01, **{**PLAIN, **settings})
        .learners(num_learners=0, num_gpus_per_learner=int(torch.cuda.is_available()))
        .framework(torch_compile_learner=compiled)
        .rl_module(model_config=model_config)
        .debugging(seed=0)
    )
    return learner_group(config, *(played(env, agents, what, seed) for seed in (0, 1)))


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def run_updates(group: Any, updates: int) -> None:
    """As training calls for them."""
    group.update(episodes=[], timesteps={}, num_updates=updates)


def rate(call: Callable[[int], None], updates: int) -> float:
    """Updates/s of one call."""
    synchronize()
    started = time.perf_counter()
    call(updates)
    synchronize()
    return updates / (time.perf_counter() - started)


def warm(call: Callable[[int], None], updates: int) -> float:
    """Seconds of the first updates, with all that is done once."""
    started = time.perf_counter()
    call(updates)
    synchronize()
    return time.perf_counter() - started


@dataclass(frozen=True)
class Profile:
    """What the device did for an update.

    Attributes:
        kernels: How many operations, copies and fills too.
        device_us: Microseconds in which at least one was at work.
        longest: Names of the operations that took longest, with how many there were and their microseconds.
    """

    kernels: float
    device_us: float
    longest: list[tuple[str, float, float]]

    @classmethod
    def of(cls, call: Callable[[int], None], updates: int) -> Profile:
        """Profiles so many updates of one call."""
        from torch.profiler import ProfilerActivity, profile

        with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as found:
            call(updates)
            synchronize()
        events = [
            (each.start_ns(), each.duration_ns(), each.name())
            for each in found.profiler.kineto_results.events()
            if each.device_type() == torch.autograd.DeviceType.CUDA and not each.name().startswith("Optimizer.")
        ]
        busy_ns, end = 0, 0
        by_name: dict[str, list[int]] = {}
        for start, length, name in sorted(events):
            busy_ns += max(0, start + length - max(start, end))
            end = max(end, start + length)
            by_name.setdefault(name, []).append(length)
        longest = sorted(by_name.items(), key=lambda pair: -sum(pair[1]))[:LONGEST]
        return cls(
            len(events) / updates,
            busy_ns / 1e3 / updates,
            [(name[:90], len(taken) / updates, sum(taken) / 1e3 / updates) for name, taken in longest],
        )


def weights_of(group: Any) -> list[torch.Tensor]:
    """All weights."""
    return [
        p.detach() for module_id in group._learner.agents_of for p in group._learner.network(module_id).parameters()
    ]


def difference(group: Any, other: Any) -> str:
    """Largest absolute difference of weights, and relative to the largest of the tensor."""
    pairs = list(zip(weights_of(group), weights_of(other), strict=True))
    absolute = max(float((a - b).abs().max()) for a, b in pairs)
    relative = max(float((a - b).norm() / b.norm().clamp_min(1e-12)) for a, b in pairs)
    return f"{absolute:.2g} (of norm {relative:.2g})"


# -- sections ------------------------------------------------------------------------------------------------------


def equality(report: Report) -> None:
    """Graphs against single operations from the same random numbers."""
    rows, compared = [], 8 if report.rehearse else UPDATES_COMPARED
    cases: list[tuple[str, dict[str, Any]]] = [
        *((case, {}) for case in CASES),
        ("fcnet 256x256", {"critic": "joint"}),
        ("fcnet 256x256", {"critic": "joint", "marginal_samples": 3, "value_term": "initial"}),
        ("entity_attention", {"autocast": "bfloat16"}),
        ("entity_attention", {"rollout_share": "auto", "chi_square_scale": "auto", "symmetries": True}),
    ]
    for case, settings in cases[:3] if report.quick or report.rehearse else cases:
        graphs, eager, host, resumed = (group_of(report, case, **settings) for _ in range(4))
        for group in (eager, host):
            if not report.rehearse:
                group._learner._device_steps.graphs.recorder = None
        learner = host._learner
        if not report.rehearse:  # the host's own step, with optimisers and averages as without graphs
            steps = learner._device_steps
            steps._prepare(1)
            learner._minibatch = lambda learner=learner, steps=steps: learner.batch_of(steps._table.draw(learner.draws))
            learner._device_steps = None
        half = compared // 2
        for _ in range(2):  # RLlib loads no weights of fewer calls than a learner has seen
            run_updates(graphs, half // 2)
        state, data = graphs._learner.get_state(), graphs._learner.get_data_state()
        run_updates(graphs, compared - half)
        for group in (eager, host):
            run_updates(group, compared)
        run_updates(resumed, min(20, half))
        resumed._learner.set_state(state)
        resumed._learner.set_data_state(data)
        run_updates(resumed, compared - half)
        recorded = 0 if report.rehearse else len(graphs._learner._device_steps.graphs.recordings)
        row = {
            "networks": case, "settings": str(settings), "graphs recorded": recorded,
            "graphs - eager": difference(graphs, eager), "resumed - graphs": difference(resumed, graphs),
            "graphs - without": difference(graphs, host),
        }  # fmt: skip
        report.say(str(row))
        rows.append(row)
    report.table("equality", rows)


def targets(report: Report) -> None:
    """Rates of what is not compiled, against those that are asked for."""
    for case in CASES:
        bare = group_of(report, case)._learner
        makers: dict[str, Callable[[], Callable[[int], None]]] = {
            "today": functools.partial(updater, report, case, cuda_graphs=False),
            "graphs": functools.partial(updater, report, case),
            "bare": lambda bare=bare: BareLoop(bare).update,
        }
        if not report.rehearse:
            makers["bare graph"] = lambda bare=bare: GraphedBareLoop(bare).update
        compare(report, f"targets, {case}", makers)


def compiled(report: Report) -> None:
    """The same with compiled losses."""
    for case in () if report.rehearse else CASES:
        if report.left < 60:
            report.say(f"SKIPPED compiled, {case}: {report.left:.0f} s left")
            continue
        bare = group_of(report, case)._learner
        makers: dict[str, Callable[[], Callable[[int], None]]] = {
            "compiled graphs": functools.partial(updater, report, case, compiled=True),
            "today": functools.partial(updater, report, case, cuda_graphs=False),
            "graphs": functools.partial(updater, report, case),
        }
        if report.left > 100:
            makers["bare compiled graph"] = lambda bare=bare: GraphedBareLoop(bare, compiled=True).update
        compare(report, f"compiled, {case}", makers)


def updater(report: Report, case: str, **settings: Any) -> Callable[[int], None]:
    """Updates of a learner."""
    return functools.partial(run_updates, group_of(report, case, **settings))


def compare(report: Report, title: str, makers: dict[str, Callable[[], Callable[[int], None]]]) -> None:
    """Rates of several ways, in turns, with profiles; against the targets."""
    few, many, rounds = (2, 4, 1) if report.rehearse else (40, 400, 3)
    calls: dict[str, Callable[[int], None]] = {}
    once: dict[str, float] = {}
    for name, make in makers.items():
        try:
            call = make()
            once[name] = warm(call, 2 if report.rehearse else 24)
            calls[name] = call
            report.say(f"{title}: {name} is warm after {once[name]:.1f} s")
        except Exception:
            report.say(f"FAILED {title}: {name}\n{traceback.format_exc()}")
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            taken[name].append(rate(call, few if name in ("today", "bare") else many))
    rows: list[dict[str, Any]] = []
    for name, call in calls.items():
        found = statistics.median(taken[name])
        row: dict[str, Any] = {"variant": name, "updates/s": found, "lowest": min(taken[name])}
        row |= {"of 40 a call": statistics.median(rate(call, few) for _ in range(rounds)), "first 24, s": once[name]}
        try:
            seen = Profile.of(call, few)
            row |= {"kernels": seen.kernels, "device us": seen.device_us, "busy": seen.device_us * found / 1e6}
            if "graphs" in name:
                report.found[f"{title}, {name}: longest"] = seen.longest
                lines = [f"    {us:7.1f} us {count:6.2f} x {kernel}" for kernel, count, us in seen.longest]
                report.say("\n".join([f"{title}: {name} spends most in", *lines]))
        except Exception:
            report.say(f"FAILED {title}: profile of {name}\n{traceback.format_exc()}")
        rows.append(row)
    report.table(title, rows)
    rates = {row["variant"]: row["updates/s"] for row in rows}
    for name, above, below, target in TARGETS:
        if above in rates and below in rates:
            value = rates[above] / rates[below]
            report.say(f"{title}: {name} {value:.2f}, target {target}: {'met' if value >= target else 'MISSED'}")
    for row in rows:
        if row["variant"].endswith("graphs") and "busy" in row:
            verdict = "met" if row["busy"] >= BUSY_TARGET else "MISSED"
            report.say(f"{title}: {row['variant']} keep the card busy {row['busy']:.0%}, target 70%: {verdict}")


def repeatability(report: Report) -> None:
    """Two runs from one seed."""
    rows = []
    updates = 4 if report.rehearse else 200
    for case in CASES:
        for deterministic in (False, True):
            torch.use_deterministic_algorithms(deterministic)
            try:
                pair = [group_of(report, case) for _ in range(2)]
                for group in pair:
                    run_updates(group, updates)
                equal = all(torch.equal(a, b) for a, b in zip(*map(weights_of, pair), strict=True))
                found = rate(functools.partial(run_updates, pair[0]), updates)
                failed = pair[0]._learner._device_steps is not None and (
                    pair[0]._learner._device_steps.graphs.recorder is None
                )
                rows.append(
                    {
                        "networks": case, "torch's deterministic mode": deterministic, "equal bit for bit": equal,
                        "updates/s": found, "recording failed": failed,
                    }
                )  # fmt: skip
            finally:
                torch.use_deterministic_algorithms(False)
    report.table("repeatability", rows)


def grid(report: Report) -> None:
    """Rates and memory over sizes."""
    rows: list[dict[str, Any]] = []
    sizes = [(agents, rows) for rows in BATCHES for agents in AGENTS]
    for network in NETWORKS:
        for agents, batch in sizes[:1] if report.rehearse else sizes[:3] if report.quick else sizes:
            row: dict[str, Any] = {"networks": network, "agents": agents, "rows": batch}
            for name, settings in {**VARIANTS, "graphs stacked": {"stack_networks": True}}.items():
                compiled = name.startswith("compiled")
                if (compiled and (report.rehearse or (agents, batch) != (8, 256))) or report.left < 12 + 60 * compiled:
                    report.say(f"SKIPPED grid: {network}, {agents} agents, {batch} rows, {name}")
                    continue
                group = None
                try:
                    if torch.cuda.is_available():
                        torch.cuda.empty_cache()
                        torch.cuda.reset_peak_memory_stats()
                    group = group_of(report, network, env=ENV, agents=agents, rows=batch, **settings)
                    call = functools.partial(run_updates, group)
                    warm(call, 2 if report.rehearse else 5 if name == "today" else 24)
                    updates = 2 if report.rehearse else 15 if name == "today" else 60
                    row[name] = max(rate(call, updates) for _ in range(2))
                    if torch.cuda.is_available():
                        row[f"{name}, GB"] = torch.cuda.max_memory_reserved() / 1e9
                except Exception:
                    report.say(f"FAILED grid: {network}, {agents}, {batch}, {name}\n{traceback.format_exc()}")
                del group
            report.say(str({key: _cell(value) for key, value in row.items()}))
            rows.append(row)
    report.table("grid", rows)


def score(report: Report) -> None:
    """Seconds until the tuned Gems plays like its expert, seed by seed."""
    rows: list[dict[str, Any]] = []
    for name, seeds in (("auto", 1 if report.quick else SEEDS), ("false", 1)):
        found: list[float | None] = []
        began = time.perf_counter()
        for seed in range(seeds):
            if report.left < 45:
                report.say(f"SKIPPED score with cuda_graphs {name}, seed {seed}: {report.left:.0f} s left")
                break
            try:
                found.append(_seconds_to_score(report, name, seed))
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                report.say(f"FAILED score with cuda_graphs {name}, seed {seed}: {error}")
                break
            report.found[f"score, cuda_graphs {name}"] = found
            report.say(f"score with cuda_graphs {name}, seed {seed}: {found[-1]} s of training to 0.95")
        if found:
            median = statistics.median(math.inf if taken is None else taken for taken in found)
            taken = (time.perf_counter() - began) / len(found)
            rows.append({"cuda_graphs": name, "seeds": len(found), "median s to 0.95": median, "command s": taken})
    report.table("score", rows)


def sampling(report: Report) -> None:
    """What the learner waits for while env runners on the CPU sample; 0: it samples itself, between its steps."""
    rows: list[dict[str, Any]] = []
    for example in SAMPLED:
        for runners, staleness in SAMPLERS:
            what = f"sampling, {example} with {runners} runners, staleness {staleness}"
            if report.left < 30:
                report.say(f"SKIPPED {what}: {report.left:.0f} s left")
                continue
            with tempfile.TemporaryDirectory() as folder:
                command = [
                    sys.executable, "-m", "rllib_mamql", "train", "--file", f"tuned_examples/{example}.yaml", "--seed",
                    "0", "--storage-path", folder, "--eval-episodes", "0", "--num-env-runners", str(runners),
                    "--num-gpus-per-learner", "1", "--set", f"rollout_staleness={staleness}", "--set",
                    "reward_gauge=none",
                ]  # fmt: skip
                began = time.perf_counter()
                done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)
                taken = time.perf_counter() - began
                if done.returncode:
                    report.say(f"FAILED {what}: {done.stdout[-1000:]}\n{done.stderr[-2000:]}")
                    continue
                (log,) = pathlib.Path(folder).rglob("result.json")
                last = json.loads(log.read_text().splitlines()[-1])
            rows.append(
                {
                    "example": example, "runners": runners, "rollout_staleness": staleness,
                    "joint steps": last["num_env_steps_sampled_lifetime"], "updates": updates(last),
                    "training, s": last["time_total_s"], "command, s": taken,
                }
            )  # fmt: skip
            report.found["sampling"] = rows
            report.say(str({key: _cell(value) for key, value in rows[-1].items()}))
    report.table("sampling", rows)


def _seconds_to_score(report: Report, graphs: str, seed: int) -> float | None:
    """Training seconds of one seed until 0.95; None where it was not reached."""
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "found.json"
        command = [
            sys.executable, str(ROOT / "tests/benchmarks/time_to_score.py"), "gems", "--seeds", "1", "--first-seed",
            str(seed), "--episodes", "100", "--json", str(file), "--set", "num_gpus_per_learner=1", "--set",
            f"cuda_graphs={graphs}",
        ]  # fmt: skip
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=max(30.0, report.left - 5), check=False
        )
        if done.returncode:
            raise RuntimeError(f"{done.stdout[-1500:]}\n{done.stderr[-3000:]}")
        found = json.loads(file.read_text())["seconds"]["gems"][0]
        return None if found is None else float(found)


def main() -> int:
    """Runs the sections."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("gpu_results"))
    parser.add_argument("--quick", action="store_true", help="about two minutes")
    parser.add_argument("--budget", type=float, default=0.0, help="seconds; 345, or 120 with --quick")
    parser.add_argument("--only", nargs="*", default=[], help="sections")
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, at a small size")
    arguments = parser.parse_args()
    budget = arguments.budget or (120.0 if arguments.quick else 345.0)
    report = Report(arguments.out, budget, arguments.quick, arguments.rehearse)
    if not torch.cuda.is_available() and not arguments.rehearse:
        print("there is no GPU here: this benchmark has not run")
        return 0
    plain_process()
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    device = "REHEARSAL on a CPU" if arguments.rehearse else torch.cuda.get_device_name()
    report.say(f"{device}, torch {torch.__version__}, budget {budget:.0f} s")
    sections: dict[str, tuple[float, Callable[[Report], None]]] = {
        "equality": (20, equality),
        "targets": (30, targets),
        "repeatability": (15, repeatability),
        "compiled": (60, compiled),
        "grid": (30, grid),
        "score": (60, score),
        "sampling": (40, sampling),
    }
    for name, (at_least_s, run) in sections.items():
        if (arguments.only and name not in arguments.only) or (name in ("score", "sampling") and arguments.rehearse):
            continue
        report.section(name, at_least_s, functools.partial(run, report))
    report.say("done")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
