"""The algorithms of this package, by the name that ``run:`` gives; the only place that names them."""

from __future__ import annotations

import importlib
import pathlib
from dataclasses import dataclass
from typing import Any

from rllib_mamql.environments.patience import PATIENCE, STEP_TIMEOUT_S
from rllib_mamql.errors import ConfigError, nearest
from rllib_mamql.learning.checkpoint import Checkpoint
from rllib_mamql.learning.checkpoint import read_checkpoint as _read_checkpoint
from rllib_mamql.learning.rules import check_patience


@dataclass(frozen=True)
class AlgorithmEntry:
    """A registered algorithm; its modules are imported when first needed.

    Attributes:
        algorithm: Its subclass of ``learning.algorithm.Imitation``, or where that is: ``package.module:Class``.
        module: Its subclass of ``networks.module.BoltzmannModule``, or where that is.
    """

    algorithm: str | type[Any]
    module: str | type[Any]


ALGORITHMS: dict[str, AlgorithmEntry] = {}
"""All algorithms by name; :func:`register_algorithm` adds one."""


def register_algorithm(name: str, algorithm: str | type[Any], module: str | type[Any]) -> None:
    """Makes an algorithm known under a name, for ``run:`` in an experiment file and for its checkpoints.

    Args:
        name: The name; the ``NAME`` of the algorithm's config class.
        algorithm: Subclass of :class:`~rllib_mamql.learning.algorithm.Imitation`, or ``package.module:Class``.
        module: Subclass of :class:`~rllib_mamql.networks.module.BoltzmannModule`, or ``package.module:Class``; what
            checkpoints of the algorithm hold.

    Raises:
        ConfigError: If the name is taken by another algorithm, or a path has no colon.
    """
    entry = AlgorithmEntry(algorithm, module)
    if ALGORITHMS.get(name, entry) != entry:
        raise ConfigError(f"algorithm {name!r} is registered already, as {ALGORITHMS[name].algorithm}: choose another")
    for path in (algorithm, module):
        if isinstance(path, str) and ":" not in path:
            raise ConfigError(f"algorithm {name!r}: {path!r} names no class: write package.module:Class")
    ALGORITHMS[name] = entry


register_algorithm(
    "MAMQL", "rllib_mamql.algorithms.mamql.algorithm:MAMQL", "rllib_mamql.algorithms.mamql.module:MAMQLModule"
)
register_algorithm(
    "MABC", "rllib_mamql.algorithms.cloning.algorithm:MABC", "rllib_mamql.networks.module:BoltzmannModule"
)
register_algorithm(
    "IQLearnMA",
    "rllib_mamql.algorithms.iq_learn.algorithm:IQLearnMA",
    "rllib_mamql.algorithms.iq_learn.module:IQLearnModule",
)
register_algorithm(
    "SQIL", "rllib_mamql.algorithms.sqil.algorithm:SQIL", "rllib_mamql.algorithms.sqil.module:SQILModule"
)
for _name in ("MAGAIL", "MAAIRL"):
    register_algorithm(
        _name,
        f"rllib_mamql.algorithms.adversarial.algorithm:{_name}",
        f"rllib_mamql.algorithms.adversarial.module:{_name}Module",
    )
register_algorithm(
    "MIFQ", "rllib_mamql.algorithms.mifq.algorithm:MIFQ", "rllib_mamql.algorithms.mifq.module:MIFQModule"
)


def algorithm_class(name: str) -> type[Any]:
    """The Algorithm class of a registered algorithm.

    Raises:
        ConfigError: If there is none of that name.
    """
    return _loaded(_entry(name).algorithm)


def is_ours(algorithm: type[Any]) -> bool:
    """Whether an Algorithm class learns from demonstrations on this package's base."""
    from rllib_mamql.learning.algorithm import Imitation

    return issubclass(algorithm, Imitation)


def read_checkpoint(path: str | pathlib.Path) -> Checkpoint:
    """Reads a checkpoint of any registered algorithm; nothing is unpickled.

    From then on this process waits for environments as long as training did (``env_step_timeout_s``).

    Raises:
        CheckpointError: If the folder is no such checkpoint, or of a newer format.
        ConfigError: If the algorithm that wrote it is not registered, or the time to wait is no such time.
    """
    stored = _read_checkpoint(path, lambda name: _loaded(_entry(name).module))
    limit = stored.settings.get("env_step_timeout_s", STEP_TIMEOUT_S)
    check_patience(limit)
    PATIENCE.limit_s = float(limit)
    return stored


def _entry(name: str) -> AlgorithmEntry:
    if name not in ALGORITHMS:
        raise ConfigError(f"unknown algorithm {name!r}: {nearest(name, ALGORITHMS)}")
    return ALGORITHMS[name]


def _loaded(what: str | type[Any]) -> type[Any]:
    if not isinstance(what, str):
        return what
    module, _, name = what.partition(":")
    loaded: type[Any] = getattr(importlib.import_module(module), name)
    return loaded
