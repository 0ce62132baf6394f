"""DistributedProcesses that watch each other: where one fails or falls silent, all end soon, and say why."""

import contextlib
import os
import sys
import threading
import time
from typing import Any

PERIOD = 2.0  # seconds between two looks
SILENCE = 30.0  # seconds without a sign of life after which a process counts as dead
SUSPICION = 8.0  # the same where a connection broke, which a busy process does not do
REASON = "reason"


class Heartbeat(threading.Thread):
    """Gives a sign of life every two seconds and looks for the others', through a store that all reach.

    A thread of its own, because the training thread may be waiting, in a collective, for the one that died.
    """

    def __init__(self, store: Any, rank: int, size: int, host: str):
        super().__init__(daemon=True, name="heartbeat")
        self._store, self._rank, self._size, self._host = store, rank, size, host
        self._over, self._patience = threading.Event(), SILENCE
        store.set(f"host{rank}", host)

    def run(self) -> None:
        beat = 0
        seen = {rank: (b"", time.monotonic()) for rank in range(self._size) if rank != self._rank}
        while not self._over.wait(PERIOD):
            beat += 1
            try:
                reason = self._look(beat, seen)
            except RuntimeError:
                # The process that holds the store may only be a moment ahead of us in leaving.
                reason = None if self._over.wait(PERIOD) else "process 0, which holds all together, is gone"
            if reason and not self._over.is_set():
                print(f"error: process {self._rank} stops: {reason}", file=sys.stderr, flush=True)
                os._exit(1)

    def report_failure(self, reason: str) -> None:
        """Lets the others know why this process fails; the first reason told is the one that counts."""
        with contextlib.suppress(RuntimeError):  # the store is gone: the others notice that by themselves
            self._store.compare_set(REASON, "", f"process {self._rank} ({self._host}) failed: {reason}")

    def wait(self) -> None:
        """After a connection broke: until the watch ends this process, at most as long as it may take to notice."""
        self._patience = SUSPICION
        self._over.wait(SILENCE)

    def stop(self) -> None:
        self._over.set()
        if self.is_alive():
            self.join()

    def _look(self, beat: int, seen: dict[int, tuple[bytes, float]]) -> str | None:
        self._store.set(f"beat{self._rank}", str(beat))
        if self._store.check([REASON]):
            return self._store.get(REASON).decode()
        now = time.monotonic()
        for rank, (last, since) in seen.items():
            key = f"beat{rank}"
            value = self._store.get(key) if self._store.check([key]) else b""
            if value != last:
                seen[rank] = (value, now)
            elif now - since > self._patience:
                host = self._store.get(f"host{rank}").decode() if self._store.check([f"host{rank}"]) else "unknown host"
                return f"process {rank} ({host}) has given no sign of life for {now - since:.0f} s: was it killed?"
        return None
