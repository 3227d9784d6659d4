"""What can be named in a YAML file: environments, their scripted experts, and algorithms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from pettingzoo import ParallelEnv

from rllib_mamql.errors import UnknownEnvironmentError, nearest


class Expert(Protocol):
    """Plays all agents of one environment; may look at the environment's full state."""

    def reset(self, env: ParallelEnv, seed: int) -> None:
        """Forgets the last episode; called after every ``env.reset``."""

    def act(self, env: ParallelEnv, observations: Mapping[str, np.ndarray]) -> dict[str, int]:
        """Actions of the agents in ``env.agents``."""


@dataclass(frozen=True)
class EnvEntry:
    """A registered environment.

    Attributes:
        make: Builds the parallel environment from ``env_config`` keywords (and ``render_mode``).
            Raises ValueError or TypeError on a wrong keyword or value.
        make_expert: Builds the scripted expert, or None where there is none.
    """

    make: Callable[..., ParallelEnv]
    make_expert: Callable[[], Expert] | None = None


def _overcooked(**config: Any) -> ParallelEnv:
    from mamql_envs import overcooked_v0

    return overcooked_v0.parallel_env(**config)


def _overcooked_expert() -> Expert:
    from mamql_envs import overcooked_expert

    return overcooked_expert.ScriptedExpert()


ENVIRONMENTS: dict[str, EnvEntry] = {
    "overcooked": EnvEntry(_overcooked, _overcooked_expert),
}
