"""Settings of what is done with rewards: each default and choice exists here, for Python and the command line alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rllib_mamql.errors import ConfigError, check_choice, check_integer, check_number
from rllib_mamql.networks.choices import REWARD_GAUGES, REWARD_INPUTS, REWARD_NETWORKS

REWARD_KINDS = ("recovered", "implied", "cloning", "true")
"""What agents can be paid; see :class:`~rllib_mamql.rewards.sources.RewardSource`."""


@dataclass(frozen=True)
class RecoverySettings:
    """How to recover rewards.

    Attributes:
        gauge: ``sparse``, ``rare``, ``state_only``, or ``none`` (the critic's own implied reward).
        strength: k >= 0, nats of policy error that one nat of reward is worth; larger is sparser and less faithful.
        network: Of the reward: ``plain`` or ``entity_additive``.
        inputs: Of the reward: ``joint``, ``state_action`` or ``state``.
        updates: Gradient steps of each fit at most, >= 1; it ends sooner where held-out rows gain no more.
        rows: Transitions a gradient step, >= 1; fewer of large images.
        steps: Joint steps to play for it, >= 1.
        explore: Share in [0, 1] of random actions in two thirds of these steps; a tenth in the others.
        lr: Learning rate of the explanation critic, and of reward and potential.
        seed: Seed of everything.
        regression: Further gradient steps of the reward and the potential, >= 0, each on
            ``recover.REGRESSION_ROWS`` rows: they follow the critic more closely.
        budget_s: Processor seconds, > 0, after which play and fits end at the latest; None for no end. Where it is what
            ends a fit, the result depends on the machine.
    """

    gauge: str = "sparse"
    strength: float = 0.1
    network: str = "plain"
    inputs: str = "joint"
    updates: int = 3000
    rows: int = 256
    steps: int = 30_000
    explore: float = 0.5
    lr: float = 4e-3
    seed: int = 0
    regression: int = 0
    budget_s: float | None = None

    def __post_init__(self) -> None:
        check_choice("gauge", self.gauge, REWARD_GAUGES)
        check_choice("network", self.network, REWARD_NETWORKS)
        check_choice("inputs", self.inputs, REWARD_INPUTS)
        for name in ("updates", "rows", "steps"):
            check_integer(name, getattr(self, name))
        check_number("explore", self.explore, low=0.0, high=1.0)
        check_number("strength", self.strength, low=0.0)
        check_integer("regression", self.regression, low=0)
        if self.budget_s is not None:
            check_number("budget_s", self.budget_s, low=0.0, open_low=True)


@dataclass(frozen=True)
class ScoringSettings:
    """How to score rewards.

    Attributes:
        steps: Joint steps to play for each kind of state, >= 1.
        exact: Whether to try every joint action; else the reward of the one taken stands for all.
        resamples: Bootstrap resamples over trajectories; 0 leaves intervals out.
        seed: Seed of the play.
    """

    steps: int = 2000
    exact: bool = True
    resamples: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        check_integer("steps", self.steps)
        check_integer("resamples", self.resamples, low=0)


@dataclass(frozen=True)
class MapSettings:
    """How to draw maps of rewards.

    Attributes:
        steps: Joint steps to play, with a share of random actions, >= 1.
        seed: Seed of everything.
    """

    steps: int = 3000
    seed: int = 0

    def __post_init__(self) -> None:
        check_integer("steps", self.steps)


@dataclass(frozen=True)
class RelearnSettings:
    """How to learn anew.

    Attributes:
        env_config: Of the environment, merged over the checkpoint's; another layout, for example.
        judged_in: Of the environment in which the true return is measured, merged over the former.
        sticky_actions: Probability in [0, 1) with which an action is repeated in place of the one chosen.
        iterations: Training iterations, >= 1.
        episodes: Episodes of the final evaluation, >= 1.
        rounds: Parts of the training, >= 1, between which rewards are recovered anew with the learners' play in it.
        seed: Seed.
        algorithm: What the algorithm's settings depart from; see ``relearn.PPO_SETTINGS``.
    """

    env_config: Mapping[str, Any] = field(default_factory=dict)
    judged_in: Mapping[str, Any] = field(default_factory=dict)
    sticky_actions: float = 0.0
    iterations: int = 30
    episodes: int = 200
    rounds: int = 1
    seed: int = 0
    algorithm: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("iterations", "episodes", "rounds"):
            check_integer(name, getattr(self, name))
        if self.rounds > self.iterations:
            raise ConfigError(f"rounds is {self.rounds}, but there are {self.iterations} iterations: use fewer")
        if self.rounds > 1 and self.sticky_actions:
            raise ConfigError(
                f"rounds is {self.rounds} and sticky_actions {self.sticky_actions}: rewards explain what actions do "
                "where the policies were trained; leave one of them out"
            )
