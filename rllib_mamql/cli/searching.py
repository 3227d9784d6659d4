"""Ray Tune's schedulers and search algorithms, as the ``tune:`` block of an experiment names them."""

from __future__ import annotations

import rllib_mamql.startup  # noqa: F401

# isort: split
from collections.abc import Mapping
from typing import Any

from rllib_mamql.algorithms.registry import is_ours
from rllib_mamql.cli.experiment import GRID_SEARCH, is_search
from rllib_mamql.cli.results import OPPOSED
from rllib_mamql.cli.settings import Prepared
from rllib_mamql.errors import ConfigError, one_line
from rllib_mamql.learning.metrics import EXPERT_LOG_LIKELIHOOD, RETURN_MEAN

LONGEST = 1000
"""Iterations of the longest trial, where ``stop`` does not say."""
SUM_OF_RETURNS = "env_runners/episode_return_mean"
"""What RLlib's own algorithms report: the sum over agents, which ranks trials as their mean does."""


def metric_of(item: Prepared) -> str:
    """The key of results by which trials are compared."""
    if item.experiment.settings.tune.metric is not None:
        return item.experiment.settings.tune.metric
    if not is_ours(item.algorithm):
        return SUM_OF_RETURNS
    return EXPERT_LOG_LIKELIHOOD if item.setting("mode") == "offline" else RETURN_MEAN


def check_search(item: Prepared) -> None:
    """Refuses what the search or the scheduler cannot do.

    Raises:
        ConfigError: If Optuna is to draw from a grid, or is not installed, or nothing is there to be changed, or
            trials of opponents are to be compared.
    """
    settings = item.experiment.settings.tune
    where = f"experiment {item.experiment.name!r}"
    compares = settings.scheduler != "fifo" or settings.search == "optuna"
    if compares and item.aggregation == OPPOSED and settings.metric is None and item.setting("mode") != "offline":
        raise ConfigError(
            f"{where}: its agents are opponents, whose returns have no mean to compare trials by: use tune.scheduler "
            "fifo and tune.search random, or name a tune.metric"
        )
    if settings.search == "optuna":
        for path, value in _searches(item.experiment.settings.config):
            if GRID_SEARCH in value:
                raise ConfigError(
                    f"{where}: config.{path} is a grid_search, from which optuna cannot draw: use choice, or "
                    "tune.search random"
                )
        try:
            import optuna  # noqa: F401
        except ImportError:
            raise ConfigError(f"{where}: tune.search optuna needs optuna: pip install 'rllib-mamql[search]'") from None
    if settings.scheduler == "pbt" and not _mutations(item):
        raise ConfigError(f"{where}: tune.scheduler pbt has nothing to change: give a config key a range or a choice")


def scheduler_of(item: Prepared) -> Any | None:
    """Tune's scheduler; None runs every trial to its end.

    Raises:
        ConfigError: If it refuses its options.
    """
    settings = item.experiment.settings.tune
    if settings.scheduler == "fifo":
        return None
    from ray.tune import schedulers

    common = {"metric": metric_of(item), "mode": settings.mode, "time_attr": "training_iteration"}
    longest = int(item.experiment.settings.stop.get("training_iteration", LONGEST))
    options = dict(settings.scheduler_options)
    try:
        if settings.scheduler == "asha":
            given = {"max_t": longest, "grace_period": min(1, longest), **options}
            return schedulers.AsyncHyperBandScheduler(**common, **given)
        if settings.scheduler == "median":
            return schedulers.MedianStoppingRule(**common, **{"grace_period": 1, **options})
        from rllib_mamql.cli.with_gaps import PopulationBasedTraining

        given = {"perturbation_interval": max(1, longest // 4), **options}
        return PopulationBasedTraining(**common, hyperparam_mutations=_mutations(item), **given)
    except (AssertionError, TypeError, ValueError) as error:
        raise ConfigError(
            f"experiment {item.experiment.name!r}: tune.scheduler_options: {one_line(error) or 'they do not fit'}"
        ) from error


def search_of(item: Prepared) -> Any:
    """Tune's search algorithm, with draws that follow from the seed."""
    settings = item.experiment.settings.tune
    seed = item.param_space.get("seed")
    if isinstance(seed, dict):
        seed = seed[GRID_SEARCH][0]
    if settings.seed is not None:
        seed = settings.seed
    seed = seed if isinstance(seed, int) else None
    if settings.search == "optuna":
        import optuna

        from rllib_mamql.cli.with_gaps import OptunaSearch

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        return OptunaSearch(metric=metric_of(item), mode=settings.mode, seed=seed)
    from ray.tune.search import BasicVariantGenerator

    # Tune's own limit is for searchers that learn; it ignores it here.
    return BasicVariantGenerator(random_state=seed, max_concurrent=settings.max_concurrent or 0)


def _mutations(item: Prepared) -> dict[str, Any]:
    """What population based training may change: every setting of the first level that is drawn from a range."""
    found = {}
    for key, value in item.param_space.items():
        if hasattr(value, "sample"):
            found[key] = value
    return found


def _searches(value: Any, path: str = "") -> list[tuple[str, Mapping[str, Any]]]:
    if is_search(value):
        return [(path.lstrip("."), value)]
    if isinstance(value, Mapping):
        return [each for key, item in value.items() for each in _searches(item, f"{path}.{key}")]
    return []
