"""The gateway's end of a control stream: frames from one local proxy, pings, and the notice that it is gone.

It knows nothing of sessions. Its owner is told of each frame and, once, of the loss; a peer that stays silent for
`lost_after` seconds is lost as much as one whose socket breaks.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Protocol

from ..tunnel import frames


class Owner(Protocol):
    """Whose control stream it is."""

    def control_frame(self, stream: ControlStream, frame: frames.Frame) -> None:
        """A frame came (pongs are kept from the owner)."""

    def control_lost(self, stream: ControlStream) -> None:
        """The stream is gone; called once."""


class ControlStream(asyncio.Protocol):
    """Takes over a connected transport; frames may be sent until it is lost."""

    def __init__(
        self, transport: asyncio.Transport, leftover: bytes, owner: Owner, *, ping_every: float, lost_after: float
    ) -> None:
        self._transport = transport
        self._owner = owner
        self._ping_every = ping_every
        self._lost_after = lost_after
        self._reader = frames.FrameReader(frames.TO_GATEWAY)
        self._heard_at = monotonic()
        self._closed = False
        transport.set_protocol(self)
        self._timer = asyncio.get_running_loop().call_later(ping_every, self._tick)
        if leftover:
            # The owner is still being told of us: let it finish first.
            asyncio.get_running_loop().call_soon(self.data_received, leftover)

    def send(self, frame: frames.Frame) -> None:
        """Send `frame`, unless the stream is lost."""
        if not self._closed:
            self._transport.write(frames.encode(frame))

    def close(self) -> None:
        """Send what is queued and hang up; the owner is not told again."""
        if not self._closed:
            self._finish()
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Hand whole frames to the owner; a malformed one loses the stream."""
        if self._closed:
            return
        self._heard_at = monotonic()
        self._reader.feed(data)
        try:
            for frame in self._reader.frames():
                if not isinstance(frame, frames.Pong):
                    self._owner.control_frame(self, frame)
                if self._closed:
                    return
        except frames.FrameError:
            self._lose()

    def connection_lost(self, error: Exception | None) -> None:
        """The socket is gone."""
        self._lose()

    def _tick(self) -> None:
        silent = monotonic() - self._heard_at
        if silent >= self._lost_after:
            self._lose()
            return
        self.send(frames.Ping())
        pause = min(self._ping_every, self._lost_after - silent)
        self._timer = asyncio.get_running_loop().call_later(pause, self._tick)

    def _lose(self) -> None:
        if not self._closed:
            self._finish()
            self._transport.abort()
            self._owner.control_lost(self)

    def _finish(self) -> None:
        self._closed = True
        self._timer.cancel()
