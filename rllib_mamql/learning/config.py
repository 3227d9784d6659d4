"""Settings that every algorithm from demonstrations has: each default exists here and nowhere else."""

from __future__ import annotations

import inspect
import pathlib
from collections.abc import Mapping
from typing import Any, ClassVar

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.policy.policy import PolicySpec

from rllib_mamql import ray_internals
from rllib_mamql.environments.patience import PATIENCE, STEP_TIMEOUT_S
from rllib_mamql.environments.registry import register_class
from rllib_mamql.environments.spaces import Spaces, data_spaces, environment_spaces
from rllib_mamql.errors import ConfigError, check_choice, nearest
from rllib_mamql.learning.env_runner import ColumnarEnvRunner
from rllib_mamql.learning.learner import ImitationLearner
from rllib_mamql.learning.offline_input import MEMORY_LIMIT, JointOfflineData, JointOfflinePreLearner, metadata_of
from rllib_mamql.learning.parts import check_mapping, check_overrides, check_parts, mapping_of, maps_to
from rllib_mamql.learning.rules import AUTO as AUTO
from rllib_mamql.learning.rules import (
    check_honoured,
    check_learner,
    check_networks,
    check_policies,
    check_ranges,
    check_sources,
)
from rllib_mamql.networks.encoders import ENCODER_DEFAULTS
from rllib_mamql.networks.history import HISTORY_DEFAULTS, history_steps
from rllib_mamql.networks.module import EVALUATION_RATIONALITY, OTHER_ACTIONS, RATIONALITY, BoltzmannModule

SHARED_MODULE = "shared"
HELD_OUT_SHARE = 0.1
"""Of the episodes of demonstrations without an environment."""


class ImitationConfig(AlgorithmConfig):
    """Settings of an algorithm that learns from demonstrations; RLlib's own work as usual.

    One module per agent is taken from the environment, or from the demonstrations where ``env`` is not set, so neither
    Python nor YAML needs policies. An algorithm derives its config from this one, names its parts in the class
    attributes, adds its settings in ``__init__`` and ``training``, and their rules in ``check``.
    """

    NAME: ClassVar[str] = ""
    """The algorithm's name: what ``run:`` gives, and what checkpoints carry."""
    LEARNER: ClassVar[type[ImitationLearner]] = ImitationLearner
    """The learner, with the algorithm's losses."""
    MODULE: ClassVar[type[BoltzmannModule]] = BoltzmannModule
    """The networks of one agent."""
    MODEL_CONFIG_KEYS: ClassVar[tuple[str, ...]] = (*ENCODER_DEFAULTS, *HISTORY_DEFAULTS)
    """Keys of ``model_config`` beside RLlib's."""
    HONOURED: ClassVar[tuple[str, ...]] = ()
    """Settings of RLlib's that mean something to this algorithm, though not to most (``rules.PASSED_OVER``)."""
    RECORDED: ClassVar[tuple[str, ...]] = (
        "mode", "gamma", "rationality", "evaluation_rationality", "env_step_timeout_s",
    )  # fmt: skip
    """Settings that a checkpoint's document carries, for those who read it without the config."""

    def __init__(self, algo_class: type[Any] | None = None) -> None:
        super().__init__(algo_class=algo_class)
        self.mode = "online"
        self.rationality = 3.0
        self.evaluation_rationality: float | str | None = None
        self.weight_average = 0.999
        self.weight_decay = 0.0
        self.expert_steps: int | None = None
        self.expert_in_memory: bool | str = AUTO
        self.expert_memory_limit = MEMORY_LIMIT
        self.expert_batch_size = 128
        self.rollout_batch_size = 128
        self.replay_capacity = 40_000
        self.updates_per_step = 0.5
        self.rollout_staleness: int | str = AUTO
        self.offline_updates = 500
        self.stack_networks: bool | str = AUTO
        self.autocast = "none"
        self.cuda_graphs: bool | str = AUTO
        self.parameter_sharing: str | dict[str, list[str]] = "none"
        self.symmetries = False
        self.env_step_timeout_s = STEP_TIMEOUT_S
        self._modules_taken: list[str] = []

        # RLlib's own settings, where the default here departs from RLlib's.
        self.lr = 1e-3
        self.gamma = 0.95
        self.grad_clip = 10.0
        self.num_env_runners = 0
        self.num_envs_per_env_runner = 8
        self.rollout_fragment_length: int | str = 20
        self.min_sample_timesteps_per_iteration = 2000
        self.env_runner_cls = ColumnarEnvRunner
        self.offline_data_class = JointOfflineData
        self.prelearner_class = JointOfflinePreLearner
        self.disable_env_checking = True
        # Nothing passes through connectors here, and RLlib inspects the whole call stack for each that it makes.
        self.add_default_connectors_to_env_to_module_pipeline = False
        self.add_default_connectors_to_module_to_env_pipeline = False
        self.add_default_connectors_to_learner_pipeline = False
        # A runner or learner that fails sleeps so long before it ends; RLlib's minute is a minute of silence.
        self.delay_between_env_runner_restarts_s = 1.0
        self.evaluation_config = {"explore": False}

    def environment(self, env: Any = NotProvided, **kwargs: Any) -> ImitationConfig:
        """Sets the environment, and RLlib's settings of it by ``kwargs``.

        Args:
            env: A name (:func:`~rllib_mamql.environments.registry.find_environment`), or a class of PettingZoo's
                parallel environments, of RLlib's ``MultiAgentEnv``, or of Gymnasium's ``Env``.
            **kwargs: RLlib's own settings, ``env_config`` among them.

        Returns:
            This config.
        """
        super().environment(register_class(env) if isinstance(env, type) else env, **kwargs)
        return self

    # Arguments and attributes carry the same names: what each means is said once, here.
    def training(
        self,
        *,
        mode: Any = NotProvided,
        rationality: Any = NotProvided,
        weight_average: Any = NotProvided,
        weight_decay: Any = NotProvided,
        expert_steps: Any = NotProvided,
        expert_in_memory: Any = NotProvided,
        expert_memory_limit: Any = NotProvided,
        expert_batch_size: Any = NotProvided,
        rollout_batch_size: Any = NotProvided,
        replay_capacity: Any = NotProvided,
        updates_per_step: Any = NotProvided,
        rollout_staleness: Any = NotProvided,
        offline_updates: Any = NotProvided,
        stack_networks: Any = NotProvided,
        autocast: Any = NotProvided,
        cuda_graphs: Any = NotProvided,
        parameter_sharing: Any = NotProvided,
        symmetries: Any = NotProvided,
        env_step_timeout_s: Any = NotProvided,
        **kwargs: Any,
    ) -> ImitationConfig:
        """Sets how the algorithm learns; RLlib's own settings (``lr``, ``gamma``, ...) go to RLlib.

        Args:
            mode: ``online`` samples rollouts between updates; ``offline`` learns from the demonstrations alone.
            rationality: Inverse temperature > 0 of the Boltzmann policies while training.
            weight_average: Decay in [0, 1) of the Polyak average that acts; 0 acts with the last iterate.
            weight_decay: Decoupled weight decay (AdamW) >= 0 of all networks; small datasets overfit without it.
            expert_steps: Joint expert steps to use, chosen by ``seed``, whole episodes first; None uses all.
            expert_in_memory: True, False (streams through Ray Data) or ``auto`` (by size).
            expert_memory_limit: Bytes up to which ``auto`` holds expert data in memory.
            expert_batch_size: Expert rows a minibatch, for each learner.
            rollout_batch_size: Rollout rows a minibatch, for each learner.
            replay_capacity: Joint steps each learner's replay buffer holds.
            updates_per_step: Gradient steps for each joint step sampled online, > 0.
            rollout_staleness: 0: remote runners wait for the updates. 1: they sample the next round while the learners
                update, so that rollouts are by policies one round old. ``auto``: 1 with remote runners and a GPU.
            offline_updates: Gradient steps of one training step offline, >= 1.
            stack_networks: Whether networks of equal shape are evaluated together; ``auto`` does so with four or more
                small plain networks at small batches, where it is faster on a CPU.
            autocast: ``bfloat16`` evaluates networks in that format while training, ``none`` in float32; losses are
                in float32 always.
            cuda_graphs: Whether gradient steps on a GPU are recorded as CUDA graphs and replayed: one launch for
                hundreds, and minibatches drawn by the GPU. ``auto`` does so where there is a GPU, one learner, and
                demonstrations in memory.
            parameter_sharing: ``none``, ``all``, or ``{module: [agents]}`` for groups; agents in no group learn alone.
            symmetries: Whether to learn from rows as they would be in a mirrored or turned world too, where the
                environment says how (``register_environment(symmetries=...)``).
            env_step_timeout_s: Seconds > 0 after which a reset or step of an environment, or of a batch of them, is
                given up: a remote runner builds its environments anew, up to three times in a row, a local one ends the
                trial. Commands that play a checkpoint wait as long.
            **kwargs: RLlib's own training settings.

        Returns:
            This config.
        """
        own = {key: value for key, value in locals().items() if key not in ("self", "kwargs", "__class__")}
        self._refuse_unknown(kwargs)
        super().training(**kwargs)
        self.set_provided(own)
        return self

    def _refuse_unknown(self, settings: Mapping[str, Any]) -> None:
        """Names the nearest of all classes' settings of :meth:`training`, where Python would not."""
        methods = [vars(cls)["training"] for cls in type(self).__mro__ if "training" in vars(cls)]
        known = {name for method in methods for name in inspect.signature(method).parameters} - {"self", "kwargs"}
        for name in settings:
            if name not in known:
                raise ConfigError(f"training() has no setting {name!r}; {nearest(name, known)}")

    def set_provided(self, settings: Mapping[str, Any]) -> None:
        """Sets the attributes that were given, of the arguments of a method such as :meth:`training`."""
        for key, value in settings.items():
            if value is not NotProvided:
                setattr(self, key, value)

    def evaluation(self, *, evaluation_rationality: Any = NotProvided, **kwargs: Any) -> ImitationConfig:
        """Sets how trained policies act, and RLlib's evaluation settings by ``kwargs``.

        Args:
            evaluation_rationality: Inverse temperature > 0 when acting without exploration; None: ``rationality``.
                ``auto``: until training has ended the same; then ``rllib train`` chooses up to three times as much, as
                long as play does not get stuck (``evaluation.decided``), in which it looks at no reward. Offline, as
                None.
            **kwargs: RLlib's own evaluation settings.

        Returns:
            This config.
        """
        super().evaluation(**kwargs)
        if evaluation_rationality is not NotProvided:
            self.evaluation_rationality = evaluation_rationality
        return self

    @property
    def uses_rollouts(self) -> bool:
        """Whether rollouts are sampled and learned from."""
        return self.mode == "online"

    # -- validation ---------------------------------------------------------------------------------------------

    def validate(self) -> None:
        """Checks every range and cross-field rule, and takes modules from the environment.

        Raises:
            ConfigError: Names the setting, the value found and what is allowed.
        """
        check_ranges(self)
        # In this process too: what follows tries the environment out.
        PATIENCE.limit_s = float(self.env_step_timeout_s)
        self.check()
        check_sources(self)
        check_learner(self)
        check_parts(self)
        check_overrides(self)
        check_honoured(self)
        if not self._is_frozen:
            self.fill_in()
        self._set_up_agents()
        super().validate()
        check_networks(self)

    def check(self) -> None:
        """Checks the algorithm's own settings.

        Raises:
            ConfigError: Names the setting, the value found and what is allowed.
        """

    def check_agents(self, spaces: Spaces) -> None:
        """Checks the algorithm's own settings against what agents see and choose among.

        Args:
            spaces: By agent.

        Raises:
            ConfigError: Names the setting, the value found and what is allowed.
        """

    def fill_in(self) -> None:
        """Sets what follows from other settings where it is left open; called after the checks."""
        if self.mode == "offline":
            # This counts environment steps, of which there are none: an iteration would never end.
            self.min_sample_timesteps_per_iteration = 0

    def _set_up_agents(self) -> None:
        spaces = self.agent_spaces()
        self.check_agents(spaces)
        modules = modules_of(list(spaces), self.parameter_sharing)
        policies: dict[str, PolicySpec] = {}
        first: dict[str, str] = {}
        for agent, module in modules.items():
            if module in policies and spaces[agent] != spaces[first[module]]:
                raise ConfigError(
                    f"parameter_sharing puts {first[module]} and {agent} into module {module!r}, but their spaces "
                    f"differ ({spaces[first[module]]} and {spaces[agent]}): share only among equal spaces"
                )
            first.setdefault(module, agent)
            policies[module] = PolicySpec(observation_space=spaces[agent][0], action_space=spaces[agent][1])
        self._others = {
            module: [int(spaces[other][1].n) for other in spaces if other != agent] for module, agent in first.items()
        }
        for agent, module in modules.items():
            others = [int(spaces[other][1].n) for other in spaces if other != agent]
            if others != self._others[module]:
                raise ConfigError(
                    f"parameter_sharing puts agents into module {module!r} that face others with different "
                    f"action counts ({self._others[module]} and {others}): let them learn alone"
                )
        check_policies(self, policies)
        check_mapping(self.policy_mapping_fn, modules)
        if set(self.policies) != set(policies) or not maps_to(self.policy_mapping_fn, modules):
            self._modules_taken = sorted(policies)
            self.multi_agent(policies=policies, policy_mapping_fn=mapping_of(modules))

    # -- what RLlib and checkpoints ask for ---------------------------------------------------------------------

    @property
    def staleness(self) -> int:
        """``rollout_staleness`` as a number: by itself 1 where a GPU would wait for remote runners, else 0."""
        if self.rollout_staleness == AUTO:
            return int(bool(self.num_gpus_per_learner) and self.num_env_runners > 0)
        return int(self.rollout_staleness)

    @property
    def module_of(self) -> dict[str, str]:
        """``{agent: module}``, agents in the environment's order; known after :meth:`validate`."""
        return modules_of(list(self.agent_spaces()), self.parameter_sharing)

    def agent_spaces(self) -> Spaces:
        """What agents see and choose among: the environment's, or without one the demonstrations'."""
        if self.env:
            return environment_spaces(str(self.env), dict(self.env_config), self.history)
        return data_spaces(metadata_of(self), self.history)

    @property
    def history(self) -> int:
        """How many steps back agents see: ``model_config: {history: k}``."""
        return history_steps(ray_internals.own_model_config(self))

    @property
    def held_out_share(self) -> float:
        """The share of the demonstrations that is kept from training, to judge the policies by without environment."""
        return 0.0 if self.env else HELD_OUT_SHARE

    @property
    def _fixed_evaluation_rationality(self) -> float:
        value = self.evaluation_rationality
        return self.rationality if value is None or isinstance(value, str) else value

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        return super()._model_config_auto_includes | {
            **ENCODER_DEFAULTS,
            # RLlib's default is tanh, which saturates on features that count.
            "fcnet_activation": "relu",
            RATIONALITY: self.rationality,
            EVALUATION_RATIONALITY: self._fixed_evaluation_rationality,
            **self.module_settings(),
        }

    def module_settings(self) -> dict[str, Any]:
        """What the algorithm's module reads from ``model_config`` besides the encoder's settings and rationalities."""
        return {}

    def recorded(self) -> dict[str, Any]:
        """Settings for a checkpoint's document, and where the demonstrations were (they may be gone by then)."""
        inputs = self.input_ if isinstance(self.input_, (list, tuple)) else [self.input_]
        where = [str(item) for item in inputs if isinstance(item, (str, pathlib.Path))]
        recorded = {name: getattr(self, name) for name in self.RECORDED} | {"input": where}
        if self.held_out_share:
            recorded["held_out"] = {"share": self.held_out_share, "steps": self.expert_steps, "seed": self.seed or 0}
        return recorded

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """One ``MODULE`` per module id."""
        return RLModuleSpec(module_class=self.MODULE)

    def get_multi_rl_module_spec(self, **kwargs: Any) -> MultiRLModuleSpec:
        """RLlib's spec, with each module told how many actions the agents beside it have."""
        spec = super().get_multi_rl_module_spec(**kwargs)
        for module_id, module_spec in spec.rl_module_specs.items():
            module_spec.model_config = {
                **(module_spec.model_config or {}),
                OTHER_ACTIONS: list(self._others[module_id]),
            }
        return spec

    def get_default_learner_class(self) -> type[Any]:
        """``LEARNER``."""
        return self.LEARNER


def modules_of(agents: list[str], sharing: str | Mapping[str, list[str]]) -> dict[str, str]:
    """Which module plays for each agent.

    Args:
        agents: Agents in order.
        sharing: ``none``, ``all``, or ``{module: [agents]}``.

    Raises:
        ConfigError: If a group names an unknown agent, or an agent twice.
    """
    if isinstance(sharing, str):
        check_choice("parameter_sharing", sharing, ("none", "all"))
        return {agent: SHARED_MODULE if sharing == "all" else agent for agent in agents}
    result: dict[str, str] = {}
    for module, group in sharing.items():
        for agent in group:
            if agent not in agents:
                raise ConfigError(
                    f"parameter_sharing names agent {agent!r}, which the environment lacks: {nearest(agent, agents)}"
                )
            if agent in result:
                raise ConfigError(f"parameter_sharing names {agent!r} twice: in {result[agent]!r} and {module!r}")
            result[agent] = module
    return {agent: result.get(agent, agent) for agent in agents}
