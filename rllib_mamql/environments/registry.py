"""Environments by name: the package's own, those that users register, and any module with PettingZoo's parallel API."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from pettingzoo import ParallelEnv

from rllib_mamql.environments.converted import as_parallel
from rllib_mamql.environments.history import HistoryBatch, HistoryEnv
from rllib_mamql.environments.masks import masks_in_infos
from rllib_mamql.environments.names import (
    OWN_MODULES,
    PETTINGZOO_PREFIX,
    Factory,
    RLlibFactory,
    defaults_of,
    gymnasium_factory,
    import_path,
    resolve,
    with_keywords,
)
from rllib_mamql.environments.standard import StandardEnv
from rllib_mamql.environments.teams import check_teams, split
from rllib_mamql.environments.trust import check_factory, named_by_the_user
from rllib_mamql.errors import ConfigError, UnknownEnvironmentError, nearest, one_line
from rllib_mamql.ray_internals import share, shared


class Expert(Protocol):
    """Plays all agents of one environment; may look at the environment's full state."""

    def reset(self, env: ParallelEnv, seed: int) -> None:
        """Forgets the last episode; called after every ``env.reset``."""

    def act(self, env: ParallelEnv, observations: Mapping[str, np.ndarray]) -> dict[str, int]:
        """Actions of the agents in ``env.agents``."""


@dataclass(frozen=True)
class EnvEntry:
    """A registered environment; paths are imported when first needed, since some modules are slow to import.

    Attributes:
        factory: Builds the environment; as a path, the module's ``parallel_env`` unless the path names another.
        expert: Builds the scripted expert; None where there is none.
        batch: Builds the batched form; None where there is none.
        maps: Says what a map of a reward shows, by ``snapshot`` and ``probes``; None where there is nothing.
        symmetries: Gives the environment's symmetries for the keywords of ``env_config``; None where none are known.
        ignored_in_data: Keywords whose value need not be that of the demonstrations.
        licence: Of data that the scripted expert plays; None where that is for others to say.
        teams: Sides whose interests are opposed, by name their agents (see ``environments.teams``); None where all
            agents are on one side.
    """

    factory: str | Factory
    expert: str | Callable[[], Expert] | None = None
    batch: str | Callable[..., Any] | None = None
    maps: Any = None
    symmetries: str | Callable[..., Any] | None = None
    ignored_in_data: frozenset[str] = frozenset()
    licence: str | None = None
    teams: Mapping[str, Sequence[str]] | None = None


ENVIRONMENTS: dict[str, EnvEntry] = {
    "overcooked": EnvEntry(
        "mamql_envs.overcooked_v0",
        "mamql_envs.overcooked_expert:ScriptedExpert",
        "mamql_envs.overcooked_batch:batched_env",
        "mamql_envs.overcooked_maps",
        ignored_in_data=frozenset({"random_starts"}),
        licence="Apache-2.0",
    ),
    "gems": EnvEntry(
        "mamql_envs.gems_v0",
        "mamql_envs.gems_expert:ScriptedExpert",
        "mamql_envs.gems_batch:GemsBatch",
        "mamql_envs.gems_maps",
        "mamql_envs.gems_symmetries:symmetries",
        licence="Apache-2.0",
    ),
    "intersection": EnvEntry(
        "mamql_envs.intersection_v0",
        "mamql_envs.intersection_expert:ScriptedExpert",
        "mamql_envs.intersection_batch:batched_env",
        "mamql_envs.intersection_maps",
        licence="Apache-2.0",
    ),
}
"""All that this process knows; :func:`register_environment` adds to it."""

KNOWN_SYMMETRIES = {
    "mpe2.simple_spread_v3": "mamql_envs.known_symmetries:simple_spread",
    "mpe2.simple_speaker_listener_v4": "mamql_envs.known_symmetries:simple_speaker_listener",
    "pettingzoo.sisl.pursuit_v5": "mamql_envs.known_symmetries:pursuit",
}
"""By module, symmetries of environments of other packages."""

KNOWN_EXPERTS = {
    "mpe2.simple_adversary_v3": "mamql_envs.adversary_expert:ScriptedExpert",
    "mpe2.simple_tag_v3": "mamql_envs.tag_expert:ScriptedExpert",
    "pettingzoo.classic.connect_four_v3": "mamql_envs.connect_four_expert:ScriptedExpert",
}
"""By module, scripted experts of environments of other packages."""

KNOWN_TEAMS: dict[str, dict[str, tuple[str, ...]]] = {
    "mpe2.simple_tag_v3": {"chasers": ("adversary",), "prey": ("agent",)},
    "mpe2.simple_adversary_v3": {"adversary": ("adversary",), "team": ("agent",)},
    "mpe2.simple_push_v3": {"adversary": ("adversary",), "agent": ("agent",)},
    "mpe2.simple_crypto_v3": {"listener": ("eve",), "pair": ("alice", "bob")},
    "mpe2.simple_world_comm_v3": {"chasers": ("adversary", "leadadversary"), "prey": ("agent",)},
    "pettingzoo.classic.connect_four_v3": {"first": ("player_0",), "second": ("player_1",)},
    "pettingzoo.classic.tictactoe_v3": {"first": ("player_1",), "second": ("player_2",)},
}
"""By module, sides in environments of other packages."""


def register_environment(
    name: str,
    factory: str | Factory,
    *,
    expert: str | Callable[[], Expert] | None = None,
    batch: str | Callable[..., Any] | None = None,
    maps: Any = None,
    symmetries: str | Callable[..., Any] | None = None,
    ignored_in_data: Iterable[str] = (),
    teams: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Gives an environment a name, by which configs, ``rllib_mamql`` and RLlib's own algorithms find it.

    Ray's worker processes find it too: what is registered here travels to them, functions and classes of the calling
    script included. Registering the same under the same name again changes nothing::

        from rllib_mamql import MAMQLConfig, register_environment

        register_environment("corridor", CorridorEnv, expert=CorridorExpert)
        config = MAMQLConfig().environment("corridor", env_config={"length": 9})

    A *path* below is ``module`` or ``module:attribute``, imported when first needed.

    Args:
        name: What to call it, in ASCII; not that of another environment.
        factory: Called with the keywords of ``env_config`` (and with ``render_mode``, where pictures are wanted), gives
            a PettingZoo ``ParallelEnv``. It raises ValueError or TypeError at a wrong keyword or value. As a path
            without an attribute: the module's ``parallel_env``.
        expert: Called without arguments, gives an :class:`Expert`: ``reset(env, seed)`` and
            ``act(env, observations)``; `rllib record --expert scripted` and scores on expert states need one. Or a path
            ``module:Class``.
        batch: Called as ``batch(num_envs, **env_config)``, gives many environments that step as one (the protocol
            ``mamql_envs.batched.BatchedEnv``), or None for a configuration that it cannot batch. Or a path
            ``module:attribute``. Without it, single environments are stepped one after the other.
        maps: An object, or the path of a module, with ``snapshot(env)`` and
            ``probes(env, states, observations, alive, agent)``, from which `rllib map` draws (see
            ``mamql_envs.maps.Probe``).
        symmetries: Called with the keywords of ``env_config``, gives ``{agent: [(transform, actions), ...]}`` (or
            ``{"all": [...]}`` for all agents alike), one pair for each way to mirror or turn the world:
            ``transform(observations (B, *obs))`` reorders, negates and shifts their numbers, ``actions[a]`` is what
            action ``a`` becomes. The k-th pairs of all agents belong together; the identity is left out. Or a path
            ``module:attribute``. Algorithms learn from demonstrations as they would look in those worlds as well.
        ignored_in_data: Keywords that change neither observations nor dynamics: demonstrations fit whatever their
            value was. ``render_mode`` and ``horizon`` are taken as such in every environment.
        teams: Where agents have opponents, ``{team: agents}``; an agent may be named without its number,
            ``red`` for ``red_0``, ``red_1`` and so on. Returns and scores are then told by team. None: one side.

    Raises:
        ConfigError: If an argument is of the wrong kind, the name is taken, or Ray cannot send it to other processes.
    """
    if isinstance(ignored_in_data, str):
        raise ConfigError(f"ignored_in_data is {ignored_in_data!r}: give a list of keywords, [{ignored_in_data!r}]")
    entry = EnvEntry(factory, expert, batch, maps, symmetries, frozenset(ignored_in_data), teams=teams)
    _check_name(name)
    _check_entry(name, entry)
    if ENVIRONMENTS.get(name, entry) != entry:
        raise ConfigError(f"environment {name!r} is registered already, as something else: choose another name")
    share(name, RLlibCreator(name, entry), f"environment {name!r}")
    ENVIRONMENTS[name] = entry


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or not name or not name.isascii() or name != name.strip():
        raise ConfigError(f"an environment's name is {name!r}: give a word in ASCII")
    if name.startswith(PETTINGZOO_PREFIX):
        raise ConfigError(f"environment {name!r}: names that start with {PETTINGZOO_PREFIX!r} need not be registered")


def _check_entry(name: str, entry: EnvEntry) -> None:
    check_teams(name, entry.teams)
    if not isinstance(entry.factory, str) and not callable(entry.factory):
        raise ConfigError(f"environment {name!r}: factory is {entry.factory!r}: give a callable, or a module's path")
    for part in ("expert", "batch", "symmetries"):
        value = getattr(entry, part)
        if isinstance(value, str):
            if not value.partition(":")[2]:
                raise ConfigError(f"environment {name!r}: {part} is {value!r}: write 'module:attribute'")
        elif value is not None and not callable(value):
            raise ConfigError(f"environment {name!r}: {part} is {value!r}: give a callable, or 'module:attribute'")
    if not (entry.maps is None or isinstance(entry.maps, str)):
        missing = [part for part in ("snapshot", "probes") if not callable(getattr(entry.maps, part, None))]
        if missing:
            raise ConfigError(f"environment {name!r}: maps is {entry.maps!r}, which has no {' and no '.join(missing)}")
    wrong = [key for key in entry.ignored_in_data if not isinstance(key, str)]
    if wrong:
        raise ConfigError(f"environment {name!r}: ignored_in_data holds {wrong[0]!r}: give names of keywords")


@dataclass(frozen=True)
class RLlibCreator:
    """What RLlib builds an environment by, behind our multi-agent adapter; it carries the entry to other processes.

    Attributes:
        name: The environment's.
        entry: None for what every process knows by its name.
    """

    name: str
    entry: EnvEntry | None

    def __call__(self, env_config: Mapping[str, Any]) -> Any:
        """The environment as RLlib takes it."""
        from rllib_mamql.environments.adapter import PettingZooAdapter

        if self.entry is not None:
            ENVIRONMENTS.setdefault(self.name, self.entry)
        return PettingZooAdapter(make_env(self.name, env_config))


def register_with_rllib(name: str) -> None:
    """Makes an environment that is known here, or named by a path or an id, known to RLlib under its own name."""
    find_environment(name)
    share(name, RLlibCreator(name, ENVIRONMENTS.get(name)), f"environment {name!r}")


def register_all() -> None:
    """Makes every environment that is known here known to RLlib and Ray Tune by name."""
    for name in ENVIRONMENTS:
        register_with_rllib(name)


def register_class(kind: Callable[..., Any]) -> str:
    """Registers a class of environments under its own path, where it is not yet; gives that name."""
    name = f"{kind.__module__}:{kind.__qualname__}"
    register_environment(name, kind)
    return name


def find_environment(name: str) -> EnvEntry | None:
    """The entry of an environment; None where there is none.

    Args:
        name: Empty where policies learned without one. Else registered here or in the program whose worker this
            process is, by this package or by RLlib's ``register_env``; ``pettingzoo:`` and a module;
            ``module:attribute`` of a class or function; a Gymnasium id.
    """
    if not name:
        return None
    if name.startswith(PETTINGZOO_PREFIX):
        module = name[len(PETTINGZOO_PREFIX) :]
        symmetries, expert = KNOWN_SYMMETRIES.get(module), KNOWN_EXPERTS.get(module)
        licence = "Apache-2.0" if expert else None
        return EnvEntry(module, symmetries=symmetries, expert=expert, licence=licence, teams=KNOWN_TEAMS.get(module))
    if name not in ENVIRONMENTS:
        creator = shared(name)
        if isinstance(creator, RLlibCreator):
            creator = creator.entry
        if isinstance(creator, EnvEntry):
            ENVIRONMENTS.setdefault(name, creator)
        elif creator is not None:
            ENVIRONMENTS.setdefault(name, EnvEntry(RLlibFactory(creator)))
    if name in ENVIRONMENTS:
        named_by_the_user(name)  # or by this package: a checkpoint that names it leads to nothing else
        return ENVIRONMENTS[name]
    elsewhere = gymnasium_factory(name) or import_path(name)
    return None if elsewhere is None else EnvEntry(elsewhere)


def check_environment_is_known(name: str) -> None:
    """Refuses what is done in an environment where policies learned without one.

    Raises:
        ConfigError: If the name is empty.
    """
    if not name:
        raise ConfigError(
            "this needs an environment, and these policies learned from demonstrations alone: "
            "train with one named in env: (docs/your_data.md#without-an-environment)"
        )


def _entry_of(name: str) -> EnvEntry:
    check_environment_is_known(name)
    entry = find_environment(name)
    if entry is None:
        raise UnknownEnvironmentError(
            f"unknown environment {name!r}: {nearest(name, ENVIRONMENTS)} (others: 'pettingzoo:<module path>', "
            "'<module>:<class>', or a Gymnasium id)"
        )
    return entry


def environment_factory(name: str) -> Factory:
    """The function that builds the environment ``name`` from ``env_config`` keywords, as its authors made it.

    Raises:
        UnknownEnvironmentError: If nothing is registered under the name, or its module cannot be imported.
    """
    # Modules with agents in turns have env alone; what it builds says whether it can be stepped in parallel.
    given = _entry_of(name).factory
    found = resolve(name, given, "parallel_env", "env")
    if isinstance(given, str):
        check_factory(name, given, found)
    return with_keywords(found)


def make_env(
    name: str, env_config: Mapping[str, Any] | None = None, render_mode: str | None = None, *, history: int = 0
) -> StandardEnv:
    """Builds an environment by its name, as this package steps it.

    Args:
        name: As in :func:`find_environment`.
        env_config: Keywords of the environment.
        render_mode: For example ``"rgb_array"``; None leaves the environment's own default.
        history: How many steps back agents see, >= 0.

    Raises:
        UnknownEnvironmentError: If the name is unknown.
        ConfigError: If the environment refuses its configuration, or has spaces that nothing can be made of.
    """
    factory = environment_factory(name)
    config = dict(env_config or {})
    if render_mode is not None:
        config["render_mode"] = render_mode
    with _refusals(name, config):
        env = as_parallel(factory(**config), name, functools.partial(_found, "waits", name, config))
        masks = not _is_own(name) and _found("masks", name, config, lambda: masks_in_infos(env, name))
        return HistoryEnv(env, name, masks, history) if history else StandardEnv(env, name, masks)


_FOUND: dict[str, bool] = {}
"""What was found out of environments by stepping them, which costs time: whether infos hold masks, and agents wait."""


def _found(what: str, name: str, config: Mapping[str, Any], look: Callable[[], bool]) -> bool:
    key = repr((what, name, sorted((word, repr(value)) for word, value in config.items() if word != "render_mode")))
    if key not in _FOUND:
        _FOUND[key] = look()
    return _FOUND[key]


def _is_own(name: str) -> bool:
    factory = _entry_of(name).factory
    return isinstance(factory, str) and factory.startswith(f"{OWN_MODULES}.")


def make_batch(name: str, env_config: Mapping[str, Any] | None, num_envs: int, *, history: int = 0) -> Any | None:
    """The batched form of an environment, or None where single ones have to do.

    That is where an environment has none, or none for this configuration, or where pictures are asked for.

    Args:
        name: As in :func:`make_env`.
        env_config: As in :func:`make_env`.
        num_envs: Environments in the batch.
        history: How many steps back agents see, >= 0.

    Raises:
        ConfigError: If the environment refuses its configuration.
    """
    entry = find_environment(name)
    config = dict(env_config or {})
    if entry is None or entry.batch is None or config.pop("render_mode", None) is not None:
        return None
    with _refusals(name, config):
        batch = resolve(name, entry.batch)(num_envs, **config)
    return HistoryBatch(batch, history) if history and batch is not None else batch


def has_expert(name: str) -> bool:
    """Whether an environment has a scripted expert."""
    entry = find_environment(name)
    return entry is not None and entry.expert is not None


def make_expert(name: str) -> Expert:
    """Builds the scripted expert of an environment.

    Raises:
        ConfigError: If it has none.
    """
    check_environment_is_known(name)
    entry = find_environment(name)
    if entry is None or entry.expert is None:
        having = [known for known, other in ENVIRONMENTS.items() if other.expert is not None]
        raise ConfigError(
            f"environment {name!r} has no scripted expert: {nearest(name, having)}; or name a checkpoint as the expert"
        )
    return resolve(name, entry.expert)()


def has_maps(name: str) -> bool:
    """Whether an environment says which maps its rewards can be drawn on."""
    check_environment_is_known(name)
    entry = find_environment(name)
    return entry is not None and entry.maps is not None


def maps_of(name: str) -> Any:
    """What says which maps an environment's rewards can be drawn on, by ``snapshot`` and ``probes``.

    Raises:
        ConfigError: If there is nothing.
    """
    check_environment_is_known(name)
    entry = find_environment(name)
    if entry is None or entry.maps is None:
        having = ", ".join(known for known, other in ENVIRONMENTS.items() if other.maps is not None)
        raise ConfigError(f"there are no maps of the rewards of environment {name!r}: only of {having}")
    return resolve(name, entry.maps)


def opposed_teams(name: str, agents: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Sides whose interests are opposed, ``{team: agents}``; empty where all agents are on one side.

    Raises:
        ConfigError: If the environment's teams leave an agent out, or hold one twice.
    """
    entry = find_environment(name)
    return split(name, None if entry is None else entry.teams, agents)


def declared_symmetries(name: str, env_config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What an environment's ``symmetries`` gives for its keywords; None where none are known."""
    entry = find_environment(name)
    if entry is None or entry.symmetries is None:
        return None
    config = {key: value for key, value in env_config.items() if key != "render_mode"}
    with _refusals(name, config):
        found: Mapping[str, Any] | None = resolve(name, entry.symmetries)(**config)
        return found


def ignored_in_data(name: str) -> frozenset[str]:
    """Keywords of an environment whose value need not be that of the demonstrations."""
    entry = find_environment(name)
    return frozenset() if entry is None else entry.ignored_in_data


@contextlib.contextmanager
def _refusals(name: str, config: Mapping[str, Any]) -> Iterator[None]:
    """Turns what an environment raises at a wrong configuration into a ConfigError."""
    try:
        yield
    except (UnknownEnvironmentError, ConfigError):
        raise
    except (TypeError, ValueError, KeyError, AssertionError) as error:
        raise ConfigError(f"environment {name!r} refuses env_config {dict(config)}: {one_line(error)}") from error
    except Exception as error:
        raise ConfigError(
            f"environment {name!r} cannot be built with env_config {dict(config)} ({type(error).__name__}: "
            f"{one_line(error)}): install what it needs, or correct it"
        ) from error


def resolve_env_config(name: str, env_config: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """``env_config`` with the environment's own defaults filled in, so that two configurations can be compared.

    Raises:
        UnknownEnvironmentError: If the name is unknown.
    """
    return {**defaults_of(environment_factory(name), ignored={"render_mode"}), **dict(env_config or {})}
