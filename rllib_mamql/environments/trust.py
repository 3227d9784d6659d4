"""Which modules may be imported for an environment whose name is out of a checkpoint, which anybody may have written.

A name that the user gives, in an experiment file, on the command line or in Python, is imported as it is. One out of a
checkpoint is so only if importing it runs nothing new, or the module is one that is allowed: see :func:`check_import`.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import inspect
import os
import pathlib
import sys
from collections.abc import Iterable
from typing import Any

from rllib_mamql.errors import UnknownEnvironmentError
from rllib_mamql.ray_internals import FOLDER

VARIABLE = "RLLIB_MAMQL_ALLOW_IMPORT"
"""Environment variable with the modules that are allowed, with commas between them; Ray's workers inherit it."""
WELL_KNOWN = ("pettingzoo", "mpe2", "gymnasium", "mamql_envs")
"""Packages whose modules define environments and do nothing else when they are imported; where they are installed."""
FACTORIES = ("parallel_env", "env", "raw_env")
"""What PettingZoo's modules call the functions that make their environments."""
BASES = ("ParallelEnv", "AECEnv", "MultiAgentEnv", "Env")
"""Names of the classes that environments of PettingZoo, RLlib and Gymnasium derive from."""
REMEMBERED = "imports"
"""File in the user's folder of settings: modules that the user has trained with, and the files that they are."""

_NAMED: set[str] = set()
_OUT_OF_FILES: set[str] = set()
_IMPORTED: dict[str, str] = {}


class UntrustedImport(UnknownEnvironmentError):
    """A checkpoint names a module that was not allowed."""


def allow_import(modules: Iterable[str]) -> None:
    """Allows checkpoints to name modules, and all that is below them, in this process and in those that it starts."""
    known = [*_allowed(), *modules]
    if known:
        os.environ[VARIABLE] = ",".join(dict.fromkeys(known))


def named_by_the_user(name: str) -> None:
    """Notes that the user gave an environment's name, whatever checkpoints say later or have said."""
    _NAMED.add(name)
    _OUT_OF_FILES.discard(name)


def out_of_a_file(name: str) -> None:
    """Notes that an environment's name is out of a file."""
    if name not in _NAMED:
        _OUT_OF_FILES.add(name)


def check_import(name: str, path: str) -> None:
    """Lets a module be imported, or not.

    It may be where the user gave the name; where the module is loaded already; where it belongs to a well-known
    package, and not to a file of that name in the current folder; where it was allowed (:func:`allow_import`); and
    where the user has trained with this very file before (:func:`remember`).

    Args:
        name: The environment's.
        path: The module's.

    Raises:
        UntrustedImport: If it may not.
    """
    _IMPORTED[name] = path
    if path in sys.modules or _is_trusted(name, path):
        return
    top = path.partition(".")[0]
    if top in WELL_KNOWN and not _is_in_folder(top):
        return
    if _origin(top) is None:
        raise UnknownEnvironmentError(
            f"the checkpoint names environment {name!r}, and there is no module {top!r} here: start the command in the "
            "folder that holds it, or install it"
        )
    raise UntrustedImport(
        f"the checkpoint names environment {name!r}, and importing {path!r} would run its code: if you trust it, add "
        f"--allow-import {top}, or set {VARIABLE}={top}"
    )


def check_factory(name: str, given: str, found: Any) -> None:
    """Lets what a name out of a checkpoint has led to be called, or not.

    A module may be harmless to import, and have functions that run whatever they are given.

    Args:
        name: The environment's.
        given: Its path, ``module`` or ``module:attribute``.
        found: What was found there.

    Raises:
        UntrustedImport: If it is neither an environment's class nor a function that PettingZoo's modules have, defined
            in the module's own package, and the module was not allowed.
    """
    path, _, attribute = given.partition(":")
    top = path.partition(".")[0]
    home = str(getattr(found, "__module__", "")).partition(".")[0]
    if inspect.isclass(found):
        makes = any(base.__name__ in BASES for base in found.__mro__)
    else:
        makes = attribute in ("", *FACTORIES)
    if (makes and home in (top, *WELL_KNOWN)) or _is_trusted(name, path):
        return
    called = attribute or getattr(found, "__name__", "what it offers")
    raise UntrustedImport(
        f"the checkpoint names environment {name!r}, and {called!r} of {path!r} is no environment's class: if you "
        f"trust it, add --allow-import {top}, or set {VARIABLE}={top}"
    )


def _is_trusted(name: str, path: str) -> bool:
    """Whether the user named, allowed or trained with what a name leads to."""
    return name not in _OUT_OF_FILES or _is_allowed(path) or _line(path.partition(".")[0]) in _remembered()


def remember(name: str) -> None:
    """Notes where the module is that an environment's name, which the user gave, has led to.

    Its checkpoints are then played without being asked about. Where nothing can be written, nothing is remembered.
    """
    path = _IMPORTED.get(name)
    if path is None or name in _OUT_OF_FILES:
        return
    top = path.partition(".")[0]
    line = _line(top)
    if top in WELL_KNOWN or line is None or _is_allowed(path) or line in _remembered():
        return
    file = _file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as stream:  # so that no other command's line is lost
            stream.write(f"{line}\n")
    except OSError:
        return


def _is_allowed(path: str) -> bool:
    return any(path == allowed or path.startswith(f"{allowed}.") for allowed in _allowed())


def _allowed() -> list[str]:
    return [module for module in os.environ.get(VARIABLE, "").split(",") if module]


def _file() -> pathlib.Path:
    folder = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    return pathlib.Path(folder) / "rllib-mamql" / REMEMBERED


def _remembered() -> list[str]:
    try:
        return _file().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []


def _line(top: str) -> str | None:
    """How a module is remembered: its name, and the file that it is here; None where there is none."""
    origin = _origin(top)
    return None if origin is None else f"{top} {origin}"


def _origin(top: str) -> str | None:
    """The file of a module that stands in no package. Nothing is imported to find it."""
    folder = os.environ.get(FOLDER)
    try:
        # As an import would: packages that are installed to be edited are found by finders of their own.
        spec = importlib.util.find_spec(top)
        if spec is None and folder:
            spec = importlib.machinery.PathFinder.find_spec(top, [folder])
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None:
        return None
    places = [spec.origin] if spec.has_location and spec.origin else list(spec.submodule_search_locations or ())
    return os.path.realpath(places[0]) if places else None


def _is_in_folder(top: str) -> bool:
    origin, folder = _origin(top), os.environ.get(FOLDER)
    if origin is None or not folder:
        return False
    here = os.path.realpath(folder)
    return os.path.dirname(origin) in (here, os.path.join(here, top))
