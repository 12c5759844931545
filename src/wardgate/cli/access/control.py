"""The control stream of a local proxy: frames in, frames out.

It only reads and writes; what a frame means is the local proxy's business. A stream that is lost ends the queue, and
the local proxy decides whether to dial again.
"""

from __future__ import annotations

import asyncio
from typing import cast

from ...tunnel import frames


class ControlStream(asyncio.Protocol):
    """Frames from the gateway, in order; None is the end."""

    def __init__(self) -> None:
        self._reader = frames.FrameReader(frames.TO_CLIENT)
        self._queue: asyncio.Queue[frames.Frame | None] = asyncio.Queue()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transports are no subclass

    def data_received(self, data: bytes) -> None:
        """Queue whole frames; a malformed one ends the stream."""
        self._reader.feed(data)
        try:
            for frame in self._reader.frames():
                if isinstance(frame, frames.Ping):
                    self.send(frames.Pong())
                else:
                    self._queue.put_nowait(frame)
        except frames.FrameError:
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        """The end of the queue."""
        self._transport = None
        self._queue.put_nowait(None)

    async def receive(self) -> frames.Frame | None:
        """The next frame; None once the stream is lost."""
        return await self._queue.get()

    def send(self, frame: frames.Frame) -> None:
        """Send, unless the stream is already lost."""
        if self._transport is not None:
            self._transport.write(frames.encode(frame))

    def close(self) -> None:
        """Drop the stream."""
        if self._transport is not None:
            self._transport.abort()
