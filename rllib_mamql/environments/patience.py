"""An environment that does not come back: a limit on each of its calls, by which a hang becomes an error.

Calls are made in the main thread, as Ray's actors and the commands do. A second thread looks at a clock; where a call
takes too long, it sends the process a signal, whose handler raises in the middle of the call, be it asleep, waiting or
in a loop of Python's. Code that never returns to Python cannot be interrupted that way: the process then ends, if it is
one that somebody starts anew.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import Any, NoReturn

STEP_TIMEOUT_S = 300.0
"""Seconds that a call of an environment may take, unless ``env_step_timeout_s`` says else."""
GRACE_S = 20.0
"""Seconds after the limit in which an interrupted call may end, before its process does."""
HUNG = 86
"""Exit status of a process that ended because its environment could not be interrupted."""
_SIGNAL = signal.SIGURG
"""Nobody else's: what is not handled is ignored, and pytest and Tune use the signals of alarms and users."""


class Hung(BaseException):
    """Raised inside a call that takes too long; no Exception, since environments catch those."""


class Patience:
    """The clock of the calls of this process, of which one at a time is under way.

    Attributes:
        limit_s: Seconds that a call may take.
        expendable: Whether the process is one that is started anew where it ends.
    """

    def __init__(self) -> None:
        self.limit_s = STEP_TIMEOUT_S
        self.expendable = False
        self._since: float | None = None
        self._what = ""
        self._told = False
        self._thread: threading.Thread | None = None

    def begin(self, what: str) -> bool:
        """Starts the clock of a call; whether it runs, which it does not within another call or in another thread.

        Args:
            what: The environment, for a message that is written where nothing can be raised.
        """
        if self._since is not None or threading.current_thread() is not threading.main_thread():
            return False
        if self._thread is None:
            signal.signal(_SIGNAL, self._interrupt)
            self._thread = threading.Thread(target=self._watch, name="environment-patience", daemon=True)
            self._thread.start()
        self._what, self._told = what, False
        self._since = time.monotonic()
        return True

    def end(self) -> None:
        """Stops the clock."""
        self._since = None

    def _interrupt(self, number: int, frame: Any) -> None:
        since = self._since
        if since is not None and time.monotonic() - since >= self.limit_s:
            raise Hung

    def _watch(self) -> NoReturn:
        while True:
            time.sleep(min(1.0, self.limit_s / 4))
            since = self._since
            if since is None:
                continue
            late = time.monotonic() - since - self.limit_s
            if late >= 0:
                if not self._told:
                    self._told = True
                    print(f"environment {self._what!r} hangs: a call takes over {self.limit_s:g} s", file=sys.stderr)
                signal.pthread_kill(threading.main_thread().ident or 0, _SIGNAL)
            if late > GRACE_S and self.expendable:
                os._exit(HUNG)


PATIENCE = Patience()
"""Of this process."""
