"""One client connection: bytes from a loopback socket into a stream of the tunnel, and back.

Law: nothing is read faster than the other side takes it, nothing is lost that was read, and the end of one side ends
the other: after what was read has been written where the end was clean, at once where it was not. TLS has no half-close
here; MongoDB's clients use none.
"""

from __future__ import annotations

import asyncio
from typing import Protocol, cast


class Closed(Protocol):
    """Called once, when both sides are gone."""

    def __call__(self, bytes_up: int, bytes_down: int) -> None: ...


class Side(asyncio.Protocol):
    """One end of a pair. What comes before the pair is joined is kept, and no more than one read of it is taken."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: Side | None = None
        self.received = 0
        self.lost = False
        self._early = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's transports are no subclass

    def data_received(self, data: bytes) -> None:
        """Hand `data` on. The other side pauses us when it has too much."""
        self.received += len(data)
        other = self.other
        if other is None:
            # uvloop starts to read after connection_made, whatever was paused in it.
            self._early += data
            assert self.transport is not None
            self.transport.pause_reading()
        elif other.transport is not None:
            other.transport.write(data)

    def give_early(self) -> None:
        """The pair is joined: hand on what came before."""
        data, self._early = self._early, b""
        if data and self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)

    def pause_writing(self) -> None:
        """Our peer is slow: let the other side read no more."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        """Our peer took what we had."""
        if self.other is not None and self.other.transport is not None and not self.other.lost:
            self.other.transport.resume_reading()

    def eof_received(self) -> bool:
        """The peer ends cleanly: so does the pair, once everything is written."""
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """End the other side as this one ended."""
        self.lost = True
        other = self.other
        if other is None or other.lost or other.transport is None:
            return
        if error is None:
            other.transport.close()
        else:
            other.transport.abort()


class TunnelSide(Side):
    """The end in the tunnel; a loss here is told to the one who counts connections."""

    def __init__(self, closed: Closed) -> None:
        super().__init__()
        self._closed = closed

    def connection_lost(self, error: Exception | None) -> None:
        """Count, and end the client's side."""
        super().connection_lost(error)
        self._closed(0 if self.other is None else self.other.received, self.received)


def join(client: Side, tunnel: Side) -> None:
    """Let bytes flow between two connected sides."""
    client.other, tunnel.other = tunnel, client
    client.give_early()
    tunnel.give_early()
    assert client.transport is not None
    assert tunnel.transport is not None
    if tunnel.lost:
        client.transport.abort()
    elif client.lost:
        tunnel.transport.abort()
    else:
        client.transport.resume_reading()
