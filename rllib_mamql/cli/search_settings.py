"""The ``tune:`` block of an experiment: how its trials are chosen and which of them go on. Loads no Ray."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from rllib_mamql.cli.validated import Strict, validated
from rllib_mamql.errors import ConfigError, check_choice, nearest

SCHEDULERS = ("fifo", "asha", "pbt", "median")
SEARCHES = ("random", "optuna")
MODES = ("max", "min")
OPTIONS: dict[str, tuple[str, ...]] = {
    "fifo": (),
    "asha": ("grace_period", "reduction_factor", "max_t", "brackets"),
    "pbt": ("perturbation_interval", "quantile_fraction", "resample_probability", "burn_in_period"),
    "median": ("grace_period", "min_samples_required"),
}
"""What ``scheduler_options`` may say, by scheduler: arguments of Ray Tune's."""


class SearchSettings(Strict):
    """Keys of the ``tune:`` block.

    Attributes:
        scheduler: ``fifo`` runs every trial to its end, ``asha`` ends those that fall behind, ``median`` those
            below the median, ``pbt`` lets the worst go on from the best with changed settings.
        scheduler_options: Arguments of the scheduler.
        search: ``random`` (grids included) or ``optuna``, which learns from the trials before.
        seed: Of Optuna's draws; None takes the experiment's.
        metric: Key of a trial's results by which trials are compared; None: the return as evaluation counts it, and
            offline, where none is sampled, the log-likelihood of the demonstrations.
        mode: ``max`` or ``min``.
        max_concurrent: Trials at once; None: as many as fit.
    """

    scheduler: str = "fifo"
    scheduler_options: dict[str, Any] = Field(default_factory=dict)
    search: str = "random"
    seed: int | None = Field(default=None, ge=0, lt=2**32)
    metric: str | None = None
    mode: str = "max"
    max_concurrent: int | None = Field(default=None, ge=1)


def search_settings(where: str, block: Any) -> SearchSettings:
    """Checks a ``tune:`` block.

    Args:
        where: The file and experiment, for messages.
        block: As in YAML; None where there is none.

    Raises:
        ConfigError: If a key is unknown or a value is wrong.
    """
    settings = validated(f"{where}: tune", {} if block is None else block, SearchSettings)
    check_choice(f"{where}: tune.scheduler", settings.scheduler, SCHEDULERS)
    check_choice(f"{where}: tune.search", settings.search, SEARCHES)
    check_choice(f"{where}: tune.mode", settings.mode, MODES)
    allowed = OPTIONS[settings.scheduler]
    for key, value in settings.scheduler_options.items():
        if key not in allowed:
            hint = nearest(str(key), allowed) if allowed else f"{settings.scheduler} takes none"
            raise ConfigError(f"{where}: unknown key 'tune.scheduler_options.{key}'; {hint}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise ConfigError(f"{where}: tune.scheduler_options.{key} is {value!r}; give a number above 0")
    return settings
