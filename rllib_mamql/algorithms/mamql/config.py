"""MAMQL's settings: each default exists here and nowhere else."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.policy.policy import PolicySpec

from rllib_mamql.algorithms.mamql.rules import check_settings
from rllib_mamql.environments.spaces import environment_spaces
from rllib_mamql.errors import ConfigError, check_choice, nearest
from rllib_mamql.networks.encoders import ENCODER_DEFAULTS

SHARED_MODULE = "shared"


class MAMQLConfig(AlgorithmConfig):
    """Settings of MAMQL (arXiv 2503.04679); see :meth:`training` for its own, RLlib's others work as usual.

    One module per agent is taken from the environment, so neither Python nor YAML needs policies.
    """

    MODEL_CONFIG_KEYS = tuple(ENCODER_DEFAULTS)
    """Keys of ``model_config`` that MAMQL adds to RLlib's."""

    def __init__(self, algo_class: type[Any] | None = None) -> None:
        if algo_class is None:
            from rllib_mamql.algorithms.mamql.algorithm import MAMQL

            algo_class = MAMQL
        super().__init__(algo_class=algo_class)
        from rllib_mamql.learning.env_runner import ColumnarEnvRunner
        from rllib_mamql.learning.offline_input import MAMQLOfflineData, MAMQLOfflinePreLearner

        self.mode = "online"
        self.rationality = 3.0
        self.evaluation_rationality: float | str | None = None
        self.critic = "marginal"
        self.marginal_samples: int | None = None
        self.value_term: str | None = None
        self.chi_square_states = "mixture"
        self.chi_square_scale = 1.0
        self.weight_average = 0.999
        self.weight_decay = 0.0
        self.learn_reward = True
        self.reward_shrinkage = 1e-3
        self.reward_hiddens: list[int] = [64, 64]
        self.reward_interval = 4
        self.reward_inputs = "joint"
        self.reward_network = "plain"
        self.reward_gauge = "none"
        self.reward_gauge_strength = 0.1
        self.expert_steps: int | None = None
        self.expert_in_memory: bool | str = "auto"
        self.expert_memory_limit = 2 * 1024**3
        self.expert_batch_size = 128
        self.rollout_batch_size = 128
        self.replay_capacity = 40_000
        self.updates_per_step = 0.5
        self.rollout_staleness = 0
        self.offline_updates = 500
        self.stack_networks: bool | str = "auto"
        self.autocast = "none"
        self.parameter_sharing: str | dict[str, list[str]] = "none"

        # RLlib's own settings, where MAMQL's default departs from RLlib's.
        self.lr = 1e-3
        self.gamma = 0.95
        self.grad_clip = 10.0
        self.num_env_runners = 0
        self.num_envs_per_env_runner = 8
        self.rollout_fragment_length = 20
        self.min_sample_timesteps_per_iteration = 2000
        self.env_runner_cls = ColumnarEnvRunner
        self.offline_data_class = MAMQLOfflineData
        self.prelearner_class = MAMQLOfflinePreLearner
        self.disable_env_checking = True
        self.evaluation_config = {"explore": False}

    # Arguments and attributes carry the same names: what each means is said once, here.
    def training(
        self,
        *,
        mode: Any = NotProvided,
        rationality: Any = NotProvided,
        critic: Any = NotProvided,
        marginal_samples: Any = NotProvided,
        value_term: Any = NotProvided,
        chi_square_states: Any = NotProvided,
        chi_square_scale: Any = NotProvided,
        weight_average: Any = NotProvided,
        weight_decay: Any = NotProvided,
        learn_reward: Any = NotProvided,
        reward_shrinkage: Any = NotProvided,
        reward_hiddens: Any = NotProvided,
        reward_interval: Any = NotProvided,
        reward_inputs: Any = NotProvided,
        reward_network: Any = NotProvided,
        reward_gauge: Any = NotProvided,
        reward_gauge_strength: Any = NotProvided,
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
        parameter_sharing: Any = NotProvided,
        **kwargs: Any,
    ) -> MAMQLConfig:
        """Sets MAMQL's own settings, and RLlib's by ``kwargs`` (``lr``, ``gamma``, ``grad_clip``, ...).

        Args:
            mode: ``online`` samples rollouts between updates; ``offline`` learns from the demonstrations alone.
            rationality: Inverse temperature lambda > 0 of the Boltzmann policies while training.
            critic: ``marginal`` outputs Qbar_i(s, .) directly; ``joint`` scores Q_i(s, a_i, a_-i) and marginalises.
            marginal_samples: For ``joint``: K joint actions of the others drawn a row; None enumerates all.
            value_term: Estimator of (1 - gamma) E[V(s0)]: ``initial``, ``expert``, ``rollout`` or
                ``rollout+expert``. None: ``rollout+expert`` online, ``expert`` offline.
            chi_square_states: Rows that chi^2 covers: ``expert`` (the paper) or ``mixture`` (and rollouts).
            chi_square_scale: c > 0 of chi^2; larger penalises rewards less.
            weight_average: Decay in [0, 1) of the Polyak average that acts; 0 acts with the last iterate.
            weight_decay: Decoupled weight decay (AdamW) >= 0 of all networks; small datasets overfit without it.
            learn_reward: Whether reward networks are trained beside the critics.
            reward_shrinkage: beta >= 0 of the reward regression.
            reward_hiddens: Hidden layers of the reward's encoder.
            reward_interval: Gradient steps between two steps of the reward regression, >= 1.
            reward_inputs: What rewards depend on: ``joint`` (s, a_i, a_-i), ``state_action`` (s, a_i) or ``state``.
            reward_network: ``plain`` or ``entity_additive`` (a sum over entities and pairs of them).
            reward_gauge: Which of the rewards that explain the policy to recover when training has ended: ``none``
                (what the regression beside the critics gave), ``sparse`` or ``state_only``; see ``recovery``.
            reward_gauge_strength: k >= 0 of the gauge: nats of policy error that one nat of reward is worth.
            expert_steps: Joint expert steps to use, chosen by ``seed``, whole episodes first; None uses all.
            expert_in_memory: True, False (streams through Ray Data) or ``auto`` (by size).
            expert_memory_limit: Bytes up to which ``auto`` holds expert data in memory.
            expert_batch_size: Expert rows a minibatch, for each learner.
            rollout_batch_size: Rollout rows a minibatch, for each learner.
            replay_capacity: Joint steps each learner's replay buffer holds.
            updates_per_step: Gradient steps for each joint step sampled online, > 0.
            rollout_staleness: 0: remote runners wait for the updates. 1: they sample the next round while the learners
                update, so that rollouts are by policies one round old.
            offline_updates: Gradient steps of one training step offline, >= 1.
            stack_networks: Whether critics of equal shape are evaluated together; ``auto`` does so with four or more
                small plain networks at small batches, where it is faster on a CPU.
            autocast: ``bfloat16`` evaluates networks in that format while training, ``none`` in float32; losses are
                in float32 always.
            parameter_sharing: ``none``, ``all``, or ``{module: [agents]}`` for groups; agents in no group learn alone.
            **kwargs: RLlib's own training settings.

        Returns:
            This config.
        """
        own = {key: value for key, value in locals().items() if key not in ("self", "kwargs", "__class__")}
        super().training(**kwargs)
        for key, value in own.items():
            if value is not NotProvided:
                setattr(self, key, value)
        return self

    def evaluation(self, *, evaluation_rationality: Any = NotProvided, **kwargs: Any) -> MAMQLConfig:
        """Sets how trained policies act, and RLlib's evaluation settings by ``kwargs``.

        Args:
            evaluation_rationality: Inverse temperature > 0 when acting without exploration; None: ``rationality``;
                ``auto`` keeps a tenth of the expert's episodes out of training and fits it to them.
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
        check_settings(self)
        self._fill_in()
        self._set_up_agents()
        super().validate()

    def _fill_in(self) -> None:
        """Settings that follow from ``mode`` where they are left open."""
        if self._is_frozen:
            return
        if self.value_term is None:
            self.value_term = "rollout+expert" if self.mode == "online" else "expert"
        if self.mode == "offline":
            # This counts environment steps, of which there are none: an iteration would never end.
            self.min_sample_timesteps_per_iteration = 0

    def _set_up_agents(self) -> None:
        spaces = environment_spaces(str(self.env), dict(self.env_config))
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
        if set(self.policies) != set(policies):
            self.multi_agent(policies=policies, policy_mapping_fn=functools.partial(_module_for, mapping=modules))

    # -- what RLlib asks for ------------------------------------------------------------------------------------

    @property
    def module_of(self) -> dict[str, str]:
        """``{agent: module}``, agents in the environment's order; known after :meth:`validate`."""
        spaces = environment_spaces(str(self.env), dict(self.env_config))
        return modules_of(list(spaces), self.parameter_sharing)

    @property
    def _fixed_evaluation_rationality(self) -> float:
        value = self.evaluation_rationality
        return self.rationality if value is None or isinstance(value, str) else value

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        from rllib_mamql.algorithms.mamql import module as rl_module

        return super()._model_config_auto_includes | {
            **ENCODER_DEFAULTS,
            # RLlib's default is tanh, which saturates on features that count.
            "fcnet_activation": "relu",
            rl_module.RATIONALITY: self.rationality,
            rl_module.EVALUATION_RATIONALITY: self._fixed_evaluation_rationality,
            rl_module.CRITIC: self.critic,
            rl_module.REWARD_HIDDENS: list(self.reward_hiddens),
            rl_module.REWARD_INPUTS: self.reward_inputs,
            rl_module.REWARD_NETWORK: self.reward_network,
        }

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """One :class:`~rllib_mamql.algorithms.mamql.module.MAMQLModule` per module id."""
        from rllib_mamql.algorithms.mamql.module import MAMQLModule

        return RLModuleSpec(module_class=MAMQLModule)

    def get_multi_rl_module_spec(self, **kwargs: Any) -> MultiRLModuleSpec:
        """RLlib's spec, with each module told how many actions the agents beside it have."""
        from rllib_mamql.algorithms.mamql import module as rl_module

        spec = super().get_multi_rl_module_spec(**kwargs)
        for module_id, module_spec in spec.rl_module_specs.items():
            module_spec.model_config = {
                **(module_spec.model_config or {}),
                rl_module.OTHER_ACTIONS: list(self._others[module_id]),
            }
        return spec

    def get_default_learner_class(self) -> type[Any]:
        """:class:`~rllib_mamql.algorithms.mamql.learner.MAMQLLearner`."""
        from rllib_mamql.algorithms.mamql.learner import MAMQLLearner

        return MAMQLLearner


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


def _module_for(agent: str, episode: Any = None, *, mapping: Mapping[str, str], **kwargs: Any) -> str:
    return mapping[agent]
