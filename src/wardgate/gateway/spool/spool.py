"""The spool: the segments, what goes into them, and when it is safe.

All sessions write to one segment; it is full, the next one is there already. Of the state below, everything belongs to
the event loop; the thread that syncs sees only what `committer` says.

Invariants:
1. A frame is in the kernel's hands before `write` returns, and frames of one epoch lie in their order.
2. `pending` has an entry for each write that is not known to be on disk, oldest first.
3. `reserved` bytes are always free in the current and the prepared segments, while no segment has failed.
4. Segments are used in the order of their numbers.
5. A segment that failed is never written or synced again, and every epoch that wrote to it has failed.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from time import monotonic, time_ns
from typing import Any, Final, NamedTuple

from ... import ids, sealing
from ...audit.chain import KEY_BYTES, ChainWriter, EpochHead, Link
from ...audit.codec import CHUNK_BYTES
from ...audit.recorder import RecordingFailed
from ...errors import WardgateError
from ...net import logs
from ...numbers import MIB, Numbers
from . import segment as segments
from .committer import Committer
from .epoch import SESSION_CLOSED, Backlog, Durability, EpochKey, EpochRecorder
from .segment import Segment

_log = logs.get("spool")

# An intent waits this long for its outcome to share a sync, seconds: longer than most commands take, shorter than
# anybody would call a loss.
_LAZY: Final = 0.003
_SLACK: Final = 16 * 1024  # what a rotation can leave unused behind a small frame
_FIRST_SEGMENT: Final = 8 * MIB  # small, since a start waits for its zeros
_STATVFS_AGE: Final = 1.0
_TICK: Final = 1.0
_TIGHT: Final = 0.9  # of the spool's limit; beyond it every session's clients are slowed


class _Pending(NamedTuple):
    mark: int
    epoch: EpochRecorder
    seq: int
    segment: Segment
    end: int


def _unwritable(error: OSError) -> str:
    return f"The audit spool could not be written: {error.strerror or error}."


def _unusable(folder: Path, error: OSError) -> WardgateError:
    message = f"The audit spool in {folder} can't be used: {error.strerror or error}. Nothing runs unrecorded."
    return WardgateError("spool_unusable", message)


class Spool:
    """Made by `await Spool.open(folder, numbers)`; ended by `await close()`."""

    def __init__(self, folder: Path, numbers: Numbers, sync: Callable[[int], None]) -> None:
        self.folder = folder
        self.loop = asyncio.get_running_loop()
        self.reserved = 0
        self.in_flight = 0  # intents without an outcome, of all sessions
        self.segments: list[Segment] = []  # oldest first; the last one may be the current one
        self.current: Segment | None = None
        self._numbers = numbers
        self._prepared: deque[Segment] = deque()  # empty segments, to be used in this order
        self._preparing: asyncio.Task[None] | None = None
        self._number = 0
        self._writers: dict[int, set[EpochRecorder]] = {}  # segment number: who wrote there
        self._open: set[EpochRecorder] = set()
        self._backlogs: dict[bytes, Backlog] = {}
        self._pending: deque[_Pending] = deque()
        self._synced_to: tuple[int, int] = (-1, 0)  # segment number, offset
        self._committer = Committer(self._on_synced, self._on_sync_failed, sync)
        self._soon = False
        self._oldest: float | None = None  # loop time of the oldest write that nobody has wanted synced yet
        self._later: asyncio.TimerHandle | None = None
        self._ticker: asyncio.TimerHandle | None = None
        self._free = (0.0, 0)
        self._closed = False
        # Called when a recorder has closed, all of it on disk: the shipper does not let a session's end wait.
        self.on_closed: Callable[[], None] = lambda: None

    @classmethod
    async def open(cls, folder: Path, numbers: Numbers, *, sync: Callable[[int], None] = os.fdatasync) -> Spool:
        """Open the spool in `folder` (made if missing), which nobody else uses; WardgateError if it can't be used.

        Segments that an earlier process left are kept for the shipper.
        """
        try:
            left = await asyncio.to_thread(segments.found, folder)
            spool = cls(folder, numbers, sync)
        except OSError as error:
            raise _unusable(folder, error) from error
        spool.segments = left
        spool._number = max((segment.number for segment in left), default=0)
        try:
            await spool._prepare(min(numbers.spool_segment_bytes, _FIRST_SEGMENT))
        except OSError as error:
            await spool.close()
            raise _unusable(folder, error) from error
        spool._rotate(0)
        spool._tick()
        return spool

    # --- epochs ---

    def open_epoch(
        self,
        session_id: str,
        epoch: int,
        *,
        audit_public_key: bytes,
        audit_key_id: str,
        gateway_id: str,
        previous: Link | None,
        on_failed: Callable[[str], None],
        durability: Durability = "strict",
    ) -> EpochRecorder:
        """A recorder for a new epoch of a session. Its key is made here and never leaves but sealed.

        `on_failed(reason)` is called once, in the loop, if recording fails later. RecordingFailed if it can't begin.
        """
        session = ids.to_bytes(session_id, ids.Kind.SESSION)
        key = os.urandom(KEY_BYTES)
        sealed = sealing.seal(audit_public_key, sealing.epoch_info(session_id, epoch), key)
        head = EpochHead(sealed, audit_key_id, gateway_id, time_ns() // 1000, previous)
        chain = ChainWriter(session, epoch, key, head)
        backlog = self._backlogs.setdefault(session, Backlog())
        recorder = EpochRecorder(self, (session, epoch), chain, durability, backlog, on_failed)
        refusal = self.refusal(backlog, len(recorder.head_frame), SESSION_CLOSED)
        if refusal is not None:
            raise RecordingFailed(refusal)
        self._open.add(recorder)
        recorder.reserved = SESSION_CLOSED
        self.reserved += SESSION_CLOSED
        self.write(recorder, [], 0)
        return recorder

    def closed(self, epoch: EpochRecorder) -> None:
        """The recorder takes no more, and what fails from now on is nothing to it."""
        self._open.discard(epoch)
        for writers in self._writers.values():
            writers.discard(epoch)
        self.on_closed()

    def shipped(self, key: EpochKey, size: int) -> None:
        """`size` bytes of frames of this epoch have reached the control plane."""
        backlog = self._backlogs.get(key[0])
        if backlog is not None:
            backlog.bytes = max(0, backlog.bytes - size)
            if backlog.bytes == 0 and not any(recorder.backlog is backlog for recorder in self._open):
                del self._backlogs[key[0]]

    # --- room ---

    def refusal(self, backlog: Backlog, size: int, due: int) -> str | None:
        """Why `size` bytes now and `due` later can't be taken; null if they can."""
        if self._closed or self.current is None:
            return "The audit spool has failed; see the gateway's log."
        if backlog.bytes + size > self._numbers.spool_session_bytes:
            return "This session's records wait for the control plane, and its share of the audit spool is full."
        need = size + due + self.reserved
        while self._room(size) < need:
            if not self._grow(2 * (min(size, CHUNK_BYTES) + _SLACK)):
                return self._full()
        return None

    def _room(self, size: int) -> int:
        """What surely fits into the current and the prepared segments, if a record of `size` comes first."""
        current = self.current
        room = current.free - _SLACK if current is not None and size + _SLACK <= current.free else 0
        unused = _SLACK if size <= CHUNK_BYTES else CHUNK_BYTES + _SLACK
        for segment in self._prepared:
            room += max(0, segment.size - unused)
        return room

    def _grow(self, least: int) -> bool:
        """Add a segment of at least that size, at once; false if the limits or the disk forbid it."""
        size = max(least, self._numbers.spool_segment_bytes)
        if not self._may_grow(size):
            return False
        self._number += 1
        try:
            self._prepared.append(segments.allocate(self.folder, self._number, size))
        except OSError as error:
            _log.warning("spool.no_segment", error=str(error))
            return False
        return True

    def _full(self) -> str:
        return (
            "The audit spool is full: it has reached its limit or the disk is short of space, "
            "because records can't be delivered to the control plane."
        )

    def _allocated(self) -> int:
        return sum(segment.size for segment in self.segments) + sum(segment.size for segment in self._prepared)

    def _may_grow(self, size: int) -> bool:
        if self._allocated() + size > self._numbers.spool_bytes:
            return False
        now = monotonic()
        if now - self._free[0] > _STATVFS_AGE:
            found = os.statvfs(self.folder)
            self._free = (now, found.f_bavail * found.f_frsize)
        return self._free[1] - size >= self._numbers.spool_free_bytes

    def slow(self, backlog: Backlog) -> bool:
        """Whether a session with this backlog should be slowed."""
        if 2 * backlog.bytes >= self._numbers.spool_session_bytes:
            return True
        return self._allocated() >= _TIGHT * self._numbers.spool_bytes

    # --- writing ---

    def write(self, epoch: EpochRecorder, frames: list[bytes], seq: int) -> None:
        """Hand the frames of one record to the kernel; the last one is `seq`. An empty list: the epoch's head alone.

        RecordingFailed if it could not be done; then the epoch, and all that share the segment, have failed.
        """
        try:
            for frame in frames or (b"",):
                segment = self._write_one(epoch, frame)
        except OSError as error:
            epoch.fail(_unwritable(error))
            raise RecordingFailed(_unwritable(error)) from error
        committer = self._committer
        committer.written += 1
        self._pending.append(_Pending(committer.written, epoch, seq, segment, segment.end))

    def _write_one(self, epoch: EpochRecorder, frame: bytes) -> Segment:
        segment = self.current
        if segment is None:
            raise OSError("it has failed before")
        data = frame if epoch.segment == segment.number else epoch.head_frame + frame
        if len(data) > segment.free:
            segment = self._rotate(len(epoch.head_frame) + len(frame))
            data = epoch.head_frame + frame
        try:
            segment.write(data)
        except OSError as error:
            self._segment_failed(segment, error)
            raise
        if epoch.segment != segment.number:
            epoch.segment = segment.number
            self._writers.setdefault(segment.number, set()).add(epoch)
        epoch.backlog.bytes += len(frame)
        return segment

    def sync_soon(self, waiting: int = 0) -> None:
        """Sync now if no command is under way anywhere but those `waiting` for this very sync; else at the end of this
        iteration of the loop, with all that is written in it: alone, nobody would join the group; in a crowd, most do.
        """
        if self.in_flight <= waiting:
            self._sync_now(waiting)
        elif not self._soon:
            self._soon = True
            self.loop.call_soon(self._sync_now)

    def sync_later(self) -> None:
        """Sync within a few milliseconds, unless somebody wants it sooner."""
        if self._oldest is None:
            self._oldest = self.loop.time()
            if self._later is None:
                self._later = self.loop.call_later(_LAZY, self._sync_oldest)

    def _sync_now(self, waiting: int = 0) -> None:
        self._soon = False
        self._oldest = None
        if not self._closed and not (self.in_flight <= waiting and self._committer.sync_here()):
            self._committer.request()

    def _sync_oldest(self) -> None:
        """One timer serves all: it is never cancelled, it looks at what is the oldest when it fires."""
        self._later = None
        if self._oldest is None:
            return
        due = self._oldest + _LAZY
        if self.loop.time() >= due:
            self._sync_now()
        else:
            self._later = self.loop.call_at(due, self._sync_oldest)

    def _on_synced(self) -> None:
        pending, synced = self._pending, self._committer.synced
        safe: dict[EpochRecorder, int] = {}
        last = None
        while pending and pending[0].mark <= synced:
            last = pending.popleft()
            safe[last.epoch] = last.seq
        if last is None:
            return
        self._synced_to = (last.segment.number, last.end)
        if len(self._committer.files) > 1:
            self._set_files(last.segment.number)
        for epoch, seq in safe.items():
            if epoch.failure is None:
                epoch.synced(seq)

    def _set_files(self, since: int) -> None:
        self._committer.files = tuple(
            segment.fd for segment in self.segments if segment.trusted and segment.number >= since
        )

    # --- segments ---

    def _rotate(self, size: int) -> Segment:
        """Go on to the next segment that has at least `size` bytes; OSError if there is none to be had."""
        while not self._prepared or self._prepared[0].size < size:
            if self._prepared:
                self._discard(self._prepared.popleft())
            elif not self._grow(size):
                raise OSError("no space left within the spool's limits or on the disk")
        segment = self._prepared.popleft()
        self.segments.append(segment)
        self.current = segment
        self._committer.files = (*self._committer.files, segment.fd)
        self._ensure_prepared()
        return segment

    def _ensure_prepared(self) -> None:
        size = self._numbers.spool_segment_bytes
        if not self._prepared and self._preparing is None and not self._closed and self._may_grow(size):
            self._preparing = self.loop.create_task(self._prepare(size))
            self._preparing.add_done_callback(self._prepare_ended)

    async def _prepare(self, size: int) -> None:
        self._number += 1
        segment = await asyncio.to_thread(segments.prepare, self.folder, self._number, size)
        if self._closed or segment.number < self._number:
            self._discard(segment)  # one had to be allocated meanwhile, and numbers follow use
        else:
            self._prepared.append(segment)

    def _prepare_ended(self, task: asyncio.Task[None]) -> None:
        self._preparing = None
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.warning("spool.prepare_failed", error=str(error))

    def _discard(self, segment: Segment) -> None:
        segment.path.unlink(missing_ok=True)
        self._committer.retire(segment.fd)

    def _tick(self) -> None:
        """A segment that could not be prepared may be possible now."""
        self._ensure_prepared()
        self._ticker = self.loop.call_later(_TICK, self._tick)

    def _segment_failed(self, segment: Segment, error: OSError) -> None:
        _log.error("spool.segment_failed", segment=segment.path.name, error=str(error))
        segment.trusted = False
        self._set_files(self._synced_to[0])
        for epoch in self._writers.pop(segment.number, set()):
            epoch.fail(_unwritable(error))
        self._pending = deque(entry for entry in self._pending if entry.segment is not segment)
        if segment is self.current:
            self.current = None
            try:
                self._rotate(0)
            except OSError as failed:
                _log.error("spool.no_segment", error=str(failed))

    def _on_sync_failed(self, fd: int, error: OSError) -> None:
        for segment in self.segments:
            if segment.fd == fd:
                self._segment_failed(segment, error)
        self._committer.resume(wanted=self.unsynced)

    # --- for the shipper ---

    @property
    def unsynced(self) -> bool:
        """Whether something written is not known to be on disk."""
        return bool(self._pending)

    def keys(self) -> set[EpochKey]:
        """The epochs that are open."""
        return {recorder.key for recorder in self._open}

    def refused(self, key: EpochKey, reason: str) -> None:
        """The control plane will not take this epoch's records: whoever still records in it must stop."""
        for recorder in list(self._open):
            if recorder.key == key:
                recorder.fail(reason)

    def limit(self, segment: Segment) -> tuple[int, bool]:
        """How far `segment` may be shipped, and whether that is all there will ever be of it."""
        if not segment.trusted:
            return segment.end, True
        number, offset = self._synced_to
        if segment.number < number:
            return segment.end, True
        if segment.number > number:
            return 0, False
        return offset, segment is not self.current and offset == segment.end

    def release(self, segment: Segment, *, keep: bool = False) -> None:
        """All of `segment` has been delivered (with `keep`: all that could be): it goes, or stays under a new name."""
        self.segments.remove(segment)
        self._writers.pop(segment.number, None)
        if keep:
            segment.path.rename(segment.path.with_suffix(segments.DAMAGED))
            self._committer.retire(segment.fd)
        else:
            self._discard(segment)
        self._ensure_prepared()

    # --- looking and ending ---

    def statistics(self) -> dict[str, Any]:
        """The spool's state, for metrics and for people."""
        return {
            "epochs": len(self._open),
            "segments": len(self.segments),
            "bytes": self._allocated(),
            "backlog_bytes": sum(backlog.bytes for backlog in self._backlogs.values()),
            "reserved_bytes": self.reserved,
            "writes": self._committer.written,
            "syncs": self._committer.syncs,
            "last_sync_s": self._committer.last_sync,
        }

    @property
    def backlog_bytes(self) -> int:
        """Bytes of frames that the control plane does not have yet (recovered segments not counted)."""
        return sum(backlog.bytes for backlog in self._backlogs.values())

    async def close(self) -> None:
        """Sync what is written, stop the thread and let go of the folder. Segments with frames stay for the next."""
        for epoch in list(self._open):
            await epoch.close()
        self._closed = True
        for timer in (self._later, self._ticker):
            if timer is not None:
                timer.cancel()
        if self._preparing is not None:
            await asyncio.wait([self._preparing])
        self._committer.close()
        for segment in self._prepared:
            segment.path.unlink(missing_ok=True)
            os.close(segment.fd)
        for segment in self.segments:
            os.close(segment.fd)
