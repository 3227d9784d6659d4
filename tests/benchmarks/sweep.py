"""All of mpe2, of PettingZoo's sisl, butterfly and classic, and awkward environments, through the whole command line.

Each is recorded with random play, inspected, trained for an iteration, evaluated, its rewards recovered, and exported.
A row says that it works, or the one line with which it is refused; a traceback anywhere is a fault of this package. ::

    python tests/benchmarks/sweep.py --out docs/results/environments.md
    python tests/benchmarks/sweep.py --only simple_spread,several     # these rows, on the screen
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import pathlib
import pkgutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "envs")]

SUITES = ("mpe2", "pettingzoo.sisl", "pettingzoo.butterfly", "pettingzoo.classic")
AWKWARD = "pettingzoo:tests.support.awkward_env"
OBSERVATIONS = (
    "float16", "float64", "integers", "image", "grey", "single", "film", "one_of", "several", "switches", "nested",
    "text", "sequence",
)  # fmt: skip
ACTIONS = ("from_one", "several", "switches", "continuous", "too_many", "text")
HABITS = (
    "late", "leaves", "integer_ids", "slash", "same_name", "no_possible_agents", "no_space", "reset_raises",
    "old_reset", "no_agents", "four_values", "late_unseen", "returns", "vanishes", "unseen", "unpaid", "paid_in_words",
    "paid_nan", "stranger", "step_raises", "cut_unseen", "none_step", "nothing", "nan", "infinite", "huge", "outside",
    "wrong_shape", "words",
)  # fmt: skip
OTHERS = ("CartPole-v1", "Acrobot-v1", "Pendulum-v1", "FrozenLake-v1", "Taxi-v3")
LEAST = {
    "expert_batch_size": 8,
    "rollout_batch_size": 8,
    "min_sample_timesteps_per_iteration": 16,
    "num_envs_per_env_runner": 2,
    "rollout_fragment_length": 4,
    "replay_capacity": 200,
    "reward_interval": 1,
}
"""Settings that make an iteration short."""
STEPS = 60
"""Joint steps of a recording."""
TIMEOUT_S = 900


@dataclass(frozen=True)
class Case:
    """An environment of the sweep."""

    suite: str
    name: str
    env: str
    env_config: dict[str, Any]


@dataclass(frozen=True)
class Row:
    """What came of a case: the phases that went through, and the line that ended it, if one did."""

    case: Case
    phases: list[str]
    line: str
    traceback: bool


def cases() -> Iterator[Case]:
    """All environments, suite by suite."""
    for suite in SUITES:
        package = __import__(suite, fromlist=["_"])
        for module in sorted(found.name for found in pkgutil.iter_modules(package.__path__)):
            if module.rpartition("_v")[2].isdigit():
                yield Case(suite, module, f"pettingzoo:{suite}.{module}", {})
    for kind in OBSERVATIONS:
        yield Case("observations", kind, AWKWARD, {"observations": kind})
    for kind in ACTIONS:
        yield Case("actions", kind, AWKWARD, {"actions": kind})
    for habit in HABITS:
        yield Case("habits", habit, AWKWARD, {"habit": habit, "at": 2})
    for name in OTHERS:
        yield Case("gymnasium", name, name, {})


def commands(case: Case, folder: pathlib.Path) -> Iterator[tuple[str, list[str]]]:
    """The phases of a case, and the words of their commands."""
    config = {"input_": str(folder / "data"), "env_config": case.env_config, "model_config": {"fcnet_hiddens": [16]}}
    body = {"run": "MAMQL", "env": case.env, "stop": {"training_iteration": 1}, "config": {**config, **LEAST}}
    (folder / "file.yaml").write_text(json.dumps({"sweep": body}))
    settings = [word for key, value in case.env_config.items() for word in ("--env-config", f"{key}={value}")]
    steps = ["--steps", str(STEPS), "--out", str(folder / "data")]
    yield "record", ["record", "--env", case.env, "--expert", "random", *steps, *settings]
    yield "inspect", ["inspect", str(folder / "data")]
    results = str(folder / "results")
    yield "train", ["train", "--file", str(folder / "file.yaml"), "--storage-path", results, "--eval-episodes", "0"]
    yield "evaluate", ["evaluate", results, "--episodes", "2"]
    yield "recover", ["recover", results, "--updates", "4", "--steps", "60"]
    yield "export", ["export", results, "--out", str(folder / "exported")]


def run(case: Case) -> Row:
    """Takes a case through its phases, in this process."""
    from rllib_mamql.cli.main import main

    done: list[str] = []
    with tempfile.TemporaryDirectory() as scratch:
        for phase, words in commands(case, pathlib.Path(scratch)):
            sys.argv = ["rllib", *words]
            out, err = io.StringIO(), io.StringIO()
            status: Any = 0
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                try:
                    main()
                except SystemExit as end:
                    status = end.code
                except BaseException as error:
                    status = f"Traceback: {type(error).__name__}: {error}"
            if status:
                text = f"{out.getvalue()}\n{err.getvalue()}\n{status if isinstance(status, str) else ''}"
                return Row(case, done, telling_line(text, scratch), "Traceback" in text)
            done.append(phase)
    return Row(case, done, "", False)


def telling_line(text: str, scratch: str) -> str:
    """The line that says what was wrong."""
    lines = [line.strip() for line in text.replace(scratch, "FOLDER").splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("error:", "Traceback")) or "environment '" in line]
    return (telling or lines or ["nothing was said"])[-1].removeprefix("error: ")


def in_a_process(case: Case) -> Row:
    """The same in a process of its own, which may crash or hang."""
    words = [sys.executable, __file__, "--one", json.dumps(vars(case))]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "envs")]), "SDL_VIDEODRIVER": "dummy"}
    try:
        done = subprocess.run(
            words, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Row(case, [], f"nothing came of it within {TIMEOUT_S} s", True)
    line = next((line for line in reversed(done.stdout.splitlines()) if line.startswith("{")), None)
    if line is None:
        return Row(case, [], f"the process ended with status {done.returncode}: {done.stderr[-300:]}", True)
    found = json.loads(line)
    return Row(case, found["phases"], found["line"], found["traceback"])


def table(rows: list[Row]) -> str:
    """The page: a table a suite."""
    works = sum(not row.line for row in rows)
    refused = sum(bool(row.line) and not row.traceback for row in rows)
    text = [
        "# Environments from elsewhere",
        "",
        f"Each was recorded with random play ({STEPS} steps), inspected, trained for an iteration, evaluated for two",
        "episodes, its rewards recovered, and exported; `tests/support/awkward_env.py` has the awkward ones, by what",
        "is odd about them. A row says `works`, or the line with which the environment is refused, and after which",
        "phase.",
        "Environments whose packages are not installed are refused as such.",
        "",
        f"{len(rows)} environments: {works} work, {refused} are refused in one line, {len(rows) - works - refused} end "
        "in a traceback.",
        "",
        "Remade by `python tests/benchmarks/sweep.py --out docs/results/environments.md`.",
    ]
    for suite in dict.fromkeys(row.case.suite for row in rows):
        text += ["", f"## {suite}", "", "| environment | outcome |", "| --- | --- |"]
        for row in rows:
            if row.case.suite == suite:
                where = f" (after {row.phases[-1]})" if row.phases and row.line else ""
                outcome = "works" if not row.line else f"{'TRACEBACK: ' if row.traceback else ''}{row.line}{where}"
                outcome = outcome.replace("|", "\\|").replace(str(ROOT), "").replace(sys.prefix, "")
                text.append(f"| {row.case.name} | {outcome} |")
    return "\n".join(text) + "\n"


def main_of_sweep() -> None:
    """Runs all cases, or those asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, help="page to write")
    parser.add_argument("--only", help="names, or suites, with commas between")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        row = run(Case(**json.loads(options.one)))
        print(json.dumps({"phases": row.phases, "line": row.line, "traceback": row.traceback}))
        return
    wanted = set(options.only.split(",")) if options.only else None
    rows = []
    for case in cases():
        if wanted is None or wanted & {case.name, case.suite}:
            rows.append(in_a_process(case))
            print(f"{case.suite} {case.name}: {rows[-1].phases} {rows[-1].line}", file=sys.stderr, flush=True)
    if options.out:
        options.out.write_text(table(rows), encoding="utf-8")
    else:
        print(table(rows))


if __name__ == "__main__":
    main_of_sweep()
