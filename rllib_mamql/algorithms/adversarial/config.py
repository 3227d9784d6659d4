"""Settings of adversarial imitation: discriminators, and RLlib's PPO that they pay."""

from __future__ import annotations

from typing import Any, ClassVar

from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.algorithms.ppo.ppo import PPOConfig

from rllib_mamql.algorithms.adversarial.learner import AdversarialLearner
from rllib_mamql.algorithms.adversarial.module import (
    DISCOUNT,
    REWARD_INPUTS,
    MAAIRLModule,
    MAGAILModule,
)
from rllib_mamql.errors import ConfigError, check_choice, check_integer, check_number
from rllib_mamql.learning.config import ImitationConfig
from rllib_mamql.learning.learner import ImitationLearner
from rllib_mamql.networks.module import BoltzmannModule
from rllib_mamql.networks.rewards import REWARD_INPUTS_KEY

OLD_STACK: dict[str, Any] = {"exploration_config": {}, "train_batch_size": 32}
"""What RLlib's PPO sets for its old API stack, as RLlib ships it: it changes nothing, and is refused where set."""


class AdversarialConfig(ImitationConfig, PPOConfig):
    """Settings that MAGAIL and MAAIRL share: those of ``ImitationConfig``, and RLlib's of PPO for the generators."""

    LEARNER: ClassVar[type[ImitationLearner]] = AdversarialLearner
    HONOURED: ClassVar[tuple[str, ...]] = (
        "num_epochs", "minibatch_size", "shuffle_batch_per_epoch", "_train_batch_size_per_learner",
        "algorithm_config_overrides_per_module",
    )  # fmt: skip

    def __init__(self, algo_class: type[Any] | None = None) -> None:
        super().__init__(algo_class=algo_class)
        self.discriminator_lr = 1e-3
        self.absorbing_states = True
        self.gradient_penalty = 0.1

        # A round: rollouts, a few gradient steps of the discriminators, some epochs of PPO.
        self.train_batch_size_per_learner = 2000
        self.rollout_fragment_length = "auto"
        self.updates_per_step = 0.01
        self.rollout_staleness = 0
        self.replay_capacity = 2000
        self.expert_batch_size = 256
        self.rollout_batch_size = 256

        # PPO, where it departs from RLlib's.
        self.lr = 3e-4
        self.gamma = 0.99
        self.lambda_ = 0.95
        self.num_epochs = 10
        self.minibatch_size = 250
        self.shuffle_batch_per_epoch = True
        self.clip_param = 0.2
        self.entropy_coeff = 0.01
        self.use_kl_loss = False
        self.vf_clip_param = float("inf")
        self.grad_clip = 0.5

        # PPO's learner, beside that of the discriminators, takes its episodes through RLlib's connectors.
        self.add_default_connectors_to_learner_pipeline = True

        # PPO's policy is the softmax of its last iterate.
        self.rationality = 1.0
        self.weight_average = 0.0
        self.cuda_graphs = False

        for name, value in OLD_STACK.items():
            setattr(self, name, value)

    def training(
        self,
        *,
        discriminator_lr: Any = NotProvided,
        absorbing_states: Any = NotProvided,
        gradient_penalty: Any = NotProvided,
        **kwargs: Any,
    ) -> AdversarialConfig:
        """Sets the discriminators' training; settings of ``ImitationConfig.training`` and RLlib's PPO by ``kwargs``.

        Args:
            discriminator_lr: Learning rate > 0 of the discriminators; ``lr`` is the generators'. They make
                ``updates_per_step`` gradient steps for each joint step sampled.
            absorbing_states: Whether what follows a termination is judged too (``objective``); without it the sign of
                the rewards says whether ending is good.
            gradient_penalty: Weight >= 0 of the discriminators' steepness in the observations, each number of which
                counts in its spread. Without it they tell all rollouts from demonstrations, and no direction is better.
            **kwargs: Settings of ``ImitationConfig.training`` and of RLlib's ``PPOConfig.training``.

        Returns:
            This config.
        """
        super().training(**kwargs)
        self.set_provided(
            {
                "discriminator_lr": discriminator_lr,
                "absorbing_states": absorbing_states,
                "gradient_penalty": gradient_penalty,
            }
        )
        return self

    def check(self) -> None:
        """Checks what adversarial imitation asks of the settings; raises ConfigError."""
        check_number("discriminator_lr", self.discriminator_lr, low=0.0, open_low=True)
        if not isinstance(self.absorbing_states, bool):
            raise ConfigError(f"absorbing_states is {self.absorbing_states!r}: use true or false")
        check_number("gradient_penalty", self.gradient_penalty, low=0.0)
        check_integer("num_epochs", self.num_epochs)
        check_integer("minibatch_size", self.minibatch_size)
        check_integer("train_batch_size_per_learner", self.train_batch_size_per_learner)
        for name, value, why in (
            ("mode", "online", "discriminators tell demonstrations from rollouts"),
            ("rollout_staleness", 0, "PPO learns from rollouts of its present policies"),
            ("weight_average", 0.0, "PPO learns from rollouts of the networks that it trains, not of their average"),
            ("cuda_graphs", False, "half of the gradient steps are RLlib's PPO's"),
        ):
            found = getattr(self, name)
            if found != value:
                raise ConfigError(f"{name} is {found!r}, but {why}: leave it at {value!r}")
        learners = max(1, self.num_learners)
        if self.num_envs_per_env_runner % learners and not self.in_evaluation:
            raise ConfigError(
                f"num_envs_per_env_runner is {self.num_envs_per_env_runner}, which {learners} learners cannot share "
                f"equally, and PPO needs whole stretches of play: use a multiple of {learners}"
            )

    def module_settings(self) -> dict[str, Any]:
        """What discriminators discount by."""
        return {DISCOUNT: self.gamma}


class MAGAILConfig(AdversarialConfig):
    """Settings of MAGAIL; those of :class:`AdversarialConfig` hold."""

    NAME: ClassVar[str] = "MAGAIL"
    MODULE: ClassVar[type[BoltzmannModule]] = MAGAILModule

    def __init__(self, algo_class: type[Any] | None = None) -> None:
        if algo_class is None:
            from rllib_mamql.algorithms.adversarial.algorithm import MAGAIL

            algo_class = MAGAIL
        super().__init__(algo_class=algo_class)


class MAAIRLConfig(AdversarialConfig):
    """Settings of MAAIRL; those of :class:`AdversarialConfig` hold."""

    NAME: ClassVar[str] = "MAAIRL"
    MODULE: ClassVar[type[BoltzmannModule]] = MAAIRLModule

    def __init__(self, algo_class: type[Any] | None = None) -> None:
        if algo_class is None:
            from rllib_mamql.algorithms.adversarial.algorithm import MAAIRL

            algo_class = MAAIRL
        super().__init__(algo_class=algo_class)
        self.reward_inputs = REWARD_INPUTS[0]

    def training(self, *, reward_inputs: Any = NotProvided, **kwargs: Any) -> MAAIRLConfig:
        """Sets what the recovered reward may depend on; settings of ``AdversarialConfig.training`` by ``kwargs``.

        Args:
            reward_inputs: ``state_action``: g(s, a); ``state``: g(s), which AIRL can tell from its shaping where
                dynamics are deterministic and the true reward is one of states.
            **kwargs: Settings of ``AdversarialConfig.training``.

        Returns:
            This config.
        """
        super().training(**kwargs)
        self.set_provided({"reward_inputs": reward_inputs})
        return self

    def check(self) -> None:
        """Checks MAAIRL's own settings too; raises ConfigError."""
        super().check()
        check_choice("reward_inputs", self.reward_inputs, REWARD_INPUTS)

    def module_settings(self) -> dict[str, Any]:
        """What the reward sees, too."""
        return {**super().module_settings(), REWARD_INPUTS_KEY: self.reward_inputs}
