"""Stop a run so that it can be resumed: on Ctrl-C by a user, or on SIGTERM or SIGUSR1 from a scheduler."""

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

REQUEUE = 75  # exit code after SIGTERM or SIGUSR1: saved but not finished, start it again (EX_TEMPFAIL of sysexits.h)
INTERRUPTED = 130  # exit code after Ctrl-C, as of any program
CODES = {
    getattr(signal, name): code
    for name, code in (("SIGINT", INTERRUPTED), ("SIGTERM", REQUEUE), ("SIGUSR1", REQUEUE))
    if hasattr(signal, name)
}
IMPATIENCE = 2.0  # seconds after which a second Ctrl-C counts: launchers forward the terminal's Ctrl-C once more


class StopSignals:
    """Signal handlers, installed inside `with StopSignals() as stop:`.

    Inside `stop.deferred()` the first signal only sets `stop.code`, so that the training loop can finish the current
    update and save; a second Ctrl-C exits immediately. Elsewhere every signal exits immediately.

    Attributes:
        code: Exit code that a signal requested; 0: no signal.
    """

    def __init__(self) -> None:
        self.code = 0
        self._deferring = False
        self._since = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        self._before = {number: signal.signal(number, self._handle) for number in CODES}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Defer signals inside the context: the first one sets `code`."""
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        code = CODES[signal.Signals(number)]
        if not self._deferring:
            sys.exit(code)
        if self.code == 0:
            self.code, self._since = code, time.monotonic()
            name = "Ctrl-C" if code == INTERRUPTED else signal.Signals(number).name
            print(f"\n{name}: stopping after this update (Ctrl-C again: exit immediately, without saving)", flush=True)
        elif code == INTERRUPTED and time.monotonic() - self._since > IMPATIENCE:
            raise KeyboardInterrupt
