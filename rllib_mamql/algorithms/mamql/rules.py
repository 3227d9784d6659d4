"""Rules for MAMQL's own settings: the range or the choice of each, and which go together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rllib_mamql.errors import ConfigError, check_choice, check_integer, check_number
from rllib_mamql.learning.inverse_config import check_objective
from rllib_mamql.networks.choices import REWARD_GAUGES, REWARD_INPUTS, REWARD_NETWORKS

CRITICS = ("marginal", "joint", "mean_field")
MOST_ENUMERATED = 4096
"""Joint actions of the others up to which a joint critic may enumerate them all, for every row of a minibatch."""


def check_enumeration(action_counts: Mapping[str, int]) -> None:
    """Refuses to enumerate more joint actions of the others than a gradient step can bear.

    Args:
        action_counts: ``{agent: number of actions}``.

    Raises:
        ConfigError: Names the agent, how many there are, and the setting that samples them.
    """
    total = math.prod(action_counts.values())
    for agent, own in action_counts.items():
        others = total // own
        if others > MOST_ENUMERATED:
            raise ConfigError(
                f"critic 'joint' without marginal_samples enumerates all joint actions of the others: {others:,} for "
                f"agent {agent!r}, at most {MOST_ENUMERATED:,} can be borne; set marginal_samples, for example to 5"
            )


def check_settings(config: Any) -> None:
    """Checks every setting of MAMQL's own.

    Args:
        config: The ``MAMQLConfig``.

    Raises:
        ConfigError: Names the setting, the value found and what is allowed.
    """
    if isinstance(config.chi_square_scale, str):
        check_choice("chi_square_scale", config.chi_square_scale, ("auto",))
    else:
        check_number("chi_square_scale", config.chi_square_scale, low=0.0, open_low=True)
    if not isinstance(config.early_stopping, bool):
        if config.early_stopping != "auto":
            raise ConfigError(f"early_stopping is {config.early_stopping!r}: use true, false or 'auto'")
    elif config.early_stopping:
        for name, found in (
            ("num_learners", config.num_learners > 1),
            ("expert_in_memory", config.expert_in_memory is False),
        ):
            if found:
                raise ConfigError(
                    f"early_stopping is true, but {name} is {getattr(config, name)!r}: it needs one learner, and "
                    "demonstrations in memory; use 'auto' or false"
                )
    check_number("reward_shrinkage", config.reward_shrinkage, low=0.0)
    check_number("reward_gauge_strength", config.reward_gauge_strength, low=0.0)
    check_integer("reward_interval", config.reward_interval)
    if config.marginal_samples is not None:
        check_integer("marginal_samples", config.marginal_samples)
    hiddens = config.reward_hiddens
    if not isinstance(hiddens, (list, tuple)) or not hiddens:
        raise ConfigError(f"reward_hiddens is {hiddens!r}: give a list of layer sizes, such as [64, 64]")
    for size in hiddens:
        check_integer("reward_hiddens", size)
    check_choice("critic", config.critic, CRITICS)
    if config.critic == "mean_field" and config.marginal_samples is not None:
        raise ConfigError(
            f"marginal_samples is {config.marginal_samples}, but critic 'mean_field' draws nothing: leave it out, or "
            "use critic 'joint'"
        )
    check_choice("reward_inputs", config.reward_inputs, REWARD_INPUTS)
    check_choice("reward_network", config.reward_network, REWARD_NETWORKS)
    check_choice("reward_gauge", config.reward_gauge, REWARD_GAUGES)
    check_objective(config)
    if isinstance(config.rollout_share, str):
        check_choice("rollout_share", config.rollout_share, ("auto",))
    elif config.rollout_share is not None:
        check_number("rollout_share", config.rollout_share, low=0.0, high=1.0)
        if config.value_term not in (None, "rollout+expert"):
            raise ConfigError(
                f"rollout_share is {config.rollout_share}, but value_term {config.value_term!r} weighs nothing: "
                "use 'rollout+expert', or leave rollout_share out"
            )
        if config.mode == "offline":
            raise ConfigError(
                f"rollout_share is {config.rollout_share}, but mode 'offline' has no rollouts: leave it out"
            )
