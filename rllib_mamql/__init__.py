"""Multi-agent imitation and inverse reinforcement learning from demonstrations, as RLlib algorithms.

Importing the package imports neither Ray nor PyTorch: the names below are loaded when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rllib_mamql.algorithms.adversarial.algorithm import MAAIRL as MAAIRL
    from rllib_mamql.algorithms.adversarial.algorithm import MAGAIL as MAGAIL
    from rllib_mamql.algorithms.adversarial.config import MAAIRLConfig as MAAIRLConfig
    from rllib_mamql.algorithms.adversarial.config import MAGAILConfig as MAGAILConfig
    from rllib_mamql.algorithms.cloning.algorithm import MABC as MABC
    from rllib_mamql.algorithms.cloning.config import MABCConfig as MABCConfig
    from rllib_mamql.algorithms.iq_learn.algorithm import IQLearnMA as IQLearnMA
    from rllib_mamql.algorithms.iq_learn.config import IQLearnMAConfig as IQLearnMAConfig
    from rllib_mamql.algorithms.mamql.algorithm import MAMQL as MAMQL
    from rllib_mamql.algorithms.mamql.config import MAMQLConfig as MAMQLConfig
    from rllib_mamql.algorithms.mifq.algorithm import MIFQ as MIFQ
    from rllib_mamql.algorithms.mifq.config import MIFQConfig as MIFQConfig
    from rllib_mamql.algorithms.registry import register_algorithm as register_algorithm
    from rllib_mamql.algorithms.sqil.algorithm import SQIL as SQIL
    from rllib_mamql.algorithms.sqil.config import SQILConfig as SQILConfig
    from rllib_mamql.data.episodes import AgentEpisode as AgentEpisode
    from rllib_mamql.data.frames import read_demonstrations as read_demonstrations
    from rllib_mamql.data.sources.convert import write_demonstrations as write_demonstrations
    from rllib_mamql.data.writer import DemonstrationWriter as DemonstrationWriter
    from rllib_mamql.environments.registry import register_environment as register_environment
    from rllib_mamql.networks.encoders import register_encoder as register_encoder

__version__ = "0.1.0"

_LAZY = {
    "AgentEpisode": "rllib_mamql.data.episodes",
    "DemonstrationWriter": "rllib_mamql.data.writer",
    "IQLearnMA": "rllib_mamql.algorithms.iq_learn.algorithm",
    "IQLearnMAConfig": "rllib_mamql.algorithms.iq_learn.config",
    "MAAIRL": "rllib_mamql.algorithms.adversarial.algorithm",
    "MAAIRLConfig": "rllib_mamql.algorithms.adversarial.config",
    "MABC": "rllib_mamql.algorithms.cloning.algorithm",
    "MABCConfig": "rllib_mamql.algorithms.cloning.config",
    "MAGAIL": "rllib_mamql.algorithms.adversarial.algorithm",
    "MAGAILConfig": "rllib_mamql.algorithms.adversarial.config",
    "MAMQL": "rllib_mamql.algorithms.mamql.algorithm",
    "MAMQLConfig": "rllib_mamql.algorithms.mamql.config",
    "read_demonstrations": "rllib_mamql.data.frames",
    "MIFQ": "rllib_mamql.algorithms.mifq.algorithm",
    "MIFQConfig": "rllib_mamql.algorithms.mifq.config",
    "SQIL": "rllib_mamql.algorithms.sqil.algorithm",
    "SQILConfig": "rllib_mamql.algorithms.sqil.config",
    "register_algorithm": "rllib_mamql.algorithms.registry",
    "register_encoder": "rllib_mamql.networks.encoders",
    "register_environment": "rllib_mamql.environments.registry",
    "write_demonstrations": "rllib_mamql.data.sources.convert",
}

__all__ = [
    "MAAIRL",
    "MABC",
    "MAGAIL",
    "MAMQL",
    "MIFQ",
    "SQIL",
    "AgentEpisode",
    "DemonstrationWriter",
    "IQLearnMA",
    "IQLearnMAConfig",
    "MAAIRLConfig",
    "MABCConfig",
    "MAGAILConfig",
    "MAMQLConfig",
    "MIFQConfig",
    "SQILConfig",
    "__version__",
    "read_demonstrations",
    "register_algorithm",
    "register_encoder",
    "register_environment",
    "write_demonstrations",
]


def __getattr__(name: str) -> Any:
    """Loads a public name at its first use (PEP 562)."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
