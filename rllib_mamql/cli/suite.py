"""The benchmark file: YAML to the cells of a suite, each checked as an experiment is."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from rllib_mamql.cli.experiment import Experiment, ExperimentSettings, load_experiments
from rllib_mamql.cli.validated import Strict, validated
from rllib_mamql.cli.yaml_loader import read_yaml
from rllib_mamql.errors import ConfigError, nearest

BUDGET = ("updates_per_step", "min_sample_timesteps_per_iteration")
"""Settings of an experiment file that say how much is sampled and learned."""
KEPT = ("env_config", "input_", "parameter_sharing", "model_config", *BUDGET)
"""What all methods take from a problem's experiment file: environment, data, encoder and budget."""


class Recording(Strict):
    """Demonstrations that are recorded once, where none are shipped."""

    expert: str = "scripted"
    steps: int = Field(ge=1)
    seed: int = Field(default=0, ge=0)


class Problem(Strict):
    """What is learned, and from how much."""

    file: str
    expert_steps: list[int] = Field(min_length=1)
    env_config: dict[str, Any] = Field(default_factory=dict)
    record: dict[str, Any] | None = None
    iterations: int | None = Field(default=None, ge=1)
    episodes: int | None = Field(default=None, ge=2)


class Method(Strict):
    """An algorithm, and how it departs from its defaults."""

    run: str
    config: dict[str, Any] = Field(default_factory=dict)
    tuned: dict[str, dict[str, Any]] = Field(default_factory=dict)
    iterations: float = Field(default=1.0, gt=0)
    problems: list[str] | None = None
    seeds: int | None = Field(default=None, ge=1)


class Curve(Strict):
    """How often policies are evaluated on the way, and on how many episodes."""

    points: int = Field(default=8, ge=1)
    episodes: int = Field(default=50, ge=2)


class SuiteSettings(Strict):
    """A suite's keys; the nested ones are checked one by one."""

    seeds: int = Field(ge=1)
    episodes: int = Field(default=100, ge=2)
    curve: dict[str, Any] = Field(default_factory=dict)
    methods: dict[str, Any] = Field(min_length=1)
    problems: dict[str, Any] = Field(min_length=1)


@dataclass(frozen=True)
class Suite:
    """A suite as its file has it.

    Attributes:
        name: Its key in the file.
        path: The file.
        seeds: Seeds 0, 1, ... of methods that have no number of their own.
        episodes: Of final evaluations.
        curve: Evaluations on the way.
        methods: By name; the first is compared with the others.
        problems: By name.
        asked_seeds: Takes the place of all of these numbers of seeds.
    """

    name: str
    path: Path
    seeds: int
    episodes: int
    curve: Curve
    methods: Mapping[str, Method]
    problems: Mapping[str, Problem]
    asked_seeds: int | None = None

    def seeds_of(self, method: Method) -> int:
        """How many seeds a method has."""
        return self.asked_seeds or method.seeds or self.seeds

    def only(self, methods: Sequence[str], problems: Sequence[str], seeds: int | None) -> Suite:
        """The suite with some of its methods and problems, and another number of seeds.

        Args:
            methods: Names; a name that the suite lacks is that of an algorithm, at its defaults. None is all.
            problems: Names. None is all.
            seeds: None leaves the suite's.

        Raises:
            ConfigError: If there is no such problem.
        """
        for name in problems:
            if name not in self.problems:
                raise ConfigError(f"{self.path} has no problem {name!r}; {nearest(name, self.problems)}")
        chosen = {name: self.methods.get(name) or Method(run=name) for name in methods} or self.methods
        kept = {name: self.problems[name] for name in self.problems if not problems or name in problems}
        return dataclasses.replace(self, methods=chosen, problems=kept, asked_seeds=seeds)


def load_suite(path: Path) -> Suite:
    """Reads a suite.

    Raises:
        ConfigError: If the file is no YAML, a key is unknown, or a value has the wrong type.
    """
    document = read_yaml(path)
    if not isinstance(document, dict) or len(document) != 1:
        raise ConfigError(f"{path} holds no suite; write 'name:' and below it 'seeds:', 'methods:', 'problems:'")
    name, body = next(iter(document.items()))
    where = f"{path}: {name}"
    settings = validated(where, body, SuiteSettings, "seeds: 5")
    methods = {
        str(key): validated(f"{where}: methods.{key}", value, Method, "run: MAMQL")
        for key, value in settings.methods.items()
    }
    problems = {
        str(key): validated(f"{where}: problems.{key}", value, Problem, "file: ../gems.yaml")
        for key, value in settings.problems.items()
    }
    for key, method in methods.items():
        for problem in (*method.tuned, *(method.problems or ())):
            if problem not in problems:
                raise ConfigError(f"{where}: methods.{key} names problem {problem!r}; {nearest(problem, problems)}")
    curve = validated(f"{where}: curve", settings.curve, Curve)
    return Suite(str(name), path, settings.seeds, settings.episodes, curve, methods, problems)


@dataclass(frozen=True)
class Part:
    """A method on a problem: one experiment for all sizes and seeds.

    Attributes:
        problem: The problem's name.
        method: The method's name.
        sizes: Joint steps of demonstration.
        experiment: The experiment, without size and seed.
        seeds: Seeds 0, 1, ... of each size.
        iterations: Training iterations, for methods that do not end by themselves.
        episodes: Of the final evaluation.
        recording: The demonstrations to record first, or None.
        folder: Where they go.
    """

    problem: str
    method: str
    sizes: Sequence[int]
    experiment: Experiment
    seeds: int
    iterations: int
    episodes: int
    recording: Recording | None
    folder: Path | None


def parts_of(suite: Suite, storage: Path) -> list[Part]:
    """Every method of a suite on every problem.

    Args:
        suite: The suite.
        storage: Folder below which demonstrations are recorded.

    Raises:
        ConfigError: If a problem's file is wrong, or has no one experiment.
    """
    found = []
    for name, problem in suite.problems.items():
        where = f"{suite.path}: {suite.name}: problems.{name}"
        file = suite.path.resolve().parent / problem.file
        experiments = load_experiments(file)
        if len(experiments) != 1:
            raise ConfigError(f"{where}: {problem.file} has {len(experiments)} experiments; give a file with one")
        given = experiments[0]
        iterations = problem.iterations or given.settings.stop.get("training_iteration")
        if iterations is None:
            raise ConfigError(f"{where}: {problem.file} has no stop.training_iteration; give the problem 'iterations'")
        config = {key: value for key, value in given.settings.config.items() if key in KEPT}
        config["env_config"] = {**config.get("env_config", {}), **problem.env_config}
        recording = folder = None
        if problem.record is not None:
            recording = validated(f"{where}.record", problem.record, Recording, "steps: 20000")
            folder = _recorded(storage, str(given.settings.env), config["env_config"], recording)
            config["input_"] = str(folder)
        for label, method in suite.methods.items():
            if method.problems is None or name in method.problems:
                changed = {**_taken(method.run, config), **method.config, **method.tuned.get(name, {})}
                settings = ExperimentSettings(run=method.run, env=given.settings.env, config=changed)
                experiment = Experiment(f"{name}, {label}", settings, given.folder)
                episodes, rounds = problem.episodes or suite.episodes, max(1, round(iterations * method.iterations))
                seeds = suite.seeds_of(method)
                sizes = problem.expert_steps
                found.append(Part(name, label, sizes, experiment, seeds, rounds, episodes, recording, folder))
    return found


def settings_text(part: Part) -> str:
    """All that decides a cell's result besides problem, size, method and seed, as JSON; the same on every machine."""
    settings = part.experiment.settings
    config = dict(settings.config)
    if part.recording is not None:
        config["input_"] = part.recording.model_dump()
    content = {"run": settings.run, "env": settings.env, "iterations": part.iterations, "episodes": part.episodes}
    return json.dumps(content | {"config": config}, sort_keys=True)


def _taken(run: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """What a method takes of a problem's settings: one that samples nothing has no use for how much is sampled."""
    from rllib_mamql.cli.settings import find_algorithm

    defaults = find_algorithm(run).get_default_config()
    samples = getattr(defaults, "uses_rollouts", True)
    return {key: value for key, value in config.items() if samples or key not in BUDGET}


def _recorded(storage: Path, env: str, env_config: Mapping[str, Any], recording: Recording) -> Path:
    content = json.dumps([env, dict(env_config), recording.model_dump()], sort_keys=True)
    digest = hashlib.sha256(content.encode()).hexdigest()[:8]
    return storage / "demonstrations" / f"{env.rpartition(':')[2]}-{recording.steps}-{digest}"
