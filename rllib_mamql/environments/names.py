"""What a name of an environment leads to that nobody registered: a module, a class, one of Gymnasium's or RLlib's."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable, Collection
from typing import Any

import gymnasium as gym

from rllib_mamql.environments.converted import is_multi_agent_class
from rllib_mamql.environments.trust import check_import
from rllib_mamql.errors import UnknownEnvironmentError, one_line
from rllib_mamql.ray_internals import FOLDER

PETTINGZOO_PREFIX = "pettingzoo:"
"""Names that start with this are a module with a ``parallel_env`` function, ``pettingzoo:<module path>``."""
OWN_MODULES = "mamql_envs"
"""The package of this project's environments, which is never looked for in the current folder."""

Factory = Callable[..., Any]

_WORD = r"[A-Za-z_]\w*"
_MODULE = rf"{_WORD}(?:\.{_WORD})*"


def import_path(name: str) -> str | None:
    """``module:attribute`` where a name is one, also where a dot stands for the colon; else None."""
    if re.fullmatch(rf"{_MODULE}:{_WORD}", name):
        return name
    if re.fullmatch(rf"{_WORD}\.{_MODULE}", name):
        return ":".join(name.rsplit(".", 1))
    return None


def gymnasium_factory(name: str) -> Factory | None:
    """What builds the environment of a Gymnasium id, ``Id-v0`` or ``module:Id-v0``; None where the name is none."""
    module, colon, identifier = name.rpartition(":")
    if not re.fullmatch(r"(?:[\w.-]+/)?[\w.-]+-v\d+", identifier) or (colon and not re.fullmatch(_MODULE, module)):
        return None
    if not colon and name not in gym.registry:
        return None

    def build(**config: Any) -> Any:
        if colon:
            import_module(name, module)
        return gym.make(identifier, disable_env_checker=True, **config)

    return build


class RLlibFactory:
    """Builds environments by what ``ray.tune.register_env`` was given.

    Args:
        creator: Called with RLlib's ``EnvContext``.
    """

    def __init__(self, creator: Callable[[Any], Any]) -> None:
        self.creator = creator

    def __call__(self, **config: Any) -> Any:
        """An environment of RLlib's, Gymnasium's or PettingZoo's."""
        from ray.rllib.env.env_context import EnvContext

        return self.creator(EnvContext(config, worker_index=0))


def with_keywords(factory: Factory) -> Factory:
    """A factory that takes keywords: RLlib's classes take them as one dict."""
    if isinstance(factory, type) and is_multi_agent_class(factory):
        return lambda **config: factory(config)
    return factory


def resolve(name: str, given: Any, *attributes: str) -> Any:
    """What a path names, ``module`` or ``module:attribute``; anything else is given back as it is.

    Args:
        name: The environment's, for messages.
        given: The path, or an object.
        attributes: Callables to look for in a module that is named alone, the first that is there; none: the module.

    Raises:
        UnknownEnvironmentError: If there is no such module or callable.
    """
    if not isinstance(given, str):
        return given
    module_path, _, named = given.partition(":")
    module = import_module(name, module_path)
    wanted = (named,) if named else attributes
    if not wanted:
        return module
    for attribute in wanted:
        found = getattr(module, attribute, None)
        if callable(found):
            return found
    remedy = "correct its name" if named else "name a module that offers PettingZoo's parallel API"
    raise UnknownEnvironmentError(
        f"environment {name!r}: module {module_path!r} has no function {wanted[0]!r}; {remedy}"
    )


def import_named(path: str) -> Any:
    """Imports a module that a user named; the folder that the command was started in is searched after all else."""
    folder = os.environ.get(FOLDER)
    if folder and folder not in sys.path and path.partition(".")[0] != OWN_MODULES:
        sys.path.append(folder)
    return importlib.import_module(path)


def import_module(name: str, path: str) -> Any:
    """Imports a module that an environment's name leads to.

    Raises:
        UnknownEnvironmentError: If it cannot be imported, or fails.
        UntrustedImport: If its name is out of a file, and it was not allowed.
    """
    check_import(name, path)
    try:
        return import_named(path)
    except (ImportError, ValueError) as error:
        raise UnknownEnvironmentError(
            f"environment {name!r}: cannot import {path!r} ({one_line(error)}); "
            "install the package it belongs to, or correct the module path"
        ) from error
    except Exception as error:
        raise UnknownEnvironmentError(
            f"environment {name!r}: module {path!r} fails while it is imported ({type(error).__name__}: "
            f"{one_line(error)}); correct it"
        ) from error


def defaults_of(factory: Factory, ignored: Collection[str]) -> dict[str, Any]:
    """Defaults of a factory's keywords, without those of ``ignored``; none where it does not say."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return {}
    found = {each.name: each.default for each in parameters if each.default is not each.empty}
    return {name: default for name, default in found.items() if name not in ignored}
