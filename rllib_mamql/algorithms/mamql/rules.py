"""Rules for settings: the range or the choice of each, and which go together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from rllib_mamql.errors import ConfigError, check_choice, check_integer, check_number
from rllib_mamql.networks.precision import AUTOCASTS
from rllib_mamql.networks.rewards import REWARD_GAUGES, REWARD_INPUTS, REWARD_NETWORKS

if TYPE_CHECKING:
    from rllib_mamql.algorithms.mamql.config import MAMQLConfig

CRITICS = ("marginal", "joint")
VALUE_TERMS = ("initial", "expert", "rollout", "rollout+expert")
CHI_SQUARE_STATES = ("expert", "mixture")
MODES = ("online", "offline")
AUTO = "auto"


def check_settings(config: MAMQLConfig) -> None:
    """Checks every setting of MAMQL's own, and those of RLlib's that it depends on.

    Raises:
        ConfigError: Names the setting, the value found and what is allowed.
    """
    _check_ranges(config)
    _check_choices(config)
    _check_sources(config)
    _check_learner(config)


def _check_ranges(config: MAMQLConfig) -> None:
    check_number("gamma", config.gamma, low=0.0, high=1.0, open_high=True)
    check_number("rationality", config.rationality, low=0.0, open_low=True)
    if isinstance(config.evaluation_rationality, str):
        check_choice("evaluation_rationality", config.evaluation_rationality, (AUTO,))
    elif config.evaluation_rationality is not None:
        check_number("evaluation_rationality", config.evaluation_rationality, low=0.0, open_low=True)
    check_number("chi_square_scale", config.chi_square_scale, low=0.0, open_low=True)
    check_number("reward_shrinkage", config.reward_shrinkage, low=0.0)
    check_number("reward_gauge_strength", config.reward_gauge_strength, low=0.0)
    check_number("weight_average", config.weight_average, low=0.0, high=1.0, open_high=True)
    check_number("weight_decay", config.weight_decay, low=0.0)
    check_number("updates_per_step", config.updates_per_step, low=0.0, open_low=True)
    if not isinstance(config.lr, (list, tuple)):
        check_number("lr", config.lr, low=0.0, open_low=True)
    for name in (
        "expert_batch_size",
        "rollout_batch_size",
        "replay_capacity",
        "offline_updates",
        "reward_interval",
        "expert_memory_limit",
    ):
        check_integer(name, getattr(config, name))
    for name in ("marginal_samples", "expert_steps"):
        if getattr(config, name) is not None:
            check_integer(name, getattr(config, name))
    hiddens = config.reward_hiddens
    if not isinstance(hiddens, (list, tuple)) or not hiddens:
        raise ConfigError(f"reward_hiddens is {hiddens!r}: give a list of layer sizes, such as [64, 64]")
    for size in hiddens:
        check_integer("reward_hiddens", size)


def _check_choices(config: MAMQLConfig) -> None:
    check_choice("mode", config.mode, MODES)
    check_choice("critic", config.critic, CRITICS)
    check_choice("rollout_staleness", config.rollout_staleness, (0, 1))
    check_choice("chi_square_states", config.chi_square_states, CHI_SQUARE_STATES)
    check_choice("reward_inputs", config.reward_inputs, REWARD_INPUTS)
    check_choice("reward_network", config.reward_network, REWARD_NETWORKS)
    check_choice("reward_gauge", config.reward_gauge, REWARD_GAUGES)
    check_choice("autocast", config.autocast, AUTOCASTS)
    if config.value_term is not None:
        check_choice("value_term", config.value_term, VALUE_TERMS)
    if config.mode == "offline" and config.value_term not in ("expert", "initial", None):
        raise ConfigError(
            f"value_term is {config.value_term!r}, but mode 'offline' has no rollouts: use 'expert' or 'initial'"
        )
    for name in ("expert_in_memory", "stack_networks"):
        value = getattr(config, name)
        if not isinstance(value, bool) and value != AUTO:
            raise ConfigError(f"{name} is {value!r}: use true, false or 'auto'")


def _check_sources(config: MAMQLConfig) -> None:
    for connector in ("env_to_module_connector", "module_to_env_connector", "learner_connector"):
        # Private names, but the only place where RLlib keeps them; tests/unit/test_config.py watches.
        if getattr(config, f"_{connector}") is not None:
            raise ConfigError(
                f"{connector} is set, but rollouts and demonstrations stay in columns and pass no connector: "
                "wrap the environment instead"
            )
    if not config.input_ or config.input_ == "sampler":
        raise ConfigError(
            "input_ is not set: name the folder, file or glob of the expert dataset (record one with `rllib record`)"
        )
    if not config.env:
        raise ConfigError("env is not set: name a registered environment or pettingzoo:<module path>")


def _check_learner(config: MAMQLConfig) -> None:
    """Refuses settings of RLlib's that MAMQL's own update would pass over in silence."""
    if config.torch_compile_worker:
        raise ConfigError("torch_compile_worker is set, but env runners compile nothing: leave it false")
    if config.torch_compile_learner:
        what = str(
            getattr(config.torch_compile_learner_what_to_compile, "value", config.torch_compile_learner_what_to_compile)
        )
        check_choice("torch_compile_learner_what_to_compile", what, ("forward_train",))
        backend = config.torch_compile_learner_dynamo_backend
        if isinstance(backend, str):
            check_choice(
                "torch_compile_learner_dynamo_backend", backend, tuple(torch.compiler.list_backends(exclude_tags=()))
            )
    if config.torch_skip_nan_gradients:
        raise ConfigError("torch_skip_nan_gradients is set, but gradients are not looked through: leave it false")
    if config.grad_clip is not None:
        check_choice("grad_clip_by", config.grad_clip_by, ("global_norm",))
