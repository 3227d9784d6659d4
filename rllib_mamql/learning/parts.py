"""Rules for the parts of RLlib's that a config may replace: what cannot do this package's work is refused."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from rllib_mamql.errors import ConfigError, one_line
from rllib_mamql.learning.env_runner import ColumnarEnvRunner
from rllib_mamql.learning.offline_input import JointOfflineData, JointOfflinePreLearner


def check_parts(config: Any) -> None:
    """Refuses classes that are not derived from those that they replace.

    Args:
        config: An ``ImitationConfig``.

    Raises:
        ConfigError: Names the setting, the class found and the one to derive from.
    """
    for name, base, why in (
        ("env_runner_cls", ColumnarEnvRunner, "learners take rollouts in columns"),
        ("learner_class", config.LEARNER, "it has the losses"),
        ("offline_data_class", JointOfflineData, "demonstrations are joint steps"),
        ("prelearner_class", JointOfflinePreLearner, "demonstrations are joint steps"),
    ):
        given = getattr(config, name)
        if given is not None:
            check_derived(name, given, base, why)


def check_derived(name: str, given: Any, base: type[Any], why: str) -> None:
    """Refuses what is no class derived from ``base``.

    Args:
        name: Of the setting.
        given: What it is.
        base: What it must derive from.
        why: Why.

    Raises:
        ConfigError: If it does not.
    """
    if not (isinstance(given, type) and issubclass(given, base)):
        shown = given.__name__ if isinstance(given, type) else repr(given)
        raise ConfigError(
            f"{name} is {shown}, but {why}: leave it out, or derive it from {base.__module__}.{base.__name__}"
        )


def check_overrides(config: Any) -> None:
    """Refuses settings of single modules that would not be obeyed.

    Args:
        config: An ``ImitationConfig``.

    Raises:
        ConfigError: Names the module and the setting.
    """
    name = "algorithm_config_overrides_per_module"
    if name in config.HONOURED:
        return
    rate = config.LEARNER.RATE
    for module, settings in config.algorithm_config_overrides_per_module.items():
        for setting in settings:
            if setting != rate:
                raise ConfigError(
                    f"{name} sets {setting!r} of module {module!r}, but modules differ in {rate!r} alone: set "
                    f"{setting!r} for all of them"
                )


def check_mapping(mapping: Any, modules: Mapping[str, str]) -> None:
    """Refuses another mapping from agents to modules than the one that ``parameter_sharing`` says.

    Args:
        mapping: The config's ``policy_mapping_fn``.
        modules: ``{agent: module}``.

    Raises:
        ConfigError: Names the agent and both modules.
    """
    if mapping is AlgorithmConfig.DEFAULT_POLICY_MAPPING_FN or _is_ours(mapping):
        return
    for agent, module in modules.items():
        try:
            found = mapping(agent, None)
        except Exception as error:
            raise ConfigError(
                f"policy_mapping_fn fails at agent {agent!r} ({one_line(error)}): leave it out"
            ) from error
        if found != module:
            raise ConfigError(
                f"policy_mapping_fn maps {agent!r} to {found!r}, but modules follow from parameter_sharing, which says "
                f"{module!r}: leave it out, and say there who shares one"
            )


def mapping_of(modules: Mapping[str, str]) -> functools.partial[str]:
    """The ``policy_mapping_fn`` of ``{agent: module}``; Ray can send it to other processes."""
    return functools.partial(_module_for, mapping=dict(modules))


def maps_to(mapping: Any, modules: Mapping[str, str]) -> bool:
    """Whether a ``policy_mapping_fn`` is the one that :func:`mapping_of` gives of ``{agent: module}``."""
    return _is_ours(mapping) and mapping.keywords["mapping"] == modules


def _is_ours(mapping: Any) -> bool:
    return isinstance(mapping, functools.partial) and mapping.func is _module_for


def _module_for(agent: str, episode: Any = None, *, mapping: Mapping[str, str], **kwargs: Any) -> str:
    return mapping[agent]
