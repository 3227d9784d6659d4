"""Environments through every phase of the command line: cases, and what came of each."""

from __future__ import annotations

import importlib
import json
import os
import pathlib
import pkgutil
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

ROOT = pathlib.Path(__file__).parents[2]
SUITES = ("mpe2", "pettingzoo.sisl", "pettingzoo.butterfly", "pettingzoo.classic")
SHORT = {
    "pursuit_v5": {"max_cycles": 40},
    "knights_archers_zombies_v11": {"max_cycles": 10},
    "pistonball_v6": {"max_cycles": 40},
}
"""Keywords by which episodes of slow environments are short: some of random play are a part of each recording."""
VARIANTS: dict[str, dict[str, Any]] = {
    "simple_spread_v3": {"continuous_actions": True},
    "go_v5": {"board_size": 9},
    "pistonball_v6": {"continuous": False},
}
"""Keywords with which an environment is another one, in what agents see or do."""
AWKWARD = "pettingzoo:tests.support.awkward_env"
MASKED = "tests.support.masked_env"
WAITING = "tests.support.waiting_env"
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
MASKS = ("pettingzoo", "rllib", "info")
GYMNASIUM = ("CartPole-v1", "Acrobot-v1", "Pendulum-v1", "FrozenLake-v1", "Taxi-v3")
LEAST = {
    "expert_batch_size": 8,
    "rollout_batch_size": 8,
    "min_sample_timesteps_per_iteration": 16,
    "num_envs_per_env_runner": 2,
    "rollout_fragment_length": 4,
    "replay_capacity": 40,
    "reward_interval": 1,
}
"""Settings that make an iteration short."""
STEPS = 60
"""Joint steps of a recording."""
MISSING = r"cannot import|install what it needs"
"""How the command line says that an environment's package is not installed."""


@dataclass(frozen=True)
class Case:
    """An environment of the sweep."""

    suite: str
    name: str
    env: str
    env_config: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, ...]:
        """What the case is known by."""
        return self.suite, self.name, json.dumps(self.env_config, sort_keys=True)


@dataclass(frozen=True)
class Row:
    """What came of a case: the phases that went through, and the line that ended it, if one did.

    Attributes:
        case: The case.
        phases: Names of the phases that went through.
        line: What was said where it ended; empty where it did not.
        fault: Whether there was a traceback, a crash or a hang: this package's fault.
        seconds: How long it took.
    """

    case: Case
    phases: list[str]
    line: str
    fault: bool
    seconds: float

    @property
    def kind(self) -> str:
        """``works``, ``refused``, ``not installed`` or ``fault``."""
        if self.fault:
            return "fault"
        if not self.line:
            return "works"
        return "not installed" if re.search(MISSING, self.line) else "refused"


def cases() -> Iterator[Case]:
    """All environments, suite by suite."""
    for suite in SUITES:
        package = importlib.import_module(suite)
        for module in sorted(found.name for found in pkgutil.iter_modules(package.__path__)):
            if module.rpartition("_v")[2].isdigit():
                short = SHORT.get(module, {})
                for keywords in (short, *([short | VARIANTS[module]] if module in VARIANTS else [])):
                    yield Case(suite, module, f"pettingzoo:{suite}.{module}", keywords)
    for kind in OBSERVATIONS:
        yield Case("observations", kind, AWKWARD, {"observations": kind})
    for kind in ACTIONS:
        yield Case("actions", kind, AWKWARD, {"actions": kind})
    for habit in HABITS:
        yield Case("habits", habit, AWKWARD, {"habit": habit, "at": 2})
    for form in MASKS:
        yield Case("masks and turns", f"mask in {form}", f"pettingzoo:{MASKED}", {"form": form})
    yield Case("masks and turns", "turns of PettingZoo", f"{MASKED}:nim")
    yield Case("masks and turns", "turns of RLlib", f"{WAITING}:Nim")
    yield Case("masks and turns", "another pace of RLlib", f"{WAITING}:Pace")
    for name in GYMNASIUM:
        yield Case("gymnasium", name, name)


def commands(case: Case, folder: pathlib.Path) -> Iterator[tuple[str, list[str]]]:
    """The phases of a case, and the words of their commands."""
    config = {"input_": str(folder / "data"), "env_config": case.env_config, "model_config": {"fcnet_hiddens": [16]}}
    body = {"run": "MAMQL", "env": case.env, "stop": {"training_iteration": 1}, "config": {**config, **LEAST}}
    (folder / "file.yaml").write_text(json.dumps({"sweep": body}))
    settings = [word for key, value in case.env_config.items() for word in ("--env-config", f"{key}={value}")]
    steps = ["--steps", str(STEPS), "--out", str(folder / "data")]
    yield "record", ["record", "--env", case.env, "--expert", "random", *steps, *settings]
    yield "inspect", ["inspect", str(folder / "data")]
    storage = ["--storage-path", str(folder / "results")]
    yield "train", ["train", "--file", str(folder / "file.yaml"), *storage, "--eval-episodes", "0"]
    trained = str(folder / "results/sweep")
    yield "evaluate", ["evaluate", trained, "--episodes", "2"]
    # Of fifty environments at a time: agents that enter late are to act, too.
    steps = ["--steps", "60" if case.name in SHORT else "400"]
    yield "recover", ["recover", trained, "--updates", "4", "--regression", "4", *steps]
    yield "export", ["export", trained, "--out", str(folder / "exported")]


def run(case: Case, call: Callable[[list[str]], tuple[Any, str]]) -> Row:
    """Takes a case through its phases.

    Args:
        case: The case.
        call: Gives the exit status of an ``rllib`` command, and all that it said.
    """
    done: list[str] = []
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        for phase, words in commands(case, pathlib.Path(scratch)):
            status, text = call(words)
            fault = "Traceback" in text
            if status or fault:
                return Row(case, done, telling_line(text, scratch), fault, round(time.monotonic() - begun, 1))
            done.append(phase)
    return Row(case, done, "", False, round(time.monotonic() - begun, 1))


def telling_line(text: str, scratch: str) -> str:
    """The line that says what was wrong; of a traceback its last, and where it was."""
    for known, name in ((scratch, "FOLDER"), (f"{ROOT}{os.sep}", ""), (f"{sys.prefix}{os.sep}", "")):
        text = text.replace(known, name)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if "Traceback" in text:
        places = [line for line in lines if re.match(r'File ".*", line \d+', line)]
        return f"{lines[-1]} ({places[-1] if places else 'nowhere'})"
    telling = [line for line in lines if line.startswith("error:") or "environment '" in line]
    return (telling or lines or ["nothing was said"])[-1].removeprefix("error: ")


def read_rows(file: pathlib.Path) -> dict[tuple[str, ...], Row]:
    """The rows kept in a file, by the keys of their cases."""
    if not file.exists():
        return {}
    kept = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    rows = [Row(Case(**row.pop("case")), **row) for row in kept]
    return {row.case.key: row for row in rows}
