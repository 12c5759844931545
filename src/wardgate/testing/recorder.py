"""A recorder in memory: what it holds is readable, and it is durable when the event loop comes round again.

It stands for the spool where the spool is not what is tested. `fail` makes it refuse from now on, `hold` keeps
everything from becoming durable until `release`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..audit.recorder import RecordingFailed
from ..audit.records import Record


class MemoryRecorder:
    """Implements `audit.recorder.Recorder`. Belongs to one event loop; `records` may be read from other threads."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.failure: str | None = None
        self.slowed = False
        self._durable = 0
        self._held = False
        self._waiting: list[tuple[int, Callable[[], None]]] = []
        self._scheduled = False

    def append(self, record: Record) -> int:
        if self.failure is not None:
            raise RecordingFailed(self.failure)
        self.records.append(record)
        self._schedule()
        return len(self.records)

    def durable(self) -> int:
        return self._durable

    def when_durable(self, seq: int, callback: Callable[[], None]) -> None:
        if seq <= self._durable:
            callback()
            return
        self._waiting.append((seq, callback))
        self._schedule()

    def kick(self) -> None:
        self._schedule()

    def slow(self) -> bool:
        return self.slowed

    def hold(self) -> None:
        """Nothing becomes durable until `release`."""
        self._held = True

    def release(self) -> None:
        """Everything becomes durable, now and from now on."""
        self._held = False
        self._sync()

    def _schedule(self) -> None:
        if not self._scheduled and not self._held:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._sync)

    def _sync(self) -> None:
        self._scheduled = False
        if self._held:
            return
        self._durable = len(self.records)
        ready = [callback for seq, callback in self._waiting if seq <= self._durable]
        self._waiting = [each for each in self._waiting if each[0] > self._durable]
        for callback in ready:
            callback()
