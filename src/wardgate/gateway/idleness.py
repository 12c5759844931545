"""When a session has not been used for too long.

Use is a command: hello, SASL and ping are not, or the monitors of an open driver would keep a session for ever; an
operation that runs is use for as long as it runs. Law: one timer, set for the earliest moment at which the session
could have been idle for long enough, so that a busy session costs nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Protocol


class Used(Protocol):
    """What is looked at: a data stream."""

    @property
    def last_command_at(self) -> float:
        """Monotonic time of the newest command; 0.0 while there is none."""

    @property
    def busy(self) -> bool:
        """Whether an operation runs."""


class Idleness:
    """Calls `on_idle` once, after `timeout` seconds without use; with None, never."""

    def __init__(
        self, timeout: float | None, streams: Callable[[], Iterable[Used]], on_idle: Callable[[], None]
    ) -> None:
        self._timeout = timeout
        self._streams = streams
        self._on_idle = on_idle
        self._used_at = monotonic()
        self._timer: asyncio.TimerHandle | None = None
        if timeout is not None:
            self._timer = asyncio.get_running_loop().call_later(timeout, self._look)

    def used(self, at: float) -> None:
        """A stream that is gone was last used at that monotonic time."""
        self._used_at = max(self._used_at, at)

    def stop(self) -> None:
        """The session ends."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        assert self._timeout is not None
        now = monotonic()
        for stream in self._streams():
            self.used(now if stream.busy else stream.last_command_at)
        left = self._used_at + self._timeout - now
        if left <= 0:
            self._timer = None
            self._on_idle()
        else:
            self._timer = asyncio.get_running_loop().call_later(left, self._look)
