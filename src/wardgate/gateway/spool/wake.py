"""A wake-up across threads: an eventfd, or a pipe where the system has none.

Of the ways that were measured to wake a thread and to be woken by it (`threading.Event`, a raw lock, `SimpleQueue`,
`call_soon_threadsafe`; see bench/spool.py) this one costs least and varies least: one system call without a lock.
"""

from __future__ import annotations

import os


class Wake:
    """Set from any thread; waited for in one, by `wait` or as a readable file descriptor. Many sets make one wake."""

    def __init__(self, *, blocking: bool) -> None:
        if hasattr(os, "eventfd"):
            self.fd = self._write_fd = os.eventfd(0, os.EFD_CLOEXEC | (0 if blocking else os.EFD_NONBLOCK))
        else:
            self.fd, self._write_fd = os.pipe()
            os.set_blocking(self.fd, blocking)
            os.set_blocking(self._write_fd, False)

    def set(self) -> None:
        """Wake the waiter, now or when it next waits."""
        try:
            os.write(self._write_fd, b"\1\0\0\0\0\0\0\0")
        except BlockingIOError:
            return  # a full pipe wakes too

    def wait(self) -> None:
        """Wait for a set, or take the one that came (not blocking: return at once)."""
        try:
            os.read(self.fd, 4096)
        except BlockingIOError:
            return

    def close(self) -> None:
        """Nobody may set or wait any more."""
        os.close(self.fd)
        if self._write_fd != self.fd:
            os.close(self._write_fd)
