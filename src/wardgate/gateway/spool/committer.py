"""The thread that syncs: one `fdatasync` at a time, each for everything written before it began.

The loop counts what it writes (`written`) and says up to which count it wants a sync (`want`); the thread takes the
count as it is when a sync begins, syncs, publishes it as `synced` and wakes the loop. While it syncs, others write:
that is the group. It goes on by itself while more is wanted, without a round through the loop.

The two share plain attributes, each written by one side only, and two wake-ups; the interpreter's lock orders them.
Invariants:
1. `files` holds every file with a frame counted in `written` and not in `synced`: the loop adds a file before it
   writes to it and removes it only when what was written to it is synced.
2. The thread reads `written` before `files`.
3. A file descriptor is closed here, at a moment when no sync can be using it.
4. After a failed sync the thread does nothing until the loop has said `resume`: nothing is synced twice.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from time import perf_counter

from .wake import Wake


class Committer:
    """Belongs to the loop that makes it; `on_synced()` and `on_failed(fd, error)` are called there."""

    def __init__(
        self,
        on_synced: Callable[[], None],
        on_failed: Callable[[int, OSError], None],
        sync: Callable[[int], None] = os.fdatasync,
    ) -> None:
        self.written = 0  # by the loop
        self.files: tuple[int, ...] = ()  # by the loop
        self.synced = 0  # by the thread
        self.syncs = 0  # by the thread
        self.last_sync = 0.0  # by the thread: how long it took, seconds
        self._want = 0
        self._idle = False
        self._retired: list[int] = []
        self._failure: tuple[int, OSError] | None = None
        self._stopping = False
        self._on_synced = on_synced
        self._on_failed = on_failed
        self._sync = sync
        self._work = Wake(blocking=True)
        self._done = Wake(blocking=False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._done.fd, self._woken)
        self._thread = threading.Thread(target=self._run, name="spool-committer", daemon=True)
        self._thread.start()

    # --- in the loop ---

    def request(self) -> None:
        """Sync all that has been written so far."""
        if self._want == self.written:
            return
        self._want = self.written
        if self._idle:
            self._idle = False
            self._work.set()

    def retire(self, fd: int) -> None:
        """Close `fd`, which is not in `files` any more, once no sync can be using it."""
        self._retired.append(fd)

    def resume(self) -> None:
        """The failure was dealt with; what is in `files` now may be synced."""
        self._failure = None
        self._want = self.written
        self._work.set()

    def close(self) -> None:
        """Stop the thread (it finishes the sync it is in) and close what was retired."""
        self._stopping = True
        self._work.set()
        self._thread.join()
        self._loop.remove_reader(self._done.fd)
        self._close_retired()
        self._work.close()
        self._done.close()

    def _woken(self) -> None:
        self._done.wait()
        self._on_synced()
        if self._failure is not None:
            self._on_failed(*self._failure)

    # --- in the thread ---

    def _run(self) -> None:
        while not self._stopping:
            self._idle = True
            # Idle is said before the wish is read: whoever wishes after this reading sees it and wakes us.
            if self._want <= self.synced or self._failure is not None:
                self._work.wait()
            self._idle = False
            if self._want > self.synced and self._failure is None and not self._stopping:
                self._round()
                self._done.set()

    def _round(self) -> None:
        self._close_retired()
        mark = self.written
        began = perf_counter()
        for fd in self.files:
            try:
                self._sync(fd)
            except OSError as error:
                self._failure = (fd, error)
                return
        self.last_sync = perf_counter() - began
        self.syncs += 1
        self.synced = mark

    def _close_retired(self) -> None:
        while self._retired:
            os.close(self._retired.pop())
