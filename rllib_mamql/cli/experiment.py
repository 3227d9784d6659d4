"""The experiment file: YAML to validated experiments, without importing Ray."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from math import inf, prod
from pathlib import Path
from typing import Any

from pydantic import Field

from rllib_mamql.cli.search_settings import SearchSettings, search_settings
from rllib_mamql.cli.validated import Strict, validated
from rllib_mamql.cli.yaml_loader import parse_assignment, read_yaml
from rllib_mamql.errors import ConfigError

GRID_SEARCH = "grid_search"
RANGES = (
    "uniform",
    "quniform",
    "loguniform",
    "qloguniform",
    "randint",
    "qrandint",
    "lograndint",
    "qlograndint",
)
SAMPLES = (*RANGES, "choice", "randn", "qrandn")
"""Names of ``ray.tune``'s sample functions that a YAML value may call, ``{uniform: [low, high]}``."""

MAX_CHECKED_VARIANTS = 32


class ExperimentSettings(Strict):
    """One experiment of the file: the keys that RLlib users know, no others."""

    run: str
    env: str | None = None
    stop: dict[str, float] = Field(default_factory=dict)
    num_samples: int = Field(default=1, ge=1)
    config: dict[str, Any] = Field(default_factory=dict)
    checkpoint_freq: int = Field(default=0, ge=0)
    checkpoint_at_end: bool = True
    keep_checkpoints_num: int = Field(default=2, ge=1)
    max_failures: int = Field(default=2, ge=-1)
    storage_path: str | None = None
    time_budget_s: float | None = Field(default=None, gt=0)
    tune: SearchSettings = Field(default_factory=SearchSettings)


@dataclass(frozen=True)
class Experiment:
    """A named experiment and the file that it is from.

    Attributes:
        name: Its key in the file, or ``--name``.
        settings: The validated keys.
        folder: Folder of the file; relative data paths are looked for in it and its parents.
    """

    name: str
    settings: ExperimentSettings
    folder: Path


@dataclass(frozen=True)
class Overrides:
    """What the command line changes in every experiment of a file.

    Attributes:
        sets: ``key=value`` texts for ``config``; dots reach into nested keys.
        stops: ``key=value`` texts for ``stop``.
        config: Config keys set by options of their own, such as ``--seed``.
        name: Takes the place of the experiment's name.
        storage_path: Takes the place of the file's.
        num_samples: Takes the place of the file's.
        max_concurrent: Takes the place of the file's ``tune.max_concurrent``.
    """

    sets: tuple[str, ...] = ()
    stops: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    name: str | None = None
    storage_path: str | None = None
    num_samples: int | None = None
    max_concurrent: int | None = None


def load_experiments(path: Path, overrides: Overrides | None = None) -> list[Experiment]:
    """Reads all experiments of a YAML file and applies the command line's changes.

    Raises:
        ConfigError: If the file is no YAML, a key is unknown, or a value has the wrong type.
    """
    overrides = overrides or Overrides()
    document = read_yaml(path)
    if not isinstance(document, dict) or not document:
        raise ConfigError(f"{path} has no experiment; write 'name:' and below it 'run:', 'env:', 'config:'")
    if overrides.name is not None and len(document) > 1:
        raise ConfigError(f"--name names one experiment, but {path} has {len(document)}: {', '.join(document)}")
    experiments = []
    for name, body in document.items():
        where = f"{path}: {name}"
        if not isinstance(body, dict):
            hint = ""
            if name in ExperimentSettings.model_fields:
                hint = "; the top level holds experiment names, indent their keys below one"
            raise ConfigError(f"{where} is {body!r}, not a mapping of keys{hint}")
        body = _override(where, body, overrides)
        settings = _validated(where, body)
        _check_name(where, str(overrides.name or name))
        folder = path.resolve().parent
        experiments.append(Experiment(str(overrides.name or name), settings, folder))
    return experiments


def is_search(value: Any) -> bool:
    """Whether a YAML value is a grid search or one of Tune's sample forms."""
    if not isinstance(value, dict) or len(value) != 1:
        return False
    key = next(iter(value))
    return key == GRID_SEARCH or key in SAMPLES


def check_searches(config: Any, where: str) -> None:
    """Raises ConfigError where a search form has no usable list of values."""
    for path, value in _searches(config):
        form, values = next(iter(value.items()))
        key = f"{where}.{'.'.join(map(str, path))}"
        if not isinstance(values, list) or not values:
            raise ConfigError(f"{key}: {form} needs a list that is not empty, found {values!r}")
        if form in RANGES:
            wanted = 3 if form.startswith("q") else 2
            numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
            if len(values) < wanted or len(numbers) != len(values) or numbers[0] >= numbers[1]:
                bounds = "[low, high, step]" if wanted == 3 else "[low, high]"
                raise ConfigError(f"{key}: {form} needs {bounds} with low < high, found {values!r}")
            if "log" in form and numbers[0] <= 0:
                raise ConfigError(f"{key}: {form} needs a low bound above 0, found {values!r}")


def variants(config: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Concrete configs to check before a search starts: every grid point, the ends of every range.

    Where these are more than ``MAX_CHECKED_VARIANTS``, each search is varied alone instead.
    """
    searches = [(path, _candidates(value)) for path, value in _searches(config)]
    if prod(len(values) for _, values in searches) <= MAX_CHECKED_VARIANTS:
        for point in product(*(values for _, values in searches)):
            yield _filled(config, [path for path, _ in searches], point)
        return
    first = [values[0] for _, values in searches]
    yield _filled(config, [path for path, _ in searches], first)
    for index, (_, values) in enumerate(searches):
        for value in values[1:]:
            changed = [*first[:index], value, *first[index + 1 :]]
            yield _filled(config, [path for path, _ in searches], changed)


def to_param_space(value: Any) -> Any:
    """The config with Tune's sample objects in place of the YAML forms; grid searches stay as they are."""
    if is_search(value):
        form, values = next(iter(value.items()))
        if form == GRID_SEARCH:
            return {GRID_SEARCH: list(values)}
        from ray import tune

        sample = getattr(tune, form)
        return sample(values) if form == "choice" else sample(*values)
    if isinstance(value, Mapping):
        return {key: to_param_space(item) for key, item in value.items()}
    return value


def cpus_asked(config: Mapping[str, Any]) -> float:
    """Logical CPUs that a trial asks for, as far as can be told without RLlib; infinite where a search decides."""

    def number(key: str, default: float) -> float:
        value = config.get(key, default)
        return float(value) if isinstance(value, int | float) else inf

    # RLlib's own algorithms, which read no demonstrations, have two env runners by default.
    runners = number("num_env_runners", 0 if {"input_", "input"} & config.keys() else 2)
    evaluators, learners = number("evaluation_num_env_runners", 0), number("num_learners", 0)
    per_runner, per_learner = number("num_cpus_per_env_runner", 1), number("num_cpus_per_learner", 1)
    found = number("num_cpus_for_main_process", 1)
    for count, each in ((runners + evaluators, per_runner), (learners, per_learner)):
        found += count * each if count else 0.0
    return found


def fill_searches(value: Any, found: Any) -> Any:
    """A config with the values that a trial has in place of searches.

    Args:
        value: The config as in YAML.
        found: The trial's, of the same shape; it may hold more.
    """
    if is_search(value):
        return found
    if isinstance(value, Mapping):
        known = found if isinstance(found, Mapping) else {}
        return {key: fill_searches(item, known.get(key)) for key, item in value.items()}
    return value


def _override(where: str, body: Mapping[str, Any], overrides: Overrides) -> dict[str, Any]:
    changed = dict(body)
    for section in ("config", "stop"):
        if not isinstance(changed.get(section) or {}, dict):
            raise ConfigError(f"{where}: {section} is {changed[section]!r}, not a mapping of keys")
        changed[section] = _copied(changed.get(section) or {})
    for text in overrides.sets:
        key, value = parse_assignment(text, "--set")
        if key in ExperimentSettings.model_fields and key not in ("config", "env"):
            changed[key] = value
        elif key.startswith("tune."):
            if not isinstance(changed.get("tune") or {}, dict):
                raise ConfigError(f"{where}: tune is {changed['tune']!r}, not a mapping of keys")
            changed["tune"] = _copied(changed.get("tune") or {})
            _set_nested(changed["tune"], key.removeprefix("tune."), value)
        elif key == "env":
            changed["env"] = value
        else:
            _set_nested(changed["config"], key.removeprefix("config."), value)
    for text in overrides.stops:
        key, value = parse_assignment(text, "--stop")
        if not isinstance(changed["stop"], dict):
            raise ConfigError(f"--set stop={changed['stop']!r}: stop is a mapping of keys; use --stop {text}")
        changed["stop"][key] = value
    changed["config"] = {**changed["config"], **overrides.config}
    for section in ("config", "stop"):
        if not isinstance(changed[section], dict):
            raise ConfigError(f"{where}: {section} is {changed[section]!r}, not a mapping of keys")
    if overrides.num_samples is not None:
        changed["num_samples"] = overrides.num_samples
    if overrides.max_concurrent is not None:
        block = changed.get("tune")
        changed["tune"] = {**(block if isinstance(block, dict) else {}), "max_concurrent": overrides.max_concurrent}
    if overrides.storage_path is not None:
        changed["storage_path"] = overrides.storage_path
    if "env" in changed["config"]:
        inner = changed["config"].pop("env")
        if changed.setdefault("env", inner) != inner:
            raise ConfigError(f"{where}: env is {changed['env']!r} but config.env is {inner!r}; keep the first")
    return changed


def _set_nested(config: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        inner = config.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {key}={value}: {parent!r} is {inner!r}, not a mapping of keys")
        config = inner
    config[last] = value


def _validated(where: str, body: Mapping[str, Any]) -> ExperimentSettings:
    for key, value in body["stop"].items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"{where}: stop.{key} is {value!r}; give a number")
    search = search_settings(where, body.get("tune"))
    settings = validated(where, {**body, "tune": search}, ExperimentSettings, "run: MAMQL")
    check_searches(settings.config, f"{where}: config")
    return settings


def _check_name(where: str, name: str) -> None:
    if not name or name.startswith(".") or any(char in name for char in "/\\\0"):
        raise ConfigError(f"{where}: {name!r} cannot name a results folder; use letters, digits, - and _")


def _searches(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if is_search(value):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _searches(item, (*path, key))


def _candidates(search: Mapping[str, list[Any]]) -> list[Any]:
    form, values = next(iter(search.items()))
    if form in RANGES:
        # Integer ranges exclude their upper end, so that the end itself may be out of range.
        high = values[1] - 1 if form in ("randint", "lograndint") else values[1]
        return [values[0], high] if high != values[0] else [values[0]]
    if form in ("randn", "qrandn"):
        return [values[0]]
    return list(values)


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    return value


def _filled(config: Mapping[str, Any], paths: Iterable[tuple[Any, ...]], values: Iterable[Any]) -> dict[str, Any]:
    filled: dict[str, Any] = _copied(config)
    for path, value in zip(paths, values, strict=True):
        inner = filled
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
    return filled
