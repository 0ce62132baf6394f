"""Heartbeat between ranks: if one fails or stops responding, the others exit and report why.

torchrun's agent is not sufficient: it detects ranks that exit but not ranks that hang, and a run started by `srun` has
no agent.
"""

import contextlib
import os
import sys
import threading
import time
from typing import Any

PERIOD = 2.0  # seconds between two beats
SILENCE = 30.0  # seconds without a beat after which a process counts as dead
SUSPICION = 8.0  # the same after a connection was lost, which a busy process does not cause
REASON = "reason"


class Heartbeat(threading.Thread):
    """Beats every two seconds and checks the other ranks' beats, through a store that all ranks can access.

    It is a thread because the training thread may be waiting in a collective for the rank that died.
    """

    def __init__(self, store: Any, rank: int, size: int, host: str):
        """Register the host name of this rank.

        Args:
            store: `torch.distributed` store.
            rank: Rank of this process.
            size: Number of processes.
            host: Host name of this process, for messages.
        """
        super().__init__(daemon=True, name="heartbeat")
        self._store, self._rank, self._size, self._host = store, rank, size, host
        self._stopping, self._patience = threading.Event(), SILENCE
        store.set(f"host{rank}", host)

    def run(self) -> None:
        """Beat and check until `stop`; end this process if another rank failed."""
        beat = 0
        last_beats = {rank: (b"", time.monotonic()) for rank in range(self._size) if rank != self._rank}
        while not self._stopping.wait(PERIOD):
            beat += 1
            try:
                reason = self._check(beat, last_beats)
            except RuntimeError:
                # The process that hosts the store may simply have exited a moment before this one.
                reason = None if self._stopping.wait(PERIOD) else "process 0, which hosts the store, has exited"
            if reason and not self._stopping.is_set():
                print(f"error: process {self._rank} stops: {reason}", file=sys.stderr, flush=True)
                os._exit(1)

    def report_failure(self, reason: str) -> None:
        """Report to the other ranks why this one failed. Only the first report is kept."""
        with contextlib.suppress(RuntimeError):  # the store is gone: the other ranks detect that themselves
            self._store.compare_set(REASON, "", f"process {self._rank} ({self._host}) failed: {reason}")

    def wait(self) -> None:
        """Wait, after a connection was lost, until the heartbeat ends this process."""
        self._patience = SUSPICION
        self._stopping.wait(SILENCE)

    def stop(self) -> None:
        """Stop beating and wait for the thread to end."""
        self._stopping.set()
        if self.is_alive():
            self.join()

    def _check(self, beat: int, last_beats: dict[int, tuple[bytes, float]]) -> str | None:
        """Beat; return why to stop (the failure that a rank reported, or a silent rank), or None."""
        self._store.set(f"beat{self._rank}", str(beat))
        if self._store.check([REASON]):
            return self._store.get(REASON).decode()
        now = time.monotonic()
        for rank, (last, since) in last_beats.items():
            key = f"beat{rank}"
            value = self._store.get(key) if self._store.check([key]) else b""
            if value != last:
                last_beats[rank] = (value, now)
            elif now - since > self._patience:
                host = self._store.get(f"host{rank}").decode() if self._store.check([f"host{rank}"]) else "unknown host"
                return f"process {rank} ({host}) has sent no heartbeat for {now - since:.0f} s: was it killed?"
        return None
