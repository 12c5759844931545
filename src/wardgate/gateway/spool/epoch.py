"""The recorder of one epoch: it turns records into frames and keeps what the spool must know of its session.

Space for what must still be written when there is none left (an outcome for each intent, the close of each connection
and of the session) is reserved when the record that makes it due is taken. So an intent is refused before anything
runs, and never an outcome.
"""

from __future__ import annotations

import asyncio
from bisect import insort
from collections.abc import Callable
from time import time_ns
from typing import Final, Literal, Protocol

from ...audit.chain import ChainWriter
from ...audit.codec import ERROR_BYTES, TEXT_BYTES, encode
from ...audit.frame import HEAD_BYTES
from ...audit.recorder import RecordingFailed
from ...audit.records import (
    CommandIntent,
    CommandOutcome,
    ConnectionClosed,
    ConnectionOpened,
    Record,
    SessionClosed,
)

Durability = Literal["strict", "process"]
EpochKey = tuple[bytes, int]

# What the longest record of each kind can take, its frame and its text included.
_OUTCOME: Final = ERROR_BYTES + 1024
_CONNECTION_CLOSED: Final = TEXT_BYTES + 1024
SESSION_CLOSED: Final = ERROR_BYTES + 24 * 1024
_FRAME_OVERHEAD: Final = HEAD_BYTES + 32 + 16


class Backlog:
    """What of one session has not reached the control plane yet, over all its epochs here."""

    __slots__ = ("bytes",)

    def __init__(self) -> None:
        self.bytes = 0


class Shelf(Protocol):
    """The spool as a recorder uses it. `reserved` and `in_flight` are sums over all recorders, which keep them."""

    loop: asyncio.AbstractEventLoop
    reserved: int
    in_flight: int

    def refusal(self, backlog: Backlog, size: int, due: int) -> str | None:
        """Why `size` bytes now and `due` later can't be taken; None if they can."""

    def write(self, epoch: EpochRecorder, frames: list[bytes], seq: int) -> None:
        """Hand the frames to the kernel; RecordingFailed."""

    def sync_soon(self, waiting: int = 0) -> None:
        """Sync in this iteration of the loop; `waiting` of the intents under way are waited for themselves."""

    def sync_later(self) -> None:
        """Sync within a few milliseconds."""

    def slow(self, backlog: Backlog) -> bool:
        """Whether a session with this backlog should be slowed."""

    def closed(self, epoch: EpochRecorder) -> None:
        """The recorder takes no more."""


class EpochRecorder:
    """A `Recorder`. Made by `Spool.open_epoch`; belongs to the event loop."""

    def __init__(
        self,
        spool: Shelf,
        key: EpochKey,
        chain: ChainWriter,
        durability: Durability,
        backlog: Backlog,
        on_failed: Callable[[str], None],
    ) -> None:
        self.key = key
        self.head_frame = chain.head_frame
        self.segment = -1  # the segment that has the epoch's head since
        self.reserved = 0
        self._in_flight = 0
        self.backlog = backlog
        self.failure: str | None = None
        self._spool = spool
        self._chain: ChainWriter | None = chain
        self._strict = durability == "strict"
        self._on_failed = on_failed
        self._seq = 0
        self._durable = -1
        self._at_us = 0
        self._waiters: list[tuple[int, Callable[[], None]]] = []
        self._closing = asyncio.Event()  # what a `close` waits for, if there is one

    def append(self, record: Record) -> int:
        """See `Recorder.append`."""
        chain = self._chain
        if self.failure is not None or chain is None:
            raise RecordingFailed(self.failure or "This recording has been closed.")
        at_us = time_ns() // 1000
        if at_us < self._at_us:
            at_us = self._at_us  # times of a chain never go back, whatever the clock does
        seq = self._seq + 1
        try:
            documents = encode(record, at_us, seq)
            self._admit(record, documents)
            frames = [chain.append(document) for document in documents]
        except ValueError as error:
            self.fail(f"A record could not be written down: {error}.")
            raise RecordingFailed(f"A record could not be written down: {error}.") from error
        self._at_us = at_us
        self._seq = chain.seq
        self._spool.write(self, frames, chain.seq)
        if self._strict:
            if type(record) is CommandOutcome and not record.unacknowledged:
                self._spool.sync_soon()
                if self.failure is not None:
                    raise RecordingFailed(self.failure)
            else:
                self._spool.sync_later()
        else:
            self._durable = chain.seq
        return seq

    def _admit(self, record: Record, documents: list[bytes]) -> None:
        """Reserve or release, and refuse what would eat into what is reserved; RecordingFailed then."""
        kind = type(record)
        size = 0
        for document in documents:
            size += len(document) + _FRAME_OVERHEAD
        if kind is CommandOutcome and not record.more:  # type: ignore[union-attr]
            self._due(-_OUTCOME, -1)
        elif kind is ConnectionClosed:
            self._due(-_CONNECTION_CLOSED)
        elif kind is SessionClosed:
            self._due(-self.reserved, -self._in_flight)
        else:
            due = _OUTCOME if kind is CommandIntent else _CONNECTION_CLOSED if kind is ConnectionOpened else 0
            refusal = self._spool.refusal(self.backlog, size, due)
            if refusal is not None:
                raise RecordingFailed(refusal)
            if due:
                self._due(due, kind is CommandIntent)

    def _due(self, reserve: int, in_flight: int = 0) -> None:
        """Something has become due (or, negative, is done), here and in the spool's sums."""
        reserve = max(reserve, -self.reserved)
        in_flight = max(in_flight, -self._in_flight)
        self.reserved += reserve
        self._in_flight += in_flight
        self._spool.reserved += reserve
        self._spool.in_flight += in_flight

    def durable(self) -> int:
        """See `Recorder.durable`."""
        return self._durable

    def when_durable(self, seq: int, callback: Callable[[], None]) -> None:
        """See `Recorder.when_durable`. A sync is asked for."""
        if seq <= self._durable:
            callback()
            return
        if self.failure is not None:
            return
        if not self._waiters or self._waiters[-1][0] <= seq:
            self._waiters.append((seq, callback))
        else:
            insort(self._waiters, (seq, callback), key=lambda waiter: waiter[0])
        self._spool.sync_soon()

    def kick(self) -> None:
        """See `Recorder.kick`."""
        if self._durable < self._seq:
            self._spool.sync_soon(waiting=1)

    def slow(self) -> bool:
        """See `Recorder.slow`."""
        return self._spool.slow(self.backlog)

    async def close(self) -> None:
        """Everything is on disk and the key is forgotten. Returns after a failure too."""
        self._chain = None
        self._due(-self.reserved, -self._in_flight)
        if self.failure is None and self._durable < self._seq:
            self.when_durable(self._seq, self._closing.set)
            await self._closing.wait()
        self._spool.closed(self)

    # --- called by the spool ---

    def synced(self, seq: int) -> None:
        """All up to `seq` is on disk."""
        self._durable = max(seq, self._durable)
        waiters = self._waiters
        if not waiters or waiters[0][0] > seq:
            return
        count = 0
        while count < len(waiters) and waiters[count][0] <= seq:
            count += 1
        ready = waiters[:count]
        del waiters[:count]
        for _, callback in ready:
            callback()

    def fail(self, reason: str) -> None:
        """Recording is over: what waits is not called, and the session hears why, once."""
        if self.failure is not None:
            return
        self.failure = reason
        self._waiters.clear()
        self._chain = None
        self._due(-self.reserved, -self._in_flight)
        self._closing.set()
        self._spool.loop.call_soon(self._on_failed, reason)
