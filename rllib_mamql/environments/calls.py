"""Calls of an environment's own code: within a time limit, and whatever goes wrong is one line that says where."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from rllib_mamql.environments import patience
from rllib_mamql.environments.patience import PATIENCE, Hung
from rllib_mamql.errors import EnvironmentFault, EnvironmentHang, UserError, one_line


def call_environment(env: Any, method: str, called: str, place: Callable[[], str], *args: Any, **kwargs: Any) -> Any:
    """What a method of an environment, or of a batch of them, gives.

    Args:
        env: The environment as its author wrote it.
        method: For example ``step``.
        called: What users call the environment.
        place: Says when in the episode the call is made.
        *args: The method's.
        **kwargs: The method's.

    Raises:
        EnvironmentHang: If it does not come back within ``env_step_timeout_s``.
        EnvironmentFault: If it raises; says the file and line.
    """
    watched = PATIENCE.begin(called)
    try:
        return getattr(env, method)(*args, **kwargs)
    except Hung as error:
        raise EnvironmentHang(
            f"environment {called!r}, {place()}: no answer within {PATIENCE.limit_s:g} s "
            f"(it was at {place_of(error)}); mend the environment, or raise env_step_timeout_s"
        ) from error
    except EnvironmentFault as error:
        fault(called, place(), str(error), error)
    except UserError:
        raise
    except Exception as error:
        fault(called, place(), f"raised {type(error).__name__}: {one_line(error)} ({place_of(error)})", error)
    finally:
        if watched:
            PATIENCE.end()


def fault(called: str, place: str, text: str, cause: BaseException | None = None) -> NoReturn:
    """Raises the error of an environment that breaks its contract.

    Args:
        called: What users call the environment.
        place: When in the episode.
        text: What is wrong, and the remedy.
        cause: What it follows from.
    """
    raise EnvironmentFault(f"environment {called!r}, {place}: {text}") from cause


def place_of(error: BaseException) -> str:
    """File and line that an error was raised at; of a call that was interrupted, where that happened."""
    last = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != patience.__file__][-1]
    return f"{last.filename}:{last.lineno}"
