"""Every private or undocumented name of Ray that this package relies on, and what it is needed for.

A name that a function can hide is used in this file alone. The others are inherited, overridden or read from outside;
``NAMES`` lists all of them, and ``tests/unit/test_ray_internals.py`` looks each up in the Ray that is installed.
``make ray-next`` asks the newest Ray. Importing this module loads no Ray.
"""

from __future__ import annotations

import importlib
import inspect
import os
import pathlib
import pickle
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from rllib_mamql.errors import ConfigError, one_line

RLLIB_DOCUMENT = "rllib_checkpoint.json"
"""What older RLlib checkpoints are known by."""
TUNER_FILE = "tuner.pkl"
"""By this file Tune knows an experiment's folder that can be restored."""

VARIABLES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    # No public setting of Ray's: it starts no worker process for each CPU ahead of need. Tune runs trials in an
    # environment that those lack; they would only delay the trials' start (test_ray_starts_no_worker_ahead_of_need).
    "RAY_prestart_worker_first_driver": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "5",
    # Before the first episode has ended, results have no return by which a scheduler could compare trials.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
}
"""Environment variables by which the command line asks Ray for no telemetry, no advertisements, and its signals."""

FOLDER = "RLLIB_MAMQL_FOLDER"
"""Environment variable by which the command line tells Ray's workers the folder that it was started in."""

INIT_IMPORTS = (
    "ray.dashboard",
    "ray._common.usage.usage_lib",
    "ray._private.runtime_env.uv_runtime_env_hook",
    "ray._private.thirdparty.pynvml",
    "ray.autoscaler.v2.utils",
    "ray.core.generated.usage_pb2",
)
"""What ``ray.init`` imports when it is called (test_starting_ray_imports_nothing_of_ray_that_is_not_named)."""


def job_config() -> Any:
    """What ``ray.init`` is given so that workers import what this process imports.

    Ray puts the current folder before all else where its workers look for modules: a file called ``pyarrow.py`` there
    would take the library's place. It does not for a job with a working directory of its own, as this one claims to
    have. The folder of the calling script, which Python itself searches first, stays.
    """
    from ray.job_config import JobConfig

    class OwnPath(JobConfig):
        def _runtime_env_has_working_dir(self) -> bool:
            return True

    script = os.path.dirname(os.path.realpath(sys.argv[0]))
    return OwnPath(_py_driver_sys_path=[script] if script in sys.path else [])


# -- objects by name, in all processes ------------------------------------------------------------------------------

_SHARED: dict[str, Callable[..., Any]] = {}


def share(name: str, value: Callable[..., Any], what: str) -> None:
    """Lets every process of this program's Ray find a callable by name, those that Ray starts later included.

    Ray's public ``tune.register_env`` does that, but once only: what it has handed to one Ray is gone when the program
    shuts that down and starts another. Ray runs a hook whenever it has started, by which all is handed over anew.

    Args:
        name: In ASCII. RLlib looks environments up by it; other kinds of objects need a prefix.
        value: Something that Ray can pickle.
        what: What it is, for the error's message.

    Raises:
        ConfigError: If Ray cannot pickle it.
    """
    import rllib_mamql.startup  # noqa: F401

    # isort: split
    from ray import tune
    from ray._private import worker

    if _share_again not in worker._post_init_hooks:
        worker._post_init_hooks.append(_share_again)
    try:
        tune.register_env(name, value)
    except (TypeError, ValueError, AttributeError, pickle.PicklingError) as error:
        reason = one_line(error)
        raise ConfigError(
            f"{what} cannot be sent to Ray's worker processes ({reason}): define it in a module that they can import"
        ) from error
    _SHARED[name] = value


def _share_again() -> None:
    from ray import tune

    for name, value in _SHARED.items():
        tune.register_env(name, value)


def shared(name: str) -> Any | None:
    """What :func:`share` (or ``tune.register_env``) gave under a name in the program that started this process.

    Ray has no public way to look up what ``tune.register_env`` registered. In a process without Ray there is nothing.
    """
    ray = sys.modules.get("ray")
    if ray is None or not name.isascii() or not (ray.is_initialized() or "ray.tune.registry" in sys.modules):
        return None
    from ray.tune.registry import ENV_CREATOR, _global_registry

    return _global_registry.get(ENV_CREATOR, name) if _global_registry.contains(ENV_CREATOR, name) else None


def is_registered_trainable(name: str) -> bool:
    """Whether ``tune.register_trainable`` knows a name.

    Ray's ``get_trainable_cls`` would build the default config of each of RLlib's algorithms before it said no.
    """
    from ray.tune.registry import TRAINABLE_CLASS, _global_registry

    return _global_registry.contains(TRAINABLE_CLASS, name)


# -- results --------------------------------------------------------------------------------------------------------


def trials_of(results: Any) -> list[Any]:
    """Tune's trials behind a ``ResultGrid``, in its order.

    The public results of trials that never reported lack their configuration.
    """
    return list(results._experiment_analysis.trials)


def storage_of(trainable: Any) -> Any:
    """Where a Tune trial writes: an algorithm that is given it makes no folder of its own in the home folder."""
    return trainable._storage


@dataclass
class Restored:
    """A Tune experiment that is restored and has not begun to run.

    Tune's public ``Tuner.restore`` takes neither another stopping criterion nor trials that have met theirs.

    Attributes:
        tuner: Runs it.
        trials: Tune's trials as they were left.
    """

    tuner: Any
    trials: list[Any]
    _resume: Any

    def train_finished_trials(self) -> None:
        """Lets trials that have finished go on from their last checkpoints."""
        self._resume.finished = self._resume.ResumeType.RESUME

    def change(self, stop: Mapping[str, float], callbacks: Sequence[Any]) -> None:
        """Gives the experiment other stopping criteria and callbacks; its trials have criteria of their own."""
        run = self.tuner._local_tuner.get_run_config()
        run.stop, run.callbacks = dict(stop), list(callbacks)


def restore(path: str, trainable: type[Any]) -> Restored:
    """Restores a Tune experiment, in which what has not finished is to go on. Loads pickles of Ray's.

    Args:
        path: The experiment's folder.
        trainable: What its trials run.
    """
    from ray import tune
    from ray.tune import ResumeConfig

    resume = ResumeConfig(errored=ResumeConfig.ResumeType.RESUME)
    tuner = tune.Tuner.restore(path, trainable=trainable, _resume_config=resume)
    return Restored(tuner, trials_of(tuner.get_results()), resume)


def adopt_checkpoint(trial: Any, path: pathlib.Path, number: int, result: Mapping[str, Any]) -> None:
    """Lets a trial of a restored experiment go on from a checkpoint that Tune's snapshot does not know.

    Tune has no public way to tell a trial of a checkpoint.

    Args:
        trial: Tune's trial, which has not started.
        path: The checkpoint's folder.
        number: In its name; the trial numbers its next ones from there on.
        result: What the trial reported when it was written.
    """
    from ray.train._internal.session import _TrainingResult
    from ray.tune import Checkpoint

    trial.storage.current_checkpoint_index = number - 1  # Registering it counts on.
    trial.on_checkpoint(_TrainingResult(checkpoint=Checkpoint.from_directory(str(path)), metrics=dict(result)))


def read_rllib_modules(checkpoint: pathlib.Path) -> Any:
    """The MultiRLModule in an RLlib algorithm's checkpoint, without building the algorithm.

    RLlib documents the call, but of the folder only by example. Checkpoints hold pickles: only for folders that the
    user named as trusted, or that this process wrote.
    """
    from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_LEARNER_GROUP, COMPONENT_RL_MODULE
    from ray.rllib.core.rl_module.multi_rl_module import MultiRLModule

    # Absolute: RLlib takes a relative path for an address.
    folder = checkpoint.resolve() / COMPONENT_LEARNER_GROUP / COMPONENT_LEARNER / COMPONENT_RL_MODULE
    return MultiRLModule.from_checkpoint(folder)


# -- learners -------------------------------------------------------------------------------------------------------

POLL_S = 1.0
"""Seconds of each wait for learners."""


def update_together(group: Any, **kwargs: Any) -> list[Any]:
    """``LearnerGroup.update``, which ends at the first error of any learner.

    RLlib waits for all of them: where one fails, the others wait for its gradients for ever.

    Args:
        group: The learner group.
        **kwargs: Of its ``update``.

    Returns:
        Each learner's results.

    Raises:
        Exception: The first learner's to fail; where one has died, that it did.
    """
    if not group.is_remote:
        return list(group.update(**kwargs))
    manager = group._worker_manager
    group.update(async_update=True, **kwargs)
    results: dict[int, Any] = {}
    while manager.num_outstanding_async_reqs():
        ready = list(manager.fetch_ready_async_reqs(timeout_seconds=POLL_S))
        if errors := [result.get() for result in ready if not result.ok]:
            from ray.exceptions import RayActorError

            # The others' errors are that they have lost one of them.
            raise next((error for error in errors if isinstance(error, RayActorError)), errors[0])
        results.update({result.actor_id: result.get() for result in ready})
    return [results[actor] for actor in sorted(results)]


# -- settings -------------------------------------------------------------------------------------------------------

MODEL_CONFIG = "_model_config"
"""Attribute of an AlgorithmConfig behind ``model_config``, a property without a setter: Tune can only set this one."""
NOT_A_SETTING = ("algo_class", "env", "in_evaluation", "off_policy_estimation_methods", "stats_cls_lookup")
"""Attributes of an AlgorithmConfig that are no settings of a user's."""
DEPRECATED = -1
"""RLlib's default of a setting that it no longer has."""


def own_model_config(config: Any) -> dict[str, Any]:
    """What was set by ``config.rl_module(model_config=...)``, without RLlib's defaults that the property merges in."""
    own = getattr(config, MODEL_CONFIG)
    return dict(own) if isinstance(own, Mapping) else {f.name: getattr(own, f.name) for f in fields(own)}


def default_model_config() -> dict[str, Any]:
    """RLlib's keys of ``model_config`` with the values that they ship with."""
    from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

    shipped = DefaultModelConfig()
    return {f.name: getattr(shipped, f.name) for f in fields(shipped)}


def activations() -> tuple[str, ...]:
    """Names that RLlib's networks take for activations: a few of its own, and all that torch has."""
    from torch import nn

    named = [name for name in dir(nn.modules.activation) if isinstance(getattr(nn, name, None), type)]
    return ("relu", "tanh", "silu", "swish", "elu", "linear", *sorted(named))


def known_settings(config: Any) -> dict[str, Any]:
    """All settings of an AlgorithmConfig with their values: RLlib has no list, its attributes are its settings."""
    return {
        key: value
        for key, value in vars(config).items()
        if not key.startswith("_") and key not in NOT_A_SETTING and not _is_deprecated(value)
    }


def _is_deprecated(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value == DEPRECATED


# -- networks -------------------------------------------------------------------------------------------------------


def build_catalog_encoder(observation_space: Any, action_space: Any, model_config: dict[str, Any]) -> tuple[Any, int]:
    """The encoder of RLlib's catalog, ``{"obs": ...} -> {"encoder_out": ...}``, and its number of features.

    The catalog says the width of what it builds in an undocumented attribute only.
    """
    from ray.rllib.core.models.catalog import Catalog

    catalog = Catalog(observation_space, action_space, dict(model_config))
    return catalog.build_encoder(framework="torch"), int(catalog.latent_dims[0])


def has_default_filters(shape: tuple[int, ...]) -> bool:
    """Whether RLlib has convolutions of its own for images of a shape; its catalog fails where it has none."""
    from ray.rllib.models.utils import get_filter_config

    try:
        get_filter_config(list(shape))
    except ValueError:
        return False
    return True


def layers_of_mlp(encoder: Any) -> list[Any] | None:
    """The layers in a row of a catalog encoder that is a multilayer perceptron; else None.

    Their weights are stacked to evaluate several networks at once, which RLlib cannot do.
    """
    from ray.rllib.core.models.torch.encoder import TorchMLPEncoder

    return list(encoder.net.mlp) if type(encoder) is TorchMLPEncoder else None


def layers_of_cnn(encoder: Any) -> list[Any] | None:
    """The layers in a row between pictures and flat features of a convolutional catalog encoder; else None.

    RLlib's module turns channels to the front before them, and to the back again after them.
    """
    from ray.rllib.core.models.torch.encoder import TorchCNNEncoder
    from ray.rllib.core.models.torch.primitives import TorchCNN
    from torch import nn

    if type(encoder) is not TorchCNNEncoder or [type(part) for part in encoder.net] != [TorchCNN, nn.Flatten]:
        return None
    return list(encoder.net[0].cnn)


# -- the list -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RayName:
    """A private or undocumented name of Ray.

    Attributes:
        owner: ``module:name``, ``module:Class.attribute`` or ``module``.
        why: What it is needed for, and why nothing public will do.
        used_by: Files of this package that use it, below ``rllib_mamql/``.
        text: Words that the module's file must contain, where the name is no Python object.
    """

    owner: str
    why: str
    used_by: str
    text: str = ""

    def exists(self) -> bool:
        """Whether the Ray that is installed has it."""
        module_name, _, path = self.owner.partition(":")
        try:
            module = importlib.import_module(module_name)
        except ImportError:
            return False
        if self.text:
            return self.text.encode() in pathlib.Path(str(module.__file__)).read_bytes()
        owner: Any = module
        *parents, last = path.split(".")
        for parent in parents:
            owner = getattr(owner, parent, None)
        return hasattr(owner, last) or (inspect.isclass(owner) and _is_assigned(owner, last))


def _is_assigned(owner: type, name: str) -> bool:
    """Whether a method of a class sets an attribute of its instances."""
    assignment = re.compile(rf"\bself\.{name}\b\s*(:[^=\n]+)?=[^=]")
    sources = (inspect.getsource(each) for each in owner.__mro__ if each.__module__.startswith("ray."))
    return any(assignment.search(source) for source in sources)


def _of(owner: str, used_by: str, **why: str) -> tuple[RayName, ...]:
    """Several names of one module (``module``) or class (``module:Class``), each with why."""
    return tuple(RayName(f"{owner}{'.' if ':' in owner else ':'}{name}", text, used_by) for name, text in why.items())


_THIS = "ray_internals.py"
_LEARNER = "learner.py of learning/ and algorithms/"
_CONFIG = "config.py and rules.py of learning/ and algorithms/"
_ALGORITHM = "algorithm.py of learning/ and algorithms/"
_OFFLINE = "learning/offline_input.py"
_RUNNER = "learning/env_runner.py"

_LAYERS = "its layers are stacked with those of other networks"
_FOLDER = "which folder of a checkpoint holds the modules"
_AHEAD = "rollouts are under way while learners update; RLlib documents none of it"
_CONNECTORS = "connectors are refused, and RLlib keeps them nowhere else"
_COMPONENTS = "which parts of its state a runner is asked for"

NAMES = (
    *_of(
        "ray.tune.registry",
        _THIS,
        _global_registry="looks up what tune.register_env and tune.register_trainable took",
        ENV_CREATOR="the registry's key of environments",
        TRAINABLE_CLASS="the registry's key of algorithms",
    ),
    *_of("ray._private.worker", _THIS, _post_init_hooks="hands what is shared to each Ray that the program starts"),
    *_of(
        "ray.job_config:JobConfig",
        _THIS,
        _runtime_env_has_working_dir="keeps the current folder from the front of the workers' path",
        _py_driver_sys_path="puts the calling script's folder there",
    ),
    *_of("ray.tune.result_grid:ResultGrid", _THIS, _experiment_analysis="has the trials that never reported"),
    *_of("ray.tune:Tuner", _THIS, _local_tuner="has the stopping criteria and callbacks of a restored experiment"),
    RayName("ray.tune.tuner", "lets trials that have finished go on", _THIS, "_resume_config"),
    *_of("ray.tune.impl.tuner_internal:TunerInternal", _THIS, get_run_config="what a restored experiment runs with"),
    *_of("ray.tune:Trainable", _THIS, _storage="an algorithm inside a trial of another kind writes where that does"),
    *_of("ray.tune.experiment:Trial", "cli/progress.py", stopping_criterion="a resumed trial may train longer"),
    *_of(
        "ray.tune.experiment:Trial",
        _THIS,
        on_checkpoint="tells a trial of a checkpoint that a snapshot does not know",
        latest_checkpoint_result="which checkpoint the snapshot knows",
        storage="where a trial's next checkpoint goes",
    ),
    *_of("ray.train._internal.storage:StorageContext", _THIS, current_checkpoint_index="numbers the next checkpoint"),
    *_of("ray.train._internal.session", _THIS, _TrainingResult="a checkpoint, as trials are told of it"),
    *_of(
        "ray.tune.logger:CSVLoggerCallback",
        "cli/progress_csv.py",
        _setup_trial="opens progress.csv, and fetches what a resumed trial wrote",
        _trial_files="the files that are open",
    ),
    *_of(
        "ray.rllib.core",
        _THIS,
        COMPONENT_LEARNER_GROUP=_FOLDER,
        COMPONENT_LEARNER=_FOLDER,
        COMPONENT_RL_MODULE=_FOLDER,
    ),
    RayName("ray.rllib.utils.checkpoints", "a checkpoint is known by this file", "cli/paths.py", RLLIB_DOCUMENT),
    *_of("ray.tune.impl.tuner_internal", _THIS, _TUNER_PKL="a folder that can be resumed is known by this file"),
    *_of("ray._common.deprecation", _THIS, DEPRECATED_VALUE="a setting that RLlib no longer has is none"),
    *_of("ray.rllib.core.models.catalog:Catalog", _THIS, latent_dims="the width of what a catalog builds"),
    *_of("ray.rllib.models.utils", _THIS, get_filter_config="which images RLlib has convolutions for"),
    *_of("ray.rllib.core.models.base", "networks/encoders.py", ENCODER_OUT="the key of an encoder's features"),
    *_of("ray.rllib.core.models.torch.encoder:TorchMLPEncoder", _THIS, net=_LAYERS),
    *_of("ray.rllib.core.models.torch.encoder:TorchCNNEncoder", _THIS, net=_LAYERS),
    *_of("ray.rllib.core.models.torch.primitives:TorchMLP", _THIS, mlp=_LAYERS),
    *_of("ray.rllib.core.models.torch.primitives:TorchCNN", _THIS, cnn=_LAYERS),
    *_of(
        "ray.rllib.algorithms.registry",
        "cli/settings.py",
        ALGORITHMS="names the algorithm that is nearest to a misspelt one",
    ),
    *_of(
        "ray.rllib.core.learner.learner:Learner",
        _LEARNER,
        _check_is_built="update() is overridden whole, and begins as RLlib's does",
        _weights_seq_no="counts updates: runners drop weights of a number that they have already",
        _optimizer_parameters="what each optimiser steps, to clip it and to share its gradients",
        _module="the modules while optimisers are configured, when ``module`` is not there yet",
        _update="RLlib's gradient step, overridden by one on joint rows",
        TOTAL_LOSS_KEY="the metric under which RLlib shows a module's loss",
    ),
    *_of(
        "ray.rllib.core.learner.learner_group:LearnerGroup",
        _THIS,
        _worker_manager="hears of each learner's error when it happens, while the others wait for its gradients",
    ),
    *_of("ray.rllib.core.learner.torch.torch_learner:TorchLearner", _LEARNER, _device="where the data is to live"),
    *_of(
        "ray.rllib.core.learner.training_data:TrainingData",
        _LEARNER,
        solve_refs="fetches rollouts that were handed over as references",
    ),
    RayName("ray.rllib.core.learner.learner", "leaves metrics for a later call", _LEARNER, "_no_metrics_reduce"),
    *_of(
        "ray.rllib.algorithms.algorithm_config:AlgorithmConfig",
        _CONFIG,
        _model_config="model_config is a property without a setter",
        _model_config_auto_includes="adds this package's settings to those of every module",
        _train_batch_size_per_learner="is refused; its property gives a share of train_batch_size instead",
        _is_frozen="a frozen config is validated again, and must not be written to",
        _env_to_module_connector=_CONNECTORS,
        _module_to_env_connector=_CONNECTORS,
        _learner_connector=_CONNECTORS,
        callbacks_on_episode_start="callbacks that were given as functions",
        callbacks_class="callbacks that were given as classes",
    ),
    *_of("ray.rllib.algorithms.algorithm_config", _CONFIG, NotProvided="tells arguments left out from None"),
    *_of(
        "ray.rllib.env.env_runner_group:EnvRunnerGroup",
        _ALGORITHM,
        foreach_env_runner_async=_AHEAD,
        fetch_ready_async_reqs=_AHEAD,
        num_in_flight_async_reqs=_AHEAD,
        sync_weights="without a timeout it waits for no rollout that is under way",
    ),
    RayName("ray.rllib.algorithms.algorithm", "builds what reads demonstrations", _OFFLINE, "offline_data_class"),
    RayName(
        "ray.rllib.algorithms.algorithm", "RLlib sets it on what reads them", _OFFLINE, "offline_data.locality_hints"
    ),
    *_of(
        "ray.rllib.env.env_runner:EnvRunner",
        _RUNNER,
        _seed="the seed of this runner, which RLlib derives from the config's",
        worker_index="names episodes, and tells whose random state a state is",
        num_env_steps_sampled_lifetime="RLlib reads it and restores it",
    ),
    *_of(
        "ray.rllib.utils.checkpoints:Checkpointable",
        _RUNNER,
        _check_component=_COMPONENTS,
        _get_subcomponents=_COMPONENTS,
    ),
    *_of("ray.rllib.callbacks.utils", _RUNNER, make_callback="calls classes and functions as RLlib's runners do"),
    *_of("ray.rllib.utils.framework", _RUNNER, get_device="the device that Ray reserved for a runner"),
    *_of("ray.tune.result", "cli/progress.py", SHOULD_CHECKPOINT="a callback asks for a checkpoint by it"),
    RayName("ray.tune.tune", "this signal ends Tune's loop in order", "cli/progress.py", "SIGUSR1"),
    *_of(
        "ray.data._internal.execution.streaming_executor",
        _OFFLINE,
        logger="a logger of the module's name announces every epoch, unless it is told not to",
    ),
    *_of(
        "ray.data.context:DataContext",
        _OFFLINE,
        print_on_execution_start="an announcement of every epoch",
        enable_progress_bars="an announcement of every epoch",
    ),
    RayName("ray._common.usage.usage_constants", "no telemetry", _THIS, "RAY_USAGE_STATS_ENABLED"),
    RayName("ray.train.constants", "no advertisement", _THIS, "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS"),
    RayName("ray._private.accelerators.accelerator", "no warning", _THIS, "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"),
    RayName("ray.tune.experimental.output", "the older output, which can be silent", _THIS, "RAY_AIR_NEW_OUTPUT"),
    RayName("ray._raylet", "no worker process ahead of need", _THIS, "prestart_worker_first_driver"),
    RayName("ray.tune.tune", "signals are the command line's", _THIS, "TUNE_DISABLE_SIGINT_HANDLER"),
    RayName("ray.tune.execution.tune_controller", "no return yet", _THIS, "TUNE_DISABLE_STRICT_METRIC_CHECKING"),
    RayName("ray.tune.constants", "what a run is resumed from is young", _THIS, "TUNE_GLOBAL_CHECKPOINT_S"),
    RayName("ray.exceptions", "what a cluster that wants a token wants", "cli/session.py", "RAY_AUTH_MODE"),
)
"""All of them. Where one is gone, the test of it says who used it, and why."""
