"""Joining two sockets: what comes from one goes to the other, in both directions, as it is.

On Linux the bytes stay in the kernel (splice through a pipe); elsewhere they pass through a buffer. A pipe is borrowed
only while bytes are in it, so ten thousand quiet streams hold none.

Law, for each direction: bytes leave in the order they came; no more than one pipe of them is held, and nothing is read
while they wait (back-pressure is TCP's own); the end of one side is passed on as an end, after all its bytes; a failure
of either side resets both, at once, so that neither believes in a clean end that was none.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol

from .dial import reset_on_close

_CHUNK = 256 * 1024
_KEPT_PIPES = 32
_F_SETPIPE_SZ = 1031


class Hold(Protocol):
    """Bytes between two sockets."""

    pending: int

    def fill(self, source: int) -> int:
        """Take what `source` has now, at most a chunk: how many bytes; 0 at its end; BlockingIOError if nothing."""

    def drain(self, target: int) -> None:
        """Give `target` what it takes now; BlockingIOError if nothing. `pending` says what is left."""

    def close(self) -> None:
        """Drop it with what is in it."""


class PipeHold:
    """Bytes in a kernel pipe."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.pending = 0
        with contextlib.suppress(OSError):  # over the user's pipe budget it stays smaller, which is only slower
            fcntl.fcntl(self._write, _F_SETPIPE_SZ, _CHUNK)

    def fill(self, source: int) -> int:
        """See Hold."""
        count = os.splice(source, self._write, _CHUNK, flags=os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE)
        self.pending += count
        return count

    def drain(self, target: int) -> None:
        """See Hold."""
        flags = os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE
        while self.pending:
            self.pending -= os.splice(self._read, target, self.pending, flags=flags)

    def close(self) -> None:
        """See Hold."""
        os.close(self._read)
        os.close(self._write)


class BufferHold:
    """Bytes in memory, where there is no splice."""

    def __init__(self) -> None:
        self._data = b""
        self.pending = 0

    def fill(self, source: int) -> int:
        """See Hold."""
        self._data = os.read(source, _CHUNK)
        self.pending = len(self._data)
        return self.pending

    def drain(self, target: int) -> None:
        """See Hold."""
        while self.pending:
            sent = os.write(target, self._data)
            self._data = self._data[sent:]
            self.pending = len(self._data)

    def close(self) -> None:
        """See Hold."""
        self._data = b""


class Holds:
    """The holds of one event loop, lent while bytes are in them."""

    def __init__(self, make: Callable[[], Hold] | None = None) -> None:
        self._make = make or (PipeHold if hasattr(os, "splice") else BufferHold)
        self._free: list[Hold] = []
        self.lent = 0

    def borrow(self) -> Hold:
        """An empty hold."""
        hold = self._free.pop() if self._free else self._make()
        self.lent += 1
        return hold

    def give_back(self, hold: Hold) -> None:
        """Take a hold back; one with bytes in it is dropped with them."""
        self.lent -= 1
        if hold.pending or len(self._free) >= _KEPT_PIPES:
            hold.close()
        else:
            self._free.append(hold)

    def close(self) -> None:
        """Drop the free ones."""
        while self._free:
            self._free.pop().close()


class _State(Enum):
    READING = auto()  # nothing pending, waiting for the source
    WRITING = auto()  # bytes pending, waiting for the target
    ENDED = auto()  # the source's end was passed on


class _Flow:
    """One direction."""

    def __init__(self, splice: Splice, source: socket.socket, target: socket.socket) -> None:
        self._splice = splice
        self._source = source
        self._target = target
        self._from = source.fileno()
        self._to = target.fileno()
        self._hold: Hold | None = None
        self.state = _State.READING
        self.carried = 0

    def start(self) -> None:
        self._splice.loop.add_reader(self._from, self._readable)

    def stop(self) -> None:
        """Let go of everything, whatever was pending."""
        if self.state is _State.READING:
            self._splice.loop.remove_reader(self._from)
        elif self.state is _State.WRITING:
            self._splice.loop.remove_writer(self._to)
        self.state = _State.ENDED
        self._return_hold()

    def _return_hold(self) -> None:
        if self._hold is not None:
            self._splice.holds.give_back(self._hold)
            self._hold = None

    def _readable(self) -> None:
        try:
            hold = self._hold = self._splice.holds.borrow()
            count = hold.fill(self._from)
            self.carried += count
            if count == 0:
                self._return_hold()
                self._pass_end_on()
                return
            hold.drain(self._to)
        except (BlockingIOError, InterruptedError):
            if self._hold is not None and self._hold.pending:
                self._wait_for_target()
                return
        except OSError:
            self._splice.abort()
            return
        self._return_hold()

    def _wait_for_target(self) -> None:
        loop = self._splice.loop
        loop.remove_reader(self._from)
        self.state = _State.WRITING
        loop.add_writer(self._to, self._writable)

    def _writable(self) -> None:
        assert self._hold is not None
        try:
            self._hold.drain(self._to)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._splice.abort()
            return
        self._return_hold()
        loop = self._splice.loop
        loop.remove_writer(self._to)
        self.state = _State.READING
        loop.add_reader(self._from, self._readable)

    def _pass_end_on(self) -> None:
        self._splice.loop.remove_reader(self._from)
        self.state = _State.ENDED
        try:
            self._target.shutdown(socket.SHUT_WR)
        except OSError:
            self._splice.abort()
            return
        self._splice.flow_ended()


class Splice:
    """Two connected, non-blocking sockets that now belong to each other and to this object.

    `done` is called once, when both are closed.
    """

    def __init__(self, left: socket.socket, right: socket.socket, holds: Holds) -> None:
        self.loop = asyncio.get_running_loop()
        self.holds = holds
        self._sockets = (left, right)
        self.done: Callable[[], None] | None = None
        self._flows = (_Flow(self, left, right), _Flow(self, right, left))
        for flow in self._flows:
            flow.start()

    @property
    def carried(self) -> tuple[int, int]:
        """Bytes from left to right, and from right to left."""
        return self._flows[0].carried, self._flows[1].carried

    def abort(self) -> None:
        """Reset both sides now. Does nothing once closed."""
        for sock in self._sockets:
            reset_on_close(sock)
        self._close()

    def flow_ended(self) -> None:
        """Called by a flow whose source has ended; the second one closes."""
        if all(flow.state is _State.ENDED for flow in self._flows):
            self._close()

    def _close(self) -> None:
        if self._sockets[0].fileno() < 0:
            return
        for flow in self._flows:
            flow.stop()
        for sock in self._sockets:
            sock.close()
        done, self.done = self.done, None
        if done is not None:
            done()
