"""The recorder as the proxy sees it: one per (session, epoch).

`append` hands the record to the kernel before it returns, so a process that dies afterwards loses nothing. Disk
durability follows: `durable()` is the newest sequence number that survives a power cut, and `when_durable` tells when
one has become so. All of it belongs to the event loop's thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ..errors import WardgateError
from .records import Record


class RecordingFailed(WardgateError):  # noqa: N818 - a fact about the recording, said as one
    """The record was not taken: refuse the command and end the session as `audit_failed`."""

    def __init__(self, message: str) -> None:
        super().__init__("audit_failed", message)


class Recorder(Protocol):
    """Takes records in order and says when they are safe."""

    def append(self, record: Record) -> int:
        """The record's sequence number, once it is in the kernel's hands; RecordingFailed otherwise. Never blocks.

        An outcome asks for a sync; an intent does not, since its outcome usually follows within the same sync. The
        spool syncs it anyway after a few milliseconds.
        """

    def durable(self) -> int:
        """The newest sequence number on disk, with all before it."""

    def when_durable(self, seq: int, callback: Callable[[], None]) -> None:
        """Call `callback` in the loop once `seq` is on disk; at once if it is. Never called after a failure."""

    def kick(self) -> None:
        """Sync soon what has been appended (before an unacknowledged write is forwarded)."""

    def slow(self) -> bool:
        """Whether the session nears its quota, so its clients should be read more slowly."""
