"""The thread that syncs: one `fdatasync` at a time, each for everything written before it began.

The loop counts what it writes (`written`) and says up to which count it wants a sync (`want`); the thread takes the
count as it is when a sync begins, syncs, publishes it as `synced` and wakes the loop. While it syncs, others write:
that is the group. It goes on by itself while more is wanted, without a round through the loop. Who waits alone on a
quick disk may have the sync in the loop instead (`sync_here`), without being handed over and back.

The two share plain attributes, each written by one side only, and two wake-ups; the interpreter's lock orders them.
Invariants:
1. `files` holds every file with a frame counted in `written` and not in `synced`: the loop adds a file before it
   writes to it and removes it only when what was written to it is synced.
2. The thread reads `written` before `files`.
3. A file descriptor is closed here, at a moment when no sync can be using it.
4. After a failed sync the thread does nothing until the loop has said `resume`: nothing is synced twice.
5. The loop syncs only while the thread is idle and has nothing to do, so there is never more than one sync.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from time import perf_counter

from .wake import Wake

# A hand-over to the thread and back costs about as much as a quick sync (0.1 ms each where it was measured). One that
# takes longer shows a disk that is busy or slow, and the loop must not wait for that.
_QUICK = 0.000_5
_SLOW = 0.001
_THREAD_ONLY = 1.0  # after a slow sync in the loop, seconds


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
        self.synced = 0  # by whoever syncs
        self.syncs = 0
        self.last_sync = 0.0  # how long it took, seconds
        self.quick = _QUICK
        self._thread_until = 0.0
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

    def sync_here(self) -> bool:
        """Sync in the loop itself, for one who waits alone; False if that is not the moment: then `request`.

        The disk must have been quick the last time. If it is slow now, the loop has stood still for one sync, and the
        thread has them all for a while.
        """
        busy = not self._idle or self._want > self.synced or self._failure is not None
        if busy or len(self.files) != 1 or not 0.0 < self.last_sync <= self.quick:
            return False
        began = perf_counter()
        if began < self._thread_until:
            return False
        self._round()
        if self._failure is None:
            # Only now: a wish that is not yet true would have the thread sync too.
            self._want = self.synced
            if self.last_sync > _SLOW:
                self._thread_until = began + _THREAD_ONLY
        self._tell()
        return True

    def retire(self, fd: int) -> None:
        """Close `fd`, which is not in `files` any more, once no sync can be using it."""
        self._retired.append(fd)

    def resume(self, *, wanted: bool) -> None:
        """The failure was dealt with; what is in `files` now may be synced, if anything there is `wanted`.

        On a disk where every sync fails, syncing what nobody waits for would fail file after file for ever.
        """
        self._want = self.written
        if not wanted:
            self.synced = self.written  # the thread stands still until the next line but one
        self._failure = None
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
        self._tell()

    def _tell(self) -> None:
        self._on_synced()
        if self._failure is not None:
            self._on_failed(*self._failure)

    # --- in the thread (`_round` in the loop too, invariant 5) ---

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
