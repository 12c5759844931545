"""The control stream of a local proxy: frames in, frames out.

It only reads and writes, and notices silence: a gateway says something every few seconds, so one that does not is lost
as much as one whose socket breaks. What a frame means is the local proxy's business. A stream that is lost ends the
queue, and `link` dials again.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import cast

from ...tunnel import frames


class ControlStream(asyncio.Protocol):
    """Frames from the gateway, in order; None is the end."""

    def __init__(self, lost_after: float) -> None:
        self._lost_after = lost_after
        self._reader = frames.FrameReader(frames.TO_CLIENT)
        self._queue: asyncio.Queue[frames.Frame | None] = asyncio.Queue()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._heard_at = 0.0
        self.silent = False  # whether it was lost to silence

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transports are no subclass
        self._heard_at = monotonic()
        self._timer = asyncio.get_running_loop().call_later(self._lost_after, self._listen)

    def data_received(self, data: bytes) -> None:
        """Queue whole frames; a malformed one ends the stream."""
        self._heard_at = monotonic()
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
        if self._timer is not None:
            self._timer.cancel()
        self._transport = None
        self._queue.put_nowait(None)

    async def receive(self) -> frames.Frame | None:
        """The next frame; None once the stream is lost."""
        return await self._queue.get()

    def send(self, frame: frames.Frame) -> None:
        """Send, unless the stream is already lost."""
        if self._transport is not None:
            self._transport.write(frames.encode(frame))

    def _listen(self) -> None:
        quiet = monotonic() - self._heard_at
        if quiet >= self._lost_after:
            self.silent = True
            self.close()
            return
        self._timer = asyncio.get_running_loop().call_later(self._lost_after - quiet, self._listen)

    def close(self) -> None:
        """Drop the stream."""
        if self._transport is not None:
            self._transport.abort()
