"""MAMQL's own settings: each default exists here and nowhere else."""

from __future__ import annotations

from typing import Any, ClassVar

from ray.rllib.algorithms.algorithm_config import NotProvided

from rllib_mamql.algorithms.mamql.learner import MAMQLLearner
from rllib_mamql.algorithms.mamql.module import CRITIC, MAMQLModule
from rllib_mamql.algorithms.mamql.rules import check_enumeration, check_settings
from rllib_mamql.environments.spaces import Spaces
from rllib_mamql.learning.config import AUTO, ImitationConfig
from rllib_mamql.learning.inverse_config import fill_in_value_term
from rllib_mamql.learning.learner import ImitationLearner
from rllib_mamql.networks.module import BoltzmannModule
from rllib_mamql.networks.rewards import DEFAULT_HIDDENS, REWARD_HIDDENS, REWARD_INPUTS_KEY, REWARD_NETWORK_KEY


class MAMQLConfig(ImitationConfig):
    """Settings of MAMQL (arXiv 2503.04679).

    :meth:`training` sets its own, ``ImitationConfig.training`` those of every algorithm from demonstrations; RLlib's
    others work as usual.
    """

    NAME: ClassVar[str] = "MAMQL"
    LEARNER: ClassVar[type[ImitationLearner]] = MAMQLLearner
    MODULE: ClassVar[type[BoltzmannModule]] = MAMQLModule
    RECORDED: ClassVar[tuple[str, ...]] = (
        *ImitationConfig.RECORDED, "critic", "chi_square_scale", "chi_square_states",
        "reward_gauge", "reward_gauge_strength", "reward_inputs", "reward_network",
    )  # fmt: skip

    def __init__(self, algo_class: type[Any] | None = None) -> None:
        if algo_class is None:
            from rllib_mamql.algorithms.mamql.algorithm import MAMQL

            algo_class = MAMQL
        super().__init__(algo_class=algo_class)
        self.critic = "marginal"
        self.marginal_samples: int | None = None
        self.value_term: str | None = None
        self.rollout_share: float | str | None = AUTO
        self.chi_square_states = "mixture"
        self.chi_square_scale: float | str = AUTO
        self.early_stopping: bool | str = AUTO
        self.learn_reward = True
        self.reward_shrinkage = 1e-3
        self.reward_hiddens: list[int] = list(DEFAULT_HIDDENS)
        self.reward_interval = 4
        self.reward_inputs = "joint"
        self.reward_network = "plain"
        self.reward_gauge = "sparse"
        self.reward_gauge_strength = 0.1

        # Where the default departs from that of other algorithms.
        self.symmetries = True
        self.evaluation_rationality = AUTO

    # Arguments and attributes carry the same names: what each means is said once, here.
    def training(
        self,
        *,
        critic: Any = NotProvided,
        marginal_samples: Any = NotProvided,
        value_term: Any = NotProvided,
        rollout_share: Any = NotProvided,
        chi_square_states: Any = NotProvided,
        chi_square_scale: Any = NotProvided,
        early_stopping: Any = NotProvided,
        learn_reward: Any = NotProvided,
        reward_shrinkage: Any = NotProvided,
        reward_hiddens: Any = NotProvided,
        reward_interval: Any = NotProvided,
        reward_inputs: Any = NotProvided,
        reward_network: Any = NotProvided,
        reward_gauge: Any = NotProvided,
        reward_gauge_strength: Any = NotProvided,
        **kwargs: Any,
    ) -> MAMQLConfig:
        """Sets MAMQL's own settings; those of ``ImitationConfig.training`` and RLlib's by ``kwargs``.

        Args:
            critic: ``marginal`` outputs Qbar_i(s, .) directly; ``joint`` scores Q_i(s, a_i, a_-i) and marginalises;
                ``mean_field`` scores Q_i(s, a_i, f) at the frequencies f with which the others are expected to act.
            marginal_samples: For ``joint``: K joint actions of the others drawn a row; None enumerates all.
            value_term: Estimator of (1 - gamma) E[V(s0)]: ``initial``, ``expert``, ``rollout`` or
                ``rollout+expert``. None: ``rollout+expert`` online, ``expert`` offline.
            rollout_share: Weight in [0, 1] of the rollouts in ``rollout+expert``; None weighs all rows of a minibatch
                alike. What rollouts add to the clone's objective is a penalty on the values of states that the policies
                reach and the experts do not; 0 is ``expert``, 1 is ``rollout``. ``auto`` weighs all rows alike where
                the policies come upon demonstrated states, and rollouts less, down to 0, where they reach few or
                none.
            chi_square_states: Rows that chi^2 covers: ``expert`` (the paper) or ``mixture`` (and rollouts, unless they
                weigh nothing).
            chi_square_scale: c > 0 of chi^2; larger penalises rewards less. ``auto`` follows from the rationality and
                from the weight of the rollouts: strong where that is full, weak where there is nothing but the
                likelihood.
            early_stopping: Whether training ends by itself, after twice the gradient steps after which held-out
                demonstrations were likeliest. They are held out from scouts, up to three, beside the learner: gradient
                steps take so many times longer. Only where rollouts weigh nothing. ``auto`` does so with one learner
                and at most 600 joint steps, in memory.
            learn_reward: Whether reward networks are trained beside the critics.
            reward_shrinkage: beta >= 0 of the reward regression.
            reward_hiddens: Hidden layers of the reward's encoder.
            reward_interval: Gradient steps between two steps of the reward regression, >= 1.
            reward_inputs: What rewards depend on: ``joint`` (s, a_i, a_-i), ``state_action`` (s, a_i) or ``state``.
            reward_network: ``plain`` or ``entity_additive`` (a sum over entities and pairs of them).
            reward_gauge: Which of the rewards that explain the policy `rllib train` recovers when it has trained:
                ``sparse``, ``rare``, ``state_only``, or ``none`` (what the regression beside the critics gave); see
                ``rewards.recover``.
            reward_gauge_strength: k >= 0 of the gauge: nats of policy error that one nat of reward is worth.
            **kwargs: Settings of ``ImitationConfig.training`` and RLlib's.

        Returns:
            This config.
        """
        own = {key: value for key, value in locals().items() if key not in ("self", "kwargs", "__class__")}
        super().training(**kwargs)
        self.set_provided(own)
        return self

    def check(self) -> None:
        """Checks MAMQL's own settings.

        Raises:
            ConfigError: Names the setting, the value found and what is allowed.
        """
        check_settings(self)

    def check_agents(self, spaces: Spaces) -> None:
        """Checks how many joint actions are enumerated; raises ConfigError."""
        if self.critic == "joint" and self.marginal_samples is None:
            check_enumeration({agent: int(action.n) for agent, (_, action) in spaces.items()})

    def fill_in(self) -> None:
        """The value term follows from ``mode`` where it is left open."""
        super().fill_in()
        if self.mode == "offline" and self.evaluation_rationality == AUTO:  # It is chosen from play.
            self.evaluation_rationality = None
        fill_in_value_term(self)
        if self.rollout_share == AUTO and not (self.mode == "online" and self.value_term == "rollout+expert"):
            self.rollout_share = None

    def module_settings(self) -> dict[str, Any]:
        """Kind of critic, and the reward network's form."""
        return {
            CRITIC: self.critic,
            REWARD_HIDDENS: list(self.reward_hiddens),
            REWARD_INPUTS_KEY: self.reward_inputs,
            REWARD_NETWORK_KEY: self.reward_network,
        }
