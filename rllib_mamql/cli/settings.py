"""Checks an experiment against its algorithm, environment and dataset before anything starts."""

from __future__ import annotations

import functools
import glob
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from rllib_mamql import ray_internals
from rllib_mamql.algorithms.registry import ALGORITHMS, algorithm_class, is_ours
from rllib_mamql.cli.experiment import Experiment, is_search, to_param_space, variants
from rllib_mamql.data.places import is_elsewhere
from rllib_mamql.errors import ConfigError, DatasetError, UnknownEnvironmentError, UserError, nearest
from rllib_mamql.networks.choices import MEMORY

ALIASES = {
    "input": "input_",
    "lambda": "lambda_",
    "framework": "framework_str",
    "callbacks": "callbacks_class",
}
"""Names that RLlib takes for keys whose attribute is called otherwise."""

SETTABLE_PROPERTIES = ("model_config", "train_batch_size_per_learner")


@dataclass(frozen=True)
class Prepared:
    """An experiment that is ready to run.

    Attributes:
        experiment: Where it comes from.
        algorithm: The RLlib Algorithm class.
        param_space: What departs from the algorithm's defaults, with Tune's searches.
        num_samples: How often Tune runs each grid point.
        metadata: The dataset's metadata, or None where the algorithm reads no joint dataset.
        aggregation: How agents' returns combine in the environment: ``mean``, ``sum``, or ``opposed``, not at all.
        trials: What each kind of trial asks for, a mapping for each of the parts that must be on one node.
    """

    experiment: Experiment
    algorithm: type[Any]
    param_space: dict[str, Any]
    num_samples: int
    metadata: Any
    aggregation: str = "mean"
    trials: tuple[tuple[Mapping[str, float], ...], ...] = ()

    def setting(self, name: str, config: Mapping[str, Any] | None = None) -> Any:
        """A setting of a trial's config, or of the space that trials are drawn from, or else the algorithm's default.

        Args:
            name: The setting.
            config: The trial's, which has what departs from the defaults; None: the space.
        """
        default = getattr(self.algorithm.get_default_config(), name, None)
        return (self.param_space if config is None else config).get(name, default)


def prepare(experiment: Experiment) -> Prepared:
    """Checks everything about an experiment that can be known before it runs.

    Raises:
        UserError: If the algorithm, a key, a value, the environment or the dataset is wrong.
    """
    from rllib_mamql.environments.registry import register_with_rllib
    from rllib_mamql.environments.trust import named_by_the_user, remember

    try:
        algorithm = find_algorithm(experiment.settings.run)
        env = experiment.settings.env or ""
        defaults = algorithm.get_default_config()
        config = _with_input(experiment.settings.config, experiment.folder)
        check_keys(config, defaults)
        if env:
            named_by_the_user(env)
            register_with_rllib(env)
        else:
            _check_learns_offline(algorithm, config, defaults)
        metadata = None
        datasets: dict[Any, Any] = {}
        trials: dict[str, tuple[Mapping[str, float], ...]] = {}
        if not is_ours(algorithm):
            config = _with_policies(config, env)
        for variant in variants(config):
            metadata = _check_variant(variant, env, algorithm, datasets) or metadata
            overrides = to_overrides(variant, env, defaults)
            request = algorithm.default_resource_request(overrides)
            trials |= {repr(request.bundles): tuple(request.bundles)}
        remember(env)
    except UserError as error:
        raise type(error)(f"experiment {experiment.name!r}: {error}") from error
    draws = experiment.settings.tune
    config, num_samples = (
        # Grids are none that Optuna and population based training draw from: their trials have the same seed.
        _seeds(config, experiment.settings.num_samples)
        if draws.search == "random" and draws.scheduler != "pbt"
        else (config, experiment.settings.num_samples)
    )
    space = to_param_space(to_overrides(config, env, defaults))
    aggregation = aggregation_of(env, next(iter(variants(config)))) if env else "mean"
    return Prepared(experiment, algorithm, space, num_samples, metadata, aggregation, tuple(trials.values()))


def find_algorithm(name: str) -> type[Any]:
    """The Algorithm class that ``run`` names: ours, RLlib's, or one registered with Ray Tune.

    Raises:
        ConfigError: If there is none, or it is not on RLlib's new API stack.
    """
    from ray.rllib.algorithms.registry import ALGORITHMS as RLLIB
    from ray.tune.registry import get_trainable_cls

    if name in ALGORITHMS:
        return algorithm_class(name)
    if name in RLLIB or ray_internals.is_registered_trainable(name):
        found = get_trainable_cls(name)
        if not hasattr(found, "get_default_config"):
            raise ConfigError(f"run: {name!r} is no RLlib algorithm")
        return found
    raise ConfigError(f"run: unknown algorithm {name!r}; {nearest(name, [*ALGORITHMS, *RLLIB])}")


def check_keys(config: Mapping[str, Any], defaults: Any, where: str = "config") -> None:
    """Refuses keys that the algorithm does not have: RLlib itself would take them and do nothing.

    Args:
        config: Keys as in YAML, searches included.
        defaults: The algorithm's default config object.
        where: Path of the mapping, for the error message.

    Raises:
        ConfigError: If a key is unknown, or a value is of a kind that the key cannot take.
    """
    known = ray_internals.known_settings(defaults)
    names = [*known, *ALIASES, *SETTABLE_PROPERTIES]
    for key, value in config.items():
        if key not in names:
            raise ConfigError(f"unknown key '{where}.{key}'; {_owner(str(key)) or nearest(str(key), names)}")
        if key == "model_config":
            _check_model_config(value, defaults, f"{where}.{key}")
        elif key == "evaluation_config" and isinstance(value, Mapping):
            check_keys(value, defaults, f"{where}.{key}")
        elif key == "algorithm_config_overrides_per_module" and isinstance(value, Mapping):
            for module, inner in value.items():
                check_keys(_mapping(inner, f"{where}.{key}.{module}"), defaults, f"{where}.{key}.{module}")
        elif key == "env_config":
            for candidate in _values(_mapping(value, f"{where}.{key}")):
                _mapping(candidate, f"{where}.{key}")
        else:
            default = known.get(ALIASES.get(key, key))
            for candidate in _values(value):
                _check_kind(f"{where}.{key}", candidate, default)
                _check_size(f"{where}.{key}", str(key), candidate)


def _owner(key: str) -> str:
    """Says which of this package's algorithms has a setting; nothing where none has."""
    owners = [name for name in ALGORITHMS if key in vars(algorithm_class(name).get_default_config())]
    return f"it is a setting of {' and '.join(owners)}" if owners else ""


def to_overrides(config: Mapping[str, Any], env: str, defaults: Any) -> dict[str, Any]:
    """The config as Tune hands it over: attribute names, and model keys merged with the defaults."""
    overrides = {ALIASES.get(key, key): value for key, value in config.items()}
    if "model_config" in overrides:
        # The attribute would be replaced as a whole.
        own = ray_internals.own_model_config(defaults)
        overrides[ray_internals.MODEL_CONFIG] = {**own, **overrides.pop("model_config")}
    return {"env": env, **overrides} if env else overrides


def resolve_input(value: Any, folder: Path) -> Any:
    """Finds relative dataset paths from the current folder, then from the file's folder and its parents.

    Raises:
        DatasetError: If nothing is there.
    """
    if isinstance(value, list):
        return [resolve_input(item, folder) for item in value]
    if not isinstance(value, str | Path) and value is not None:
        raise DatasetError(f"input_ is {value!r}; give the path of a dataset, or a list of paths")
    if value is None or is_elsewhere(str(value)) or value == "sampler":
        return value
    path = Path(value).expanduser()
    tried = [path] if path.is_absolute() else [base / path for base in (Path.cwd(), folder, *folder.parents)]
    for candidate in tried:
        if candidate.exists() or glob.glob(str(candidate)):
            return str(candidate)
    places = "" if path.is_absolute() else f" in {Path.cwd()} nor in {folder} or a folder above it"
    raise DatasetError(f"input_: no dataset {value!r}{places}; 'rllib record' writes one, or correct the path")


def _with_input(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    resolved = dict(config)
    for key in ("input", "input_"):
        if key in resolved:
            value = resolved.pop(key)
            if is_search(value):
                form, values = next(iter(value.items()))
                resolved["input_"] = {form: [resolve_input(item, folder) for item in values]}
            else:
                resolved["input_"] = resolve_input(value, folder)
    return resolved


def _with_policies(config: Mapping[str, Any], env: str) -> dict[str, Any]:
    """Gives RLlib's own algorithms a policy for each agent, or lets all share the one that is named."""
    from ray.rllib.policy.policy import PolicySpec

    names = list(config.get("policies") or ())
    if not names:
        searched = variants({"env_config": config.get("env_config") or {}})
        agents = {tuple(agents_of(env, variant["env_config"])) for variant in searched}
        names = list(agents.pop()) if len(agents) == 1 else ["shared"]
    mapping = functools.partial(_policy_of, only=names[0] if len(names) == 1 else None)
    # RLlib's own check of the environment takes a step and refuses the reward of an agent that leaves in it. What it
    # looks for is seen to by the checks above and by the adapter.
    config = {"disable_env_checking": True, **config}
    return {**config, "policies": {name: PolicySpec() for name in names}, "policy_mapping_fn": mapping}


def agents_of(env: str, env_config: Mapping[str, Any]) -> list[str]:
    """The environment's agents, in its order."""
    from rllib_mamql.environments.registry import make_env

    instance = make_env(env, env_config)
    try:
        return list(instance.possible_agents)
    finally:
        instance.close()


def aggregation_of(env: str, config: Mapping[str, Any]) -> str:
    """How agents' returns combine in an environment: ``mean``, ``sum``, or ``opposed``, not at all.

    Args:
        env: Its name.
        config: An experiment's, for its ``env_config``.
    """
    from rllib_mamql.cli.results import OPPOSED
    from rllib_mamql.environments.registry import make_env, opposed_teams
    from rllib_mamql.play.returns import return_aggregation

    instance = make_env(env, config.get("env_config") or {})
    try:
        return OPPOSED if opposed_teams(env, instance.possible_agents) else return_aggregation(instance)
    finally:
        instance.close()


def _check_learns_offline(algorithm: type[Any], config: Mapping[str, Any], defaults: Any) -> None:
    """Refuses an experiment without an environment, unless all of its trials learn from demonstrations alone."""
    modes = _values(config.get("mode", getattr(defaults, "mode", None)))
    if not is_ours(algorithm) or any(mode == "online" for mode in modes):
        raise UnknownEnvironmentError(
            "key 'env' is missing; for example 'env: overcooked' (only 'mode: offline' of "
            f"{', '.join(ALGORITHMS)} needs none)"
        )


def _policy_of(agent: str, episode: Any = None, only: str | None = None, **kwargs: Any) -> str:
    return only or agent


def _check_variant(variant: Mapping[str, Any], env: str, algorithm: type[Any], datasets: dict[Any, Any]) -> Any:
    """Tries the environment and builds the config of one variant, and checks its dataset; gives its metadata."""
    from rllib_mamql.environments.spaces import environment_spaces

    env_config = dict(variant.get("env_config") or {})
    if env:
        environment_spaces(env, env_config)

    config = algorithm.get_default_config()
    overrides = to_overrides(variant, env, config)
    try:
        config.update_from_dict(overrides)
        config.environment(env=env or None, env_config=env_config)
        config.validate()
    except UserError:
        raise
    except (ValueError, TypeError, AttributeError, KeyError, AssertionError) as error:
        raise ConfigError(f"{algorithm.__name__} refuses the config: {first_paragraph(error)}") from error

    if not is_ours(algorithm):
        return None
    key = str(config.input_)
    if key not in datasets:
        from rllib_mamql.data.reading import read_dataset, read_metadata, size_in_bytes

        # What is to be streamed is too large to be read through before every run.
        whole = size_in_bytes(config.input_) <= config.expert_memory_limit
        datasets[key] = read_dataset(config.input_).metadata if whole else read_metadata(config.input_)
    from rllib_mamql.environments.spaces import check_dataset

    if env:
        check_dataset(datasets[key], env, env_config)
    return datasets[key]


def first_paragraph(error: BaseException) -> str:
    """An error's text as one line, without RLlib's advice on switching validation off."""
    text = str(error).split("To suppress all validation errors")[0]
    return " ".join(text.split()) or type(error).__name__


def _seeds(config: Mapping[str, Any], num_samples: int) -> tuple[dict[str, Any], int]:
    """Turns samples of one seeded config into a grid of seeds, since the same seed gives the same trial."""
    seed = config.get("seed")
    if num_samples == 1 or not isinstance(seed, int):
        return dict(config), num_samples
    return {**config, "seed": {"grid_search": list(range(seed, seed + num_samples))}}, 1


def _check_model_config(value: Any, defaults: Any, where: str) -> None:
    from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

    shipped = DefaultModelConfig()
    known = {f.name: getattr(shipped, f.name) for f in fields(shipped)}
    known.update(ray_internals.own_model_config(defaults))
    own = getattr(type(defaults), "MODEL_CONFIG_KEYS", ())
    known.update(dict.fromkeys(own))
    for key, item in _mapping(value, where).items():
        if key not in known:
            recurrent = own and str(key).startswith(("use_attention", "attention_"))
            raise ConfigError(f"unknown key '{where}.{key}'; {MEMORY if recurrent else nearest(str(key), known)}")
        for candidate in _values(item):
            _check_kind(f"{where}.{key}", candidate, known[key])


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where} is {value!r}; give a mapping of keys")
    return value


def _values(value: Any) -> Iterable[Any]:
    return next(iter(value.values())) if is_search(value) else (value,)


MOST_PROCESSES, MOST_OTHERS = 10_000, 10**9
"""Limits of ``num_env_runners`` and ``num_learners``, and of other counts: RLlib makes lists of so many things."""


def _check_size(where: str, key: str, value: Any) -> None:
    """Refuses counts that are none, or that no machine has, and seeds that random generators do not take."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return
    if key == "seed" and not (isinstance(value, int) and 0 <= value < 2**32):
        raise ConfigError(f"{where} is {value}; give a whole number from 0 to {2**32 - 1}")
    if not key.startswith("num_"):
        return
    if not 0 <= value:
        raise ConfigError(f"{where} is {value}; give 0 or more")
    if not key.startswith(("num_cpus", "num_gpus")) and not isinstance(value, int):
        raise ConfigError(f"{where} is {value}; give a whole number")
    most = MOST_PROCESSES if key.endswith(("_runners", "_learners")) else MOST_OTHERS
    if value > most:
        raise ConfigError(f"{where} is {value}; give at most {most:,}")


def _check_kind(where: str, value: Any, default: Any) -> None:
    """Refuses a word where the default is a number, and anything but true or false where it is a flag."""
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise ConfigError(f"{where} is {value!r}; give true or false")
    elif isinstance(default, int | float) and (isinstance(value, bool) or isinstance(value, str)):
        if value != "auto":
            raise ConfigError(f"{where} is {value!r}; give a number")
