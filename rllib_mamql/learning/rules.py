"""Rules for the settings that every algorithm from demonstrations has: ranges, and what of RLlib's is honoured.

A setting of RLlib's that would change nothing is refused: a user who sets it expects something of it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch

from rllib_mamql import ray_internals
from rllib_mamql.data.history import frame_space
from rllib_mamql.data.masks import is_masked, seen_space
from rllib_mamql.environments.spaces import Spaces
from rllib_mamql.errors import ConfigError, check_choice, check_integer, check_number, one_line
from rllib_mamql.learning.parts import check_derived
from rllib_mamql.networks.choices import MEMORY
from rllib_mamql.networks.history import check_history
from rllib_mamql.networks.precision import AUTOCASTS

MODES = ("online", "offline")
AUTO = "auto"
MOST_PATIENCE_S = 1e6

_ROWS = "minibatches have expert_batch_size and rollout_batch_size rows"
_UPDATES = "use updates_per_step online, offline_updates offline"
_STACK = "RLlib's new API stack is all that there is"
_MEMORY = "use expert_in_memory"
PASSED_OVER: dict[str, tuple[Any, str]] = {
    "policies_to_train": (None, "all modules learn; leave it out"),
    "num_epochs": (1, f"rows are drawn anew for every gradient step; {_UPDATES}"),
    "minibatch_size": (None, _ROWS),
    "_train_batch_size_per_learner": (None, _ROWS),
    "train_batch_size": (32, _ROWS),
    "shuffle_batch_per_epoch": (False, "rows are drawn at random always"),
    "clip_rewards": (None, "no algorithm from demonstrations learns from the environment's rewards"),
    "observation_filter": ("NoFilter", "wrap the environment (docs/your_environment.md#wrappers)"),
    "preprocessor_pref": ("deepmind", "wrap the environment (docs/your_environment.md#wrappers)"),
    "compress_observations": (False, "rollouts stay in columns"),
    "batch_mode": ("truncate_episodes", "rows are self-contained, whole episodes are not asked for"),
    "count_steps_by": ("env_steps", "joint steps are counted"),
    "output": (None, "record play with `rllib record`"),
    "observation_fn": (None, "wrap the environment (docs/your_environment.md#wrappers)"),
    "exploration_config": ({}, "policies explore at their rationality"),
    "remote_worker_envs": (False, "use num_env_runners"),
    "learner_config_dict": ({}, "learners read no such settings"),
    "enable_rl_module_and_learner": (True, _STACK),
    "enable_env_runner_and_connector_v2": (True, _STACK),
    "off_policy_estimation_methods": ({}, "evaluation plays"),
    "offline_evaluation_interval": (None, "use evaluation_interval"),
    "offline_loss_for_module_fn": (None, "use evaluation_interval"),
    "materialize_data": (False, _MEMORY),
    "materialize_mapped_data": (True, _MEMORY),
    "iter_batches_kwargs": ({}, _MEMORY),
    "shuffle_buffer_size": (0, "rows are drawn at random always"),
    "dataset_num_iters_per_learner": (None, _UPDATES),
    "prelearner_buffer_class": (None, "demonstrations are joint steps"),
    "postprocess_inputs": (False, "wrap the environment (docs/your_environment.md#wrappers)"),
    "ignore_final_observation": (False, "values are bootstrapped from it"),
}
"""Settings of RLlib's that change nothing here: their default, and what to do instead."""

_HEADLESS = "critics have one linear head; use fcnet_hiddens"
_DISCRETE = "it is for continuous actions"
_MODEL_PASSED_OVER = {
    "head_fcnet": _HEADLESS,
    "free_log_std": _DISCRETE,
    "log_std_clip_param": _DISCRETE,
    "vf_share_layers": "there is no value network beside the critic",
    "use_lstm": MEMORY,
    "lstm_": MEMORY,
    "max_seq_len": MEMORY,
    "use_attention": MEMORY,
    "attention_": MEMORY,
    "fusionnet_": "observations of several parts are one vector; use fcnet_hiddens",
}
"""Keys of ``model_config``, or what their names begin with, that change nothing here, and what to do instead."""


def check_ranges(config: Any) -> None:
    """Refuses values out of range, of the settings of :class:`~rllib_mamql.learning.config.ImitationConfig`."""
    check_number("gamma", config.gamma, low=0.0, high=1.0, open_high=True)
    check_number("rationality", config.rationality, low=0.0, open_low=True)
    if isinstance(config.evaluation_rationality, str):
        check_choice("evaluation_rationality", config.evaluation_rationality, (AUTO,))
    elif config.evaluation_rationality is not None:
        check_number("evaluation_rationality", config.evaluation_rationality, low=0.0, open_low=True)
    check_number("weight_average", config.weight_average, low=0.0, high=1.0, open_high=True)
    check_number("weight_decay", config.weight_decay, low=0.0)
    check_number("updates_per_step", config.updates_per_step, low=0.0, open_low=True)
    check_patience(config.env_step_timeout_s)
    if config.rollout_fragment_length != AUTO:
        check_integer("rollout_fragment_length", config.rollout_fragment_length)
    if not isinstance(config.lr, (list, tuple)):
        check_number("lr", config.lr, low=0.0, open_low=True)
    for name in (
        "expert_batch_size",
        "rollout_batch_size",
        "replay_capacity",
        "offline_updates",
        "expert_memory_limit",
    ):
        check_integer(name, getattr(config, name))
    if config.expert_steps is not None:
        check_integer("expert_steps", config.expert_steps)
        if isinstance(config.num_learners, int) and config.expert_steps < config.num_learners:
            raise ConfigError(
                f"expert_steps is {config.expert_steps}, which is too few for num_learners {config.num_learners}: each "
                "learner needs a joint step at least"
            )
    check_history(ray_internals.own_model_config(config))
    if config.history and config.expert_in_memory is False:
        raise ConfigError(
            f"expert_in_memory is false, but history is {config.history}: rows with a history are built from whole "
            "episodes, which a stream does not hold; use true or 'auto'"
        )
    check_choice("mode", config.mode, MODES)
    if not isinstance(config.symmetries, bool):
        raise ConfigError(f"symmetries is {config.symmetries!r}: use true or false")
    check_choice("rollout_staleness", config.rollout_staleness, (0, 1, AUTO))
    check_choice("autocast", config.autocast, AUTOCASTS)
    for name in ("expert_in_memory", "stack_networks", "cuda_graphs"):
        value = getattr(config, name)
        if not isinstance(value, bool) and value != AUTO:
            raise ConfigError(f"{name} is {value!r}: use true, false or 'auto'")


def check_patience(limit_s: Any) -> None:
    """Refuses an ``env_step_timeout_s`` out of range."""
    check_number("env_step_timeout_s", limit_s, low=0.0, high=MOST_PATIENCE_S, open_low=True)


def check_sources(config: Any) -> None:
    """Refuses a config without environment or demonstrations, or with connectors."""
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
        _check_without_environment(config)


def _check_without_environment(config: Any) -> None:
    if config.uses_rollouts:
        raise ConfigError(
            "env is not set: name an environment (docs/your_environment.md#names), "
            "or learn from the demonstrations alone with mode: offline"
        )
    for name, nothing in (("env_config", {}), ("evaluation_interval", None), ("num_env_runners", 0)):
        value = getattr(config, name)
        if value not in (nothing, None):
            raise ConfigError(f"{name} is {value!r}, but there is no environment: leave it out, or name one in env:")


def check_learner(config: Any) -> None:
    """Refuses settings of RLlib's that the learner's own update would pass over in silence."""
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
    if config.cuda_graphs is True:
        for obstacle, found in (
            ("num_gpus_per_learner", not config.num_gpus_per_learner),
            ("num_learners", config.num_learners > 1),
            ("expert_in_memory", config.expert_in_memory is False),
        ):
            if found:
                raise ConfigError(
                    f"cuda_graphs is true, but {obstacle} is {getattr(config, obstacle)!r}: graphs need one learner, "
                    "a GPU for it, and demonstrations in memory; 'auto' uses them where there are these"
                )
    if config.torch_skip_nan_gradients:
        raise ConfigError("torch_skip_nan_gradients is set, but gradients are not looked through: leave it false")
    if config.grad_clip is not None:
        check_choice("grad_clip_by", config.grad_clip_by, ("global_norm",))


def check_honoured(config: Any) -> None:
    """Refuses settings of RLlib's that change nothing here.

    Raises:
        ConfigError: Names the setting and what to use instead.
    """
    if config.in_evaluation:  # RLlib derives this config from the other, and sets some of these itself.
        return
    for name, (default, instead) in PASSED_OVER.items():
        value = getattr(config, name)
        if value != default and name not in config.HONOURED:
            raise ConfigError(f"{name.lstrip('_')} is {value!r}, but it changes nothing here ({instead}): leave it out")
    shipped = ray_internals.default_model_config()
    for key, value in ray_internals.own_model_config(config).items():
        for start, instead in _MODEL_PASSED_OVER.items():
            if key.startswith(start) and value != shipped.get(key):
                raise ConfigError(
                    f"model_config: {key} is {value!r}, but it changes nothing here ({instead}): leave it out"
                )


def check_policies(config: Any, taken: Collection[str]) -> None:
    """Refuses policies of the user's own, which would be replaced by those that ``parameter_sharing`` says.

    Args:
        config: The config.
        taken: Names of the modules that follow from the environment.

    Raises:
        ConfigError: If there are others.
    """
    names = set(config.policies)
    if names not in ({"default_policy"}, set(taken), set(config._modules_taken)):
        raise ConfigError(
            f"policies are {sorted(names)}, but modules follow from the environment's agents ({', '.join(taken)}): "
            "leave policies out, and say with parameter_sharing who shares one"
        )


def check_networks(config: Any) -> None:
    """Refuses a ``model_config`` that no network can be built from, by building one of each kind.

    Raises:
        ConfigError: Names the key, where that can be told, and what the network says.
    """
    own = ray_internals.own_model_config(config)
    spaces = config.agent_spaces()
    if own.get("conv_filters") is not None and all(len(frame_space(seen).shape) != 3 for seen, _ in spaces.values()):
        shapes = sorted({frame_space(seen).shape for seen, _ in spaces.values()})
        raise ConfigError(
            f"model_config: conv_filters is {own['conv_filters']!r}, but observations are no images, their shapes are "
            f"{shapes}: leave it out"
        )
    hiddens = own.get("fcnet_hiddens", [1])
    if not isinstance(hiddens, (list, tuple)) or not hiddens or not all(_is_size(size) for size in hiddens):
        raise ConfigError(f"model_config: fcnet_hiddens is {hiddens!r}: give a list of layer sizes, such as [256, 256]")
    for key in ("fcnet_activation", "conv_activation"):
        if isinstance(own.get(key), str):
            check_choice(f"model_config: {key}", own[key], ray_internals.activations())
    by_module = {config.module_of[agent]: pair for agent, pair in spaces.items()}
    for spec in config.get_multi_rl_module_spec(spaces=by_module).rl_module_specs.values():
        check_derived("rl_module_spec: module_class", spec.module_class, config.MODULE, "who learns and acts calls it")
    described = repr((type(config).__name__, sorted(own.items(), key=str), by_module, config.module_settings()))
    if described not in _BUILT:
        _build_networks(config, by_module)
        _BUILT.add(described)


def _is_size(size: Any) -> bool:
    return isinstance(size, int) and not isinstance(size, bool) and size > 0


_BUILT: set[str] = set()
"""What networks could be built from in this process: RLlib validates a config many times."""


def _build_networks(config: Any, spaces: Spaces) -> None:
    known: set[str] = set()
    # Other random numbers than the training's: those would no longer be the same.
    with torch.random.fork_rng(devices=[]):
        for module_id, spec in config.get_multi_rl_module_spec(spaces=spaces).rl_module_specs.items():
            seen, actions = spaces[module_id]
            kind = repr((seen_space(seen).shape, frame_space(seen).shape, seen.dtype, actions, is_masked(seen)))
            if kind in known:
                continue
            known.add(kind)
            try:
                spec.build()
            except ConfigError:
                raise
            except Exception as error:
                text = one_line(error)
                raise ConfigError(
                    f"model_config: no network of module {module_id!r} can be built for observations of shape "
                    f"{frame_space(seen).shape} ({text[:300]}): correct model_config"
                ) from error
